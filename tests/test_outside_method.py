"""A method of another package: one file and its entry point, found, checked, fitted, saved, loaded and served.

Everything runs in a fresh interpreter whose path holds the package: nothing of aisle is edited, nothing is registered by hand.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"

METHOD = '''
"""Mine: the words' score, and a little for what is often reviewed."""

from __future__ import annotations

import numpy as np

from aisle.core.method import NOTHING, Method, State
from aisle.core.roles import Reason


class Mine(Method):
    """reviews: how much the logarithm of an item's number of reviews counts."""

    reviews: float = 0.1

    @property
    def reads(self):
        return frozenset({"score_bm25"})

    @property
    def writes(self):
        return frozenset({"score"})

    def fit(self, shop, env, given=NOTHING):
        mean = float(np.log1p(np.nan_to_num(shop.items.number("rating_count"))).mean())
        return MineStage(self, env, np.array([mean], np.float32))

    def restore(self, state, env, given=NOTHING):
        return MineStage(self, env, state.tensors["mean"])


class MineStage:
    def __init__(self, settings, env, mean):
        self.settings, self.env, self.mean = settings, env, mean

    def score(self, requests, candidates):
        reviews = np.log1p(np.nan_to_num(self.env.engine.items.number("rating_count", candidates.item)))
        return {"score": (candidates["score_bm25"] + self.settings.reviews * (reviews - self.mean[0])).astype(np.float32)}

    def explain(self, requests, page):
        return [[Reason("ranking.mine", "mine says so")] for _ in page.item]

    def state(self):
        return State(tensors={"mean": self.mean})
'''

FOUND = """
import json, sys
from aisle.core import registry
assert "ranking.mine" in registry.names()
assert "mine" not in sys.modules, "found without being imported"
assert registry.method("ranking.mine").__name__ == "Mine"
"""

DIRECT = """
from mine import Mine
from aisle.core import registry
from aisle.funnel import Plan
from aisle.retrieval.bm25 import Bm25
plan = Plan(retrieval={"bm25": Bm25()}, ranking=Mine(reviews=0.5))
assert registry.name_of(Mine()) == "ranking.mine", registry.name_of(Mine())
assert Plan.from_json(plan.to_json()) == plan, "a plan made of the class itself comes back from JSON"
"""

CHECKED = """
from aisle.testing import CHECKS, fitted_case
case = fitted_case("ranking.mine")
for check in CHECKS:
    check(case)
assert len(CHECKS) >= 12
"""

SERVED = """
import sys
import numpy as np
from pathlib import Path
from aisle import funnel as funnels
from aisle.core.requests import Requests
from aisle.data.shop import Shop
from aisle.recipes import plan
from aisle.recipes.environment import open_env
from aisle.simulate.known import two_kinds

shop = Shop.create(Path(sys.argv[1]))
shop.write_generation([two_kinds(40)])
env = open_env(shop)
mine = plan("lexical").with_setting("ranking=ranking.mine").with_setting("ranking.reviews=0.5")
fitted = mine.fit(shop.view(), env)
asked = Requests.make(["brass lamp"], limit=5)
page = fitted.serve(asked, strict=True)
version = funnels.save(fitted, shop)
assert (shop.stage_folder("ranking.mine", fitted.fitted["ranking"].version) / "stage.json").exists()

again = funnels.load(shop, version, open_env(shop))
assert again.plan == mine
assert again.serve(asked, strict=True).lists.item.tolist() == page.lists.item.tolist()
assert any(r.words == "mine says so" for r in again.explain(asked, page.lists)[0])
shop.point(funnel=version)
print(page.lists.item.tolist())
"""

SITE = """
import sys
from starlette.testclient import TestClient
from aisle.serve.app import create_app
from aisle.serve.live import LiveShop

live = LiveShop(sys.argv[1]).start()
assert live.wait_ready(30)
assert live.wait_settled(60)
with TestClient(create_app(live)) as client:
    found = client.get("/api/search", params={"q": "brass lamp", "limit": 5})
    assert found.status_code == 200, found.text
    body = found.json()
    ranking = live.active.funnel.fitted["ranking"].method
    assert type(ranking).__name__ == "Mine", type(ranking)
    assert ranking.reviews == 0.5
print([item["id"] for item in body["items"]])
"""


WITHOUT = """
import sys
from aisle import funnel
from aisle.data.shop import Shop
from aisle.recipes.environment import open_env

shop = Shop.open(sys.argv[1])
try:
    funnel.load(shop, shop.pointer()["funnel"], open_env(shop))
except LookupError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """A folder with one module and what an installation records of it."""
    folder = tmp_path_factory.mktemp("package")
    (folder / "mine.py").write_text(METHOD)
    info = folder / "aisle_mine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: aisle-mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[aisle.methods]\nranking.mine = mine:Mine\n")
    return folder


def run(package: Path, code: str, *arguments: str) -> str:
    path = os.pathsep.join([str(SOURCE), str(package)])
    program = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(
        program, cwd=package, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_it_is_found_by_name(package):
    run(package, FOUND)


def test_its_class_knows_its_name(package):
    run(package, DIRECT)


def test_it_passes_every_check(package):
    run(package, CHECKED)


@pytest.fixture(scope="module")
def shop(package, tmp_path_factory) -> tuple[Path, str]:
    """A shop whose chosen funnel ranks with the outside method, and what it answered when it was fitted."""
    folder = tmp_path_factory.mktemp("outside") / "shop"
    return folder, run(package, SERVED, str(folder))


def test_it_is_fitted_saved_loaded_and_served(shop):
    assert len(shop[1].strip("[]\n").split(",")) == 5


def test_the_site_serves_it(package, shop):
    folder, served = shop
    rows = [int(row) for row in served.strip("[]\n").split(",")]
    assert run(package, SITE, str(folder)).strip() == str([f"i{row}" for row in rows])


def test_without_the_package_the_shop_says_what_is_missing(shop):
    folder, _ = shop
    assert "no method 'ranking.mine'" in run(folder, WITHOUT, str(folder))
