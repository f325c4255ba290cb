"""Figures and what they wear: the map from the flat garment to the figure is known and holds."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from aisle.core.errors import SettingError
from aisle.simulate.pictures.figures import JOINTS, PARTS, Pose, barycentric, covered, dress, figure, figures
from aisle.simulate.pictures.garments import KINDS, garment
from aisle.simulate.pictures.marks import coverage, outlines

WORN = tuple(kind for kind in KINDS if kind != "swimsuit")


def test_figures_differ_and_are_a_function_of_the_seed() -> None:
    some = figures(12, 3)
    assert [f.pose for f in some[:5]] == [f.pose for f in figures(5, 3)]
    assert len({f.pose for f in some}) == 12
    for one in some:
        xy = one.joint_points()
        assert xy.shape == (len(JOINTS), 2)
        assert (xy > 0).all()
        assert (xy < 1).all()
        seen = set(one.parse(96).ravel().tolist())
        assert {PARTS.index(p) for p in ("background", "torso", "arm_left", "leg_right", "head", "hair")} <= seen
    with pytest.raises(SettingError, match="give below"):
        figure(Pose(skin=99))


def test_arms_and_legs_have_their_length_in_every_pose() -> None:
    for one in figures(6, 1):
        j, pose = one.joints, one.pose
        for side in ("left", "right"):
            for names, length in ((("shoulder", "elbow", "wrist"), pose.arm), (("hip", "knee", "ankle"), pose.leg)):
                points = np.array([j[f"{n}_{side}"] for n in names])
                assert sum(np.hypot(*(b - a)) for a, b in pairwise(points)) == pytest.approx(length)


@pytest.mark.parametrize("kind", WORN)
def test_control_points_arrive_where_the_truth_says(kind: str) -> None:
    for number, wearer in enumerate(figures(4, 5)):
        cloth = garment(kind, number % 3, 61 * number)
        worn = dress(wearer, cloth)
        names = [n for n in cloth.points if n in worn.points]
        carried = worn.carried(np.array([cloth.points[n] for n in names]))
        wanted = np.array([worn.points[n] for n in names])
        on = ~np.isnan(carried).any(axis=1)
        assert on.mean() > 0.7
        assert np.abs(carried - wanted)[on].max() < 1e-6
        flat = coverage([p for p, _ in outlines(cloth.outline)], 200).sum()
        assert sum(_area(t) for t in worn.source) == pytest.approx(flat, rel=0.15)


def test_the_texture_map_shows_each_point_where_it_is_carried() -> None:
    cloth = garment("shirt", 1, 9)
    worn = dress(figure(), cloth)
    place, seen = worn.texture(100)
    assert seen.sum() > 1000
    middle = np.array([[100.0, 100.0]])
    x, y = worn.carried(middle)[0]
    assert seen[int(y / 2), int(x / 2)]
    assert np.abs(place[int(y / 2), int(x / 2)] * 200 - middle[0]).max() < 4


def test_a_garment_hides_what_it_covers_and_is_as_long_as_it_is_cut() -> None:
    wearer = figure(Pose(arm_left=75, arm_right=60))
    for kind, part in (("trousers", "leg_left"), ("sweater", "torso")):
        _, seen = dress(wearer, garment(kind, 1, 3)).texture(120)
        bare = covered(wearer.parts[part], 120) > 0.5
        assert (seen & bare).sum() > 0.75 * bare.sum()
    hem = [dress(wearer, garment("skirt", 1, long)).points["hem_left"][1] for long in (0, 3, 7)]
    assert hem[0] < hem[1] < hem[2]
    raised = dress(replace_pose(wearer, arm_left=20.0), garment("shirt", 1, 9)).points
    lowered = dress(replace_pose(wearer, arm_left=80.0), garment("shirt", 1, 9)).points
    assert raised["cuff_outer_left"][1] < lowered["cuff_outer_left"][1] - 20
    assert raised["cuff_outer_right"] == lowered["cuff_outer_right"]
    with pytest.raises(SettingError, match="give a top"):
        dress(wearer, garment("swimsuit", 1, 0))


def test_barycentric_weights() -> None:
    triangle = np.array([[0.0, 0], [2, 0], [0, 2]])
    assert barycentric(triangle, np.array([[0.5, 0.5]]))[0] == pytest.approx([0.5, 0.25, 0.25])
    assert (barycentric(np.zeros((3, 2)), np.ones((2, 2))) == -1).all()
    assert replace(dress(figure(), garment("tee", 1, 0)), points={}).carried(np.array([[0.0, 0.0]])).tolist() != [
        [0, 0]
    ]


def replace_pose(wearer, **changes: float):
    return figure(wearer.pose._replace(**changes))


def _area(triangle: np.ndarray) -> float:
    (ax, ay), (bx, by), (cx, cy) = triangle
    return abs((bx - ax) * (cy - ay) - (cx - ax) * (by - ay)) / 2
