"""Where the figures of a run go: lines of JSON, and TensorBoard where it is installed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aisle.core.atomic import write_file


class MetricsLog:
    """``metrics.jsonl`` in a folder, one object a line with its ``step``; nothing without a folder.

    A run that goes on from step S first drops what a killed run wrote after S, so that every step stands there once.
    """

    def __init__(self, folder: Path | None, from_step: int = 0) -> None:
        self._file: Any = None
        self._board: Any = None
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "metrics.jsonl"
        _drop_after(path, from_step)
        self._file = path.open("a", encoding="utf-8")
        self._board = _tensorboard(folder, from_step)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Note figures of the moment after ``step`` steps."""
        if self._file is not None:
            self._file.write(json.dumps({"step": step, **values}) + "\n")
            self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        for sink in (self._file, self._board):
            if sink is not None:
                sink.close()


def _drop_after(path: Path, step: int) -> None:
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, TypeError, KeyError):
            break  # the line that a kill cut off
    write_file(path, lambda work: work.write_text("".join(kept), encoding="utf-8"))


def _tensorboard(folder: Path, from_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=from_step)
