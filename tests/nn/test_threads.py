"""Things worked on side by side, by torch's team of threads and by threads of our own."""

from __future__ import annotations

import threading

import pytest

from aisle.nn import threads
from aisle.nn.threads import SideBySide


@pytest.fixture(params=["torch", "own"])
def side_by_side(request, monkeypatch):
    """Two threads; torch's, where it has such a team, or our own."""
    if request.param == "own":
        monkeypatch.setattr(threads, "_parallel", lambda: None)
    return SideBySide(2)


def test_results_in_their_order(side_by_side):
    meet, who = threading.Barrier(2, timeout=60), set()

    def call(n):
        if n < 2:
            meet.wait()  # passed only when two threads call
        who.add(threading.get_ident())
        return n * n

    for _ in range(3):
        who.clear()
        assert side_by_side(call, 7) == [n * n for n in range(7)]
        assert len(who) == 2
    assert side_by_side(call, 0) == []


def test_errors_come_out(side_by_side):
    ended = []

    def call(n):
        if n == 1:
            raise ValueError("table 1")
        ended.append(n)
        return n

    with pytest.raises(ValueError, match="table 1"):
        side_by_side(call, 2)
    assert ended == [0]
    assert side_by_side(lambda n: n, 2) == [0, 1]
