"""Run the application in this process until Ctrl-C, and say where to open it."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Thread
from time import monotonic, sleep
from typing import Any

from aisle.core.errors import AisleError, SettingError
from aisle.serve.live import LiveShop
from aisle.serve.models import EncodingOut, ReadyOut
from aisle.serve.processes import Family
from aisle.serve.target import open_target

STARTING = ReadyOut(
    ready=False,
    step="starting the processes",
    shop="",
    plan="",
    generation=0,
    items=0,
    encoding=EncodingOut(state="waiting"),
    sequence_lag=0,
    events_unlearned=0,
)
"""What is said before the first process answers."""


def run(
    target: Path,
    *,
    plan: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    into: Path | None = None,
    remote_images: bool = False,
    vectors: bool = True,
    seed: int = 0,
    workers: int = 0,
    log_candidates: bool = False,
    as_json: bool = False,
) -> None:
    """Serve a shop or a product file.  Returns after Ctrl-C.

    workers  0: one process does everything; else one process writes and so many answer requests

    Raises AisleError when the target cannot be opened, SettingError for a plan that there is not or a port in use.
    """
    if plan is not None:
        from aisle.recipes import plan as recipe

        recipe(plan)
    listening = _listen(host, port)
    address = f"http://{'127.0.0.1' if host in ('', '0.0.0.0') else host}:{listening.getsockname()[1]}"
    if workers:
        _run_family(
            Family.of(
                open_target(target, into, lambda step: None).folder,
                listening,
                workers,
                plan=plan,
                vectors=vectors,
                seed=seed,
                remote_images=remote_images,
                log_candidates=log_candidates,
            ),
            address,
            as_json,
        )
        return
    live = LiveShop(target, plan=plan, into=into, vectors=vectors, seed=seed, log_candidates=log_candidates).start()
    teller = _Teller(live.status, address, as_json)
    Thread(target=teller.tell, name="aisle-teller", daemon=True).start()
    try:
        _serve(live, listening, remote_images, as_json)
    finally:
        teller.done = True
        live.close()
    if teller.failed:
        raise AisleError(teller.failed)


def _run_family(family: Family, address: str, as_json: bool) -> None:
    """Until Ctrl-C or SIGTERM: the processes run, and this one says what they are doing."""
    teller = _Teller(partial(_asked, address), address, as_json)
    Thread(target=teller.tell, name="aisle-teller", daemon=True).start()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: family.stop.set())
    try:
        family.run()
    finally:
        teller.done = True
    if not as_json:
        print("stopped", file=sys.stderr)


def _asked(address: str) -> ReadyOut:
    """What a reader says of itself and the others; while none answers, that they are starting."""
    try:
        with urllib.request.urlopen(f"{address}/ready", timeout=5) as answer:
            return ReadyOut.model_validate_json(answer.read())
    except urllib.error.HTTPError as error:
        return ReadyOut.model_validate_json(error.read())
    except (OSError, ValueError):
        return STARTING


def _listen(host: str, port: int) -> socket.socket:
    try:
        listening = socket.create_server((host, port), backlog=256)
        # Accepted connections inherit it; without, head and body of an answer wait 40 ms for each other.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        raise SettingError(f"cannot listen on {host} port {port} ({_why(error)}); choose another with --port") from None


def check_free(host: str, port: int) -> None:
    """Before long work: raises the SettingError that serving on this port would end in."""
    _listen(host, port).close()


def _why(error: OSError) -> str:
    """The reason alone; the system's text of a failed bind repeats the address."""
    return os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)


def _serve(live: LiveShop, listening: socket.socket, remote_images: bool, as_json: bool) -> None:
    import uvicorn

    from aisle.serve.app import create_app

    app = create_app(live, remote_images=remote_images)
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=3, lifespan="on")
    server = uvicorn.Server(config)
    live.on_failure = lambda: setattr(server, "should_exit", True)
    # The server ends in order first, then passes the Ctrl-C on.
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listening])
    if not as_json:
        print("stopped", file=sys.stderr)


class _Teller:
    """Says on the terminal what the shop is doing, each thing once."""

    def __init__(self, status: Callable[[], ReadyOut], address: str, as_json: bool) -> None:
        self.status, self.address, self.as_json = status, address, as_json
        self.done, self.failed = False, ""
        self._start_s = monotonic()

    def tell(self) -> None:
        said, plan, noticed = "", "", False
        while not self.done:
            status = self.status()
            if status.error and not status.ready:
                self.failed = status.error
                return
            if status.step != said:
                said = status.step
                self._say("step", said, encoding=status.encoding.model_dump())
            if status.plan != plan:
                plan = status.plan
                words = f"{status.items:,} products, plan {plan}: open {self.address}"
                self._say(
                    "serving", words, url=self.address, plan=plan, items=status.items, generation=status.generation
                )
            if status.notice and not noticed:
                noticed = True
                self._say("notice", status.notice)
            if status.error:
                self._say("error", f"{status.error} (serving plan {plan})")
                return
            sleep(0.1 if not status.ready or status.step != "ready" else 1.0)

    def _say(self, kind: str, words: str, **values: Any) -> None:
        time_s = round(monotonic() - self._start_s, 2)
        if self.as_json:
            print(json.dumps({"kind": kind, "message": words, "after_s": time_s, **values}), flush=True)
        else:
            print(f"{time_s:7.1f} s  {words}", file=sys.stderr, flush=True)
