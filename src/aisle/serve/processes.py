"""Several processes for one shop: one that writes, N that answer on one port, and a small one that keeps them alive.

The port is one socket that all readers inherit: whoever is free takes the next connection, and those that wait outlive a
reader that dies.  (With a socket each, SO_REUSEPORT, connections that the system gave to a dead reader would be lost.)
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import mkdtemp
from threading import Event, Thread
from time import monotonic, sleep
from typing import Any

from aisle.core.errors import AisleError

LOOK_S = 0.05
SOON_S = 5.0
"""A process that ends sooner than this after its start has a fault that starting it again will not mend."""
MOST_STARTS = 3
CANNOT = 2
"""Exit code of a process that has said on stderr why it cannot run."""
STOP_S = 10.0
READY_S = 120.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What every process of a shop is told; travels as JSON."""

    shop: str
    meeting: str
    workers: int
    plan: str | None = None
    vectors: bool = True
    seed: int = 0
    remote_images: bool = False
    log_candidates: bool = False
    socket: int = -1

    @property
    def channel(self) -> Path:
        """Where readers reach the writer."""
        return Path(self.meeting) / "writer"

    @property
    def board(self) -> Path:
        return Path(self.meeting) / "board"


class Family:
    """The processes of one shop, started, watched and stopped by this one."""

    def __init__(self, settings: Settings, listening: socket.socket) -> None:
        self.settings, self.listening = settings, listening
        self.failed = ""
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._started_s: dict[int, float] = {}
        self._starts: dict[int, int] = {}
        self.stop = Event()

    @classmethod
    def of(cls, shop: Path, listening: socket.socket, workers: int, **settings: object) -> Family:
        meeting = mkdtemp(prefix="aisle-")
        known = Settings(shop=str(shop), meeting=meeting, workers=workers, socket=listening.fileno(), **settings)  # type: ignore[arg-type]
        return cls(known, listening)

    def run(self) -> None:
        """Start all of them and keep them running until ``stop`` is set.  Raises AisleError when one will not run."""
        try:
            for number in range(self.settings.workers + 1):
                self._start(number)
            while not self.stop.wait(LOOK_S):
                for number, process in list(self._running.items()):
                    if process.poll() is not None:
                        self._again(number, process.returncode)
        finally:
            self._end()
        if self.failed:
            raise AisleError(self.failed)

    def pids(self) -> Sequence[int]:
        """Process ids, the writer's first."""
        return [self._running[number].pid for number in sorted(self._running)]

    def _start(self, number: int) -> None:
        command = [sys.executable, "-m", "aisle.serve.worker", str(number), json.dumps(asdict(self.settings))]
        # A group of its own: Ctrl-C reaches this process alone, which then ends the others in order.
        self._running[number] = subprocess.Popen(
            command, pass_fds=[self.listening.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
        )
        self._started_s[number] = monotonic()

    def _again(self, number: int, code: int) -> None:
        soon = monotonic() - self._started_s[number] < SOON_S
        self._starts[number] = self._starts.get(number, 0) + 1 if soon else 0
        if code == CANNOT or self._starts[number] >= MOST_STARTS:
            self.failed = f"{name_of(number)} cannot run (exit code {code}, {self._starts[number]} starts); its reason stands above"
            self.stop.set()
            return
        print(f"{name_of(number)} ended (exit code {code}); starting it again", file=sys.stderr, flush=True)
        self._start(number)

    def _end(self) -> None:
        """Readers first, so that what they still hand over finds the writer."""
        readers, writer = [n for n in self._running if n], [n for n in self._running if not n]
        for numbers in (readers, writer):
            for number in numbers:
                if self._running[number].poll() is None:
                    self._running[number].send_signal(signal.SIGTERM)
            until = monotonic() + STOP_S
            for number in numbers:
                try:
                    self._running[number].wait(max(0.1, until - monotonic()))
                except subprocess.TimeoutExpired:
                    os.kill(self._running[number].pid, signal.SIGKILL)
                    self._running[number].wait()
        shutil.rmtree(self.settings.meeting, ignore_errors=True)


@contextmanager
def running(shop: Path, workers: int, **settings: object) -> Iterator[str]:
    """A shop's processes while the block runs, on a free port; yields the address once all of them answer.

    ``settings`` as in ``Settings``.  Raises AisleError when they do not come up.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        family, failures = Family.of(shop, listening, workers, **settings), []

        def run() -> None:
            try:
                family.run()
            except AisleError as error:
                failures.append(error)

        thread = Thread(target=run, name="aisle-family")
        thread.start()
        try:
            until = monotonic() + READY_S
            while sum(row["alive"] and row["generation"] > 0 for row in processes_at(address)) <= workers:
                if failures or monotonic() > until:
                    raise AisleError(f"the processes of {shop} did not come up; what they said stands above")
                sleep(LOOK_S)
            yield address
        finally:
            family.stop.set()
            thread.join()
    if failures:
        raise failures[0]


def processes_at(address: str) -> list[dict[str, Any]]:
    """What ``/ready`` at an address tells of the shop's processes; nothing while none answers."""
    try:
        with urllib.request.urlopen(f"{address}/ready", timeout=10) as answer:
            rows: list[dict[str, Any]] = json.loads(answer.read())["processes"]
    except (OSError, ValueError):
        return []
    return rows


def name_of(number: int) -> str:
    return "the writing process" if number == 0 else f"reader {number}"
