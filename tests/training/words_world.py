"""The smallest language task: a prompt of one token, and one right answer token that a table knows."""

from __future__ import annotations

import numpy as np
import torch

from aisle.core.lists import Array
from aisle.nn.backbones.tiny import Tiny, TinyShape

V, END = 24, 1
ASKED = np.arange(4, 12)
"""Prompts; the right answer to t is t + 8."""


def model(seed: int = 0) -> Tiny:
    return Tiny(TinyShape(width=32, layers=1, heads=2, key_heads=1, head_dim=16, hidden=48), V, END, seed)


def prompts() -> list[Array]:
    return [np.array([t]) for t in ASKED]


def right(token: int) -> int:
    return token + 8


def answers() -> list[Array]:
    return [np.array([right(int(t)), END]) for t in ASKED]


def accuracy(module: Tiny) -> float:
    """Share of prompts whose likeliest first token is right."""
    module.eval()
    with torch.inference_mode():
        first = module.decoding(prompts(), 1, 1).first().argmax(1)
    return float((first == torch.tensor([right(int(t)) for t in ASKED])).float().mean())
