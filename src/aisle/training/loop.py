"""The training loop that every learned method stands on.

    trained = train(module, batches, loss, TrainSettings(lr=1e-3), validate=validate, folder=folder)

Dense parameters learn by AdamW, embedding tables by their own optimiser on the rows they touched.  A run with a folder goes
on from its last checkpoint: the step after it is the very step that would have followed, because each step's random numbers
follow from the seed and the step's number.

With a balancer of several stages the loop trains one stage after the other, each from the parameters that were best at the
end of the one before (``aisle.core.balance``).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from aisle.core.balance import Balancer
from aisle.core.env import Progress, silent
from aisle.core.errors import SettingError, nearest
from aisle.core.tables import Tables
from aisle.training import checkpoint
from aisle.training.batches import Batches
from aisle.training.best import Best, copied
from aisle.training.checkpoint import Checkpoint
from aisle.training.distributed import ALONE, Workers
from aisle.training.memory import keep_freed
from aisle.training.metrics import MetricsLog
from aisle.training.schedules import rate_factor
from aisle.training.settings import TrainSettings, wants_bf16

Losses = Mapping[str, Tensor]
LossFunction = Callable[[Any, Any], Losses | tuple[Losses, Mapping[str, float]]]
"""(module, batch) -> the losses by task; with figures for the log beside them where there are any."""


@dataclass
class Trained:
    """What a run did; the module holds the best parameters by validation, or the last ones without one.

    steps        optimiser steps in all
    best         the validation figures of the best moment of the last stage
    validations  (step, figures) of every validation
    """

    steps: int = 0
    best: dict[str, float] = field(default_factory=dict)
    validations: list[tuple[int, dict[str, float]]] = field(default_factory=list)


def train(
    module: nn.Module,
    batches: Batches,
    loss: LossFunction,
    settings: TrainSettings,
    *,
    tables: Tables | None = None,
    balancer: Balancer | None = None,
    shared: Callable[[nn.Module], Sequence[Tensor]] | None = None,
    validate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    folder: Path | None = None,
    workers: Workers = ALONE,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress = silent,
    task: str = "train",
) -> Trained:
    """Train ``module`` in place.

    loss      (module, batch) -> task -> scalar, the mean over the examples that carry the task's label; or a pair of that and
              figures for the log
    tables    the embedding tables inside the module
    balancer  joins the losses; None adds them up
    shared    the tensors that several tasks use, for the balancer; all dense parameters when None
    validate  the module in ``eval`` -> figures, ``settings.watch`` among them; with a balancer ``loss`` becomes the sum of
              ``loss/<task>`` over the tasks of the present stage, where all of them are given
    folder    of checkpoints and ``metrics.jsonl``; None for neither

    Raises SettingError when validation does not give ``settings.watch``.
    """
    keep_freed()
    with TemporaryDirectory() as scratch, torch.random.fork_rng(devices=[] if device == "cpu" else None):
        home = folder if folder is not None else Path(scratch)
        run = _Run(
            module, batches, loss, settings, tables, balancer, shared, validate, workers, seed, torch.device(device),
            home, keeps=folder is not None,
        )  # fmt: skip
        return run.go(progress, task)


@dataclass(eq=False)
class _Run:
    """One call of ``train``: what it was given, everything that a checkpoint holds, and the steps.

    home   folder of checkpoints and of the best tables; it outlives the run where it ``keeps``
    """

    module: nn.Module
    batches: Batches
    loss: LossFunction
    settings: TrainSettings
    tables: Tables | None
    balancer: Balancer | None
    shared: Callable[[nn.Module], Sequence[Tensor]] | None
    validate: Callable[[nn.Module], Mapping[str, float]] | None
    workers: Workers
    seed: int
    device: torch.device
    home: Path
    keeps: bool

    def __post_init__(self) -> None:
        self.dense = [p for p in self.module.parameters() if p.requires_grad]
        self.shared_tensors = list(self.shared(self.module)) if self.shared is not None else self.dense
        self.bf16 = wants_bf16(self.settings, self.device)
        self.optimizer = self._optimizer()
        self.reference: nn.Module | None = None
        self.best = Best(self.module, self.tables, self.settings, self.home)
        self.step, self.stage, self.stage_step, self.ended = 0, 0, 0, False
        self.trained = Trained()

    @property
    def steps_of_stage(self) -> int:
        shares = self.settings.stages or (1.0,)
        passes = self.settings.epochs * shares[min(self.stage, len(shares) - 1)]
        steps = math.ceil(passes * len(self.batches) / self.settings.accumulation)
        return min(steps, self.settings.max_steps) if self.settings.max_steps else steps

    # -- the run -------------------------------------------------------------------------------------------------------

    def go(self, progress: Progress, task: str) -> Trained:
        self._resume()
        self.workers.same_start(self.module)
        log = MetricsLog(self.home if self.keeps and self.workers.rank == 0 else None, self.step)
        try:
            while not self.ended:
                self._train_stage(log, progress, task)
                self._end_stage()
            progress(task, self.steps_of_stage, self.steps_of_stage)
        finally:
            log.close()
        self.trained.steps, self.trained.best = self.step, self.best.figures
        return self.trained

    def _train_stage(self, log: MetricsLog, progress: Progress, task: str) -> None:
        """Steps until the stage's steps are done or patience ends."""
        self.module.train()
        stream = _endless(self.batches)
        while self.stage_step < self.steps_of_stage and not self.best.is_long_ago:
            figures = self._one_step(stream)
            self.step, self.stage_step = self.step + 1, self.stage_step + 1
            log.write(self.step, figures)
            progress(task, self.stage_step, self.steps_of_stage)
            if self.validate is not None and self._is_validation_due():
                self._validate(log)
            if self.keeps and self.settings.save_every and self.step % self.settings.save_every == 0:
                self._save()

    def _one_step(self, stream: Iterator[Any]) -> dict[str, float]:
        """One optimiser step over ``accumulation`` batches; returns its figures."""
        settings, parts = self.settings, self.settings.accumulation
        factor = rate_factor(self.stage_step, self.steps_of_stage, settings.warmup, settings.schedule)
        figures: dict[str, float] = {}
        for part in range(parts):
            torch.manual_seed((self.seed << 32) + self.step * parts + part)
            figures = self._backward(next(stream))
        if parts > 1:
            for parameter in self.dense:
                if parameter.grad is not None:
                    parameter.grad /= parts
        self.workers.reduce_gradients(self.dense)
        if settings.clip:
            norm = nn.utils.clip_grad_norm_([p for p in self.dense if p.grad is not None], settings.clip)
            figures["grad_norm"] = float(norm)
        for group in self.optimizer.param_groups:
            group["lr"] = settings.lr * factor
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.tables is not None:
            self.tables.step(parts, None if settings.table_lr is None else settings.table_lr * factor)
        return {**figures, "lr": settings.lr * factor}

    def _backward(self, batch: Any) -> dict[str, float]:
        """Gradients of one batch into ``.grad`` and the tables."""
        with self._precision():
            losses, extra = _with_figures(self.loss(self.module, batch))
        figures = {**extra, **{f"loss/{name}": float(value.detach()) for name, value in losses.items()}}
        if self.balancer is None:
            sum(losses.values(), torch.zeros((), device=self.device)).backward()
            return figures
        reference = self._reference_losses(batch) if self.balancer.wants_reference else None
        noted = self.balancer.step(losses, self.shared_tensors, reference, self.workers.mean)
        return {**figures, **noted}

    def _precision(self) -> Any:
        return torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else nullcontext()

    def _reference_losses(self, batch: Any) -> dict[str, float] | None:
        if self.reference is None:
            return None
        with torch.no_grad(), self._precision():
            losses, _ = _with_figures(self.loss(self.reference, batch))
            return {name: float(value) for name, value in losses.items()}

    # -- validation and stages -----------------------------------------------------------------------------------------

    def _is_validation_due(self) -> bool:
        every = self.settings.evaluate_every or max(1, len(self.batches) // self.settings.accumulation)
        return self.stage_step % every == 0 or self.stage_step == self.steps_of_stage

    def _validate(self, log: MetricsLog) -> None:
        assert self.validate is not None
        self.module.eval()
        with torch.no_grad():
            figures = self._of_active(dict(self.workers.mean(self.validate(self.module))))
        self.module.train()
        watch = self.settings.watch
        if watch not in figures:
            raise SettingError(
                f"validation gives no {watch!r}{nearest(watch, figures)}; set watch to one that it gives"
            )
        self.trained.validations.append((self.step, figures))
        log.write(self.step, {f"validation/{name}": value for name, value in figures.items()})
        self.best.offer(figures, self.step, is_last=self.stage_step >= self.steps_of_stage)

    def _of_active(self, figures: dict[str, float]) -> dict[str, float]:
        """``loss`` without the tasks whose stage is to come: what an untrained head loses must not choose a stage's end."""
        names = [f"loss/{task}" for task in (self.balancer.active if self.balancer is not None else ())]
        if "loss" in figures and names and all(name in figures for name in names):
            figures["loss"] = sum(figures[name] for name in names)
        return figures

    def _end_stage(self) -> None:
        """Back to the best parameters, then another stage or the end."""
        self.best.bring_back()
        levels = self._levels()
        if self.balancer is None or not self.balancer.advance(levels):
            self.ended = True
            return
        self.stage, self.stage_step = self.stage + 1, 0
        self.best.forget()
        self.optimizer = self._optimizer()
        if self.balancer.wants_reference:
            self._keep_reference()

    def _levels(self) -> dict[str, float]:
        """task -> loss at the stage's end: of the validation where it gives ``loss/<task>``."""
        prefix = "loss/"
        return {n.removeprefix(prefix): v for n, v in self.best.figures.items() if n.startswith(prefix)}

    def _keep_reference(self) -> None:
        """A frozen copy of the dense part; it reads the tables as they are (a copy of all ids would double the memory)."""
        shared = {} if self.tables is None else {id(self.tables): self.tables}
        self.reference = copy.deepcopy(self.module, shared).eval().requires_grad_(False)
        self.module.train()  # the tables among it

    # -- state ---------------------------------------------------------------------------------------------------------

    def _optimizer(self) -> torch.optim.Optimizer:
        decayed = [p for p in self.dense if p.dim() > 1]
        plain = [p for p in self.dense if p.dim() <= 1]
        groups = [
            {"params": decayed, "weight_decay": self.settings.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        # Fused: a quarter of the time, which is that of an operation a tensor otherwise.
        return torch.optim.AdamW([g for g in groups if g["params"]] or [{"params": []}], self.settings.lr, fused=True)

    def _save(self) -> None:
        tensors = {f"module/{n}": t for n, t in copied(self.module).items()}
        tensors |= {f"optimizer/{n}": t for n, t in checkpoint.optimizer_tensors(self.optimizer).items()}
        tensors |= self.best.tensors()
        if self.reference is not None:
            tensors |= {f"reference/{n}": t for n, t in copied(self.reference).items()}
        values: dict[str, Any] = {
            "stage": self.stage,
            "stage_step": self.stage_step,
            **self.best.values(),
            "validations": self.trained.validations,
            "batches": dict(self.batches.state()),
        }
        if self.balancer is not None:
            state = self.balancer.state()
            tensors |= {f"balancer/{n}": torch.as_tensor(t) for n, t in state.tensors.items()}
            values["balancer"] = dict(state.values)
        point = Checkpoint(self.step, tensors, values)
        checkpoint.save(point, self.home / "checkpoints", self.settings.keep, self.tables, self.workers)

    def _resume(self) -> None:
        point = checkpoint.latest(self.home / "checkpoints") if self.keeps else None
        if point is None:
            return
        values = point.values
        self.step, self.stage, self.stage_step = point.step, values["stage"], values["stage_step"]
        self.trained.validations = [(int(step), dict(figures)) for step, figures in values["validations"]]
        self.batches.load(values["batches"])
        if part := point.part("reference"):
            self._keep_reference()
            assert self.reference is not None
            self.reference.load_state_dict(part, strict=False)
        self.module.load_state_dict(point.part("module"), strict=False)
        self.best.load(point)
        checkpoint.load_optimizer(self.optimizer, point.part("optimizer"))
        if self.tables is not None and point.folder is not None:
            self.tables.load(point.folder / "tables")
        if self.balancer is not None:
            from aisle.core.method import State

            tensors = {name: tensor.numpy() for name, tensor in point.part("balancer").items()}
            self.balancer.load(State(tensors, values["balancer"]))


def _with_figures(result: Losses | tuple[Losses, Mapping[str, float]]) -> tuple[Losses, Mapping[str, float]]:
    return result if isinstance(result, tuple) else (result, {})


def _endless(batches: Batches) -> Iterator[Any]:
    """Epoch after epoch."""
    empty = 0
    while empty < 2:  # one epoch may be over already when a run goes on from its end
        empty += 1
        for batch in batches:
            empty = 0
            yield batch
