"""How far a shop's log, indexes and processes are, as ``/ready`` tells it."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic_ns

from aisle.serve.board import SILENT_S, Board
from aisle.serve.models import IndexOut, LogOut, ProcessOut
from aisle.serve.standing import Standing


def log_of(standing: Standing) -> LogOut:
    log = standing.applier.log
    shown, last = standing.engine.sequence, log.last_sequence
    return LogOut(last=last, shown=shown, lag=max(0, last - shown), forgotten=log.floor)


def indexes_of(standing: Standing, encoded: Mapping[str, int], bagged: Mapping[str, int]) -> list[IndexOut]:
    """Every index of this process; ``encoded``: encoder -> the record whose texts its vectors stand for, where known.

    ``bagged``: the same of models and their bags.
    """
    engine, last = standing.engine, standing.applier.log.last_sequence
    shown, live = engine.sequence, engine.items.live
    num_live = int(live.sum())
    lag = max(0, last - shown)
    found = [
        IndexOut(name="catalogue", sequence=shown, lag=lag, rows=num_live),
        IndexOut(name="text", sequence=shown, lag=lag, saved=engine.saved_sequence, rows=engine.text.num_docs),
    ]
    store = standing.behaviour.store
    if store is not None:
        behind = max(0, last - store.sequence)
        found.append(IndexOut(name="behaviour", sequence=store.sequence, lag=behind, rows=store.num_events))
    for name in engine.encoders():
        index = engine.vectors(name)
        missing = num_live - int(index.has(live.nonzero()[0]).sum())
        at = encoded.get(name, engine.encoded.get(name, 0))
        behind = max(0, shown - at) if name in encoded else 0
        found.append(
            IndexOut(name=f"vectors {name}", sequence=at, lag=behind, saved=at, rows=index.num_rows, missing=missing)
        )
    for name in engine.models():
        bags = engine.sparse(name)
        missing = num_live - int(bags.has(live.nonzero()[0]).sum())
        at = bagged.get(name, engine.bagged.get(name, 0))
        behind = max(0, shown - at) if name in bagged else 0
        found.append(
            IndexOut(name=f"bags {name}", sequence=at, lag=behind, saved=at, rows=bags.num_rows, missing=missing)
        )
    return found


def synonyms_error(standing: Standing) -> str | None:
    """Why the shop's synonyms, as they are now, cannot be used."""
    rules = standing.engine.text.synonyms
    rules.look()
    return rules.error


def processes_of(board: Board, log: LogOut) -> list[ProcessOut]:
    """The writer and the readers, as they last said."""
    now_ns = monotonic_ns()
    return [
        ProcessOut(
            name="writer" if row["process"] == 0 else f"reader {row['process']}",
            pid=row["pid"],
            alive=now_ns - row["beat"] < SILENT_S * 1e9,
            generation=row["generation"],
            sequence=row["sequence"],
            lag=max(0, log.last - row["sequence"]),
        )
        for row in board.rows()
    ]
