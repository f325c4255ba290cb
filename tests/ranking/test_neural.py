"""What the rankers that learn from the log have in common: what they learn, how a fit goes on after a kill, what a stage serves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aisle.core import registry, state
from aisle.core.errors import DataError, SettingError
from aisle.core.lists import ItemLists
from aisle.core.requests import Requests
from aisle.data.items import ItemTable
from aisle.data.shop import Shop
from aisle.data.view import View
from aisle.funnel import Plan
from aisle.ranking._impressions import impressions
from aisle.ranking.dnn import Dnn
from aisle.ranking.fusion import Fusion
from aisle.ranking.hhft import Hhft
from aisle.recipes.environment import memory_env, open_env
from aisle.retrieval.bm25 import Bm25
from aisle.simulate.known import two_kinds, two_tastes, user_of
from aisle.training.settings import TrainSettings

RANKERS = ("dcnv2", "din", "dnn", "fm", "hhft", "mmoe")
QUICK = {**Dnn.tiny_settings(), "tasks": ("click",)}


@pytest.fixture(scope="module")
def view():
    return two_tastes()


@pytest.fixture(scope="module")
def env(view):
    return replace(memory_env(view.items), counters=view)


def everything(requests: int, view) -> ItemLists:
    rows = np.arange(view.items.num_rows, dtype=np.int32)
    return ItemLists(np.tile(rows, requests), np.arange(requests + 1) * len(rows))


def asked(view, users) -> Requests:
    hashes = np.array([user_of(u) for u in users], np.int64)
    return Requests.make([""] * len(users), user=hashes, time_s=2e9, history=view.histories(hashes, 2e9))


@pytest.mark.parametrize("name", RANKERS)
def test_each_learns_who_likes_what(name, view, env):
    """A user never saw the row of the same number: it still stands above nearly all rows of the other kind."""
    cls = registry.method(f"ranking.{name}")
    settings = {**cls.tiny().model_dump(), "tasks": ("click",), "page_batch": 8}
    settings["train"] = {"epochs": 8, "lr": 1e-2, "schedule": "constant"}
    stage = cls(**settings).fit(view, env)
    users = list(range(0, 40, 3))
    score = stage.score(asked(view, users), everything(len(users), view))["score"].reshape(len(users), -1)
    above = [(score[n, u] > score[n, (u + 1) % 2 :: 2]).mean() for n, u in enumerate(users)]
    assert np.mean(above) > 0.95, above


def test_the_place_on_the_page_is_not_taken_for_liking(view, env):
    """A page served later has no places: the same features give the same score wherever an item stands."""
    stage = Dnn(**QUICK).fit(view, env)
    requests, lists = asked(view, [3]), everything(1, view)
    order = np.random.default_rng(0).permutation(40)
    plain = stage.score(requests, lists)["score"]
    moved = stage.score(requests, lists.take(order))["score"]
    np.testing.assert_allclose(moved, plain[order], rtol=1e-5)
    assert stage.model.place.weight.abs().sum() > 0, "places were learned beside"


@pytest.mark.parametrize("name", [name for name in RANKERS if name != "fm"])  # its products of numbers begin wide
def test_outputs_begin_near_the_rates_of_their_labels(name, view, env):
    """One step at a learning rate of next to nothing: what is served is what the network began with."""
    cls = registry.method(f"ranking.{name}")
    still = {"epochs": 1, "lr": 1e-9, "max_steps": 1}
    stage = cls(**{**cls.tiny().model_dump(), "tasks": ("click", "order"), "train": still}).fit(view, env)
    label_NK = impressions(view, stage.method.tasks).lists["label"]
    assert label_NK.any(0).tolist() == [True, False], "one task never occurred"
    rate = (label_NK.sum(0) + 0.5) / (len(label_NK) + 1)
    found = stage.score(asked(view, [1, 2, 3]), everything(3, view))
    served = np.array([np.median(found[column]) for column in ("ctr", "order_rate")])
    np.testing.assert_allclose(np.log(served / (1 - served)), np.log(rate / (1 - rate)), atol=0.6)


class Killed(Exception):
    """Stands for the end of the process."""


def test_a_fit_goes_on_after_a_kill_and_ends_with_the_same_numbers(view, env, tmp_path):
    settings = {**QUICK, "train": TrainSettings(epochs=4, save_every=2, watch="loss")}
    whole = Dnn(**settings).fit(view, replace(env, scratch=tmp_path / "whole"))
    seen = []

    def dying(task, done, total):
        seen.append((task, done, total))
        if done == 11:
            raise Killed

    with pytest.raises(Killed):
        Dnn(**settings).fit(view, replace(env, scratch=tmp_path / "killed", progress=dying))
    (run,) = (tmp_path / "killed").iterdir()
    assert (run / "checkpoints").exists()
    done = []
    goes_on = replace(env, scratch=tmp_path / "killed", progress=lambda task, d, total: done.append(d))
    again = Dnn(**settings).fit(view, goes_on)
    assert done[0] == 11, "the step after the last checkpoint"
    assert ("train ranking.dnn", 1, seen[0][2]) == seen[0]
    for name, tensor in whole.state().tensors.items():
        assert tensor.tobytes() == again.state().tensors[name].tobytes(), name
    for name, path in whole.files.items():
        assert path.read_bytes() == again.files[name].read_bytes(), name
    assert not (run / "checkpoints").exists(), "a fit that ended leaves no checkpoint"
    assert (run / "metrics.jsonl").exists()


def test_other_settings_never_go_on_from_anothers_checkpoint(view, env, tmp_path):
    first = {**QUICK, "train": TrainSettings(epochs=1)}
    for dropout in (0.0, 0.5):
        Dnn(**first, dropout=dropout).fit(view, replace(env, scratch=tmp_path))
    assert len(list(tmp_path.iterdir())) == 2


def test_a_saved_stage_is_json_and_safetensors_and_maps_its_tables(view, env, tmp_path):
    method = Hhft(**{**QUICK, "tasks": ("click", "order")}, width=16, heads=2)
    stage = method.fit(view, env)
    state.save(method, stage, tmp_path / "stage", generation=view.items.generation)
    kinds = {path.suffix for path in (tmp_path / "stage").iterdir()}
    assert kinds <= {".json", ".safetensors"}
    _, loaded = state.load(tmp_path / "stage", env)
    requests, lists = asked(view, [1, 2]), everything(2, view)
    for name, column in stage.score(requests, lists).items():
        np.testing.assert_array_equal(loaded.score(requests, lists)[name], column)
        assert column.dtype == np.float32


def test_columns_are_probabilities_and_the_score_weighs_them(view, env):
    stage = Dnn(**{**QUICK, "tasks": ("click", "order")}, utility={"click": 1.0, "order": 5.0}).fit(view, env)
    columns = stage.score(asked(view, [3]), everything(1, view))
    assert set(columns) == {"score", "ctr", "order_rate"} == stage.method.writes
    assert ((columns["ctr"] > 0) & (columns["ctr"] < 1)).all()
    np.testing.assert_allclose(columns["score"], columns["ctr"] + 5 * columns["order_rate"], rtol=1e-5)
    with pytest.raises(SettingError, match="utility names 'cart', the tasks are click"):
        Dnn(**QUICK, utility={"cart": 1.0}).fit(view, env)


def test_an_order_can_start_from_the_retrievers(view, env):
    """Over standardised scores: loud enough, the fused order stands; and what it reads is declared."""
    fused = Fusion(retrievers={"bm25": 1.0})
    stage = Dnn(**QUICK, start=fused, start_weight=100.0).fit(view, env)
    assert stage.method.reads == {"score_bm25"}
    lists = everything(1, view).with_columns(score_bm25=np.random.default_rng(0).random(40).astype(np.float32))
    score = stage.score(asked(view, [3]), lists)["score"]
    assert np.corrcoef(score, lists["score_bm25"])[0, 1] > 0.99
    stage.method = stage.method.model_copy(update={"start_weight": 0.01})
    quiet = stage.score(asked(view, [3]), lists)["score"]
    stage.method = stage.method.model_copy(update={"start": None})
    assert np.corrcoef(quiet, stage.score(asked(view, [3]), lists)["score"])[0, 1] > 0.99


def test_bf16_serves_nearly_the_same_order(view, env):
    settings = {**QUICK, "train": TrainSettings(epochs=2, lr=1e-2)}
    whole, short = (
        Hhft(**{**settings, "serve_precision": p}, width=16, heads=2).fit(view, env) for p in ("fp32", "bf16")
    )
    requests, lists = asked(view, [3]), everything(1, view)
    a, b = whole.score(requests, lists)["score"], short.score(requests, lists)["score"]
    assert np.corrcoef(a, b)[0, 1] > 0.999


def test_tasks_can_be_joined_by_a_balancer(view, env):
    """The priority task is learned first; the second stage goes on under its constraint."""
    seen = []
    settings = {
        **QUICK,
        "tasks": ("click", "order"),
        "balancer": "balance.lagrangian",
        "balancer_settings": {"order": ["click", "order"]},
        "train": TrainSettings(epochs=1, watch="loss"),
    }
    stage = Dnn(**settings).fit(view, replace(env, progress=lambda task, done, total: seen.append(done)))
    assert seen.count(1) == 2, "two stages"
    assert np.isfinite(stage.score(asked(view, [3]), everything(1, view))["score"]).all()


def test_reasons_name_what_moved_a_row(view, env):
    settings = {**QUICK, "train": TrainSettings(epochs=4, lr=1e-2), "page_batch": 8}
    stage = Dnn(**settings).fit(view, env)
    page = everything(1, view).take(np.arange(6))
    reasons = stage.explain(asked(view, [3]), page)
    assert [len(row) for row in reasons] == [3] * 6
    for row in reasons:
        assert [abs(r.weight) for r in row] == sorted((abs(r.weight) for r in row), reverse=True)
        assert all(r.words.endswith("raised it" if r.weight > 0 else "lowered it") for r in row)


def test_a_log_without_impressions_is_refused_with_the_remedy():
    items = ItemTable.from_table(two_kinds(6))
    with pytest.raises(DataError, match="log impressions with their request_id"):
        Dnn(**QUICK).fit(View(items), memory_env(items))


def test_a_plan_with_it_is_fitted_stored_and_served(tmp_path):
    """On a shop's folder, as ``aisle fit`` does it."""
    from aisle import funnel as funnels
    from aisle.simulate.world import simulate

    folder = tmp_path / "shop"
    simulate(folder, items=200, days=2, visits_per_day=100, num_queries=20, budget=100)
    shop = Shop.open(folder)
    env = replace(open_env(shop), counters=shop.view())
    ranking = Dnn(**{**QUICK, "negatives": 4, "tasks": ("click", "order")})
    plan = Plan(retrieval={"bm25": Bm25()}, ranking=ranking)
    fitted = funnels.fit(plan, shop.view(), env)
    version = funnels.save(fitted, shop)
    assert list((folder / "cache" / "fits").glob("ranking.dnn-*/metrics.jsonl"))
    loaded = funnels.load(shop, version, env)
    query = impressions(shop.view(), ("click",)).requests.query[0] or "lamp"
    pages = [f.serve(Requests.make([query], time_s=1.8e9), strict=True) for f in (fitted, loaded)]
    assert pages[0].lists.item.tolist() == pages[1].lists.item.tolist()
    assert "ctr" in pages[0].lists.columns
