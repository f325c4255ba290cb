"""How long, how fast and how precisely to train: the settings of ``train``."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field

from aisle.core.method import Settings


class TrainSettings(Settings):
    """
    epochs          passes over the batches; of each stage, where the balancer has several
    stages          how much of ``epochs`` each stage takes, in turn, and the last number for those that follow; all where empty
    max_steps       at most so many optimiser steps a stage; 0 for no limit
    lr              of the dense parameters (AdamW)
    table_lr        of embedding tables; None keeps their own setting
    weight_decay    of matrices; vectors (biases, norms) are not decayed
    schedule        what follows the warm-up: ``constant``, or ``cosine`` down to a tenth
    warmup          share of the steps over which the rate rises from 0
    clip            largest norm of the dense gradient; 0 never clips
    accumulation    batches whose gradients are averaged into one step
    evaluate_every  steps between validations; 0 for the end of each epoch
    patience        validations in a row without a better ``watch`` after which a stage ends; 0 never ends early
    watch, better   which validation figure decides, and which way
    precision       ``bf16``: products in bf16, sums and losses in float32; ``auto``: where the processor has bf16
    save_every      steps between checkpoints; 0 for none
    keep            checkpoints kept
    """

    epochs: int = Field(1, ge=1)
    stages: tuple[Annotated[float, Field(gt=0)], ...] = ()
    max_steps: int = Field(0, ge=0)
    lr: float = Field(1e-3, gt=0)
    table_lr: float | None = Field(None, gt=0)
    weight_decay: float = Field(1e-5, ge=0)
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup: float = Field(0.02, ge=0, le=1)
    clip: float = Field(1.0, ge=0)
    accumulation: int = Field(1, ge=1)
    evaluate_every: int = Field(0, ge=0)
    patience: int = Field(0, ge=0)
    watch: str = "loss"
    better: Literal["lower", "higher"] = "lower"
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    save_every: int = Field(0, ge=0)
    keep: int = Field(2, ge=1)


def has_bf16(device: torch.device | str = "cpu") -> bool:
    """Whether the device multiplies bf16 in hardware (AVX512-BF16 or AMX on a processor)."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)


def wants_bf16(settings: TrainSettings, device: torch.device | str = "cpu") -> bool:
    """``precision`` decided for this device."""
    return settings.precision == "bf16" or (settings.precision == "auto" and has_bf16(device))
