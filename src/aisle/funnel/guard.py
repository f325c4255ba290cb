"""Guard: a stage that is too slow for what is left of a request, or that keeps failing, is skipped; the page still comes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock
from time import monotonic, perf_counter
from typing import TypeVar

from aisle.core.errors import DeadlinePassed
from aisle.core.requests import Requests
from aisle.funnel.page import StageTrace

T = TypeVar("T")

FAILURES_TO_OPEN = 3
OPEN_S = 30.0
REMEMBERED = 64


class StageHealth:
    """Recent latencies and failures of one stage.  Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._latency_s: deque[float] = deque(maxlen=REMEMBERED)
        self._failures = 0
        self._open_until = 0.0

    def p95_s(self) -> float:
        """Seconds; 0 before the first run."""
        with self._lock:
            recent = sorted(self._latency_s)
        return recent[min(len(recent) - 1, int(0.95 * len(recent)))] if recent else 0.0

    def reason_to_skip(self, left_s: float) -> str | None:
        if monotonic() < self._open_until:
            return f"breaker open after {FAILURES_TO_OPEN} failures"
        if left_s <= 0:
            return "deadline passed"
        p95 = self.p95_s()
        if p95 > left_s:
            return f"p95 {p95 * 1e3:.0f} ms exceeds the {left_s * 1e3:.0f} ms left"
        return None

    def succeeded(self, latency_s: float) -> None:
        with self._lock:
            self._latency_s.append(latency_s)
            self._failures = 0

    def failed(self) -> None:
        with self._lock:
            self._failures += 1
            if self._failures >= FAILURES_TO_OPEN:
                self._open_until = monotonic() + OPEN_S
                self._failures = 0

    def forget_one(self) -> None:
        """Let an old slow run fade, so that a stage that was slow once is tried again."""
        with self._lock:
            if self._latency_s:
                self._latency_s.popleft()


class Guard:
    """Runs stages under a request's deadline.  ``strict``: errors are raised instead (fits, evaluations, tests)."""

    def __init__(self) -> None:
        self._health: dict[str, StageHealth] = {}

    def health(self, stage: str) -> StageHealth:
        return self._health.setdefault(stage, StageHealth())

    def run(
        self,
        stage: str,
        requests: Requests,
        work: Callable[[], T],
        trace: list[StageTrace],
        *,
        strict: bool,
        rows: Callable[[T], int],
    ) -> T | None:
        """What ``work`` returns, or None when the stage was skipped or failed; one line is added to ``trace``."""
        health = self.health(stage)
        why = None if strict else health.reason_to_skip(requests.left_s())
        if why is not None:
            health.forget_one()
            trace.append(StageTrace(stage, 0.0, 0, why))
            return None
        start = perf_counter()
        try:
            result = work()
        except Exception as error:
            if strict:
                raise
            taken = perf_counter() - start
            if isinstance(error, DeadlinePassed):
                health.succeeded(taken)
            else:
                health.failed()
            trace.append(StageTrace(stage, taken * 1e3, 0, f"{type(error).__name__}: {error}"))
            return None
        taken = perf_counter() - start
        health.succeeded(taken)
        trace.append(StageTrace(stage, taken * 1e3, rows(result)))
        return result
