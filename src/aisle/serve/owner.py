"""Owner: what only the process that writes does, in the background: encode, keep vectors right, care for the folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic

from aisle.core.roles import BagMaker
from aisle.data.shop import Shop
from aisle.engine.embedded.care import Carer, Policy
from aisle.engine.embedded.log import Log
from aisle.serve.background import Encoding, Stopped, encode_shop
from aisle.serve.keeping import Rebagging, Reencoding
from aisle.serve.standing import Standing

CARE_S = 2.0


class Owner:
    """
    others  how far the other processes are, so that the log does not forget what they need
    makers  model -> the stage of the served plan that makes its bags
    """

    def __init__(
        self,
        shop: Shop,
        log: Log,
        told: Encoding,
        pause: Callable[[], None],
        others: Callable[[], Mapping[str, int]] = dict,
        makers: Callable[[], Mapping[str, BagMaker]] = dict,
    ) -> None:
        self.shop, self.log, self.told = shop, log, told
        self._pause, self._others, self._makers = pause, others, makers
        self._policy = Policy.of(shop)
        self._standing: Standing | None = None
        self._carer: Carer | None = None
        self._again: dict[str, Reencoding] = {}
        self._bags: dict[str, Rebagging] = {}
        self._cared_s = monotonic()

    def encode(self, standing: Standing, encoder: str) -> bool:
        """Give every item of a catalogue a vector.  False when it was stopped; goes on there the next time."""
        return encode_shop(self.shop, standing.env, encoder, self.told, self._pause)

    def bagged(self) -> dict[str, int]:
        """Model -> the log record whose products its bags stand for."""
        return {model: again.sequence for model, again in self._bags.items()}

    def encoded(self) -> dict[str, int]:
        """Encoder -> the log record whose texts its vectors stand for."""
        return {encoder: again.sequence for encoder, again in self._again.items()}

    def step(self, standing: Standing) -> None:
        """A round of everything that is due for the catalogue that is served."""
        if standing is not self._standing:
            self._standing, self._again, self._bags = standing, {}, {}
            self._carer = Carer(self.shop, self.log, standing.engine, self._policy)
        for encoder in standing.engine.encoders():
            if encoder not in self._again:
                self._again[encoder] = Reencoding(standing.env, self.log, encoder)
        for model, maker in self._makers().items():
            if model in standing.engine.models() and (model not in self._bags or self._bags[model].maker is not maker):
                self._bags[model] = Rebagging(standing.engine, self.log, model, maker)
        for following in (*self._again.values(), *self._bags.values()):
            try:
                following.step(self._pause)
            except Stopped:
                return
        if self._carer is not None and monotonic() - self._cared_s >= CARE_S:
            self._carer.step(self._others())
            self._cared_s = monotonic()
