"""LiveShop: a shop that answers within seconds, becomes better while it runs, and follows what its folder says.

First the lexical funnel; then the vectors of the wanted plan are encoded in the background (resumable, each text once);
then that plan is fitted and takes over.  From then on the pointer of the shop is watched: another catalogue or funnel is
opened and warmed beside the one that answers, and swapped in.  Requests hold on to the funnel they began with.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING

from aisle.core.errors import AisleError, StateError
from aisle.core.roles import BagMaker
from aisle.core.shop import Counter
from aisle.data.pointed import POINTER
from aisle.data.shop import Shop
from aisle.data.view import View
from aisle.engine.embedded.log import Log
from aisle.nn.item_vectors import missing_rows
from aisle.serve.active import Active, Links, bag_makers, warmed
from aisle.serve.background import Encoding, Stopped
from aisle.serve.choice import FIRST_PLAN, Choice, best_plan, chosen, funnel_of
from aisle.serve.models import EncodingOut, ReadyOut
from aisle.serve.opening import current_or_earlier, view_of
from aisle.serve.owner import Owner
from aisle.serve.request_log import RequestLog
from aisle.serve.standing import Standing
from aisle.serve.state_of import indexes_of, log_of, processes_of, synonyms_error
from aisle.serve.suggest import Completer, completer
from aisle.serve.writing import OwnLog, Writing

if TYPE_CHECKING:
    from aisle.funnel.plan import Plan
    from aisle.serve.answers import Answer

FOLLOW_S = 0.1
RETRY_S = 30.0
FILLED = 0.99
"""A reader goes over to a plan when this share of the items has the vectors that it reads."""


class LiveShop:
    """One open shop and its active funnel.

    target   a shop's folder, or a product file, which is ingested into ``into`` (default: a folder in the user's cache)
    plan     what to serve in the end; ``lexical`` serves words only
    vectors  False: stay with the lexical plan
    links    given to a process that reads while another writes; without, this process owns the log
    """

    def __init__(
        self,
        target: Path | str,
        *,
        plan: str | None = None,
        into: Path | None = None,
        vectors: bool = True,
        seed: int = 0,
        links: Links | None = None,
        log_candidates: bool = False,
    ) -> None:
        self.target, self.into, self.seed = Path(target), into, seed
        self.wanted = plan
        self.plan = plan or (best_plan() if vectors else FIRST_PLAN)
        self.vectors = vectors
        self.links, self.log_candidates = links, log_candidates
        self.started_s = monotonic()
        self.shop: Shop | None = None
        self.log: Log | None = None
        self.writing: Writing | None = links.writing if links else None
        self.requests: RequestLog | None = None
        self.completer = Completer([])
        self._owner: Owner | None = None
        self._standing: Standing | None = None
        self._active: Active | None = None
        self._choice: Choice | None = None
        self._step = "opening the shop"
        self._error: str | None = None
        self._notice: str | None = None
        self._encoding = Encoding(state="waiting" if vectors else "off")
        self._seen: tuple[int, int] | None = None
        self._stop, self._first, self._settled = Event(), Event(), Event()
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

    def visible(self, sequence: int, timeout_s: float) -> bool:
        """True as soon as every process shows this log record, False after ``timeout_s``."""
        if self.links is not None:
            return self.links.board.wait(sequence, timeout_s)
        return self._standing is not None and self._standing.wait(sequence, timeout_s)

    def unknown(self, item_ids: Sequence[str]) -> list[str]:
        """Those of these ids that the catalogue which answers does not hold."""
        if self._standing is None:
            return list(item_ids)
        items = self._standing.items
        rows = items.rows_of(item_ids)
        known = rows >= 0
        known[known] = ~items.tombstones[rows[known]]
        return [item_id for item_id, there in zip(item_ids, known, strict=True) if not there]

    @property
    def ready(self) -> bool:
        return self._active is not None

    def status(self, *, full: bool = False) -> ReadyOut:
        """What is served and what is going on; ``full``: how far every index and process is, too."""
        active, standing = self._active, self._standing
        engine = active.funnel.env.engine if active else None
        log = log_of(standing) if standing and full else None
        encoded, bagged = (self._owner.encoded(), self._owner.bagged()) if self._owner else ({}, {})
        return ReadyOut(
            ready=self.ready,
            step=self._step,
            shop=str(self.shop.folder if self.shop else self.target),
            plan=active.plan_name if active else "",
            generation=engine.generation if engine else 0,
            items=int(engine.items.live.sum()) if engine else 0,
            encoding=self._encoding.out() if self.shop else EncodingOut(state=self._encoding.state),
            sequence_lag=log.lag if log else 0,
            events_unlearned=self.writing.count if self.writing else 0,
            log=log,
            indexes=indexes_of(standing, encoded, bagged) if standing and full else [],
            processes=processes_of(self.links.board, log) if self.links and log else [],
            synonyms_error=synonyms_error(standing) if standing and full else None,
            error=self._error or (standing.applier.readiness().error if standing else None),
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
        """Wait until the plan that is wanted answers, or cannot."""
        return self._thread is None or self._settled.wait(timeout_s)

    def close(self) -> None:
        """Stop background work at its next chunk; what was encoded so far is kept."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(30)
        if self.requests is not None:
            self.requests.close()
        if self._standing is not None:
            self._standing.close()
        if self.log is not None:
            self.log.close()

    def swap(self, active: Active) -> None:
        """From now on new requests use this funnel; those in flight end on the one they began with."""
        self._active = active
        self._first.set()

    def _live(self) -> None:
        try:
            self._open()
            self._improve(self._standing)
        except Exception as error:
            self._fail(error)
            if not self.ready:
                self._step = "failed"
                self.on_failure()
        finally:
            self._first.set()
            self._settled.set()
        if self.ready:
            self._follow()
        self._step = "stopped" if self._stop.is_set() else self._step

    def _open(self) -> None:
        from aisle.engine.embedded.appliers import take_in_events
        from aisle.recipes import plan
        from aisle.serve.target import open_target

        self.shop = open_target(self.target, self.into, self._say)
        self._seen = _stamp(self.shop)
        if self.links is None:
            self.log = Log.open(self.shop.log_path)
            self.writing = OwnLog(self.log)
            self._owner = Owner(self.shop, self.log, self._encoding, self._pause, makers=self._makers)
            try:
                take_in_events(self.shop)
            except StateError as damage:
                self._notice = str(damage)
        else:
            self._await(self.shop.log_path.exists)
            self.log = Log.open(self.shop.log_path, read_only=True, check=False)
        assert self.writing is not None
        self.requests = RequestLog(self.writing.append, candidates=self.log_candidates)
        self._say("opening the catalogue and its indexes")
        if self.links is not None:
            # Only the writing process builds indexes.
            self._await((self.shop.generation_folder() / "engine.json").exists)
        standing = current_or_earlier(self.shop, self._standing_of, self._tell)
        first = FIRST_PLAN if self.vectors else self.plan
        view = self._view(standing)
        self._count(standing, plan(first))
        funnel = plan(first).fit(view, standing.env)
        self._choice = Choice(first, first, None, ())
        self._stand_on(standing, Active(funnel, first, standing.behaviour))
        self._say("collecting suggestions")
        self.completer = completer(standing.engine)

    def _view(self, standing: Standing) -> View:
        assert self.shop is not None
        return view_of(self.shop, standing, self._tell)

    def _count(self, standing: Standing, plan: Plan) -> None:
        """Count what the plan's stages ask for; a stage whose counters cannot be had is skipped when serving."""
        self._follow_behaviour(standing, plan.counters())

    def _follow_behaviour(
        self, standing: Standing, counters: Iterable[Counter] = (), *, remember: bool = False
    ) -> None:
        try:
            standing.behaviour.declare(counters, remember=remember)
        except StateError as damage:
            self._notice = f"{damage}: serving without what is counted from it"

    def _standing_of(self, generation: int) -> Standing:
        assert self.shop is not None
        assert self.log is not None
        standing = Standing.open(self.shop, self.log, generation, owner=self.links is None, seed=self.seed)
        if standing.engine.damaged:
            self._notice = f"{'; '.join(standing.engine.damaged)}: this is being made again"
        return standing

    def _improve(self, standing: Standing | None) -> None:
        """Encode what the wanted plan reads, fit it (or load the funnel the shop points to), and swap it in."""
        assert self.shop is not None
        assert standing is not None
        # Not before the first page, since all that ever happened is read.
        self._follow_behaviour(standing, remember=True)
        choice = self._chosen(standing)
        if choice.notice:
            self._notice = choice.notice
        for encoder in choice.encoders:
            self._say(f"encoding products ({encoder})")
            if not self._encoded(standing, encoder):
                return
        if standing is self._standing and choice == self._choice:
            self._encoding.state, self._step = "off" if not choice.encoders else "done", "ready"
            return
        self._encoding.state = "fitting"
        version, name = choice.version, choice.name
        self._say(f"loading the plan {name}" if version else f"fitting the plan {name!r}")
        view = self._view(standing)
        funnel = warmed(funnel_of(self.shop, choice, standing, view, partial(self._count, standing)))
        if not self._stop.is_set():
            self._choice = choice
            self._stand_on(standing, Active(funnel, name, standing.behaviour))
            self._encoding.state, self._step = "done", "ready"

    def _makers(self) -> Mapping[str, BagMaker]:
        return {} if self._active is None else bag_makers(self._active.funnel)

    def _chosen(self, standing: Standing) -> Choice:
        if not self.vectors:
            return Choice(self.plan, self.plan, None, ())
        assert self.shop is not None
        return chosen(self.shop, standing.generation, self.wanted, self.plan)

    def _encoded(self, standing: Standing, encoder: str) -> bool:
        """True as soon as the items have the vectors of this encoder; the process that writes makes them."""
        if self._owner is not None:
            return self._owner.encode(standing, encoder)
        wanted = FILLED * standing.items.live.sum()

        def there() -> bool:
            standing.engine.reopen()
            missing = len(missing_rows(standing.env, encoder))
            self._encoding.done = int(standing.items.live.sum()) - missing
            return bool(self._encoding.done >= wanted)

        self._encoding.begin(encoder, int(wanted))
        return self._await(there)

    def _stand_on(self, standing: Standing, active: Active) -> None:
        """Answer with this funnel, and let go of the generation before."""
        before, self._standing = self._standing, standing
        if self.links is not None:
            board = self.links.board
            standing.tell(lambda sequence: board.tell(sequence=sequence, generation=standing.generation))
        self.swap(active)
        if before is not None and before is not standing:
            before.close()

    def _follow(self) -> None:
        """Watch the pointer and what others saved; keep house where this process owns the log."""
        assert self.shop is not None
        retry_s = float("inf") if self._error is None else monotonic() + RETRY_S
        while not self._stop.wait(FOLLOW_S):
            assert self._standing is not None
            try:
                if _stamp(self.shop) != self._seen or self._standing.is_stranded or monotonic() >= retry_s:
                    retry_s = float("inf")
                    self._prepare()
                if self._owner is not None:
                    self._owner.step(self._standing)
                else:
                    self._standing.engine.reopen()
            except Exception as error:
                self._fail(error)
                retry_s = monotonic() + RETRY_S

    def _prepare(self) -> None:
        """Open what the pointer names now beside what answers, warm it, and swap."""
        assert self.shop is not None
        assert self._standing is not None
        self._settled.clear()
        self._seen = _stamp(self.shop)
        try:
            standing, generation = self._standing, self.shop.generation
            if generation != standing.generation or standing.is_stranded:
                self._say(f"opening generation {generation}")
                if self.links is not None:
                    self._await((self.shop.generation_folder(generation) / "engine.json").exists)
                standing = self._standing_of(generation)
            self._error = self._notice = None
            try:
                self._improve(standing)
            finally:
                if standing is not self._standing:
                    standing.close()
            if self._standing is standing:
                self.completer = completer(standing.engine)
        finally:
            self._settled.set()

    def _await(self, there: Callable[[], bool]) -> bool:
        """Until something is there; False when the shop is closed first, or the pointer names another catalogue."""
        assert self.shop is not None
        while not there():
            if self._stop.wait(FOLLOW_S) or _stamp(self.shop) != self._seen:
                return False
        return True

    def _fail(self, error: Exception) -> None:
        """What answered goes on; the error stands in the status until a later try succeeds."""
        self._error = str(error) if isinstance(error, AisleError) else f"{type(error).__name__}: {error}"
        self._encoding.state = "failed" if self.ready and self.vectors else "off"
        self._step = f"serving {self._active.plan_name}" if self._active else "failed"

    def _pause(self) -> None:
        """Between chunks: let requests in flight go first, for a moment.  Raises Stopped when the shop is being closed."""
        if self._stop.is_set():
            raise Stopped
        until = monotonic() + 0.25
        while self._in_flight and monotonic() < until and not self._stop.is_set():
            self._stop.wait(0.005)

    def _say(self, step: str) -> None:
        self._step = step

    def _tell(self, notice: str) -> None:
        self._notice = notice


def _stamp(shop: Shop) -> tuple[int, int]:
    """Changes whenever the pointer is replaced."""
    status = os.stat(shop.folder / POINTER)
    return status.st_ino, status.st_mtime_ns
