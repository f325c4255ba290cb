"""Segment: the vectors of a catalogue's rows as one immutable set of arrays, in memory or mapped from files.

``base`` holds every vector by row as float16: what scores are computed from.  ``codes`` holds them once more with 8 bits a
number, in the order of their cells (k-means), so that a search reads what is near its query in one sweep.

Legend: I rows, P rows with a vector, C cells, D width, S rows trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from aisle.core.lists import Array
from aisle.engine.embedded import vectors_kernels as kernels
from aisle.engine.embedded.compiled import frozen

ONE_CELL = 20_000
"""Up to this many vectors stand in one cell: comparing all of them takes less than 0.5 ms."""
MOST_CELLS = 1024
SAMPLE = 24
"""Vectors a cell that k-means is trained on."""
ROUNDS = 6
CHUNK = 8192
ARRAYS = ("base", "codes", "scale", "row", "start", "centre")


@dataclass(frozen=True, eq=False)
class Segment:
    """base float16 bits uint16[I, D]; codes int8[P, D]; scale float32[P]; row int32[P]; start int64[C+1]; centre float32[C, D]."""

    base: Array
    codes: Array
    scale: Array
    row: Array
    start: Array
    centre: Array

    @property
    def num_rows(self) -> int:
        return len(self.base)

    @property
    def dim(self) -> int:
        return int(self.base.shape[1])

    @property
    def num_cells(self) -> int:
        return len(self.centre)

    @property
    def num_bytes(self) -> int:
        return sum(getattr(self, name).nbytes for name in ARRAYS)

    @classmethod
    def of(cls, base_ID: Array, rows: Array, like: Segment | None = None, *, one_cell: int = ONE_CELL) -> Segment:
        """``base_ID`` float16 bits of which ``rows`` (ascending) are vectors.

        Rows that ``like`` holds with the same vector stay in their cells, where it has the number of cells that is due.
        """
        num_cells = cells_for(len(rows), one_cell)
        base_ID = frozen(base_ID)
        if like is not None and like.num_cells == num_cells:
            centre_CD = like.centre
            cell_P = _cells(base_ID, rows, centre_CD, like)
        else:
            centre_CD = _trained(base_ID, rows, num_cells)
            cell_P = _nearest(base_ID, rows, centre_CD)
        order = np.argsort(cell_P, kind="stable")
        row_P = frozen(rows[order].astype(np.int32))
        codes_PD, scale_P = np.empty((len(rows), base_ID.shape[1]), np.int8), np.empty(len(rows), np.float32)
        kernels.encode(base_ID, row_P, codes_PD, scale_P)
        start_C = np.searchsorted(cell_P[order], np.arange(num_cells + 1)).astype(np.int64)
        return cls(base_ID, frozen(codes_PD), frozen(scale_P), row_P, frozen(start_C), frozen(centre_CD))

    @classmethod
    def empty(cls, dim: int) -> Segment:
        return cls.of(np.zeros((0, dim), np.uint16), np.zeros(0, np.int64))

    @cached_property
    def coded_centre(self) -> tuple[Array, Array]:
        """int8[C, D] and float32[C]: the centres as codes, which are good enough to say which cells are near."""
        codes_CD, scale_C = np.empty(self.centre.shape, np.int8), np.empty(self.num_cells, np.float32)
        every = frozen(np.arange(self.num_cells, dtype=np.int32))
        kernels.encode(frozen(bits_of(self.centre)), every, codes_CD, scale_C)
        return frozen(codes_CD), frozen(scale_C)

    def save(self, folder: Path) -> None:
        for name in ARRAYS:
            np.save(folder / f"{name}.npy", getattr(self, name))

    @classmethod
    def load(cls, folder: Path) -> Segment:
        """Memory-mapped."""
        return cls(*(frozen(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in ARRAYS))


def cells_for(num_vectors: int, one_cell: int = ONE_CELL) -> int:
    """1 while all are compared anyway, else the power of two nearest to twice the square root."""
    if num_vectors <= one_cell:
        return 1
    return int(min(2 ** np.round(np.log2(2 * np.sqrt(num_vectors))), MOST_CELLS))


def bits_of(vectors_ND: Array) -> Array:
    """uint16[N, D]: vectors as float16 bits."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(vectors_ND, np.float16).view(np.uint16)


def floats_of(bits_ND: Array) -> Array:
    """float32[N, D]: the inverse of ``bits_of``."""
    return bits_ND.view(np.float16).astype(np.float32)


def _trained(base_ID: Array, rows: Array, num_cells: int) -> Array:
    """float32[C, D], unit rows: spherical k-means (Dhillon and Modha, 2001) on a sample, the same one every time."""
    if num_cells == 1:
        return np.zeros((1, base_ID.shape[1]), np.float32)
    rng = np.random.default_rng(0)
    sample = np.sort(rng.choice(rows, min(len(rows), SAMPLE * num_cells), replace=False))
    sample_SD = floats_of(base_ID[sample])
    centre_CD = _unit(sample_SD[rng.choice(len(sample), num_cells, replace=False)])
    for _ in range(ROUNDS):
        cell_S = np.concatenate([np.argmax(part @ centre_CD.T, 1) for part in _parts(sample_SD)])
        order = np.argsort(cell_S, kind="stable")
        filled, first = np.unique(cell_S[order], return_index=True)
        centre_CD[filled] = _unit(np.add.reduceat(sample_SD[order], first, axis=0))
        lost = np.setdiff1d(np.arange(num_cells), filled)
        centre_CD[lost] = _unit(sample_SD[rng.choice(len(sample), len(lost), replace=False)])
    return centre_CD


def _cells(base_ID: Array, rows: Array, centre_CD: Array, like: Segment) -> Array:
    """int64[P]: the cell of each row; only rows that are new or different are compared with the centres."""
    known = np.full(len(base_ID), -1, np.int64)
    known[like.row] = np.repeat(np.arange(like.num_cells), np.diff(like.start))
    shared = rows[(known[rows] >= 0) & (rows < like.num_rows)]
    for n in range(0, len(shared), CHUNK):
        some = shared[n : n + CHUNK]
        known[some[(base_ID[some] != like.base[some]).any(1)]] = -1
    new = rows[known[rows] < 0]
    known[new] = _nearest(base_ID, new, centre_CD)
    return known[rows]


def _nearest(base_ID: Array, rows: Array, centre_CD: Array) -> Array:
    """int64[N]: the nearest centre of each row."""
    if len(centre_CD) == 1 or not len(rows):
        return np.zeros(len(rows), np.int64)
    return np.concatenate([np.argmax(floats_of(base_ID[part]) @ centre_CD.T, 1) for part in _parts(rows)])


def _parts(array: Array) -> list[Array]:
    return [array[n : n + CHUNK] for n in range(0, len(array), CHUNK)]


def _unit(vectors_ND: Array) -> Array:
    out: Array = vectors_ND / np.maximum(np.linalg.norm(vectors_ND, axis=1, keepdims=True), 1e-12)
    return out
