"""A fit of several stages that is stopped while a stage writes what it did."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.training.small_disk import small_disk
from tests.training.words_world import model

from aisle.core.errors import StateError
from aisle.relevance import _stages
from aisle.relevance._stages import Stages
from aisle.training.distributed import Workers
from aisle.training.settings import TrainSettings
from aisle.training.supervised import Examples, example_batches, supervised_loss


def learned_by(module, times: list[int]):
    """A stage that adds 1 to every weight, and counts how often it was asked."""

    def work(folder):
        times.append(1)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(1.0)
        return {"macro_f1": 0.5}

    return work


@pytest.fixture
def stages(env, tmp_path) -> Stages:
    return Stages("judge", replace(env, scratch=tmp_path), tmp_path / "judge")


def test_killed_while_the_report_is_written_the_stage_is_done_again(stages, monkeypatch):
    times: list[int] = []
    first = model()
    with monkeypatch.context() as patched:
        patched.setattr(_stages, "write_json", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            stages.run("tuned", first, learned_by(first, times))
    again = model()
    assert stages.run("tuned", again, learned_by(again, times)) == {"macro_f1": 0.5}
    third = model()
    assert stages.run("tuned", third, learned_by(third, times)) == {"macro_f1": 0.5}
    assert len(times) == 2, "what is written is not done a third time"
    for one, other in zip(again.parameters(), third.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_full_disk_names_the_file_and_leaves_no_half_of_one(stages):
    module = model()
    with small_disk(1000), pytest.raises(OSError, match="too large") as error:
        stages.run("tuned", module, learned_by(module, []))
    assert error.value.filename.endswith("tuned.safetensors")
    assert list(stages.home.iterdir()) == []


@pytest.mark.parametrize("name", ["tuned.safetensors", "tuned.json"])
def test_what_a_finished_stage_left_and_somebody_cut_names_the_folder_to_remove(stages, name):
    module = model()
    stages.run("tuned", module, learned_by(module, []))
    path = stages.home / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(StateError, match=f"remove {stages.home} and fit again"):
        stages.run("tuned", module, learned_by(module, []))


def test_a_person_reads_at_which_step_a_validation_found_what(stages, monkeypatch):
    said: list[str] = []
    stages = replace(stages, env=replace(stages.env, log=said.append))
    examples = Examples([np.array([3, 4])] * 4, [np.array([5, 1])] * 4)
    settings = TrainSettings(epochs=2, evaluate_every=2, watch="macro_f1", better="higher")
    found = iter((0.25, 0.5))
    stages.train(
        "tuned", model(), example_batches(examples, 2), supervised_loss, settings, stages.home,
        validate=lambda module: {"macro_f1": next(found)},
    )  # fmt: skip
    assert (
        said[0] == f"judge: tuned learns; each step's figures are in {stages.home / 'metrics.jsonl'} until it is over"
    )
    assert [line.partition(" loss/supervised ")[0] for line in said[1:]] == [
        "judge: tuned, step 2 of 4: macro f1 0.25,",
        "judge: tuned, step 4 of 4: macro f1 0.5,",
    ]
    monkeypatch.setattr(_stages, "SAID_S", 0.0)
    stages.train("again", model(), example_batches(examples, 2), supervised_loss, TrainSettings(), None)
    assert re.fullmatch(r"judge: again, step 1 of 2: loss/supervised [\d.]+", said[3]), "without validation, by time"
    said.clear()
    other = replace(stages, workers=Workers(rank=1, size=2))
    other.say("the same of another process")
    assert not said
