"""Learning rate schedules as factors of the rate."""

from __future__ import annotations

import math

FLOOR = 0.1
"""Where the cosine ends: the last steps still learn."""


def rate_factor(step: int, total: int, warmup: float, schedule: str) -> float:
    """0 to 1, for step 0, 1, ... of ``total``: a line up over ``warmup * total`` steps, then constant or a half cosine."""
    rising = max(1, round(warmup * total)) if warmup > 0 else 0
    if step < rising:
        return (step + 1) / rising
    if schedule == "constant":
        return 1.0
    done = min(1.0, (step - rising) / max(1, total - rising))
    return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * done))
