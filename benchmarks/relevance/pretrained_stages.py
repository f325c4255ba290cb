"""TaoSR1's stages on a language model that knows a language: SmolLM2-135M on the hard queries of a generated shop.

    python benchmarks/relevance/pretrained_stages.py --out FOLDER --arms 'sft/*'      # run arms; what is in FOLDER stays
    python benchmarks/relevance/pretrained_stages.py --out FOLDER --list              # the names of all arms
    python benchmarks/relevance/pretrained_stages.py --out FOLDER --rows              # the rows of whatever was run

Arms, figures and rows are those of ``taosr1.py``, with another model, all of whose weights are learned, and fewer pairs.  On the
same pairs: ``tiny``, the small judge, which begins from nothing; ``lora``, adapters in the last ten blocks; ``cross``, MiniLM or an
encoder from scratch.  Rates, passes and steps are the first ones tried: nothing was searched.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))

from hard_queries import HardQueries, hard_queries, of_size
from taosr1 import GROUP, Bench, parser_of, printed_rows, run_all

from aisle.core.env import Env
from aisle.nn.backbones.hf import Lora
from aisle.relevance._judge.llm import Pretrained
from aisle.relevance._judge.reasoned import judge_of
from aisle.relevance._pairs import first_queries
from aisle.relevance._stages import Stages
from aisle.relevance._writers import Rationales
from aisle.relevance.taosr1 import TaoSr1
from aisle.relevance.taosr1.course import TaoCourse
from aisle.relevance.taosr1.settings import BY_MACRO_F1, Correction, Reinforcement
from aisle.training.settings import TrainSettings

SIZE, POOL = 6000, 3000
"""Pairs of fine-tuning, and those whose labels the later stages may use."""
HELD, TEST = 800, 2000
"""Validation and test pairs, in whole queries: a large model reads some fifteen a second."""
PASSES, BATCH = 2, 16
"""Over the pairs of fine-tuning, and pairs a step."""
WHOLE = {"pretrained": Pretrained(lora=None, dtype="float32"), "label_weight": 3.0}
ADAPTED = {"pretrained": Pretrained(lora=Lora(last=10)), "label_weight": 1.0}
RATE = {"whole": 1e-4, "lora": 5e-4}
RL_STEPS, PROMPTS, LATER_RATE = 40, 16, 1e-5
BASE = f"label_first/{SIZE}/0.15"


def arms() -> list[str]:
    """All of them, those that others start from first."""
    later = [f"grpo/{BASE}/balanced/outcome", f"grpo/{BASE}/balanced/gated", f"dpo/{BASE}"]
    plain = [f"more-sft/{BASE}/balanced", f"more-sft/{BASE}/natural"]
    cross = [f"cross/{encoder}/{SIZE}/0" for encoder in ("scratch", "minilm")]
    return [f"tiny/{BASE}", *cross, f"lora/{BASE}", f"sft/{BASE}", *plain, *later, f"sft/label_only/{SIZE}/0"]


@dataclass(frozen=True, eq=False)
class Large(Bench):
    """The arms of one seed on a pre-trained model."""

    @property
    def data(self) -> HardQueries:
        return _data(self.seed)

    def course(self, arm: str) -> TaoCourse:
        kind, order, size, noise, *rest = arm.split("/")
        if kind == "tiny":
            return super().course(arm)
        data, env = self.data, Env(engine=None, seed=self.seed, device=self.device)  # type: ignore[arg-type]
        tuning, others = of_size(data.train, int(size), self.seed)
        pool, _ = of_size(others, POOL, self.seed + 1)
        common = TrainSettings(weight_decay=0.0, precision="auto", **BY_MACRO_F1)
        rate = RATE["lora" if kind == "lora" else "whole"]
        method = TaoSr1(
            backbone="smollm2", prompt="terse", order=order, batch=BATCH, rationales=Rationales(step_noise=float(noise)),
            train=common.model_copy(update={"epochs": PASSES, "evaluate_every": 250, "lr": rate, "warmup": 0.05}),
            correction=Correction(
                train=common.model_copy(update={"epochs": 1, "evaluate_every": 20, "lr": LATER_RATE})
            ),
            reinforcement=Reinforcement(
                steps=RL_STEPS, group=GROUP, prompts=PROMPTS, balanced="balanced" in rest,
                reward="gated" if "gated" in rest else "outcome",
                train=common.model_copy(update={"lr": LATER_RATE, "schedule": "constant", "evaluate_every": 20}),
            ),
            **(ADAPTED if kind == "lora" else WHOLE),
        )  # fmt: skip
        llm = judge_of(method.order).made(method, data.train.scale, data.items, data.train.queries, env)
        return TaoCourse(method, data.items, Stages("taosr1", env), llm, (tuning, pool, data.validation))


@lru_cache(maxsize=4)
def _data(seed: int) -> HardQueries:
    """The hard queries with fewer validation and test pairs."""
    data = hard_queries(seed)
    held, test = first_queries(data.validation, HELD), first_queries(data.test, TEST)
    kept_N = np.isin(data.test.query, test.query)
    return replace(data, validation=held, test=test, true=data.true[kept_N], kind=data.kind[kept_N])


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    chosen = [arm for arm in arms() if any(fnmatch(arm, pattern) for pattern in args.arms)]
    if args.list:
        print("\n".join(chosen))
        return
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.rows:
        printed_rows(args.out, lambda seed: Large(args.out, seed, args.device))
    else:
        run_all([Large(args.out, seed, args.device) for seed in args.seeds], chosen)


if __name__ == "__main__":
    main()
