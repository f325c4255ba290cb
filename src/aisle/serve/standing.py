"""Standing: one generation of a shop, open in this process and kept at the log's end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

import numpy as np

from aisle.core.env import Env
from aisle.data.items import ItemTable
from aisle.data.shop import Shop
from aisle.engine.embedded.appliers import Applier, open_engine
from aisle.engine.embedded.behaviour import LiveBehaviour
from aisle.engine.embedded.engine import EmbeddedEngine
from aisle.engine.embedded.log import Log
from aisle.recipes.environment import open_env


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """The indexes of a generation, what methods need of them, and the threads that apply the log to them."""

    generation: int
    engine: EmbeddedEngine
    env: Env
    applier: Applier
    behaviour: LiveBehaviour

    @classmethod
    def open(cls, shop: Shop, log: Log, generation: int, *, owner: bool, seed: int = 0) -> Standing:
        """A generation of the shop.

        owner  this process writes: it checks the files and builds what is missing

        Raises AisleError when files are missing or damaged, or when the log lacks what they need.
        """
        engine = open_engine(shop, log, generation=generation, check=owner, may_build=owner)
        _warm(engine)
        applier = Applier(engine, log).start()
        behaviour = LiveBehaviour(shop, log, lambda: engine.items)
        env = open_env(shop, engine=engine, counters=behaviour, seed=seed)
        return cls(engine.generation, engine, env, applier, behaviour)

    @property
    def items(self) -> ItemTable:
        """The catalogue as it is now."""
        items = self.engine.items
        assert isinstance(items, ItemTable), "a shop's catalogue follows a log"
        return items

    @property
    def sequence(self) -> int:
        """The last log record that every search shows, every declared counter counts and every kept history holds."""
        store = self.behaviour.store
        return self.engine.sequence if store is None else min(self.engine.sequence, store.sequence)

    def wait(self, sequence: int, timeout_s: float) -> bool:
        """True as soon as searches show this record and counters count it.  Raises StateError when applying fails."""
        until, store = monotonic() + timeout_s, self.behaviour.store
        shown = self.applier.wait(sequence, timeout_s)
        return shown and (store is None or store.wait(sequence, max(0.0, until - monotonic())))

    def tell(self, moved: Callable[[int], object]) -> None:
        """From now on call this with ``sequence`` whenever it may have moved, in the thread that moved it."""
        self.applier.on_moved = lambda _: moved(self.sequence)
        self.behaviour.on_moved = lambda: moved(self.sequence)
        moved(self.sequence)

    @property
    def is_stranded(self) -> bool:
        """The log forgot records that these indexes have not applied: only opening them again helps."""
        store, floor = self.behaviour.store, self.applier.log.floor
        if store is not None and store.error is not None and floor > store.sequence:
            return True
        return self.applier.readiness().error is not None and floor > self.engine.sequence

    def close(self) -> None:
        """Stop following and telling; whoever still answers with it goes on."""
        self.tell(lambda sequence: None)
        self.applier.close()
        self.behaviour.close()


def _warm(engine: EmbeddedEngine) -> None:
    """One product written as it stands: what the first change of a catalogue costs once is paid before it comes."""
    items = engine.items
    live = np.flatnonzero(items.live)[:1]
    if len(live) and isinstance(items, ItemTable):
        items.group()
        engine.refresh(items.upserted(items.row_table(live)), live)
        engine.items.group()
