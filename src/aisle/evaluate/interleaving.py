"""Interleaving: one page drafted from several rankings, so that one visit compares them all.

``team_draft`` takes two rankings, ``multileave`` any number.  Every place of a page falls to every ranking with the same
probability, so clicks compare the rankings without a propensity or a model of examination.

Legend: Q requests, R rankings, L rows of a ranking, K places of a page, U units (users or queries).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist

import numpy as np

from aisle.core.errors import ContractError, SettingError
from aisle.core.lists import Array, ItemLists, same_generation
from aisle.core.requests import Requests
from aisle.evaluate.significance import holm

SALT = 0x1EAF
"""Separates these draws from those of every method that reads the same request seed."""

MAX_TEAMS = 127
"""As many rankings as the int8 column ``team`` can name."""


@dataclass(frozen=True, slots=True)
class Preference:
    """What units prefer of two rankings.

    value        (wins of ``first`` + ties / 2) / units - 1/2, from -1/2 to 1/2; above 0: ``first`` is preferred
    low, high    its normal interval over units
    p            exact two-sided sign test over the units that are no ties; 1 when there are none
    p_holm       p after Holm's correction over the pairs of rankings compared together
    wins, losses, ties   units in which ``first`` earned more, less, or as much credit
    """

    first: str
    second: str
    value: float
    low: float
    high: float
    level: float
    p: float
    p_holm: float
    wins: int
    losses: int
    ties: int

    @property
    def verdict(self) -> str:
        """``first``, ``second`` or ``undecided``, by the sign test after Holm's correction."""
        if self.p_holm > 1 - self.level or self.wins == self.losses:
            return "undecided"
        return "first" if self.wins > self.losses else "second"


def team_draft(first: ItemLists, second: ItemLists, requests: Requests, k: int = 10) -> ItemLists:
    """Pages of two rankings; ``team`` is 0 for a row of ``first``, 1 for a row of ``second``.  See ``multileave``.

    Source: Radlinski, Kurup, Joachims, How does clickthrough data reflect retrieval quality? (CIKM 2008).
    """
    return multileave([first, second], requests, k)


def multileave(rankings: Sequence[ItemLists], requests: Requests, k: int = 10) -> ItemLists:
    """Q pages of at most ``k`` different items, best first, with the column ``team`` int8: the ranking that drafted the row.

    In every round the rankings take turns in a fresh random order; each drafts its best item that is not on the page yet,
    and one that has none left passes.  So each ranking holds each place with probability 1 / R, and while all have items
    the teams of a page differ by at most one row.  Draws come from ``requests.seed``: a longer page begins with the shorter.
    Source: Schuth et al., Multileaved comparisons for fast online evaluation (CIKM 2014).

    Raises SettingError for fewer than 2 or more than 127 rankings or k below 1, ContractError when rankings and requests
    differ in number, GenerationError when the rankings count rows of different generations.
    """
    if not 2 <= len(rankings) <= MAX_TEAMS or k < 1:
        raise SettingError(
            f"{len(rankings)} rankings on a page of {k}; give 2 to {MAX_TEAMS} rankings and a page of 1 row or more"
        )
    generation = same_generation(rankings)
    for ranking in rankings:
        if len(ranking) != len(requests):
            raise ContractError(
                f"a ranking of {len(ranking)} lists for {len(requests)} requests; rank each request once"
            )
    item_QRL = np.stack([_dense(ranking, k) for ranking in rankings], 1)
    item_QK, team_QK = _draft(item_QRL, _turns(requests, len(rankings), k), k)
    filled_QK = team_QK >= 0
    splits = np.concatenate([[0], np.cumsum(filled_QK.sum(1))])
    return ItemLists(item_QK[filled_QK], splits, {"team": team_QK[filled_QK]}, generation)


def credit(pages: ItemLists, clicked: Array, num_rankings: int = 2) -> Array:
    """float64[Q, R]: clicks (or any gain, such as orders) on the rows that each ranking drafted.

    clicked  a number a row of ``pages``.  Raises ContractError when there is not one a row.
    """
    if len(clicked) != len(pages.item):
        raise ContractError(f"{len(clicked)} clicks for pages of {len(pages.item)} rows; give one number a row")
    cell = pages.owner * num_rankings + pages["team"]
    earned = np.bincount(cell, np.asarray(clicked, np.float64), len(pages) * num_rankings)
    return earned.reshape(len(pages), num_rankings)


def preferences(
    credit_QR: Array, names: Sequence[str] | None = None, unit: Array | None = None, level: float = 0.95
) -> list[Preference]:
    """One Preference for each pair of rankings, in the order of ``names``.

    unit  int64[Q], the user or query of each page: the credit of a unit is added up before it votes, since its pages belong
          together.  None: every page votes.

    value = (wins + ties / 2) / units - 1/2 (Chapelle et al., Large-scale validation and analysis of interleaved search
    evaluation, TOIS 2012).  Raises ContractError when names or units do not fit, SettingError for a level outside (0, 1).
    """
    num_pages, num_rankings = credit_QR.shape
    names = [str(r) for r in range(num_rankings)] if names is None else list(names)
    if len(names) != num_rankings or (unit is not None and len(unit) != num_pages):
        raise ContractError(
            f"{len(names)} names and {'no' if unit is None else len(unit)} units for credit of shape {credit_QR.shape}; "
            "give a name a ranking and a unit a page"
        )
    if not 0 < level < 1:
        raise SettingError(f"level is {level}; give a number between 0 and 1, such as 0.95")
    credit_UR = credit_QR if unit is None else _by_unit(credit_QR, unit)
    pairs = list(combinations(range(num_rankings), 2))
    votes = [np.sign(credit_UR[:, a] - credit_UR[:, b]) for a, b in pairs]
    p = [sign_test(int((v > 0).sum()), int((v < 0).sum())) for v in votes]
    corrected = holm(p)
    return [
        _preference(names[a], names[b], v, level, p[i], float(corrected[i]))
        for i, ((a, b), v) in enumerate(zip(pairs, votes, strict=True))
    ]


def preference(credit_Q2: Array, unit: Array | None = None, level: float = 0.95) -> Preference:
    """The Preference between two rankings.  Raises ContractError when ``credit_Q2`` has not two columns."""
    if credit_Q2.ndim != 2 or credit_Q2.shape[1] != 2:
        raise ContractError(
            f"credit of shape {credit_Q2.shape}; give two columns, or use preferences() for more rankings"
        )
    return preferences(credit_Q2, ("first", "second"), unit, level)[0]


def sign_test(wins: int, losses: int) -> float:
    """Exact two-sided p that wins and losses are equally likely: min(1, 2 P(X <= min)), X binomial(wins + losses, 1/2)."""
    from scipy.special import bdtr

    if wins + losses == 0:
        return 1.0
    return float(min(1.0, 2 * bdtr(min(wins, losses), wins + losses, 0.5)))


def _preference(first: str, second: str, vote_U: Array, level: float, p: float, p_holm: float) -> Preference:
    value = half = float("nan")
    if len(vote_U):
        value = float(vote_U.mean() / 2)
        spread = vote_U.std(ddof=1) / 2 if len(vote_U) > 1 else float("nan")
        half = NormalDist().inv_cdf((1 + level) / 2) * float(spread) / len(vote_U) ** 0.5
    wins, losses = int((vote_U > 0).sum()), int((vote_U < 0).sum())
    ties = len(vote_U) - wins - losses
    return Preference(first, second, value, value - half, value + half, level, p, p_holm, wins, losses, ties)


def _by_unit(credit_QR: Array, unit_Q: Array) -> Array:
    """float64[U, R]: credit added up over the pages of each unit."""
    units, index = np.unique(unit_Q, return_inverse=True)
    total = np.zeros((len(units), credit_QR.shape[1]))
    np.add.at(total, index, credit_QR)
    return total


def _dense(ranking: ItemLists, k: int) -> Array:
    """int64[Q, K]: the first rows of each list, -1 past its end.  A page of k never needs more of one ranking."""
    item_QL = np.full((len(ranking), k), -1, np.int64)
    head = ranking.position < k
    item_QL[ranking.owner[head], ranking.position[head]] = ranking.item[head]
    return item_QL


def _turns(requests: Requests, num_rankings: int, k: int) -> Array:
    """int64[Q, K, R]: who drafts when; each of the K rounds is a random order of the rankings."""
    draw = [requests.rng(q, SALT).random((k, num_rankings)) for q in range(len(requests))]
    return np.argsort(np.asarray(draw).reshape(len(requests), k, num_rankings), axis=2)


def _draft(item_QRL: Array, turn_QKR: Array, k: int) -> tuple[Array, Array]:
    """int32[Q, K] items and int8[Q, K] teams of the pages, -1 past the end of a short page."""
    num_requests, num_rankings, _ = item_QRL.shape
    item_QK = np.full((num_requests, k), -1, np.int32)
    team_QK = np.full((num_requests, k), -1, np.int8)
    length = np.zeros(num_requests, np.int64)
    free_QRL = item_QRL >= 0
    for round_ in range(k):
        for slot in range(num_rankings):
            open_ = np.flatnonzero((length < k) & free_QRL.any((1, 2)))
            if not len(open_):
                return item_QK, team_QK
            team = turn_QKR[open_, round_, slot]
            has = free_QRL[open_, team].any(1)
            q, team = open_[has], team[has]
            item = item_QRL[q, team, free_QRL[q, team].argmax(1)]
            item_QK[q, length[q]], team_QK[q, length[q]] = item, team
            length[q] += 1
            free_QRL[q] &= item_QRL[q] != item[:, None, None]
    return item_QK, team_QK
