"""One of a shop's processes: ``python -m aisle.serve.worker NUMBER SETTINGS``; 0 writes, the others answer requests."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from threading import Event, Thread
from typing import TYPE_CHECKING

from aisle.core.errors import AisleError
from aisle.serve.processes import CANNOT, Settings

if TYPE_CHECKING:
    import uvicorn

    from aisle.serve.board import Board

BEAT_S = 1.0
BACKLOG = 1024
TAKEN_AT_ONCE = 4
"""Connections that a reader accepts in one turn; more would all go to the reader that woke first."""


def main(number: int, settings: Settings) -> None:
    """Runs until SIGTERM, or until the process that started it is gone."""
    stop = Event()
    _watch_parent(stop)
    if number == 0:
        _write(settings, stop)
    else:
        _read(number, settings, stop)


def _write(settings: Settings, stop: Event) -> None:
    """Own the log and the indexes: take what readers hand over, apply, encode, save, tidy up."""
    from aisle.data.shop import Shop
    from aisle.engine.embedded.appliers import take_in_events
    from aisle.engine.embedded.log import Log
    from aisle.serve.board import Board
    from aisle.serve.channel import Host
    from aisle.serve.writer import Writer

    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    board = Board(settings.board, settings.workers + 1, 0)
    shop = Shop.open(settings.shop)
    with Log.open(shop.log_path) as log:
        take_in_events(shop)
        host = Host(settings.channel, log.append)
        writer = Writer(shop, log, board, plan=settings.plan, vectors=settings.vectors, seed=settings.seed, stop=stop)
        try:
            writer.run()
        finally:
            host.close()


def _read(number: int, settings: Settings, stop: Event) -> None:
    """Answer requests on the socket that all readers share."""
    import uvicorn

    from aisle.serve.active import Links
    from aisle.serve.app import create_app
    from aisle.serve.board import Board
    from aisle.serve.channel import Forward
    from aisle.serve.live import LiveShop

    board = Board(settings.board, settings.workers + 1, number)
    live = LiveShop(
        settings.shop,
        plan=settings.plan,
        vectors=settings.vectors,
        seed=settings.seed,
        links=Links(Forward(settings.channel), board),
        log_candidates=settings.log_candidates,
    )
    Thread(target=_beat, args=(board, stop), name="aisle-beat", daemon=True).start()
    config = uvicorn.Config(
        create_app(live, remote_images=settings.remote_images),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=3,
        lifespan="on",
        backlog=TAKEN_AT_ONCE,
    )
    server = _server(config)
    live.on_failure = lambda: setattr(server, "should_exit", True)
    Thread(target=_stop_with, args=(server, stop), name="aisle-stop", daemon=True).start()
    server.run(sockets=[socket.socket(fileno=settings.socket)])
    if live.status().error and not live.ready:
        raise AisleError(live.status().error)


def _server(config: uvicorn.Config) -> uvicorn.Server:
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            # The queue before the socket is everybody's; only what one reader takes at once is small.
            for one in sockets or ():
                one.listen(BACKLOG)

    return Server(config)


def _beat(board: Board, stop: Event) -> None:
    while not stop.wait(BEAT_S):
        board.tell()


def _stop_with(server: uvicorn.Server, stop: Event) -> None:
    stop.wait()
    server.should_exit = True


def _watch_parent(stop: Event) -> None:
    """End when the process that started this one is gone, however it went."""
    parent = os.getppid()

    def watch() -> None:
        while not stop.wait(0.5):
            if os.getppid() != parent:
                stop.set()

    Thread(target=watch, name="aisle-parent", daemon=True).start()


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), Settings(**json.loads(sys.argv[2])))
    except AisleError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(CANNOT)
