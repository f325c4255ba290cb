"""AddUp, Uncertainty and PCGrad."""

from __future__ import annotations

import json
from copy import deepcopy
from math import log

import numpy as np
import pytest
import torch
from tests.balance.toys import Conflict, env, train_stage
from torch import Tensor

from aisle.balance.add_up import AddUp
from aisle.balance.pcgrad import PCGrad, surgery
from aisle.balance.uncertainty import Uncertainty
from aisle.core import registry
from aisle.core.errors import SettingError

TASKS = ("first", "second")


class TestAddUp:
    def test_gradient_is_that_of_the_weighted_sum(self):
        x = torch.tensor([1.0, 2.0], requires_grad=True)
        AddUp(weights={"first": 0.3, "second": 2.0}).build(env()).step({"first": x[0] ** 2, "second": x[1] ** 2}, ())
        torch.testing.assert_close(x.grad, torch.tensor([0.6, 8.0]))

    def test_a_batch_without_a_task(self):
        x = torch.tensor(1.0, requires_grad=True)
        AddUp(weights=dict.fromkeys(TASKS, 1.0)).build(env()).step({"second": x**2}, ())
        assert x.grad == 2.0

    @pytest.mark.parametrize("weights", [{}, {"a": -1.0}, {"a": 0.0}])
    def test_weights_that_train_nothing(self, weights):
        with pytest.raises(SettingError):
            AddUp(weights=weights)


class TestUncertainty:
    def test_weights_settle_at_one_over_twice_the_loss(self):
        x = torch.zeros(1, requires_grad=True)
        balancer = Uncertainty(tasks=TASKS).build(env())
        for _ in range(600):
            balancer.step({"first": 0.2 + 0 * x.sum(), "second": 3.0 + 0 * x.sum()}, ())
        assert balancer.log_variance["first"] == pytest.approx(log(0.4), abs=1e-3)
        assert balancer.log_variance["second"] == pytest.approx(log(6.0), abs=1e-3)


class TestPCGrad:
    def test_two_opposed_gradients_each_lose_their_part_against_the_other(self):
        grad_KP = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
        combined_P, conflicts = surgery(grad_KP, np.random.default_rng(0))
        # g1 - (g1.g2/|g2|^2) g2 = (1, 0) + (-.5, .5);  g2 - (g2.g1/|g1|^2) g1 = (0, 1)
        torch.testing.assert_close(combined_P, torch.tensor([0.5, 1.5]))
        assert conflicts == 1.0

    def test_equals_the_formula_written_out_for_many_tasks(self):
        grad_KP = torch.randn(5, 40, generator=torch.Generator().manual_seed(1))
        combined_P, _ = surgery(grad_KP, np.random.default_rng(7))
        random, total_P = np.random.default_rng(7), torch.zeros(40)
        for i in range(5):
            g_P = grad_KP[i].clone()
            for j in random.permutation(5):
                along = g_P @ grad_KP[j]
                if j != i and along < 0:
                    g_P -= along / grad_KP[j].square().sum() * grad_KP[j]
            total_P += g_P
        torch.testing.assert_close(combined_P, total_P, rtol=1e-4, atol=1e-5)

    def test_gradients_that_agree_are_left_as_they_are(self):
        grad_KP = torch.tensor([[1.0, 0.2], [1.0, 0.0], [0.5, 0.1]])
        combined_P, conflicts = surgery(grad_KP, np.random.default_rng(0))
        torch.testing.assert_close(combined_P, grad_KP.sum(0))
        assert conflicts == 0.0

    def test_reaches_heads_shared_layers_and_what_lies_behind_looked_up_rows(self):
        table, heads = torch.nn.Embedding(10, 4), {task: torch.nn.Linear(4, 1) for task in TASKS}
        rows_BD = table(torch.tensor([1, 3, 3]))
        losses = {"first": heads["first"](rows_BD).mean(), "second": heads["second"](rows_BD).mean()}
        PCGrad(tasks=TASKS).build(env()).step(losses, [rows_BD])
        assert all(head.weight.grad.abs().sum() > 0 for head in heads.values())
        first, second = (heads[task].weight[0].detach() / 3 for task in TASKS)
        grad_KP = torch.stack([first.repeat(3), second.repeat(3)])
        expected_BD = surgery(grad_KP, np.random.default_rng((0, 0x9C6, 0)))[0].view(3, 4)
        torch.testing.assert_close(table.weight.grad[1], expected_BD[0], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(table.weight.grad[3], expected_BD[1] + expected_BD[2], rtol=1e-4, atol=1e-6)

    def test_goes_on_from_its_state_with_the_same_draws(self):
        module, balancer = Conflict(opposed=0.7), PCGrad(tasks=TASKS).build(env(3))
        shared = list(module.shared.parameters())
        train_stage(module, Conflict.losses, balancer, steps=5, lr=0.1, shared=shared)
        copy, resumed = deepcopy(module), PCGrad(tasks=TASKS).build(env(99))
        resumed.load(balancer.state())
        a = train_stage(module, Conflict.losses, balancer, steps=5, lr=0.1, shared=shared)
        b = train_stage(copy, Conflict.losses, resumed, steps=5, lr=0.1, shared=list(copy.shared.parameters()))
        assert a == b


def losses_of(name: str, x: Tensor) -> dict[str, Tensor]:
    return {task: (x - k).square().sum() for k, task in enumerate(registry.method(name).tiny().build(env()).tasks)}


@pytest.mark.parametrize("name", [n for n in registry.names() if n.startswith("balance.")])
class TestEveryBalancer:
    def test_step_leaves_a_gradient_and_figures(self, name):
        balancer, x = registry.method(name).tiny().build(env()), torch.ones(3, requires_grad=True)
        figures = balancer.step(losses_of(name, x), [x])
        assert all(isinstance(value, float) for value in figures.values())
        assert x.grad is not None
        assert torch.isfinite(x.grad).all()

    def test_gradients_add_up_over_micro_batches(self, name):
        balancer, x = registry.method(name).tiny().build(env()), torch.ones(3, requires_grad=True)
        balancer.step(losses_of(name, x), [x])
        once = x.grad.clone()
        balancer.step(losses_of(name, x), [x])
        assert (x.grad.abs() >= once.abs()).all()

    def test_state_is_plain_and_loads(self, name):
        balancer, x = registry.method(name).tiny().build(env()), torch.ones(3, requires_grad=True)
        balancer.step(losses_of(name, x), [x])
        saved = balancer.state()
        fresh = registry.method(name).tiny().build(env(5))
        fresh.load(saved.__class__(values=json.loads(json.dumps(dict(saved.values)))))
        assert fresh.state().values == saved.values
