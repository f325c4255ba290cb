from __future__ import annotations

import numpy as np
import pytest

from aisle.engine.embedded import text_kernels as kernels
from aisle.engine.embedded.compiled import frozen
from aisle.engine.embedded.spelling import Guess, Vocabulary
from aisle.engine.embedded.spelling_cjk import Pairs


class Words:
    """A vocabulary with its counts."""

    def __init__(self, counts: dict[str, int]) -> None:
        self.words, self.counts = list(counts), np.array(list(counts.values()))
        self.vocabulary = Vocabulary(self.words, self.words, lambda w: self.words.index(w) if w in self.words else -1)

    def guesses(self, word: str) -> list[Guess]:
        return self.vocabulary.guesses(word, self.counts)

    def nearest(self, word: str) -> str | None:
        return next((guess.text for guess in self.guesses(word)), None)

    def more_frequent(self, word: str, times: float) -> Guess | None:
        return self.vocabulary.more_frequent(word, times, self.counts)


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
    words = ["".join(rng.choice(list("abc"), rng.integers(1, 8))) for _ in range(300)]
    length = np.array([len(w) for w in words], np.int16)
    start = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)[:-1]
    code = np.frombuffer("".join(words).encode("utf-32-le"), np.uint32)
    for typed in words[:30]:
        letters = frozen(np.frombuffer(typed.encode("utf-32-le"), np.uint32))
        arrays = (frozen(code), frozen(start), frozen(length), frozen(np.arange(300)), letters)
        for most in (1, 2):
            found = kernels.edits(*arrays, most)
            np.testing.assert_array_equal(found, [min(slow_edits(w, typed), most + 1) for w in words])


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
    assert Words({"iphone": 9, "case": 50, "wireless": 5, "headphones": 7}).nearest(typed) == meant


def test_the_more_frequent_word_wins_and_a_rare_one_loses():
    assert Words({"lamb": 3, "lamp": 30, "lamm": 1}).nearest("lamx") == "lamp"


def test_guesses_are_few_frequent_and_share_the_odds():
    found = Words({"lamb": 10, "lamp": 30, "lama": 1, "lame": 9, "land": 50}).guesses("lamx")
    assert [g.text for g in found] == ["lamp", "lamb", "lame"]
    assert found[0].share == pytest.approx(30 / 50)
    assert Words({"lamp": 30}).guesses("lamx")[0].share == 1.0


def test_a_rare_word_beside_a_much_more_frequent_one_is_suspect():
    words = Words({"wireles": 1, "wireless": 500, "wired": 3})
    assert words.more_frequent("wireles", 100).text == "wireless"
    assert words.more_frequent("wired", 100) is None
    assert words.more_frequent("wireless", 100) is None


def test_a_wrong_character_is_mended_by_its_neighbours():
    pairs = Pairs(["索尼", "尼相", "相机", "手机", "机壳"], np.array([5, 5, 9, 20, 20]))
    found = pairs.guesses(["索泥", "泥相", "相机"], {"索泥", "泥相"})
    assert {word: guesses[0].text for word, guesses in found.items()} == {"索泥": "索尼", "泥相": "尼相"}
    assert pairs.guesses(["相几"], {"相几"})["相几"][0].text == "相机", "the last character"
    assert pairs.guesses(["首机", "机壳"], {"首机"})["首机"][0].text == "手机", "the first character"
    assert pairs.guesses(["东西"], {"东西"}) == {}


def test_a_vocabulary_follows_its_lexicon():
    words = Words({"lamp": 30})
    assert words.nearest("kettel") is None
    words.words.append("kettle")
    assert words.nearest("kettel") is None, "counted by nobody yet"
    words.counts = np.array([30, 2])
    assert words.nearest("kettel") == "kettle"
    words.counts = np.array([30, 0])
    assert words.nearest("kettel") is None
