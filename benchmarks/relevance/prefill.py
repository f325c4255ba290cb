"""Reading the grade by prefill beside writing the rationale: items a second on one thread, and what sharing a prefix saves.

Weights are random: time does not depend on them, except that answers may end early, so every answer is made to have all its
tokens.  Prompts and answers are as long as the generated shop makes them: a plain prompt of 32 tokens, short answers of 6, five
steps in words of 80; and an instructed prompt of which 110 tokens are shared by a request's items.  Arms take turns; medians of
5 rounds.
"""

from __future__ import annotations

import json
import sys
from time import perf_counter

import numpy as np
import torch

from aisle.nn.backbones.backbone import Sampling
from aisle.nn.backbones.tiny import Tiny, TinyShape

ITEMS, VOCABULARY, ROUNDS = 48, 3000, 5
LABELS = np.array([10, 11, 12, 13])
SHAPES = {
    "0.5M": TinyShape(width=96, layers=3, heads=4, key_heads=2, head_dim=24, hidden=256),
    "6M": TinyShape(width=256, layers=6, heads=8, key_heads=4, head_dim=32, hidden=768),
}
HEAD, SHARED, TAIL, SHORT, STEPS = 8, 110, 24, 6, 80


def main() -> None:
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    head, shared = random.integers(20, VOCABULARY, HEAD), random.integers(20, VOCABULARY, SHARED)
    tails = [random.integers(20, VOCABULARY, n) for n in random.integers(TAIL - 6, TAIL + 7, ITEMS)]
    never_end = torch.ones(ITEMS, VOCABULARY, dtype=torch.bool)
    never_end[:, 1] = False
    rows = []
    for name, shape in SHAPES.items():
        model = Tiny(shape, VOCABULARY, 1).eval()
        plain = [np.concatenate([head, tail]) for tail in tails]
        whole = [np.concatenate([shared, tail]) for tail in tails]

        def read(prompts: list[np.ndarray], model: Tiny = model) -> None:
            model.label_probabilities([p[:1] for p in prompts], [[p[1:]] for p in prompts], LABELS)

        def read_shared(model: Tiny = model) -> None:
            for start in range(0, ITEMS, 16):
                model.label_probabilities([shared], [tails[start : start + 16]], LABELS)

        def write(tokens: int, prompts: list[np.ndarray], model: Tiny = model) -> None:
            model.sample(prompts, 1, Sampling(max_new=tokens, temperature=0.0), constraint=lambda _: never_end)

        arms = {
            "prefill": lambda plain=plain: read(plain),
            "short": lambda plain=plain: write(SHORT, plain),
            "steps": lambda plain=plain: write(STEPS, plain),
            "instructed": lambda whole=whole: read(whole),
            "instructed-shared": read_shared,
        }
        taken: dict[str, list[float]] = {arm: [] for arm in arms}
        with torch.inference_mode():
            for turn in range(ROUNDS + 1):
                for arm, work in arms.items():
                    start = perf_counter()
                    work()
                    if turn:
                        taken[arm].append(perf_counter() - start)
        median = {arm: float(np.median(seconds)) for arm, seconds in taken.items()}
        rows += [{"metric": f"items_per_s:{name}", "plan": arm, "value": ITEMS / s} for arm, s in median.items()]
        rows += [
            {"metric": f"saving:{arm}:{name}", "value": median[arm] / median["prefill"]} for arm in ("short", "steps")
        ]
        rows.append({"metric": f"saving:prefix:{name}", "value": median["instructed"] / median["instructed-shared"]})
    json.dump(rows, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
