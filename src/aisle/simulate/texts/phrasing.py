"""Texts from templates, for many rows at once.

Legend: N rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aisle.core.lists import Array


def filled(templates: Sequence[str], which: Array, values: Mapping[str, pa.Array]) -> pa.Array:
    """string[N]: of each row the template ``which`` [N], with its {names} replaced by the row's values (string[N])."""
    order, texts = [], []
    for number, template in enumerate(templates):
        rows = np.flatnonzero(which == number)
        if not len(rows):
            continue
        pieces = re.split(r"\{(\w+)\}", template)
        columns = [values[p].take(pa.array(rows)) if n % 2 else pa.scalar(p) for n, p in enumerate(pieces)]
        if len(columns) == 1:
            columns = [pa.repeat(columns[0], len(rows))]
        texts.append(pc.binary_join_element_wise(*columns, ""))
        order.append(rows)
    if not texts:
        return pa.array([], pa.string())
    back = np.argsort(np.concatenate(order), kind="stable")
    return pa.concat_arrays(texts).take(pa.array(back))
