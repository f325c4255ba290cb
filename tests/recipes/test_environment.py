from __future__ import annotations

import numpy as np
import pytest

from aisle.core.errors import UnknownName
from aisle.core.requests import Requests
from aisle.data.shop import Shop
from aisle.engine.embedded.engine import EmbeddedEngine
from aisle.recipes import environment, plan
from aisle.recipes.environment import encode_items, memory_env, open_env
from aisle.simulate.known import two_kinds, two_tastes


@pytest.fixture
def shop(tmp_path):
    shop = Shop.create(tmp_path / "shop")
    shop.write_generation([two_kinds(40)])
    return shop


@pytest.fixture
def calls(monkeypatch):
    """Names of the expensive things that were done."""
    from aisle.nn.encoders import own

    done = []
    build, train = EmbeddedEngine.build, own.train_own
    monkeypatch.setattr(EmbeddedEngine, "build", lambda *a, **k: done.append("index") or build(*a, **k))
    monkeypatch.setattr(own, "train_own", lambda *a, **k: done.append("train") or train(*a, **k))
    return done


def served(env):
    return plan("hybrid_own").fit(two_tastes(), env).serve(Requests.make(["brass lamp"], limit=5)).lists


def test_the_second_opening_builds_nothing(shop, calls):
    env = open_env(shop)
    encode_items(env, shop, "own")
    first = served(env)
    assert calls == ["index", "train"]
    again = open_env(shop)
    assert again.engine.encoders() == ["own"]
    encode_items(again, shop, "own")
    second = served(again)
    assert calls == ["index", "train"]
    assert second.item.tolist() == first.item.tolist()
    np.testing.assert_allclose(second["score"], first["score"], atol=5e-3)


def test_a_process_that_wanted_the_same_takes_over_what_another_has_encoded(shop, calls):
    first, second = open_env(shop), open_env(shop)
    encode_items(first, shop, "own")
    encode_items(second, shop, "own")
    assert calls.count("train") == 1
    rows = np.arange(first.engine.items.num_rows)
    assert second.engine.vectors("own").has(rows).all()
    folder = shop.generation_folder(1) / "vectors" / "own"
    assert (folder / "CURRENT").read_text() == "v1", "it was written once"


def test_nothing_is_trained_before_it_is_needed(shop, calls):
    env = open_env(shop)
    assert "own" in env.encoders
    assert calls == ["index"]
    env.encoder("own")
    env.encoder("own")
    assert calls == ["index", "train"]


def test_encodings_are_kept_beside_the_generations(shop, monkeypatch):
    """A new generation with the same texts is not encoded again by an encoder that does not change with the shop."""
    asked = []

    class Counting:
        name, dim, revision = "counting", 2, "1"

        def encode(self, texts):
            asked.extend(texts)
            return np.tile(np.array([[0.6, 0.8]], np.float32), (len(texts), 1))

    def env_with_encoder():
        from dataclasses import replace

        return replace(open_env(shop), encoders={"counting": Counting()})

    encode_items(env_with_encoder(), shop, "counting")
    assert len(asked) == 40
    assert shop.generation == shop.write_generation([two_kinds(40)]) - 1
    env = env_with_encoder()
    encode_items(env, shop, "counting")
    assert len(asked) == 40
    assert env.engine.vectors("counting").has(np.arange(40)).all()


def test_a_new_generation_has_its_own_index(shop, calls):
    open_env(shop)
    shop.write_generation([two_kinds(10)])
    assert open_env(shop).engine.items.num_rows == 10
    assert calls == ["index", "index"]


def test_in_memory_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    env = memory_env(two_tastes().items)
    env.encoder("own")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UnknownName, match="did you mean 'own'"):
        env.encoder("owm")
    assert environment.own_encoder(two_tastes().items, None).dim == env.encoder("own").dim


@pytest.mark.parametrize(
    ("named", "local", "expected"),
    [
        (None, None, "cpu"),
        ("cuda", None, "cuda"),
        ("cuda", "2", "cuda:2"),
        ("cuda:1", "0", "cuda:1"),
        (None, "1", "cpu"),
    ],
)
def test_the_device_is_named_by_the_environment(monkeypatch, named, local, expected):
    for variable, value in ((environment.DEVICE, named), ("LOCAL_RANK", local)):
        monkeypatch.delenv(variable, raising=False)
        if value is not None:
            monkeypatch.setenv(variable, value)
    assert environment.device() == expected
