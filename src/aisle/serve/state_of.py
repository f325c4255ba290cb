"""How far a shop's log, indexes and processes are, as ``/ready`` tells it."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic_ns

from aisle.core.lists import Array
from aisle.engine.embedded.impacts import Impacts
from aisle.engine.embedded.vectors import Vectors
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
        index, at = engine.vectors(name), encoded.get(name)
        found.append(_following(f"vectors {name}", index, live, shown, engine.encoded.get(name, 0), at))
    for name in engine.models():
        bags, at = engine.sparse(name), bagged.get(name)
        found.append(_following(f"bags {name}", bags, live, shown, engine.bagged.get(name, 0), at))
    return found


def _following(title: str, index: Vectors | Impacts, live: Array, shown: int, saved: int, at: int | None) -> IndexOut:
    """Of an index whose rows are made in the background, from the catalogue as of record ``at``, where that is known."""
    missing = int(live.sum()) - int(index.has(live.nonzero()[0]).sum())
    behind = 0 if at is None else max(0, shown - at)
    sequence = saved if at is None else at
    return IndexOut(name=title, sequence=sequence, lag=behind, saved=sequence, rows=index.num_rows, missing=missing)


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
