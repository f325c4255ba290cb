"""Exposure targets of merchants, and streams for online learning."""

from __future__ import annotations

import numpy as np
import pytest

from aisle.core.errors import SettingError
from aisle.simulate.loop.exposure import KINDS, targets
from aisle.simulate.loop.streams import FEATURES, from_town, planted
from aisle.simulate.loop.town import Town
from aisle.simulate.world import World


@pytest.fixture(scope="module")
def world() -> World:
    return World.make(800, 2)


def test_targets_promise_a_share_of_all_impressions(world: World) -> None:
    found = targets(world, 20_000, promised=0.1)
    assert 0.08 < found.quota.sum() / 20_000 < 0.12
    assert len(set(found.merchant)) == len(found) > 3
    assert {KINDS[kind] for kind in found.kind} <= set(KINDS)
    assert found.worth.mean() == pytest.approx(1)
    merchant = np.array(world.items["merchant"].to_pylist())
    for row in (0, 17, 400):
        owner = found.owner[row]
        assert (merchant[row] not in found.merchant) if owner < 0 else merchant[row] == found.merchant[owner]


def test_what_was_delivered_is_no_longer_missing(world: World) -> None:
    found = targets(world, 20_000)
    row = int(np.flatnonzero(found.owner == 0)[0])
    shown = np.array([row] * 5 + [-1])
    assert found.delivered(shown)[0] == 5
    assert found.missing(shown)[0] == found.quota[0] - 5
    assert found.missing(np.full(10**5, row))[0] == 0
    with pytest.raises(SettingError, match="share"):
        targets(world, 100, promised=1.5)


def test_a_planted_stream_says_where_the_best_weights_are() -> None:
    stream = planted(20_000, changes=3, seed=1)
    assert stream.weight.shape == (4, 20)
    assert np.allclose(np.abs(stream.weight).sum(1), 3)
    assert stream.path > 1
    assert abs(stream.label.mean() - stream.probability.mean()) < 0.015
    one = planted(100, changes=0)
    assert one.path == 0
    with pytest.raises(SettingError, match="rounds"):
        planted(3, changes=5)


def test_a_stream_of_a_town_is_displayed_facts_and_clicks(world: World) -> None:
    stream = from_town(Town(world, users=200), 2, 300)
    assert stream.feature.shape == (len(stream), len(FEATURES))
    assert np.abs(stream.feature).max() < 4
    assert np.isfinite(stream.feature).all()
    assert abs(stream.label.mean() - stream.probability.mean()) < 0.01
    assert set(stream.phase) == {0, 1}
    later = stream.feature[stream.phase == 1]
    assert later[:, -1].mean() > stream.feature[stream.phase == 0][:, -1].mean()
