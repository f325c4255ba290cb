"""The small decoder beside ``transformers`` on the same weights: sampling groups that share a prompt, and training steps.

    python benchmarks/speed/backbone.py [SIZE ...]

Both sides are Qwen3 in float32 with identical weights and take turns, 5 rounds, each at its best of 1 and 2 threads; the ratio is
of medians.  Sampling: 16 prompts, 16 answers each, no answer ends early.  Training: one optimiser step on the same 64
question-answer pairs, packed into shared rows here, filled up to the longest there.
"""

from __future__ import annotations

import json
import resource
import sys
from collections import defaultdict
from time import perf_counter

import numpy as np
import torch
from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

from aisle.nn.backbones.backbone import Sampling
from aisle.nn.backbones.tiny import Tiny, TinyShape, qwen3_weights
from aisle.training.supervised import Examples, batch_of, supervised_loss

ROUNDS = 5
GROUP, PROMPTS, NEW = 16, 16, 24
SIZES = {
    "0.4M": (TinyShape(width=96, layers=3, heads=4, key_heads=2, head_dim=24, hidden=256), 200, 24),
    "6M": (TinyShape(width=256, layers=6, heads=8, key_heads=4, head_dim=32, hidden=768), 4000, 96),
}
"""Shape, vocabulary, prompt tokens."""


def twin(model: Tiny) -> Qwen3ForCausalLM:
    """The same weights in the library's model.  Its end token cannot be drawn, so every answer has all its tokens."""
    shape = model.shape
    config = Qwen3Config(
        vocab_size=model.vocab_size, hidden_size=shape.width, intermediate_size=shape.hidden, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, num_key_value_heads=shape.key_heads, head_dim=shape.head_dim, rope_theta=1e4,
        rms_norm_eps=1e-6, tie_word_embeddings=True, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    qwen = Qwen3ForCausalLM(config).eval()
    qwen.load_state_dict(qwen3_weights(model), strict=True)
    return qwen


def main() -> None:
    rows = []
    for name in sys.argv[1:] or SIZES:
        shape, vocabulary, prompt_tokens = SIZES[name]
        model = Tiny(shape, vocabulary, end_id=1).eval()
        qwen = twin(model)
        random = np.random.default_rng(0)
        prompts = [random.integers(2, vocabulary, prompt_tokens) for _ in range(PROMPTS)]
        together = torch.from_numpy(np.stack(prompts))
        never_end = torch.ones(PROMPTS * GROUP, vocabulary, dtype=torch.bool)
        never_end[:, 1] = False
        how = GenerationConfig(
            max_new_tokens=NEW,
            min_new_tokens=NEW,
            do_sample=True,
            top_k=0,
            num_return_sequences=GROUP,
            pad_token_id=0,
        )
        lengths = random.integers(8, 40, 64)
        pairs = [(random.integers(2, vocabulary, n), random.integers(2, vocabulary, 12)) for n in lengths]
        examples = Examples([p for p, _ in pairs], [a for _, a in pairs])
        arms = {
            "sample-aisle": lambda: model.sample(prompts, GROUP, Sampling(max_new=NEW), constraint=lambda _: never_end),  # noqa: B023
            "sample-transformers": lambda: qwen.generate(together, generation_config=how),  # noqa: B023
            "train-aisle": step_of(model, lambda: supervised_loss(model, batch_of(examples, 128))["supervised"]),  # noqa: B023
            "train-transformers": step_of(qwen, lambda: padded_loss(qwen, examples)),  # noqa: B023
        }
        best = {arm: (float("inf"), 0) for arm in arms}
        for threads in (1, 2):
            torch.set_num_threads(threads)
            taken = defaultdict(list)
            for turn in range(ROUNDS + 1):
                for arm, work in arms.items():
                    start = perf_counter()
                    work()
                    if turn:  # the first one warms up
                        taken[arm].append(perf_counter() - start)
            for arm, seconds in taken.items():
                best[arm] = min(best[arm], (float(np.median(seconds)), threads))
        tokens = {"sample": PROMPTS * GROUP * NEW, "train": examples.num_tokens}
        for arm, (seconds, _) in best.items():
            kind = arm.partition("-")[0]
            rows.append(
                {
                    "metric": f"{kind}_tokens_per_s:{name}",
                    "plan": arm.partition("-")[2],
                    "value": tokens[kind] / seconds,
                }
            )
        for kind in tokens:
            ratio = best[f"{kind}-transformers"][0] / best[f"{kind}-aisle"][0]
            rows.append({"metric": f"ratio_to_transformers:{kind}:{name}", "value": ratio})
        rows.append({"metric": f"num_parameters:{name}", "value": sum(p.numel() for p in model.parameters())})
    rows.append({"metric": "peak_mb", "value": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024})
    json.dump(rows, sys.stdout, indent=1)


def step_of(module, loss):
    optimiser = torch.optim.AdamW(module.parameters(), lr=0.0)

    def work() -> None:
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()

    return work


def padded_loss(qwen: Qwen3ForCausalLM, examples: Examples) -> torch.Tensor:
    whole = [np.concatenate([p, a]) for p, a in zip(examples.prompts, examples.answers, strict=True)]
    width = max(map(len, whole))
    token, label = np.zeros((len(whole), width), np.int64), np.full((len(whole), width), -100, np.int64)
    seen = np.zeros((len(whole), width), np.int64)
    for i, (row, prompt) in enumerate(zip(whole, examples.prompts, strict=True)):
        token[i, : len(row)], seen[i, : len(row)] = row, 1
        label[i, len(prompt) : len(row)] = row[len(prompt) :]
    arrays = (torch.from_numpy(a) for a in (token, seen, label))
    return qwen(**dict(zip(("input_ids", "attention_mask", "labels"), arrays, strict=True))).loss


if __name__ == "__main__":
    main()
