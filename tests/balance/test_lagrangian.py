"""Lagrangian: the checks of its card, on problems whose answer is known."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from tests.balance.toys import Conflict, OwnHeads, Point, env, train, train_stage, values
from torch import Tensor

from aisle.balance.add_up import AddUp
from aisle.balance.lagrangian import Lagrangian, LagrangianBalancer
from aisle.core.errors import ContractError, SettingError

ORDER = ("first", "second")


def lagrangian(**settings: object) -> LagrangianBalancer:
    return Lagrangian(**{"order": ORDER, **settings}).build(env())


def conflict_run(optimiser: type[torch.optim.Optimizer] = torch.optim.SGD, **settings: object):
    """The losses at the end of stage 1 and of stage 2, and stage 2's history."""
    torch.manual_seed(0)
    module, balancer = Conflict(), lagrangian(**settings)
    train_stage(module, Conflict.losses, balancer, steps=600, lr=0.1)
    reached = values(module.losses())
    balancer.advance(reached)
    reached["first"] = balancer.levels["first"]  # a running reference holds its average
    history = train_stage(module, Conflict.losses, balancer, steps=1000, lr=0.1, optimiser=optimiser)
    return reached, values(module.losses()), history


class TestConvexProblem:
    """min |theta - t|^2 subject to |A theta - b|^2 <= its minimum, a little relaxed: the answer is known."""

    slack = 1e-2

    def problem(self) -> tuple[Tensor, Tensor, Tensor]:
        draw = torch.Generator().manual_seed(3)
        full = torch.randn(6, 5, generator=draw, dtype=torch.float64)
        a_ND = full[:, :2] @ torch.randn(2, 5, generator=draw, dtype=torch.float64)  # of rank 2
        return (
            a_ND,
            torch.randn(6, generator=draw, dtype=torch.float64),
            torch.randn(5, generator=draw, dtype=torch.float64),
        )

    def answer(self, a_ND: Tensor, b_N: Tensor, t_D: Tensor, bound: float) -> Tensor:
        """theta(lambda) = (I + lambda A'A)^-1 (t + lambda A'b), lambda by bisection on the bound."""
        low, high = 0.0, 1e8
        for _ in range(200):
            middle = (low * high) ** 0.5 if low > 0 else high / 1e4
            theta_D = torch.linalg.solve(
                torch.eye(5, dtype=torch.float64) + middle * a_ND.T @ a_ND, t_D + middle * a_ND.T @ b_N
            )
            if (a_ND @ theta_D - b_N).square().sum() > bound:
                low = middle
            else:
                high = middle
        return theta_D

    def test_meets_the_analytic_optimum(self):
        a_ND, b_N, t_D = self.problem()

        def losses(point: Point) -> dict[str, Tensor]:
            return {
                "first": (a_ND @ point.theta_D - b_N).square().sum(),
                "second": (point.theta_D - t_D).square().sum(),
            }

        point = Point(torch.zeros(5, dtype=torch.float64))
        balancer = lagrangian(slack=self.slack, most=1e6)
        train_stage(point, losses, balancer, steps=600, lr=0.05)
        reached = values(losses(point))
        balancer.advance(reached)
        train_stage(point, losses, balancer, steps=2500, lr=0.05)
        expected_D = self.answer(a_ND, b_N, t_D, reached["first"] * (1 + self.slack))
        assert (point.theta_D - expected_D).abs().max() < 1e-3
        assert values(losses(point))["first"] <= reached["first"] * (1 + 1.1 * self.slack)


class TestTwoTasks:
    def test_identical_tasks_need_no_multiplier(self):
        """Started at 0, lambda stays there, and the path is that of going on with the one task."""
        module = Conflict()

        def same(m: Conflict) -> dict[str, Tensor]:
            return {"first": m.losses()["first"], "second": m.losses()["first"]}

        balancer = lagrangian(start=0.0)
        train_stage(module, same, balancer, steps=50, lr=0.1)
        alone = deepcopy(module)
        balancer.advance(values(same(module)))
        history = train_stage(module, same, balancer, steps=50, lr=0.1)
        train_stage(alone, same, AddUp(weights={"second": 1.0, "first": 0.0}).build(env()), steps=50, lr=0.1)
        assert max(figures["multiplier/first"] for figures in history) == 0.0
        for ours, plain in zip(module.parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(ours, plain)

    def test_a_constraint_that_does_not_bind_lets_go(self):
        """Task 2 is a multiple of task 1 plus what it does not touch: its training helps task 1 too."""
        module = Conflict()

        def friendly(m: Conflict) -> dict[str, Tensor]:
            first = m.losses()["first"]
            return {"first": first, "second": 2.0 * first + 0.1}

        balancer = lagrangian()
        train_stage(module, friendly, balancer, steps=30, lr=0.1)
        balancer.advance(values(friendly(module)))
        history = train_stage(module, friendly, balancer, steps=400, lr=0.1)
        assert history[0]["multiplier/first"] > 0.5
        assert history[-1]["multiplier/first"] == 0.0
        assert history[-1]["weight/second"] == 1.0

    def test_a_multiplier_rises_fast_and_below_its_start_lets_go_slowly(self):
        """200 batches at one relative violation each: well above the level, well below it."""
        reached = {}
        for violation in (0.1, -0.1):
            balancer = lagrangian()
            balancer.advance({"first": 1.0})
            x = torch.ones((), requires_grad=True)
            for _ in range(200):
                balancer.step({"first": (1 + violation) * x, "second": x}, (), {"first": 1.0, "second": 1.0})
            reached[violation] = balancer.multipliers["first"] - 1.0
        assert reached[0.1] == pytest.approx(200 * 0.2 * 0.1, rel=0.06)
        assert reached[-0.1] == pytest.approx(-0.1 * reached[0.1], rel=0.01)

    def test_a_shock_at_a_stages_beginning_is_forgotten_at_the_pace_it_came(self):
        balancer, x = lagrangian(), torch.ones((), requires_grad=True)
        balancer.advance({"first": 1.0})
        seen = []
        for violation in [0.1] * 50 + [-0.1] * 60:
            balancer.step({"first": (1 + violation) * x, "second": x}, (), {"first": 1.0, "second": 1.0})
            seen.append(balancer.multipliers["first"])
        assert max(seen) > 1.8
        assert 0.95 < seen[-1] < 1.1

    @pytest.mark.parametrize("reference", ["paired", "running"])
    def test_strong_conflict_keeps_the_first_and_helps_the_second(self, reference):
        reached, ended, _ = conflict_run(slack=0.05, reference=reference)
        assert ended["first"] <= reached["first"] * 1.08
        assert ended["second"] < reached["second"] - 0.02

    def test_without_slack_the_first_task_returns_to_its_level(self):
        reached, ended, _ = conflict_run()
        assert ended["first"] <= reached["first"] * 1.03

    def test_without_rescaling_the_learning_rate_grows_with_the_multiplier(self):
        """Plain descent, no slack: no strictly feasible point exists and lambda keeps rising."""
        _, kept, with_scale = conflict_run(rescale=True)
        _, lost, without = conflict_run(rescale=False)
        assert all(np.isclose(f["weight/first"] + f["weight/second"], 1.0) for f in with_scale)
        assert max(f["weight/first"] + f["weight/second"] for f in without) > 5.0
        assert not lost["first"] < 1.5 * kept["first"]  # far off, or no number any more

    def test_kkt_residual_falls_tenfold(self):
        """|grad L_2 + lambda grad L_1| / (1 + lambda) is the norm of the rescaled objective's gradient."""
        _, _, history = conflict_run(slack=0.05)
        assert history[-1]["grad_norm"] < history[0]["grad_norm"] / 10

    def test_swapping_priorities_swaps_what_is_protected(self):
        ended = {}
        for order in (ORDER, ORDER[::-1]):
            module = Conflict()
            train(module, Conflict.losses, lagrangian(order=order, slack=0.02), steps=500, lr=0.1)
            ended[order[0]] = values(module.losses())
        assert ended["first"]["first"] < ended["second"]["first"]
        assert ended["second"]["second"] < ended["first"]["second"]

    def test_its_final_weights_held_fixed_lead_near_it_and_not_above(self):
        torch.manual_seed(0)
        module, balancer = Conflict(), lagrangian(slack=0.05)
        train(module, Conflict.losses, balancer, steps=1000, lr=0.1)
        fixed = Conflict()
        train(fixed, Conflict.losses, AddUp(weights=balancer.weights).build(env()), steps=2000, lr=0.1)
        ours, theirs = values(module.losses()), values(fixed.losses())
        assert abs(ours["first"] - theirs["first"]) < 0.02
        assert ours["first"] <= theirs["first"] + 0.005


class TestStages:
    def test_three_tasks_with_a_tie(self):
        balancer = lagrangian(order=("relevance", ("click", "cart"), "revenue"))
        assert balancer.active == ("relevance",)
        assert not balancer.wants_reference
        assert balancer.advance({"relevance": 0.4})
        assert balancer.active == ("relevance", "click", "cart")
        assert balancer.weights == pytest.approx({"relevance": 0.475, "click": 0.475, "cart": 0.475, "revenue": 0.05})
        balancer.multipliers["relevance"] = 3.0
        assert balancer.advance({"click": 0.2, "cart": 0.1})
        assert balancer.multipliers == {"relevance": 3.0, "click": 1.0, "cart": 1.0}
        assert balancer.weights["revenue"] == pytest.approx(1 / 6)
        assert not balancer.advance({"revenue": 1.0})

    def test_a_strict_stage_leaves_the_heads_of_later_ones_alone(self):
        module = OwnHeads()
        lagrangian(ahead=0.0).step(module.losses(), ())
        assert module.heads["first"].weight.grad is not None
        assert module.heads["second"].weight.grad is None

    def test_heads_learn_ahead_of_their_stage_and_hardly_shape_what_the_first_task_reaches(self):
        """Adam divides by a gradient's size: a head with a twentieth of the weight learns as fast as one with all of it."""
        first, above_best = {}, {}
        for ahead in (0.0, Lagrangian().ahead):
            module, balancer = OwnHeads(), lagrangian(ahead=ahead)
            train_stage(module, OwnHeads.losses, balancer, steps=500, lr=0.02, optimiser=torch.optim.Adam)
            ended = values(module.losses())
            first[ahead], above_best[ahead] = ended["first"], ended["second"] / module.best_head("second")
        strict, default = first
        assert first[default] <= 1.005 * first[strict]
        assert above_best[default] < 1.01
        assert above_best[strict] > 1.05

    def test_a_later_task_has_no_level_and_no_average_before_its_stage(self):
        balancer = lagrangian(reference="running")
        balancer.step(Conflict().losses(), ())
        assert set(balancer.average) == {"first"}
        assert balancer.active == ("first",)
        balancer.advance({})
        assert set(balancer.levels) == {"first"}

    def test_levels_of_a_production_model_make_one_endless_stage(self):
        balancer = lagrangian(levels={"first": 0.3}, reference="running")
        assert balancer.learned == ("second",)
        x = torch.tensor(1.0, requires_grad=True)
        for _ in range(500):
            balancer.step({"first": 0.6 * x, "second": x}, ())
        assert balancer.violation["first"] == pytest.approx(1.0, abs=0.02)
        assert balancer.multipliers["first"] > 50
        assert not balancer.advance({"second": 1.0})

    def test_goes_on_from_its_state_as_if_never_stopped(self):
        first, balancer = Conflict(), lagrangian()
        train_stage(first, Conflict.losses, balancer, steps=20, lr=0.1)
        balancer.advance(values(first.losses()))
        resumed = lagrangian()
        resumed.load(balancer.state())
        second = deepcopy(first)
        a = train_stage(first, Conflict.losses, balancer, steps=20, lr=0.1)
        b = train_stage(second, Conflict.losses, resumed, steps=20, lr=0.1)
        assert a == b

    def test_a_running_level_is_what_the_stage_ended_with_and_not_what_it_began_with(self):
        balancer = lagrangian(reference="running")
        theta = torch.ones(1, requires_grad=True)
        for loss in np.geomspace(0.7, 0.05, 300):
            balancer.step({"first": theta.sum() * float(loss), "second": theta.sum()}, [])
        balancer.advance({})
        assert 0.05 < balancer.levels["first"] < 0.075

    def test_violations_are_averaged_over_workers(self):
        balancer = lagrangian(levels={"first": 1.0}, reference="running", memory=0.0)
        x = torch.tensor(1.0, requires_grad=True)
        balancer.step({"first": x, "second": x}, (), mean=lambda values: dict.fromkeys(values, 3.0))
        assert balancer.violation["first"] == pytest.approx(2.0)


class TestRefusals:
    def test_a_paired_constraint_wants_the_frozen_losses(self):
        balancer = lagrangian(levels={"first": 1.0})
        with pytest.raises(ContractError, match="frozen model's losses"):
            balancer.step({"first": torch.tensor(1.0, requires_grad=True)}, ())

    def test_a_loss_nobody_declared(self):
        with pytest.raises(ContractError, match="did you mean 'first'"):
            lagrangian().step({"frist": torch.tensor(1.0, requires_grad=True)}, ())

    def test_a_level_that_cannot_be_held(self):
        with pytest.raises(ContractError, match="above 0"):
            lagrangian().advance({"first": 0.0})

    @pytest.mark.parametrize(
        "settings",
        [
            {"order": ("a", "a")},
            {"order": ()},
            {"levels": {"second": 0.1}},
            {"rate": 0.0},
            {"release": 1.5},
            {"ahead": 1.0},
            {"levels": dict.fromkeys(ORDER, 0.1)},
        ],
    )
    def test_settings(self, settings):
        with pytest.raises(SettingError):
            lagrangian(**settings)
