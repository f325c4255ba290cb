"""Standing: one generation of a shop, open in this process and kept at the log's end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aisle.core.env import Env
from aisle.data.items import ItemTable
from aisle.data.shop import Shop
from aisle.engine.embedded.appliers import Applier, open_engine
from aisle.engine.embedded.engine import EmbeddedEngine
from aisle.engine.embedded.log import Log
from aisle.recipes.environment import open_env


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """The indexes of a generation, what methods need of them, and the thread that applies the log to them."""

    generation: int
    engine: EmbeddedEngine
    env: Env
    applier: Applier

    @classmethod
    def open(cls, shop: Shop, log: Log, generation: int, *, owner: bool, seed: int = 0) -> Standing:
        """A generation of the shop.

        owner  this process writes: it checks the files and builds what is missing

        Raises AisleError when files are missing or damaged, or when the log lacks what they need.
        """
        engine = open_engine(shop, log, generation=generation, check=owner, may_build=owner)
        _warm(engine)
        applier = Applier(engine, log).start()
        return cls(engine.generation, engine, open_env(shop, engine=engine, seed=seed), applier)

    @property
    def items(self) -> ItemTable:
        """The catalogue as it is now."""
        items = self.engine.items
        assert isinstance(items, ItemTable), "a shop's catalogue follows a log"
        return items

    @property
    def is_stranded(self) -> bool:
        """The log forgot records that these indexes have not applied: only opening them again helps."""
        return self.applier.readiness().error is not None and self.applier.log.floor > self.engine.sequence

    def close(self) -> None:
        """Stop following; whoever still answers with it goes on."""
        self.applier.close()


def _warm(engine: EmbeddedEngine) -> None:
    """One product written as it stands: what the first change of a catalogue costs once is paid before it comes."""
    items = engine.items
    live = np.flatnonzero(items.live)[:1]
    if len(live) and isinstance(items, ItemTable):
        items.group()
        engine.refresh(items.upserted(items.row_table(live)), live)
        engine.items.group()
