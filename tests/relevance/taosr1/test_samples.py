"""Pass@N and the two kinds of pairs."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from aisle.core.errors import SettingError
from aisle.relevance.taosr1.samples import Samples, correction_pairs, pass_at


def test_pass_at_n_is_the_share_of_subsets_with_a_right_answer():
    right = np.array([1, 0, 0, 1, 0])
    for of in range(1, 6):
        subsets = list(combinations(range(5), of))
        by_hand = np.mean([any(right[i] for i in subset) for subset in subsets])
        assert pass_at(np.array([right.sum()]), 5, of) == pytest.approx([by_hand])


def test_pass_at_n_never_falls_and_begins_with_the_accuracy():
    num_right = np.arange(9)
    by_n = np.stack([pass_at(num_right, 8, n) for n in range(1, 9)])
    assert (np.diff(by_n, axis=0) >= -1e-12).all()
    assert by_n[0] == pytest.approx(num_right / 8)
    assert (by_n[:, 0] == 0).all()
    assert (by_n[:, 8] == 1).all()


def test_more_than_was_drawn_is_refused():
    with pytest.raises(SettingError, match="draw more"):
        pass_at(np.array([1]), 4, 5)


def samples() -> Samples:
    """Four prompts with three answers each: mixed, all wrong, all right, all wrong without an oracle."""
    prompts = [np.array([q]) for q in range(4)]
    answers = [
        [np.array([10, 1]), np.array([11, 1]), np.array([12, 1])],
        [np.array([20, 1]), np.array([20, 1]), np.array([21, 1])],
        [np.array([30, 1])] * 3,
        [np.array([40, 1])] * 3,
    ]
    right = np.array([[True, False, False], [False] * 3, [True] * 3, [False] * 3])
    logp = np.array([[-1.0, -3.0, -2.0], [-5.0, -5.0, -1.0], [-1.0] * 3, [-1.0] * 3], np.float32)
    return Samples(prompts, answers, right, logp)


ORACLE = [None, np.array([99, 1]), np.array([98, 1]), None]


def test_self_correction_oracle_guidance_and_nothing_to_correct():
    pairs = correction_pairs(samples(), ORACLE)
    assert pairs.place.tolist() == [0, 1]
    assert pairs.is_oracle.tolist() == [False, True]
    chosen, rejected = pairs.preferences.chosen, pairs.preferences.rejected
    assert [c[0].tolist() for c in chosen] == [[10, 1], [99, 1]]
    assert [r[0].tolist() for r in rejected] == [[12, 1], [21, 1]], "the likeliest wrong answer"


def test_two_pairs_a_prompt_are_of_distinct_answers():
    pairs = correction_pairs(samples(), ORACLE, most=2)
    assert pairs.place.tolist() == [0, 0, 1, 1]
    assert [r[0].tolist() for r in pairs.preferences.rejected] == [[12, 1], [11, 1], [21, 1], [20, 1]]
