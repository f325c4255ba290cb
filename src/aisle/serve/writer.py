"""Writer: the process that owns a shop's log keeps the indexes of the current catalogue at its end, and keeps house."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from threading import Event
from time import monotonic

from aisle.core.errors import AisleError
from aisle.core.roles import BagMaker
from aisle.data.pointed import POINTER
from aisle.data.shop import Shop
from aisle.engine.embedded.log import Log
from aisle.serve.active import bag_makers
from aisle.serve.background import Encoding, Stopped
from aisle.serve.board import Board
from aisle.serve.choice import FIRST_PLAN, Choice, best_plan, chosen, funnel_of
from aisle.serve.owner import Owner
from aisle.serve.standing import Standing

ROUND_S = 0.1
RETRY_S = 30.0


class Writer:
    """Answers no requests itself; ``run`` ends when ``stop`` is set."""

    def __init__(
        self, shop: Shop, log: Log, board: Board, *, plan: str | None, vectors: bool, seed: int, stop: Event
    ) -> None:
        self._shop, self._log, self._board, self._stop, self._seed = shop, log, board, stop, seed
        self._asked, self._vectors = plan, vectors
        self._plan = plan or (best_plan() if vectors else FIRST_PLAN)
        self._told = Encoding()
        self._owner = Owner(shop, log, self._told, self._pause, self._others, lambda: self._makers)
        self._makers: Mapping[str, BagMaker] = {}
        self._standing: Standing | None = None

    def run(self) -> None:
        """Follow the shop's pointer, and do what is due.  Raises AisleError when the first catalogue cannot be opened."""
        seen, retry_s = None, 0.0
        while not self._stop.is_set():
            try:
                now = os.stat(self._shop.folder / POINTER)
                if (now.st_ino, now.st_mtime_ns) != seen or monotonic() >= retry_s:
                    seen, retry_s = (now.st_ino, now.st_mtime_ns), float("inf")
                    self._prepare()
                if self._standing is not None:
                    self._owner.step(self._standing)
                self._board.tell()
            except Stopped:
                break
            except Exception as error:
                if self._standing is None:
                    raise
                print(f"the writing process: {_in_words(error)}", file=sys.stderr, flush=True)
                retry_s = monotonic() + RETRY_S
            self._stop.wait(ROUND_S)
        if self._standing is not None:
            self._standing.close()

    def _prepare(self) -> None:
        """Open the catalogue that the pointer names, and encode what its plan reads."""
        generation = self._shop.generation
        if self._standing is None or generation != self._standing.generation:
            standing, before = (
                Standing.open(self._shop, self._log, generation, owner=True, seed=self._seed),
                self._standing,
            )
            board = self._board
            standing.tell(lambda sequence: board.tell(sequence=sequence, generation=generation))
            self._standing = standing
            if before is not None:
                before.close()
        if self._vectors:
            choice = chosen(self._shop, generation, self._asked, self._plan)
            for encoder in choice.encoders:
                self._owner.encode(self._standing, encoder)
            self._makers = self._bag_makers(choice) if choice.bags else {}

    def _bag_makers(self, choice: Choice) -> Mapping[str, BagMaker]:
        """The stages that make bags, loaded or fitted here too, since this process puts what they make."""
        assert self._standing is not None
        standing = self._standing
        view = self._shop.view(items=standing.items)
        return bag_makers(funnel_of(self._shop, choice, standing.env, view, lambda plan: None))

    def _others(self) -> Mapping[str, int]:
        return {f"process {row['process']}": row["sequence"] for row in self._board.alive() if row["process"]}

    def _pause(self) -> None:
        """Between chunks of encoding.  Raises Stopped when the process is to end."""
        self._board.tell(done=self._told.done, total=self._told.total)
        if self._stop.is_set():
            raise Stopped


def _in_words(error: Exception) -> str:
    return str(error) if isinstance(error, AisleError) else f"{type(error).__name__}: {error}"
