from __future__ import annotations

import base64
import json
import zlib

import numpy as np
import pytest

from aisle.core.errors import DataError
from aisle.funnel.page import END, Cursor


@pytest.mark.parametrize("largest", [3, 200, 60_000, 200_000, 2**31 - 2])
@pytest.mark.parametrize(("ranked", "near"), [(0, 0), (100, 0), (0, 40), (100, 150)])
def test_a_cursor_comes_back_as_it_was(largest, ranked, near):
    rng = np.random.default_rng(largest)
    prefix = rng.integers(0, largest, ranked).astype(np.int32)
    others = np.unique(rng.integers(0, largest, near)).astype(np.int32)
    cursor = Cursor("f1", 3, 77, 2**64 - 1, 240, prefix, others)
    back = Cursor.decode(cursor.encode())
    assert back.prefix.tolist() == prefix.tolist()
    assert back.near.tolist() == others.tolist()
    assert back.prefix.dtype == back.near.dtype == np.int32
    assert (back.funnel, back.generation, back.sequence, back.seed, back.offset) == ("f1", 3, 77, 2**64 - 1, 240)


def test_a_cursor_that_was_cut_or_changed_is_refused():
    text = Cursor("f1", 3, 77, 5, 24, np.arange(100, dtype=np.int32), np.arange(5, dtype=np.int32)).encode()
    assert len(text) < 300
    for bad in ("", text[:-4], text[4:], text.swapcase(), "é" * 12):
        with pytest.raises(DataError, match="is not one of ours"):
            Cursor.decode(bad)


@pytest.mark.parametrize(
    "fields", [["f", 1, 1, 1, 0, 1, 0], ["f", 1, 1, 1, 0, 1, 9], ["f", 1, 1, 1, 1e999, 1, 1], ["f"], {"f": 1}, 7]
)
def test_a_cursor_that_somebody_made_up_is_refused(fields):
    body = json.dumps(fields).encode() + END + bytes(10)
    text = base64.urlsafe_b64encode(zlib.crc32(body).to_bytes(4, "little") + body).decode()
    with pytest.raises(DataError, match="is not one of ours"):
        Cursor.decode(text)
