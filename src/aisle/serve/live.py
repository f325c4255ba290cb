"""LiveShop: a shop that answers within seconds and becomes better while it runs.

First the lexical funnel; then the vectors of the wanted plan are encoded in the background (resumable, each text once);
then that plan is fitted and takes over.  Requests hold on to the funnel they began with; a swap replaces one reference.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from aisle.core.errors import AisleError
from aisle.core.lists import ItemLists
from aisle.core.requests import Requests
from aisle.data.shop import Shop
from aisle.data.view import View
from aisle.funnel import Funnel
from aisle.funnel.guard import Guard
from aisle.serve.background import Encoding, Stopped, encode_shop
from aisle.serve.inbox import Inbox
from aisle.serve.models import EncodingOut, ReadyOut
from aisle.serve.request_log import RequestLog
from aisle.serve.suggest import Completer, completer

if TYPE_CHECKING:
    from aisle.serve.answers import Answer

FIRST_PLAN = "lexical"


def best_plan() -> str:
    """``hybrid``, on the pre-trained encoder where it is installed, else on one trained on the shop's own text."""
    from aisle.nn.encoders import minilm_is_installed

    return "hybrid" if minilm_is_installed() else "hybrid_own"


@dataclass(frozen=True, slots=True, eq=False)
class Active:
    """What answers right now; ``view``: the log that users' histories are taken from."""

    funnel: Funnel
    plan_name: str
    view: View | None = None

    def history(self, user: int) -> ItemLists | None:
        """One list: what the user did so far, as the log of this shop knew it when it was opened.  None: unknown."""
        if user < 0 or self.view is None:
            return None
        return self.view.histories(np.array([user]), float("inf"))


def warmed(funnel: Funnel) -> Funnel:
    """The same funnel after its first, slow requests; what these took does not count against its stages."""
    titles = funnel.env.engine.items.text("title", np.flatnonzero(funnel.env.engine.items.live)[:2])
    for query in [*(" ".join(title.split()[:2]) for title in titles), ""]:
        funnel.serve(Requests.make([query]), facets=None)
    return replace(funnel, guard=Guard())


class LiveShop:
    """One open shop and its active funnel.

    target   a shop's folder, or a product file, which is ingested into ``into`` (default: a folder in the user's cache)
    plan     what to serve in the end; ``lexical`` serves words only
    vectors  False: stay with the lexical plan
    """

    def __init__(
        self,
        target: Path | str,
        *,
        plan: str | None = None,
        into: Path | None = None,
        vectors: bool = True,
        seed: int = 0,
    ) -> None:
        self.target, self.into, self.seed = Path(target), into, seed
        self.wanted = plan
        self.plan = plan or (best_plan() if vectors else FIRST_PLAN)
        self.vectors = vectors
        self.started_s = monotonic()
        self.shop: Shop | None = None
        self.inbox: Inbox | None = None
        self.requests: RequestLog | None = None
        self.completer = Completer([])
        self._active: Active | None = None
        self._step = "opening the shop"
        self._error: str | None = None
        self._notice: str | None = None
        self._encoding = Encoding(state="waiting" if vectors else "off")
        self._stop = Event()
        self._first = Event()
        self._busy = Lock()
        self._in_flight = 0
        self._thread: Thread | None = None
        self.on_failure: Callable[[], object] = lambda: None

    # -- what requests use ---------------------------------------------------------------------------------------------

    @property
    def active(self) -> Active | None:
        """The funnel that answers now; None before the first is loaded."""
        return self._active

    def __enter__(self) -> LiveShop:
        with self._busy:
            self._in_flight += 1
        return self

    def __exit__(self, *_: object) -> None:
        with self._busy:
            self._in_flight -= 1

    def noted(self, active: Active, answered: Answer) -> Answer:
        """The same answer, on its way into the shop's log."""
        if self.requests is not None:
            self.requests.add(active, answered)
        return answered

    @property
    def ready(self) -> bool:
        return self._active is not None

    def status(self) -> ReadyOut:
        """What is served, what is going on, and how far the vectors are."""
        active, shop = self._active, self.shop
        engine = active.funnel.env.engine if active else None
        return ReadyOut(
            ready=active is not None,
            step=self._step,
            shop=self.target.name,
            plan=active.plan_name if active else "",
            generation=engine.generation if engine else 0,
            items=int(engine.items.live.sum()) if engine else 0,
            encoding=self._encoding.out() if shop else EncodingOut(state=self._encoding.state),
            sequence_lag=self.inbox.count if self.inbox else 0,
            error=self._error,
            notice=self._notice,
        )

    # -- life ----------------------------------------------------------------------------------------------------------

    def start(self) -> LiveShop:
        """Open and serve in the background.  Returns at once."""
        if self._thread is None:
            self._thread = Thread(target=self._live, name="aisle-live", daemon=True)
            self._thread.start()
        return self

    def wait_ready(self, timeout_s: float | None = None) -> bool:
        """Wait for the first funnel.  Raises the AisleError that prevented it."""
        self._first.wait(timeout_s)
        if self._error and not self.ready:
            raise AisleError(self._error)
        return self.ready

    def wait_settled(self, timeout_s: float | None = None) -> bool:
        """Wait until nothing is going on in the background any more."""
        if self._thread is not None:
            self._thread.join(timeout_s)
            return not self._thread.is_alive()
        return True

    def close(self) -> None:
        """Stop background work at its next chunk; what was encoded so far is kept."""
        self._stop.set()
        self.wait_settled(30)
        if self.requests is not None:
            self.requests.close()
        if self.inbox is not None:
            self.inbox.close()

    def swap(self, active: Active) -> None:
        """From now on new requests use this funnel; those in flight end on the one they began with."""
        self._active = active
        self._first.set()

    def _live(self) -> None:
        try:
            self._open()
            if (
                self.vectors
                and self._active is not None
                and self._active.plan_name != self.plan
                and not self._stop.is_set()
            ):
                self._improve()
            elif self._encoding.state == "waiting":
                self._encoding.state = "off"
            self._step = "stopped" if self._stop.is_set() else "ready"
        except Exception as error:
            self._error = str(error) if isinstance(error, AisleError) else f"{type(error).__name__}: {error}"
            self._encoding.state = "failed" if self.ready else "off"
            self._step = "serving words only" if self.ready else "failed"
            if not self.ready:
                self.on_failure()
        finally:
            self._first.set()

    def _open(self) -> None:
        from aisle.engine.embedded.appliers import take_in_events
        from aisle.recipes import plan
        from aisle.recipes.environment import open_env
        from aisle.serve.target import open_target

        self.shop = open_target(self.target, self.into, self._say)
        self.inbox = Inbox(self.shop.log_path)
        self.requests = RequestLog(self.inbox.log)
        self._say("building the text index")
        self.env = open_env(self.shop, seed=self.seed)
        take_in_events(self.shop)
        self.view = self.shop.view()
        first = FIRST_PLAN if self.vectors else self.plan
        self.swap(Active(plan(first).fit(self.view, self.env), first, self.view))
        self._say("collecting suggestions")
        self.completer = completer(self.env.engine.items)

    def _improve(self) -> None:
        """Encode what the wanted plan reads, fit it (or load the funnel the shop points to), and swap it in."""
        from aisle.funnel.storing import load
        from aisle.recipes import plan

        assert self.shop is not None
        version, name = self._chosen()
        encoders = sorted(self._record(version).get("encoders", [])) if version else sorted(plan(self.plan).encoders())
        for encoder in encoders:
            self._say(f"encoding products ({encoder})")
            if not encode_shop(self.shop, self.env, encoder, self._encoding, self._pause):
                return
        self._encoding.state = "fitting"
        self._say(f"loading the plan {name}" if version else f"fitting the plan {name!r}")
        funnel = load(self.shop, version, self.env) if version else plan(self.plan).fit(self.view, self.env)
        funnel = warmed(funnel)
        if not self._stop.is_set():
            self.swap(Active(funnel, name, self.view))
            self._encoding.state = "done"

    def _chosen(self) -> tuple[str | None, str]:
        """(version, name) of the funnel that 'aisle fit' chose; (None, the wanted plan) when there is none to serve.

        A funnel of an older catalogue is passed over: its row numbers name other items.
        """
        assert self.shop is not None
        pointer = self.shop.pointer()
        version = None if self.wanted else pointer.get("funnel")
        if version is None:
            return None, self.plan
        name = f"{pointer.get('plan') or 'funnel'} ({version})"
        found = self._record(version).get("generation", self.shop.generation)
        if found == self.shop.generation:
            return version, name
        self._notice = (
            f"the plan {name} was fitted on generation {found} of the catalogue, which is at {self.shop.generation} now: "
            f"serving {self.plan} instead; fit it again with 'aisle fit {self.shop.folder} {pointer.get('plan') or 'PLAN'}'"
        )
        return None, self.plan

    def _record(self, version: str) -> dict[str, Any]:
        """What a saved funnel says of itself; what cannot be read is left to ``load`` to refuse."""
        assert self.shop is not None
        try:
            return dict(json.loads(self.shop.funnel_path(version).read_text()))
        except (OSError, ValueError):
            return {}

    def _pause(self) -> None:
        """Between chunks: let requests in flight go first, for a moment.  Raises Stopped when the shop is being closed."""
        if self._stop.is_set():
            raise Stopped
        until = monotonic() + 0.25
        while self._in_flight and monotonic() < until and not self._stop.is_set():
            self._stop.wait(0.005)

    def _say(self, step: str) -> None:
        self._step = step
