"""The training loop: what a step is, when a run ends, and that a killed run goes on with the very next step."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest
import torch
from tests.training.together import LIMIT_S, ROOT
from torch import nn

from aisle.core import registry
from aisle.core.errors import SettingError
from aisle.core.method import State
from aisle.training.batches import RowBatches
from aisle.training.loop import train
from aisle.training.schedules import rate_factor
from aisle.training.settings import TrainSettings, has_bf16, wants_bf16

X_ND = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
Y_N = X_ND @ torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0])


def line(dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(5, 1))


def batches(size: int = 8, seed: int = 0) -> RowBatches:
    return RowBatches(64, size, lambda rows: torch.as_tensor(rows), seed=seed)


def squared(module: nn.Module, rows: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"fit": ((module(X_ND[rows])[:, 0] - Y_N[rows]) ** 2).mean()}


def validate(module: nn.Module) -> dict[str, float]:
    return {"loss": float(squared(module, torch.arange(64))["fit"])}


def weights(module: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in module.parameters()])


def test_it_learns_and_reports(tmp_path):
    module, seen = line(), []
    settings = TrainSettings(epochs=20, lr=0.1, watch="loss")
    trained = train(
        module,
        batches(),
        squared,
        settings,
        validate=validate,
        folder=tmp_path,
        progress=lambda *done: seen.append(done),
    )
    assert trained.steps == 160
    assert trained.best["loss"] < 0.05
    assert seen[-1] == ("train", 160, 160)
    lines = [json.loads(text) for text in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in lines if "lr" in entry] == list(range(1, 161))
    assert sum("validation/loss" in entry for entry in lines) == 20


def test_accumulated_batches_are_one_large_batch():
    settings = TrainSettings(epochs=1, lr=0.01, clip=0, schedule="constant")
    large, small = line(), line()
    train(large, batches(16), squared, settings)
    train(small, batches(8), squared, settings.model_copy(update={"accumulation": 2}))
    torch.testing.assert_close(weights(large), weights(small), rtol=1e-6, atol=1e-7)


def test_a_long_gradient_is_cut_to_its_length(tmp_path):
    settings = TrainSettings(epochs=1, clip=0.5)
    train(line(), batches(), squared, settings, folder=tmp_path)
    first = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    assert first["grad_norm"] > 0.5
    module = line()
    squared(module, torch.arange(8))["fit"].backward()
    nn.utils.clip_grad_norm_(module.parameters(), 0.5)
    assert float(torch.cat([p.grad.reshape(-1) for p in module.parameters()]).norm()) == pytest.approx(0.5, rel=1e-3)


def test_rates_rise_then_fall():
    factors = [rate_factor(step, 100, 0.1, "cosine") for step in range(100)]
    assert factors[:10] == pytest.approx([(s + 1) / 10 for s in range(10)])
    assert factors[10] == pytest.approx(1.0)
    assert factors[-1] == pytest.approx(0.1, abs=0.01)
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert {rate_factor(step, 100, 0.0, "constant") for step in range(100)} == {1.0}


def test_patience_ends_a_run_and_the_best_comes_back():
    """Validation figures that get worse from the third on: the module returns to where it was at the second."""
    figures = iter([3.0, 1.0, 2.0, 2.5, 2.0, 9.0])
    kept = []

    def watched(module):
        kept.append(weights(module))
        return {"loss": next(figures)}

    module = line()
    settings = TrainSettings(epochs=50, evaluate_every=2, patience=3, lr=0.05)
    trained = train(module, batches(), squared, settings, validate=watched)
    assert trained.steps == 10
    assert trained.best == {"loss": 1.0}
    torch.testing.assert_close(weights(module), kept[1])


def test_a_figure_that_validation_does_not_give_is_refused():
    settings = TrainSettings(watch="aucs", better="higher")
    with pytest.raises(SettingError, match="did you mean 'auc'"):
        train(line(), batches(), squared, settings, validate=lambda module: {"auc": 0.5})


@pytest.mark.skipif(not has_bf16(), reason="this processor multiplies no bf16")
def test_bf16_stays_near_float32():
    plain, short = line(), line()
    settings = TrainSettings(epochs=20, lr=0.05)
    assert wants_bf16(settings.model_copy(update={"precision": "auto"}))
    train(plain, batches(), squared, settings)
    train(short, batches(), squared, settings.model_copy(update={"precision": "bf16"}))
    assert next(short.parameters()).dtype == torch.float32
    assert 0 < float((weights(plain) - weights(short)).abs().max()) < 0.05


class TwoStages:
    """A balancer that learns ``first``, then ``second`` with the first stage as its reference."""

    tasks, wants_reference = ("first", "second"), True

    def __init__(self):
        self.stage, self.references, self.levels = 0, [], []

    @property
    def active(self):
        return self.tasks[: self.stage + 1]

    def step(self, losses, shared, reference=None, mean=None):
        self.references.append(reference)
        losses[self.tasks[self.stage]].backward()
        return {"stage": float(self.stage)}

    def advance(self, levels):
        self.levels.append(levels)
        self.stage += 1
        return self.stage < 2

    def state(self):
        return State(values={"stage": self.stage})

    def load(self, state):
        self.stage = state.values["stage"]


def test_stages_go_on_from_the_best_with_a_frozen_reference():
    balancer, module = TwoStages(), line()

    def losses(module, rows):
        out = module(X_ND[rows])[:, 0]
        return {"first": ((out - Y_N[rows]) ** 2).mean(), "second": (out**2).mean()}

    def both(module):
        return {f"loss/{n}": float(v) for n, v in losses(module, torch.arange(64)).items()} | {"loss": 0.0}

    trained = train(module, batches(), losses, TrainSettings(epochs=3, lr=0.05), balancer=balancer, validate=both)
    assert trained.steps == 48
    assert balancer.references[:24] == [None] * 24
    assert all(set(r) == {"first", "second"} for r in balancer.references[24:])
    assert set(balancer.levels[0]) == {"first", "second"}
    assert balancer.levels[1]["second"] < balancer.levels[0]["second"]


def test_stages_of_different_length():
    def both(module, rows):
        return {"first": squared(module, rows)["fit"], "second": squared(module, rows)["fit"]}

    for shares, steps in (((0.25, 0.75), [8, 24]), ((0.5,), [16, 16]), ((), [32, 32])):
        balancer = TwoStages()
        train(line(), batches(), both, TrainSettings(epochs=4, stages=shares, lr=0.05), balancer=balancer)
        assert [balancer.references.count(None), len(balancer.references)] == [steps[0], sum(steps)]
    with pytest.raises(SettingError, match="greater than 0"):
        TrainSettings(stages=(0.5, 0.0))


def test_a_head_that_stands_still_does_not_choose_the_end_of_a_stage():
    seen = []

    def losses(module, rows):
        error_N = module(X_ND[rows])[:, 0] - Y_N[rows]
        return {"first": (error_N**2).mean(), "second": 0.0 * error_N.sum()}

    def validate(module):
        first = float(((module(X_ND)[:, 0] - Y_N) ** 2).mean())
        seen.append({"loss/first": first, "loss/second": 100.0 * len(seen), "loss": first + 100.0 * len(seen)})
        return seen[-1]

    balancer = TwoStages()
    train(line(), batches(), losses, TrainSettings(epochs=3, lr=0.05), balancer=balancer, validate=validate)
    assert balancer.levels[0]["first"] == min(f["loss/first"] for f in seen[:3]) < seen[0]["loss/first"]


def test_the_plain_sum_is_the_balancer_of_equal_weights():
    settings = TrainSettings(epochs=2, lr=0.05)
    alone, joined = line(), line()
    train(alone, batches(), squared, settings)
    balancer = registry.build("balance.add_up", {"weights": {"fit": 1.0}}).build(None)
    train(joined, batches(), squared, settings, balancer=balancer)
    torch.testing.assert_close(weights(alone), weights(joined))


SCRIPT = """
import sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.training import test_loop as t
plain = t.squared
t.squared = lambda module, rows: time.sleep(0.02) or plain(module, rows)
t.long_run(Path(sys.argv[1]))
"""


def long_run(folder):
    module = line(dropout=0.2)
    settings = TrainSettings(epochs=5, lr=0.05, save_every=1, evaluate_every=4)
    train(module, batches(), lambda *batch: squared(*batch), settings, validate=validate, folder=folder)
    return module


@pytest.mark.timeout(LIMIT_S)
def test_a_killed_run_goes_on_with_the_very_next_step(tmp_path):
    """Killed in the middle: the same figures at every step and the same weights at the end, dropout included."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run = subprocess.Popen([sys.executable, "-c", SCRIPT.format(root=str(ROOT)), str(killed)])
    expected = long_run(whole)
    while not (killed / "checkpoints/step-000000018").exists():
        assert run.poll() is None, "ended before it was killed"
        time.sleep(0.002)
    run.send_signal(signal.SIGKILL)
    run.wait()
    done = len((killed / "metrics.jsonl").read_text().splitlines())
    assert weights(long_run(killed)).tolist() == weights(expected).tolist()
    both = [
        [json.loads(text) for text in (home / "metrics.jsonl").read_text().splitlines()] for home in (whole, killed)
    ]
    assert done < len(both[0])
    assert both[0] == both[1]


def test_a_checkpoint_of_the_last_batch_goes_on_with_the_next_epoch(tmp_path):
    settings = TrainSettings(epochs=2, lr=0.05, save_every=8)
    first = batches()
    train(line(), first, squared, settings.model_copy(update={"max_steps": 8}), folder=tmp_path)
    again, module, whole = batches(), line(), line()
    trained = train(module, again, squared, settings, folder=tmp_path)
    train(whole, batches(), squared, settings)
    assert trained.steps == 16
    # The rate of the first eight steps followed another plan, so only the place in the data is compared.
    assert again.state() == {"epoch": 1, "next": 8}
