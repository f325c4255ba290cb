"""aisle serve: the page and the API of a shop, or of a product file."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Images(StrEnum):
    """Where product pictures come from."""

    local = "local"
    remote = "remote"


def serve(
    target: Annotated[Path, typer.Argument(metavar="SHOP|FILE", help="A shop's folder, or a file of products.")],
    plan: Annotated[
        str | None, typer.Option(metavar="PLAN", help="What to serve in the end: lexical, hybrid, ...")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for every network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8000,
    into: Annotated[
        Path | None, typer.Option(metavar="SHOP", help="With a FILE: the folder of the shop made from it.")
    ] = None,
    images: Annotated[Images, typer.Option(help="remote: load pictures from the shop's own addresses.")] = Images.local,
    no_vectors: Annotated[bool, typer.Option("--no-vectors", help="Stay with words; encode nothing.")] = False,
    workers: Annotated[
        int, typer.Option(min=0, max=64, help="Processes that answer, beside one that writes; 0: one does everything.")
    ] = 0,
    log_candidates: Annotated[
        bool, typer.Option("--log-candidates", help="Log the numbers of all candidates, not of the shown items alone.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line instead of sentences.")] = False,
) -> None:
    """Serve a page to search in, and a JSON API.

    Words first, within seconds; meaning follows in the background.

    Example:  aisle serve products.csv
    Example:  aisle serve myshop --workers 2 --port 80
    """
    from aisle.cli._console import one_thread

    one_thread()
    from aisle.serve.running import run

    run(
        target,
        plan=plan,
        host=host,
        port=port,
        into=into,
        remote_images=images is Images.remote,
        vectors=not no_vectors,
        seed=seed,
        workers=workers,
        log_candidates=log_candidates,
        as_json=as_json,
    )
