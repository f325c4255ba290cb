"""From a shop folder to an Env: the embedded engine of its current generation, and the encoders it can use."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from aisle.core.env import Encoder, Env, Progress, silent
from aisle.core.leases import exclusive
from aisle.core.shop import Counts, Items
from aisle.data.shop import Shop
from aisle.engine.embedded.appliers import open_engine
from aisle.engine.embedded.engine import EmbeddedEngine
from aisle.engine.embedded.log import Log
from aisle.nn.encoders import Encoders
from aisle.nn.item_vectors import EncodingCache, cache_name, fill, missing_rows

LOCK = ".lock"
DEVICE = "AISLE_DEVICE"
"""Environment variable: where torch methods are fitted and serve, such as ``cuda``; the processor without it."""


def device() -> str:
    """What ``AISLE_DEVICE`` says; of several processes that torchrun started each takes a GPU of its own."""
    named, local = os.environ.get(DEVICE, "cpu"), os.environ.get("LOCAL_RANK")
    return f"cuda:{local}" if named == "cuda" and local is not None else named


def open_env(
    shop: Shop,
    *,
    engine: EmbeddedEngine | None = None,
    counters: Counts | None = None,
    seed: int = 0,
    progress: Progress = silent,
    log: Callable[[str], None] = lambda line: None,
) -> Env:
    """The engine of the current generation (its text index is built where it is missing) and lazy encoders.

    engine    one that is open already; without, the log is read up to its end
    counters  behaviour as it is accepted; without, a plan that is fitted answers from the view it was fitted on
    """
    opened = engine or _opened(shop, progress)
    items, folder = opened.items, shop.generation_folder(opened.generation)
    return Env(
        engine=opened,
        encoders=Encoders(own=lambda: own_encoder(items, folder, progress)),
        counters=counters,
        seed=seed,
        device=device(),
        scratch=shop.work_folder,
        progress=progress,
        log=log,
    )


def _opened(shop: Shop, progress: Progress) -> EmbeddedEngine:
    if not shop.log_path.exists():
        return open_engine(shop, None, progress=progress)
    with Log.open(shop.log_path, read_only=True, check=False) as log:
        return open_engine(shop, log, progress=progress)


def memory_env(items: Items, *, seed: int = 0, progress: Progress = silent) -> Env:
    """The same over a catalogue in memory; nothing is written."""
    engine = EmbeddedEngine.build(items, progress=progress)
    return Env(
        engine=engine,
        encoders=Encoders(own=lambda: own_encoder(items, None, progress)),
        seed=seed,
        device=device(),
        progress=progress,
    )


def own_encoder(items: Items, folder: Path | None, progress: Progress = silent) -> Encoder:
    """The encoder of the shop's own text: loaded from the generation's folder, or trained and, with a folder, saved there."""
    from aisle.nn.encoders.own import OwnEncoder, train_own

    if folder is None:
        return train_own(items, progress=progress)
    home = folder / "encoders" / "own"
    home.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(home.parent / LOCK):
        if not (home / "features.json").exists():
            train_own(items, progress=progress).save(home)
    return OwnEncoder.load(home)


def encode_items(env: Env, shop: Shop, encoder: str, *, progress: Progress = silent) -> None:
    """Give every live item a vector of this encoder, and keep the index and the encodings in the shop's folder.

    Of several processes that want the same one encodes, and the others wait and take over what it has saved.
    """
    if not len(missing_rows(env, encoder)):
        return
    home = shop.folder / "cache" / "encodings"
    home.mkdir(parents=True, exist_ok=True)
    with exclusive(home / LOCK):
        env.engine.reopen()
        if not len(missing_rows(env, encoder)):
            return
        coder = env.encoder(encoder)
        fill(env, encoder, cache=EncodingCache(home, cache_name(coder), coder.dim), progress=progress)
        env.engine.save_vectors(encoder)
