"""Rollouts: what is taken, joined and exchanged goes with its columns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.training.words_world import ASKED, END, model, prompts
from torch import Tensor

from aisle.core.errors import ContractError
from aisle.nn.backbones.backbone import Sampling
from aisle.training.rollouts import TextRollout, Together, by_token, sample_freely, with_old_logp

G = 2


def rollout(asked: list[int], length: int, first: int) -> TextRollout:
    """Answers of one token repeated, each with its number, a value of each token, and whether it is even."""
    number = first + np.arange(len(asked) * G)
    answers = [[np.full(length, n) for n in number[q * G : (q + 1) * G]] for q in range(len(asked))]
    column = torch.from_numpy(number)
    plain = TextRollout(
        np.array(asked), [np.array([t]) for t in asked], answers, -column[:, None].float().expand(-1, length)
    )
    return plain.noted(number=column, step=column[:, None].expand(-1, length), even=(column % 2 == 0)[:, None])


def numbers(of: TextRollout) -> list[int]:
    return of.columns["number"].tolist()


def test_columns_go_where_answers_go():
    joined = rollout([4, 5], 3, 10).take(np.array([1])).join(rollout([6], 2, 20))
    assert joined.index.tolist() == [5, 6]
    assert numbers(joined) == [int(a[0]) for a in joined.flat] == [12, 13, 20, 21]
    assert joined.columns["step"].tolist() == [[12] * 3, [13] * 3, [20, 20, -1], [21, 21, -1]]
    assert joined.old_logp.tolist() == [[-12.0] * 3, [-13.0] * 3, [-20.0, -20.0, 0.0], [-21.0, -21.0, 0.0]]
    assert joined.columns["even"].dtype == torch.bool


def test_exchanged_answers_stand_in_their_places_with_all_that_is_known_of_them():
    whole = rollout([4, 5, 6], 2, 10)
    mixed = whole.exchanged(np.array([2, 0]), np.array([[1], [0]]), one_each(rollout([6, 4], 3, 20)))
    assert numbers(mixed) == [int(a[0]) for a in mixed.flat] == [22, 11, 12, 13, 14, 20]
    assert mixed.old_logp[5].tolist() == [-20.0] * 3
    assert mixed.old_logp[4].tolist() == [-14.0, -14.0, 0.0]
    assert numbers(whole) == [10, 11, 12, 13, 14, 15]


def one_each(of: TextRollout) -> TextRollout:
    """The first answer of each group."""
    rows = torch.arange(0, len(of) * G, G)
    columns = {name: column[rows] for name, column in of.columns.items()}
    return TextRollout(of.index, of.prompts, [answers[:1] for answers in of.answers], of.old_logp[rows], columns)


def test_what_does_not_fit_is_refused():
    whole = rollout([4, 5], 2, 10)
    with pytest.raises(ContractError, match="give as many of each"):
        whole.exchanged(np.array([0]), np.array([[0, 1]]), one_each(rollout([4], 2, 20)))
    with pytest.raises(ContractError, match="a row an answer"):
        whole.noted(score=torch.zeros(3))
    with pytest.raises(ContractError, match="both rollouts"):
        whole.join(TextRollout(whole.index, whole.prompts, whole.answers, whole.old_logp))


def test_ways_of_asking_stay_together():
    both = Together((rollout([4, 5], 2, 10), rollout([4, 5], 3, 20)))
    moved = both.take(np.array([1])).join(both.take(np.array([0])))
    assert len(moved) == 2
    assert [numbers(part) for part in moved.parts] == [[12, 13, 10, 11], [22, 23, 20, 21]]


def test_values_of_tokens_become_rows():
    assert by_token([np.array([1, 2]), np.array([3])]).tolist() == [[1, 2], [3, -1]]
    assert by_token([np.array([0.5]), np.array([], float)], fill=0.0).tolist() == [[0.5], [0.0]]


def test_answers_of_somebody_else_are_scored_under_the_constraint_that_will_hold_them():
    def only_answers(token_St: Tensor) -> Tensor:
        may = torch.zeros(len(token_St), 24, dtype=torch.bool)
        may[:, [12, 13, END]] = True
        return may

    module = model().eval()
    drawn = sample_freely(module, ASKED, prompts(), G, Sampling(2), torch.Generator().manual_seed(0), only_answers)
    given = TextRollout(drawn.index, drawn.prompts, drawn.answers, torch.zeros_like(drawn.old_logp))
    torch.testing.assert_close(with_old_logp(module, given, constraint=only_answers).old_logp, drawn.old_logp)
    assert (with_old_logp(module, given).old_logp[:, 0] < drawn.old_logp[:, 0]).all()
    foreign = TextRollout(drawn.index[:1], drawn.prompts[:1], [[np.array([12, 14])]], torch.zeros(1, 2))
    with pytest.raises(ContractError, match=r"answers \[0\] of 1 break the constraint"):
        with_old_logp(module, foreign, constraint=only_answers)
