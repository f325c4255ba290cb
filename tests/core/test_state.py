from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from aisle.core import registry, state
from aisle.core.errors import GenerationError, SettingError, StateError
from aisle.core.method import NOTHING, Method, State
from aisle.core.requests import Requests
from aisle.ranking.fusion import Fusion
from aisle.recipes.environment import memory_env
from aisle.simulate.known import two_tastes

STAGE_V0 = Path(__file__).parent / "stage_v0"


class Keeper(Method):
    """Keeps numbers, words and a file."""

    settings_version: ClassVar[int] = 3
    width: int = 4

    def restore(self, state, env, given=NOTHING):
        return KeeperStage(state)

    @classmethod
    def migrate(cls, settings, version):
        """Version 1 called the width ``size``; version 2 counted it in pairs."""
        if version == 1:
            settings = {"width": settings["size"]}
        return {"width": settings["width"] * 2}


class KeeperStage:
    def __init__(self, state):
        self.kept = state

    def state(self):
        return self.kept


@pytest.fixture(scope="module")
def env():
    return memory_env(two_tastes(items=6).items)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """``ranking.keeper`` stands in the register while a test runs."""
    by_name = registry.method
    monkeypatch.setattr(registry, "method", lambda name: Keeper if name == "ranking.keeper" else by_name(name))
    monkeypatch.setattr(Keeper, "_registered", "ranking.keeper", raising=False)


def saved(folder, *, width=4, **edit):
    """A saved keeper; ``edit`` changes its record afterwards."""
    side = folder.parent / "side.txt"
    side.write_text("by the side")
    kept = State({"a": np.arange(6, dtype=np.int16).reshape(2, 3)[:, ::-1]}, {"words": ["x", "ü"]}, {"side.txt": side})
    version = state.save(Keeper(width=width), KeeperStage(kept), folder, generation=0, needs={"teacher": "v9"})
    if edit:
        record = json.loads((folder / "stage.json").read_text())
        (folder / "stage.json").write_text(json.dumps({n: v for n, v in (record | edit).items() if v is not None}))
    return version


def test_saved_and_loaded(tmp_path, env):
    version = saved(tmp_path / "stage", width=7)
    method, stage = state.load(tmp_path / "stage", env)
    assert method == Keeper(width=7)
    assert stage.kept.tensors["a"].dtype == np.int16
    np.testing.assert_array_equal(stage.kept.tensors["a"], [[2, 1, 0], [5, 4, 3]])
    assert stage.kept.values == {"words": ["x", "ü"]}
    assert stage.kept.files["side.txt"].read_text() == "by the side"
    assert stage.kept.files["side.txt"].parent == tmp_path / "stage"
    assert state.read_record(tmp_path / "stage").needs == {"teacher": "v9"}
    assert saved(tmp_path / "again", width=7) == version, "the version names what it is, not where or when"
    assert saved(tmp_path / "other", width=8) != version


def test_no_pickle_on_disk(tmp_path):
    saved(tmp_path / "stage")
    assert {p.name for p in (tmp_path / "stage").iterdir()} == {"stage.json", "tensors.safetensors", "side.txt"}
    assert not any(p.read_bytes().startswith(b"\x80") for p in (tmp_path / "stage").iterdir())


@pytest.mark.parametrize("name", ["tensors.safetensors", "side.txt"])
def test_a_changed_file_is_refused(tmp_path, env, name):
    saved(tmp_path / "stage")
    content = bytearray((tmp_path / "stage" / name).read_bytes())
    content[-1] ^= 1
    (tmp_path / "stage" / name).write_bytes(content)
    with pytest.raises(StateError, match=f"{name} does not have its recorded hash; restore a backup or fit"):
        state.load(tmp_path / "stage", env)


@pytest.mark.parametrize("name", ["tensors.safetensors", "side.txt"])
def test_a_missing_file_is_refused(tmp_path, env, name):
    saved(tmp_path / "stage")
    (tmp_path / "stage" / name).unlink()
    with pytest.raises(StateError, match=f"{name} is missing; restore it"):
        state.load(tmp_path / "stage", env)


def test_a_folder_without_a_stage(tmp_path, env):
    with pytest.raises(StateError, match="holds no saved stage"):
        state.load(tmp_path, env)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"format": 1}', '{"format": 1, "metod": "ranking.fusion"}', "3"])
def test_a_damaged_record_is_refused(tmp_path, env, text):
    (tmp_path / "stage.json").write_text(text)
    with pytest.raises(StateError, match=r"stage\.json is damaged .*fit the stage again"):
        state.load(tmp_path, env)


def test_a_newer_format_is_refused(tmp_path, env):
    saved(tmp_path / "stage", format=state.FORMAT + 1)
    with pytest.raises(
        StateError, match=f"format {state.FORMAT + 1}; this aisle reads up to {state.FORMAT}: update aisle"
    ):
        state.load(tmp_path / "stage", env)


def test_another_generation_is_refused_with_the_remedy(tmp_path, env):
    saved(tmp_path / "stage", generation=4)
    with pytest.raises(
        GenerationError, match=r"fitted on generation 4, the shop is at 0.*aisle fit SHOP ranking.keeper"
    ):
        state.load(tmp_path / "stage", env)


def test_a_stage_of_format_0_loads_and_answers(env):
    """A stage as the first format wrote it, checked in."""
    method, stage = state.load(STAGE_V0, env)
    assert method == Fusion(retrievers={"bm25": 2.0, "popular": 1.0}, kind="rrf", k=10.0)
    rank = {"rank_bm25": np.array([0, -1], np.int32), "rank_popular": np.array([3, 0], np.int32)}
    lists = state_lists(rank)
    np.testing.assert_allclose(
        stage.score(Requests.make(["lamp"]), lists)["score"], [2 / 11 + 1 / 14, 1 / 11], rtol=1e-6
    )


def state_lists(columns):
    from aisle.core.lists import ItemLists

    return ItemLists(np.arange(2, dtype=np.int32), np.array([0, 2]), columns)


def test_a_stage_of_format_0_saved_again_has_todays_format(tmp_path, env):
    method, stage = state.load(STAGE_V0, env)
    state.save(method, stage, tmp_path / "new", generation=0)
    assert json.loads((tmp_path / "new" / "stage.json").read_text())["format"] == state.FORMAT
    assert state.load(tmp_path / "new", env)[0] == method


@pytest.mark.parametrize(
    ("version", "settings", "width"), [(1, {"size": 3}, 6), (2, {"width": 5}, 10), (3, {"width": 5}, 5)]
)
def test_older_settings_are_brought_up_to_date(tmp_path, env, version, settings, width):
    saved(tmp_path / "stage", settings=settings, settings_version=version)
    assert state.load(tmp_path / "stage", env)[0] == Keeper(width=width)


def test_newer_settings_are_refused(tmp_path, env):
    saved(tmp_path / "stage", settings_version=4)
    with pytest.raises(StateError, match=r"settings of version 4; this ranking\.keeper reads up to 3: update"):
        state.load(tmp_path / "stage", env)


def test_settings_that_nobody_knows_are_refused(tmp_path, env):
    saved(tmp_path / "stage", settings={"widht": 3})
    with pytest.raises(SettingError, match="did you mean 'width'"):
        state.load(tmp_path / "stage", env)


class Raising:
    def state(self):
        raise RuntimeError("no state today")


@pytest.mark.parametrize(
    "stage",
    [
        Raising(),
        KeeperStage(State(files={"side.txt": Path("/nowhere/side.txt")})),
        KeeperStage(State(tensors={"a": np.array(["text"])})),
        KeeperStage(State(values={"not json": {1, 2}})),
    ],
    ids=["state raises", "file missing", "tensor of text", "value not JSON"],
)
def test_a_save_that_fails_leaves_nothing_behind(tmp_path, stage):
    with pytest.raises(Exception):  # noqa: B017, PT011
        state.save(Keeper(), stage, tmp_path / "stage", generation=0)
    assert list(tmp_path.iterdir()) == []


def test_a_stage_is_never_written_over(tmp_path, env):
    saved(tmp_path / "stage", width=7)
    with pytest.raises(OSError):  # noqa: PT011
        saved(tmp_path / "stage", width=8)
    assert state.load(tmp_path / "stage", env)[0] == Keeper(width=7)
    shutil.rmtree(tmp_path / "stage")
    assert [p.name for p in tmp_path.iterdir()] == ["side.txt"]
