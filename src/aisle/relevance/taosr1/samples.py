"""Pass@N: several answers to each prompt, how often one of N is right, and the preference pairs that follow from them.

    0 < right < n   self-correction: an own right answer is preferred to an own wrong one
    right = 0       oracle guidance: the answer that a writer gives who knows the label is preferred to an own wrong one
    right = n       nothing to correct

Legend: Q prompts, n answers a prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from aisle.core.env import Progress, silent
from aisle.core.errors import SettingError
from aisle.core.lists import Array
from aisle.nn.backbones.backbone import Backbone, Sampling
from aisle.training.preference import Preferences

SALT = 0x9A55
CHUNK = 64
"""Prompts that are answered at a time."""


@dataclass(frozen=True, eq=False)
class Samples:
    """
    prompts  Q token lists
    answers  Q lists of n token lists
    right    bool[Q, n]   the answer's label is the one that people gave
    logp     float32[Q, n]  log-probability of the whole answer under the model that wrote it
    """

    prompts: Sequence[Array]
    answers: Sequence[Sequence[Array]]
    right: Array
    logp: Array

    def __len__(self) -> int:
        return len(self.prompts)


def sampled(
    module: Backbone,
    prompts: Sequence[Array],
    n: int,
    sampling: Sampling,
    is_right: Callable[[Array, Sequence[Sequence[Array]]], Array],
    *,
    seed: int = 0,
    progress: Progress = silent,
    task: str = "sample",
) -> Samples:
    """n answers to each prompt.  ``is_right``: (places of prompts int64[...], their answers) -> bool[..., n]."""
    module.eval()
    answers: list[list[Array]] = []
    logp, right = np.zeros((len(prompts), n), np.float32), np.zeros((len(prompts), n), bool)
    for start in range(0, len(prompts), CHUNK):
        places = np.arange(start, min(start + CHUNK, len(prompts)))
        generator = torch.Generator(module.device).manual_seed((seed << 24) ^ (SALT << 40) ^ start)
        drawn = module.sample([prompts[p] for p in places.tolist()], n, sampling, generator=generator)
        lists = drawn.lists()
        answers += [lists[k * n : (k + 1) * n] for k in range(len(places))]
        logp[places] = drawn.logp.sum(1).view(-1, n).cpu().numpy()
        right[places] = is_right(places, answers[start:])
        progress(task, int(places[-1]) + 1, len(prompts))
    return Samples(prompts, answers, right, logp)


def pass_at(num_right: Array, n: int, of: int) -> Array:
    """float64[Q]: the chance that one of ``of`` answers is right, without bias from n >= ``of`` samples of which ``num_right``
    [Q] are:  1 - C(n - c, of) / C(n, of).

    Raises SettingError when ``of`` exceeds n.
    """
    if not 1 <= of <= n:
        raise SettingError(f"pass@{of} of {n} answers; ask for 1 to {n}, or draw more")
    wrong_QN = np.asarray(num_right)[..., None] * -1.0 + n - np.arange(of)
    chance: Array = 1.0 - (np.maximum(wrong_QN, 0.0) / (n - np.arange(of))).prod(-1)
    return chance


@dataclass(frozen=True, eq=False)
class CorrectionPairs:
    """``preferences``, one prompt a pair; ``place`` int64[P] of its prompt among the samples; ``is_oracle`` bool[P]."""

    preferences: Preferences
    place: Array
    is_oracle: Array

    def __len__(self) -> int:
        return len(self.place)


def correction_pairs(samples: Samples, oracle: Sequence[Array | None], most: int = 1) -> CorrectionPairs:
    """At most ``most`` pairs a prompt.  The rejected answers are the likeliest distinct wrong ones, the preferred one is the
    likeliest right one, or ``oracle``'s where none is right (None: no such pair)."""
    prompts, chosen, rejected, place, is_oracle = [], [], [], [], []
    for q in range(len(samples)):
        right, wrong = (_likeliest(samples, q, is_right) for is_right in (True, False))
        better = right[0] if right else oracle[q]
        if better is None:
            continue
        for worse in wrong[:most]:
            prompts.append(samples.prompts[q])
            chosen.append([better])
            rejected.append([worse])
            place.append(q)
            is_oracle.append(not right)
    return CorrectionPairs(Preferences(prompts, chosen, rejected), np.array(place, np.int64), np.array(is_oracle, bool))


def _likeliest(samples: Samples, q: int, is_right: bool) -> list[Array]:
    """The distinct right (wrong) answers to a prompt, the likeliest first."""
    order = np.argsort(-samples.logp[q], kind="stable")
    found = {samples.answers[q][k].tobytes(): samples.answers[q][k] for k in order if samples.right[q, k] == is_right}
    return list(found.values())
