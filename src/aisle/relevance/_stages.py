"""A fit of several stages that goes on after a kill: what a finished stage learned is kept until the fit is over."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from torch import Tensor, nn

from aisle.core import registry
from aisle.core.atomic import write_file, write_json
from aisle.core.env import Env, in_words
from aisle.core.errors import StateError
from aisle.core.lists import Array
from aisle.core.method import Method
from aisle.core.shop import ShopView
from aisle.core.workplaces import Workplace
from aisle.nn.backbones.backbone import Backbone
from aisle.training.batches import Batches
from aisle.training.distributed import ALONE, Workers
from aisle.training.loop import LossFunction, Trained, train
from aisle.training.settings import TrainSettings

SAID_S = 60.0
"""Seconds after which a training that says nothing otherwise says where it is."""

Validate = Callable[[Any], Mapping[str, float]]


@dataclass(frozen=True, eq=False)
class Stages:
    """
    name   of the method, in front of what progress shows
    home   folder of this very fit; None keeps nothing
    place  that holds the folder; None for one that somebody else looks after
    """

    name: str
    env: Env
    home: Path | None = None
    workers: Workers = ALONE
    place: Workplace | None = None

    @classmethod
    def of(cls, method: Method, shop: ShopView, env: Env, workers: Workers = ALONE) -> Stages:
        """The stages of this method's fit on this shop: other settings, other judgments or another seed are another fit."""
        name = registry.name_of(method)
        if env.scratch is None:
            return cls(name, env, None, workers)
        judged = [shop.judgments(part).digest() for part in ("train", "validation")]
        parts = [method.model_dump(mode="json"), env.seed, shop.generation, judged]
        place = Workplace.of(env.scratch, name, parts)
        return cls(name, env, place.folder, workers, place)

    def run(self, stage: str, module: Backbone, work: Callable[[Path | None], Mapping[str, Any]]) -> Mapping[str, Any]:
        """What ``work`` returns (JSON values), having changed ``module``; from a run before, where the stage is over already.

        ``work`` is given the folder in which it may keep checkpoints.
        """
        if self.home is None:
            return work(None)
        done, weights = self.home / f"{stage}.json", self.home / f"{stage}.safetensors"
        is_over = done.exists()
        self.workers.barrier()
        if is_over:
            return _again(module, weights, done)
        result = dict(work(self.home / stage))
        if self.workers.rank == 0:
            from safetensors.torch import save_file

            tensors = {n: t.detach().cpu().contiguous().clone() for n, t in module.learned().items()}
            write_file(weights, lambda path: save_file(tensors, path))
            write_json(done, result)
            shutil.rmtree(self.home / stage, ignore_errors=True)
        self.workers.barrier()
        return result

    def array(self, name: str, folder: Path | None, work: Callable[[Path | None], Array]) -> Array:
        """What ``work`` returns, kept as a file of a stage's folder until that stage is over; from a run before, where it is
        there already.  ``work`` is given a folder of its own for checkpoints."""
        if folder is None:
            return work(None)
        path = folder / f"{name}.npy"
        is_there = path.exists()
        self.workers.barrier()
        if is_there:
            kept: Array = np.load(path)
            return kept
        found = work(folder / name)
        if self.workers.rank == 0:
            write_file(path, lambda file: file.write_bytes(_npy(found)))
            shutil.rmtree(folder / name, ignore_errors=True)
        self.workers.barrier()
        return found

    def train(
        self, stage: str, module: nn.Module, batches: Batches, loss: LossFunction, settings: TrainSettings,
        folder: Path | None, validate: Validate | None = None,
    ) -> Trained:  # fmt: skip
        """``training.loop.train`` in the name of a stage; with a folder it saves its place every fiftieth of the way."""
        if folder is not None and not settings.save_every:
            settings = settings.model_copy(update={"save_every": max(1, len(batches) * settings.epochs // 50)})
        if folder is not None:
            self.say(f"{stage} learns; each step's figures are in {folder / 'metrics.jsonl'} until it is over")
        told = _Told(self, stage, loss, validate)
        return train(
            module, batches, told.loss, settings, validate=None if validate is None else told.validate, folder=folder,
            workers=self.workers, seed=self.env.seed, device=self.env.device, progress=told.progress,
            task=f"{self.name}: {stage}",
        )  # fmt: skip

    def say(self, line: str) -> None:
        """A line for a person, once however many processes there are."""
        if self.workers.rank == 0:
            self.env.log(f"{self.name}: {line}")

    def close(self) -> None:
        """The fit is over: its stages are forgotten."""
        if self.home is not None and self.workers.rank == 0:
            shutil.rmtree(self.home, ignore_errors=True)


class _Told:
    """One training in lines for a person: what each validation found, and the figures of a step now and then."""

    def __init__(self, stages: Stages, stage: str, loss: LossFunction, validate: Validate | None) -> None:
        self._stages, self._stage, self._loss, self._validate = stages, stage, loss, validate
        self._done, self._total, self._said_s = 0, 0, monotonic()
        self._losses: Mapping[str, Tensor] = {}
        self._figures: Mapping[str, float] = {}

    def loss(self, module: Any, batch: Any) -> Any:
        found = self._loss(module, batch)
        losses, self._figures = found if isinstance(found, tuple) else (found, {})
        self._losses = {f"loss/{name}": value.detach() for name, value in losses.items()}
        return found

    def progress(self, task: str, done: int, total: int | None) -> None:
        self._done, self._total = done, total or 0
        self._stages.env.progress(task, done, total)
        if monotonic() - self._said_s >= SAID_S:
            self._say({})

    def validate(self, module: Any) -> Mapping[str, float]:
        assert self._validate is not None
        found = self._validate(module)
        self._say(found)
        return found

    def _say(self, found: Mapping[str, float]) -> None:
        of_step = {**self._figures, **{name: float(value) for name, value in self._losses.items()}}
        self._stages.say(f"{self._stage}, step {self._done:,} of {self._total:,}: {in_words({**found, **of_step})}")
        self._said_s = monotonic()


def _again(module: Backbone, weights: Path, done: Path) -> Mapping[str, Any]:
    """What a finished stage returned; ``module`` is as it left it.  Raises StateError for files that are damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        learned = load_file(weights, device=str(module.device))
        found: Mapping[str, Any] = json.loads(done.read_text(encoding="utf-8"))
    except (OSError, ValueError, SafetensorError) as error:
        raise StateError(
            f"{weights} of a fit that was stopped is damaged ({error}); remove {weights.parent} and fit again"
        ) from None
    module.load_state_dict(learned, strict=False)
    return found


def _npy(array: Array) -> bytes:
    buffer = BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
