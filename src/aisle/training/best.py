"""The best moment of a stage of training: its figures, its parameters, and how long ago it was."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from aisle.core.tables import Tables
from aisle.training.checkpoint import Checkpoint
from aisle.training.settings import TrainSettings


class Best:
    """
    figures  of the best validation so far; empty before the first
    stale    validations since then

    Tables are kept as a folder under ``home``, everything else in memory.
    """

    def __init__(self, module: nn.Module, tables: Tables | None, settings: TrainSettings, home: Path) -> None:
        self._module, self._tables, self._settings, self._home = module, tables, settings, home
        self.forget()

    def forget(self) -> None:
        """Another stage begins."""
        self.figures: dict[str, float] = {}
        self.stale = 0
        self._tensors: dict[str, Tensor] = {}
        self._table_folder = ""

    def offer(self, figures: dict[str, float], step: int, *, is_last: bool) -> None:
        """Keep the present parameters where their figures are better; ``is_last``: the stage ends here, so the module has them."""
        if not self._is_better(figures):
            self.stale += 1
            return
        self.figures, self.stale = figures, 0
        self._tensors, self._table_folder = {}, ""
        if is_last:
            return
        self._tensors = copied(self._module)
        if self._tables is not None:
            self._table_folder = f"best-{step:09d}"
            self._tables.save(self._home / self._table_folder)

    @property
    def is_long_ago(self) -> bool:
        """Patience has ended."""
        return 0 < self._settings.patience <= self.stale

    def bring_back(self) -> None:
        """The module and its tables as they were at the best moment, unless that is now."""
        if self._tensors:
            self._module.load_state_dict(self._tensors, strict=False)
        if self._tables is not None and self._table_folder:
            self._tables.load(self._home / self._table_folder)

    def _is_better(self, figures: Mapping[str, float]) -> bool:
        if not self.figures:
            return True
        value, best = figures[self._settings.watch], self.figures[self._settings.watch]
        return value > best if self._settings.better == "higher" else value < best

    # -- in a checkpoint -----------------------------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        return {f"best/{name}": tensor for name, tensor in self._tensors.items()}

    def values(self) -> dict[str, Any]:
        return {"stale": self.stale, "best": self.figures, "best_tables": self._table_folder}

    def load(self, point: Checkpoint) -> None:
        """What ``tensors`` and ``values`` left in a checkpoint."""
        self.stale, self.figures = point.values["stale"], point.values["best"]
        self._tensors, self._table_folder = point.part("best"), point.values["best_tables"]


def copied(module: nn.Module) -> dict[str, Tensor]:
    """The module's own parameters and buffers; tables save themselves."""
    named = [*module.named_parameters(), *module.named_buffers()]
    return {name: tensor.detach().clone() for name, tensor in named}
