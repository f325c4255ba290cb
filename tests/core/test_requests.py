from __future__ import annotations

import numpy as np
import pytest

from aisle.core.errors import ContractError, DeadlinePassed, UnknownName
from aisle.core.filters import In, Sort
from aisle.core.lists import ItemLists
from aisle.core.requests import Requests, RowMasks, Scene, hashed


def test_a_scalar_holds_for_every_request():
    cheap, newest = In("brand", ("A",)), Sort("created_s", descending=True)
    requests = Requests.make(["a", "b", ""], time_s=5, seed=7, filters=cheap, sort=newest, limit=3, locale="de")
    assert requests.time_s.tolist() == [5.0] * 3
    assert requests.seed.dtype == np.uint64
    assert requests.filters == (cheap,) * 3
    assert requests.sort == (newest,) * 3
    assert requests.limit.tolist() == [3, 3, 3]
    assert requests.locale == ("de",) * 3
    assert requests.user.tolist() == [-1] * 3
    assert len(requests.history) == 3


def test_the_scene_follows_from_what_is_asked():
    assert set(Requests.make(["lamp", ""]).scene) == {Scene.SEARCH}
    assert set(Requests.make(["", ""]).scene) == {Scene.FEED}
    assert set(Requests.make([""], anchor=np.array([3])).scene) == {Scene.SIMILAR}
    assert Requests.make(["", "a"], scene=np.array([1, 0])).scene.tolist() == [1, 0]


def test_arrays_are_made_whole():
    """A broadcast view would be one number that all requests share."""
    seed = Requests.make(["a", "b"], seed=3).seed
    seed[0] = 9
    assert seed.tolist() == [9, 3]


def test_select_takes_every_field_along():
    item = np.array([4, 5, 6], np.int32)
    requests = Requests.make(
        ["a", "b", "c"],
        user=np.array([1, 2, 3]),
        filters=[None, In("x", (1,)), None],
        history=ItemLists(item, np.array([0, 2, 3, 3])),
        columns={"emb_own": np.eye(3, dtype=np.float32)},
    )
    masks = RowMasks(np.array([[True, False], [False, True]]), np.array([0, 1, 0]))
    picked = Requests(**{n: getattr(requests, n) for n in requests.__slots__} | {"allowed": masks}).select(
        np.array([1, 0])
    )
    assert picked.query == ("b", "a")
    assert picked.user.tolist() == [2, 1]
    assert picked.filters == (In("x", (1,)), None)
    assert picked.history.item.tolist() == [6, 4, 5]
    assert picked["emb_own"].tolist() == [[0, 1, 0], [1, 0, 0]]
    assert picked.masks().of(0).tolist() == [False, True]
    assert picked.masks().of(1).tolist() == [True, False]


def test_random_numbers_do_not_depend_on_the_batch():
    requests = Requests.make(["a", "b", "c"], seed=np.array([5, 6, 5], np.uint64))
    draws = [requests.rng(q, salt=1).random(4).tolist() for q in range(3)]
    back = requests.select(np.array([2, 1]))
    assert back.rng(1, salt=1).random(4).tolist() == draws[1]
    assert draws[0] == draws[2], "page 2 of a session repeats the draws of page 1"
    assert draws[0] != draws[1]
    assert requests.rng(0, salt=2).random(4).tolist() != draws[0]


@pytest.mark.parametrize(
    ("name", "number"), [("", -1), ("u1", 7689094955924901065), ("Ünïcode 用户", 6551339761941432196)]
)
def test_hashed_ids_never_change(name, number):
    """Saved events and stages hold these numbers."""
    assert hashed(name) == number


def test_hashed_ids_fit_a_signed_column():
    numbers = [hashed(f"user {n}") for n in range(2000)]
    assert min(numbers) >= 0
    assert max(numbers) < 2**63
    assert len(set(numbers)) == 2000


def test_masks_refuse_what_lies_beyond_them():
    masks = RowMasks(np.array([[True, True, False], [False, True, True]]), np.array([1, 0]))
    owner = np.array([0, 0, 1, 1, 0, 1])
    item = np.array([0, 2, 0, 2, 3, -1], np.int32)
    assert masks.allows(owner, item).tolist() == [False, True, True, False, False, False]
    assert masks.select(np.array([1])).of(0).tolist() == [True, True, False]


def test_lengths_must_agree():
    with pytest.raises(ContractError, match="2 requests came with 1 histories"):
        Requests.make(["a", "b"], history=ItemLists.empty(1))
    with pytest.raises(ContractError, match="request column 'age' has 3 rows, there are 2"):
        Requests.make(["a", "b"], columns={"age": np.zeros(3)})
    with pytest.raises(ContractError, match="2 requests came with 1 filters"):
        Requests.make(["a", "b"], filters=[None])
    with pytest.raises(ContractError, match=r"2 requests came with values of shape \(3,\); give one a request"):
        Requests.make(["a", "b"], user=np.array([1, 2, 3]))


def test_an_uncompiled_request_says_what_to_do():
    with pytest.raises(ContractError, match=r"call engine\.compile"):
        Requests.make(["a"]).masks()
    with pytest.raises(UnknownName, match="did you mean 'emb_own'"):
        Requests.make(["a"], columns={"emb_own": np.zeros((1, 2))})["emb_onw"]


def test_deadline():
    Requests.make(["a"]).check_deadline()
    with pytest.raises(DeadlinePassed, match="ms past the deadline"):
        Requests.make(["a"], deadline_s=0.0).check_deadline()
