"""Off-policy estimates against a planted truth: coverage of IPS and DR, bias and coverage of the others."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from aisle.core.errors import ContractError, SettingError
from aisle.core.lists import Array
from aisle.evaluate.counterfactual import (
    BanditLog,
    CascadeDr,
    Dm,
    Dr,
    Estimate,
    GivenPolicy,
    GivenSlates,
    Ips,
    LinearReward,
    Mrdr,
    Pi,
    SlateIps,
    SlateLog,
    Snips,
    SoftmaxPolicy,
    SwitchDr,
    TabularReward,
    fitted_reward,
    second_moment,
)

GROUPS, ACTIONS, ROUNDS, RUNS = 4, 6, 1500, 200
_DRAW = np.random.default_rng(12)
REWARD = _DRAW.uniform(0.05, 0.6, (GROUPS, ACTIONS))
SCORE = _DRAW.standard_normal((GROUPS, ACTIONS))


def softmax(score: Array) -> Array:
    raised = np.exp(score)
    return raised / raised.sum(-1, keepdims=True)


LOGGING = softmax(0.8 * SCORE)
TARGET = softmax(6 * REWARD)
TRUTH = float((TARGET * REWARD).sum(1).mean())


def draw(chance_NA: Array, rng: np.random.Generator) -> Array:
    return (chance_NA.cumsum(1) < rng.random(len(chance_NA))[:, None]).sum(1).clip(max=chance_NA.shape[1] - 1)


def logged(seed: int, rounds: int = ROUNDS) -> tuple[BanditLog, Array]:
    """A log and the group of each round."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, GROUPS, rounds)
    action = draw(LOGGING[group], rng)
    reward = (rng.random(rounds) < REWARD[group, action]).astype(float)
    return BanditLog(action, reward, LOGGING[group, action], LOGGING[group]), group


def table(group: Array) -> TabularReward:
    """One mean a group and action."""
    return TabularReward(group[:, None] * ACTIONS + np.arange(ACTIONS))


def wrong(group: Array) -> TabularReward:
    """A model that cannot tell groups apart."""
    return TabularReward(np.arange(ACTIONS))


def one_hot(group: Array) -> LinearReward:
    cell = group[:, None] * ACTIONS + np.arange(ACTIONS)
    return LinearReward(np.eye(GROUPS * ACTIONS)[cell], ridge=0.1)


ESTIMATORS: dict[str, Callable[[BanditLog, Array], Ips | Snips | Dm | Dr | SwitchDr | Mrdr]] = {
    "ips": lambda log, group: Ips(),
    "ips clipped": lambda log, group: Ips(clip=3.0),
    "snips": lambda log, group: Snips(),
    "dm": lambda log, group: Dm(fitted_reward(log, table(group))),
    "dm wrong": lambda log, group: Dm(fitted_reward(log, wrong(group))),
    "dr": lambda log, group: Dr(fitted_reward(log, table(group))),
    "dr wrong": lambda log, group: Dr(fitted_reward(log, wrong(group))),
    "switch": lambda log, group: SwitchDr(fitted_reward(log, table(group)), threshold=3.0),
    "mrdr wrong": lambda log, group: Mrdr(wrong(group)),
    "mrdr": lambda log, group: Mrdr(table(group)),
    "mrdr linear": lambda log, group: Mrdr(one_hot(group)),
}


def summary(found: list[Estimate], truth: float) -> tuple[float, float, float]:
    """(bias, standard deviation, coverage)."""
    value = np.array([f.value for f in found])
    return float(value.mean() - truth), float(value.std()), float(np.mean([f.low <= truth <= f.high for f in found]))


@pytest.fixture(scope="module")
def runs() -> dict[str, tuple[float, float, float]]:
    found: dict[str, list[Estimate]] = {name: [] for name in ESTIMATORS}
    for seed in range(RUNS):
        log, group = logged(seed)
        for name, make in ESTIMATORS.items():
            found[name].append(make(log, group).estimate(log, GivenPolicy(TARGET[group])))
    return {name: summary(f, TRUTH) for name, f in found.items()}


@pytest.mark.parametrize("name", ["ips", "dr"])
def test_intervals_with_known_propensities_cover_the_truth(
    runs: dict[str, tuple[float, float, float]], name: str
) -> None:
    bias, deviation, coverage = runs[name]
    assert 0.905 <= coverage <= 0.985
    assert abs(bias) < 3 * deviation / RUNS**0.5


def test_bias_and_coverage_of_the_others(
    runs: dict[str, tuple[float, float, float]], record_property: Callable[[str, object], None]
) -> None:
    for name, (bias, deviation, coverage) in runs.items():
        record_property(name, f"bias {bias:+.4f} deviation {deviation:.4f} coverage {coverage:.3f}")
        print(f"{name:12s} bias {bias:+.4f} deviation {deviation:.4f} coverage {coverage:.3f}")
        assert abs(bias) < 0.2
    assert runs["dm wrong"][2] < runs["dr wrong"][2]  # a wrong model misleads alone, not beside weights
    assert runs["dr"][1] < runs["ips"][1]
    assert runs["mrdr wrong"][1] < runs["dr wrong"][1]  # the least-variance fit makes the best of a wrong model
    assert runs["ips clipped"][0] < 0
    for name in ("snips", "dr wrong", "mrdr", "mrdr wrong", "mrdr linear"):
        assert runs[name][2] > 0.85


def test_ips_of_the_logging_policy_is_the_mean_of_the_log() -> None:
    log, group = logged(0)
    for estimator in (Ips(), Snips()):
        found = estimator.estimate(log, GivenPolicy(LOGGING[group]))
        assert found.value == pytest.approx(log.reward.mean())
        assert found.effective_sample_size == pytest.approx(ROUNDS)
        assert (found.max_weight, found.clipped, found.unsupported) == (pytest.approx(1), 0, 0)


def test_snips_moves_with_a_shift_of_all_rewards() -> None:
    log, group = logged(1)
    moved = BanditLog(log.action, log.reward + 5, log.propensity)
    policy = GivenPolicy(TARGET[group])
    assert Snips().estimate(moved, policy).value == pytest.approx(Snips().estimate(log, policy).value + 5)


def test_doubly_robust_limits() -> None:
    """Without a prediction it is IPS; switched off everywhere it is the direct method."""
    log, group = logged(2)
    policy, reward = GivenPolicy(TARGET[group]), REWARD[group]
    assert Dr(np.zeros(ACTIONS)).estimate(log, policy).value == pytest.approx(Ips().estimate(log, policy).value)
    assert SwitchDr(reward, 1e-9).estimate(log, policy).value == pytest.approx(Dm(reward).estimate(log, policy).value)
    assert SwitchDr(reward, 1e9).estimate(log, policy) == Dr(reward).estimate(log, policy)


def test_diagnostics_show_what_logging_never_took() -> None:
    rng = np.random.default_rng(3)
    logging = np.array([0.5, 0.5, 0.0])
    action = draw(np.tile(logging, (4000, 1)), rng)
    policy = GivenPolicy(np.array([0.2, 0.1, 0.7]))
    full = BanditLog(action, np.ones(4000), logging[action], np.tile(logging, (4000, 1)))
    taken = BanditLog(action, np.ones(4000), logging[action])
    assert Ips().estimate(full, policy).unsupported == pytest.approx(0.7)
    assert Ips().estimate(taken, policy).unsupported == pytest.approx(0.7, abs=0.02)
    assert Ips().estimate(full, policy).value < 0.5 < Snips().estimate(full, policy).value
    assert Ips(clip=0.3).estimate(full, policy).clipped == pytest.approx(0.5, abs=0.05)
    assert Ips().estimate(full, policy).effective_sample_size == pytest.approx(4000 * 0.9, rel=0.05)


def test_rounds_of_one_user_make_the_interval_wider() -> None:
    log, group = logged(4, 300)
    twice = np.repeat(np.arange(300), 4)
    policy = GivenPolicy(TARGET[group][twice])
    copied = (log.action[twice], log.reward[twice], log.propensity[twice])
    honest = Ips().estimate(BanditLog(*copied, cluster=twice), policy)
    assert honest.standard_error == pytest.approx(Ips().estimate(log, GivenPolicy(TARGET[group])).standard_error)
    assert honest.standard_error > 1.9 * Ips().estimate(BanditLog(*copied), policy).standard_error


def test_no_round_is_predicted_by_a_model_that_saw_it() -> None:
    log, group = logged(5, 200)
    changed = log.reward.copy()
    changed[7] += 100
    other = BanditLog(log.action, changed, log.propensity)
    before, after = (fitted_reward(x, table(group)) for x in (log, other))
    np.testing.assert_array_equal(before[7], after[7])
    assert not np.allclose(before, after)


def test_softmax_policies() -> None:
    log, _ = logged(6, 5)
    np.testing.assert_allclose(SoftmaxPolicy(np.array([1.0, 2, 0]), 0).probabilities(log), np.tile([0, 1, 0], (5, 1)))
    np.testing.assert_allclose(SoftmaxPolicy(np.array([9e3, 9e3]), 1).probabilities(log), 0.5)


def test_wrong_logs_and_policies_are_refused() -> None:
    log, group = logged(7, 20)
    for propensity in (0.0, np.nan, 1.2):
        with pytest.raises(ContractError, match="log the true one"):
            BanditLog(log.action, log.reward, np.where(np.arange(20) == 3, propensity, 0.5))
    with pytest.raises(ContractError, match="add up to 1"):
        Ips().estimate(log, GivenPolicy(np.full(ACTIONS, 0.5)))
    with pytest.raises(ContractError, match="a column an action"):
        Ips().estimate(log, GivenPolicy(np.ones(1)))
    with pytest.raises(ContractError, match="predictions"):
        Dr(np.zeros((3, ACTIONS))).estimate(log, GivenPolicy(TARGET[group]))
    with pytest.raises(SettingError, match="above 0"):
        Ips(clip=0).estimate(log, GivenPolicy(TARGET[group]))
    with pytest.raises(ContractError, match="not finite"):
        BanditLog(log.action, np.full(20, np.nan), log.propensity)
    with pytest.raises(ContractError, match="a row a round"):
        Ips().estimate(log, lambda_policy(np.ones((3, ACTIONS)) / ACTIONS))


def lambda_policy(chance: Array) -> GivenPolicy:
    class Fixed(GivenPolicy):
        def probabilities(self, log: BanditLog) -> Array:
            return chance

    return Fixed(chance)


# Pages: three different items of five, drawn one after the other.
ITEMS, PLACES, SLATE_RUNS = 5, 3, 120
SLATES = np.array(list(permutations(range(ITEMS), PLACES)))
GAIN = np.array([0.6, 0.5, 0.35, 0.2, 0.1])
LOOK = np.array([1.0, 0.7, 0.5])


def slate_chances(strength: Array) -> tuple[Array, Array]:
    """(chance of each slate, chance of each of its items given those above) of draws without replacement."""
    left = strength.sum() - np.concatenate([np.zeros((len(SLATES), 1)), strength[SLATES].cumsum(1)[:, :-1]], 1)
    step = strength[SLATES] / left
    return step.prod(1), step


def given_above(strength: Array, item_NK: Array) -> Array:
    """float64[N, K, A]."""
    free = np.ones((len(item_NK), ITEMS))
    out = np.zeros((*item_NK.shape, ITEMS))
    for k in range(PLACES):
        out[:, k] = strength * free / (strength * free).sum(1, keepdims=True)
        free[np.arange(len(item_NK)), item_NK[:, k]] = 0
    return out


def marginals(chance_S: Array) -> Array:
    out = np.zeros((PLACES, ITEMS))
    np.add.at(out, (np.tile(np.arange(PLACES), len(SLATES)), SLATES.ravel()), np.repeat(chance_S, PLACES))
    return out


LOGGED, WANTED = np.array([1.0, 1.2, 1.0, 1.5, 1.3]), np.array([4.0, 3.0, 2.0, 1.0, 1.0])
LOG_CHANCE, LOG_STEP = slate_chances(LOGGED)
WANT_CHANCE, _ = slate_chances(WANTED)


def earned(item_NK: Array, cascade: bool) -> Array:
    """Expected reward of each place; in a cascade a good item above lowers it."""
    gain = GAIN[item_NK] * LOOK
    if cascade:
        gain = gain * np.concatenate([np.ones((len(gain), 1)), np.cumprod(1 - gain, 1)[:, :-1]], 1)
    return gain


def slate_runs(cascade: bool, rounds: int = 500) -> dict[str, tuple[float, float, float]]:
    truth = float(WANT_CHANCE @ earned(SLATES, cascade).sum(1))
    moment = second_moment(SLATES, ITEMS, LOG_CHANCE)
    log_marginal, want_marginal = marginals(LOG_CHANCE), marginals(WANT_CHANCE)
    estimators = {"slate ips": SlateIps(), "cascade dr": CascadeDr(), "rips": CascadeDr(folds=0), "pi": Pi(moment)}
    estimators["pi independent"] = Pi()
    found: dict[str, list[Estimate]] = {name: [] for name in estimators}
    for seed in range(SLATE_RUNS):
        rng = np.random.default_rng(seed)
        pick = rng.choice(len(SLATES), rounds, p=LOG_CHANCE)
        item = SLATES[pick]
        reward = (rng.random(item.shape) < earned(item, cascade)).astype(float)
        stepwise = SlateLog(item, reward, LOG_STEP[pick])
        placewise = SlateLog(item, reward, log_marginal[np.arange(PLACES), item])
        policy = GivenSlates(want_marginal, given_above(WANTED, item))
        for name, estimator in estimators.items():
            log = placewise if name.startswith("pi") else stepwise
            found[name].append(estimator.estimate(log, policy))
    return {name: summary(f, truth) for name, f in found.items()}


@pytest.mark.parametrize("cascade", [False, True], ids=["additive", "cascade"])
def test_bias_and_coverage_of_slate_estimators(cascade: bool, record_property: Callable[[str, object], None]) -> None:
    found = slate_runs(cascade)
    for name, (bias, deviation, coverage) in found.items():
        record_property(name, f"bias {bias:+.4f} deviation {deviation:.4f} coverage {coverage:.3f}")
        print(f"{name:15s} bias {bias:+.4f} deviation {deviation:.4f} coverage {coverage:.3f}")
    sure = ["slate ips", "cascade dr", "rips"] + ([] if cascade else ["pi"])
    for name in sure:
        bias, deviation, coverage = found[name]
        assert abs(bias) < 4 * deviation / SLATE_RUNS**0.5
        assert coverage > 0.88
    assert found["cascade dr"][1] < found["rips"][1] < found["slate ips"][1]
    if not cascade:
        assert found["pi"][1] < found["slate ips"][1]
        # Items do not repeat on these pages, so places are not independent and the short form is off.
        assert abs(found["pi independent"][0]) > 4 * found["pi independent"][1] / SLATE_RUNS**0.5


def test_pi_is_exact_on_a_log_that_holds_every_slate() -> None:
    """Additive rewards without noise, each slate as often as its chance: the estimate is the truth."""
    uniform = np.full(len(SLATES), 1 / len(SLATES))
    log = SlateLog(SLATES, earned(SLATES, False), np.full(SLATES.shape, 1 / ITEMS))
    found = Pi(second_moment(SLATES, ITEMS, uniform)).estimate(log, GivenSlates(marginal=marginals(WANT_CHANCE)))
    assert found.value == pytest.approx(float(WANT_CHANCE @ earned(SLATES, False).sum(1)))


def test_pi_with_independent_places_agrees_with_its_matrix_form() -> None:
    rng = np.random.default_rng(0)
    chance = softmax(rng.standard_normal((2, 3)))
    want = softmax(rng.standard_normal((2, 3)))
    slates = np.array([(a, b) for a in range(3) for b in range(3)])
    item = slates[rng.integers(0, 9, 40)]
    log = SlateLog(item, rng.random((40, 2)), chance[np.arange(2), item], context=np.repeat([0, 2], 20))
    moment = second_moment(slates, 3, chance[0, slates[:, 0]] * chance[1, slates[:, 1]])
    policy = GivenSlates.independent(want)
    assert Pi(np.stack([moment] * 3)).estimate(log, policy).value == pytest.approx(Pi().estimate(log, policy).value)


def test_one_place_is_a_bandit() -> None:
    log, group = logged(8)
    slate = SlateLog(log.action[:, None], log.reward[:, None], log.propensity[:, None], cluster=np.arange(ROUNDS))
    policy = GivenSlates.independent(TARGET[group][:, None])
    ips = Ips().estimate(log, GivenPolicy(TARGET[group])).value
    for estimator in (SlateIps(), Pi(), CascadeDr(folds=0)):
        assert estimator.estimate(slate, policy).value == pytest.approx(ips)


def test_wrong_slates_are_refused() -> None:
    item = np.array([[0, 1]])
    with pytest.raises(ContractError, match="propensities"):
        SlateLog(item, np.zeros((1, 2)), np.array([[0.5, 0.0]]))
    with pytest.raises(ContractError, match=r"\[rounds, places\]"):
        SlateLog(item, np.zeros((1, 3)), np.ones((1, 2)))
    log = SlateLog(item, np.zeros((1, 2)), np.ones((1, 2)))
    with pytest.raises(ContractError, match="reads conditional chances"):
        CascadeDr().estimate(log, GivenSlates(marginal=np.full((2, 2), 0.5)))
    with pytest.raises(ContractError, match="items up to 1"):
        Pi().estimate(log, GivenSlates(marginal=np.ones((2, 1))))
    with pytest.raises(ContractError, match="moment of shape"):
        Pi(np.eye(3)).estimate(log, GivenSlates(marginal=np.full((2, 2), 0.5)))


def open_bandit(folder: Path) -> tuple[BanditLog, int]:
    """One file of the Open Bandit Dataset; the places of a page count as rounds."""
    with gzip.open(folder / f"{folder.name}.csv.gz", "rt") as lines:
        head = lines.readline().strip().split(",")
        wanted = [head.index(n) for n in ("item_id", "click", "propensity_score")]
        item, click, propensity = np.loadtxt(lines, delimiter=",", usecols=wanted, unpack=True)
    return BanditLog(item.astype(int), click, propensity), int(item.max()) + 1


@pytest.mark.parametrize("place", ["random/men", "bts/men", "random/women", "bts/women"])
def test_a_real_log_gives_wide_intervals(
    real_data: Callable[[str], Path], place: str, record_property: Callable[[str, object], None]
) -> None:
    """46 to 69 clicks a file: how little is known, not which policy is better."""
    log, num_actions = open_bandit(real_data("open-bandit") / place)
    policy = GivenPolicy(np.full(num_actions, 1 / num_actions))
    for name, estimator in (("ips", Ips()), ("snips", Snips()), ("ips clipped", Ips(clip=10.0))):
        found = estimator.estimate(log, policy)
        line = f"effective sample size {found.effective_sample_size:.0f}, width {found.high - found.low:.5f}"
        record_property(name, line)
        print(f"{place:13s} {name:12s} {line}")
        assert 0 < found.effective_sample_size <= len(log) * (1 + 1e-9)
        assert found.high > found.low
        if place.startswith("random"):
            assert found.effective_sample_size == pytest.approx(len(log))
