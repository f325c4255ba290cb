from __future__ import annotations

import numpy as np
import pytest

from aisle.engine.embedded.spelling import Vocabulary, count_words, edits


def slow_edits(a: str, b: str) -> int:
    """Optimal string alignment by the textbook's table."""
    d = np.zeros((len(a) + 1, len(b) + 1), int)
    d[:, 0], d[0] = np.arange(len(a) + 1), np.arange(len(b) + 1)
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            d[i, j] = min(d[i - 1, j] + 1, d[i, j - 1] + 1, d[i - 1, j - 1] + (a[i - 1] != b[j - 1]))
            if i > 1 and j > 1 and a[i - 1] == b[j - 2] and a[i - 2] == b[j - 1]:
                d[i, j] = min(d[i, j], d[i - 2, j - 2] + 1)
    return int(d[-1, -1])


def test_edits_equal_the_table():
    rng = np.random.default_rng(0)
    for _ in range(300):
        a, b = ("".join(rng.choice(list("abc"), rng.integers(1, 8))) for _ in range(2))
        assert min(edits(a, b, 2), 3) == min(slow_edits(a, b), 3), (a, b)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("iphnoe", "iphone"),
        ("headfones", "headphones"),
        ("wirless", "wireless"),
        ("iphonecase", "iphone case"),
        ("cas", None),
        ("zzzzzz", None),
        ("b000x1", None),
    ],
)
def test_nearest(typed, meant):
    assert Vocabulary({"iphone": 9, "case": 50, "wireless": 5, "headphones": 7}).nearest(typed) == meant


def test_the_more_frequent_word_wins_and_a_rare_one_loses():
    assert Vocabulary({"lamb": 3, "lamp": 30, "lamm": 1}).nearest("lamx") == "lamp"


def test_plus_adds_counts():
    words = Vocabulary(count_words(["Red lamp", "red Chair 42"])).plus({"red": 1, "sofa": 2})
    assert words.counts == {"red": 3, "lamp": 1, "chair": 1, "sofa": 2}
