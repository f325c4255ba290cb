from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from aisle.core import registry
from aisle.core.method import Method
from aisle.data.schema import CATALOGUE, complete
from aisle.data.shop import Shop
from aisle.serve.app import create_app
from aisle.serve.live import LiveShop
from aisle.simulate.catalogue.items import catalogue

NASTY = "<script>alert(\"x\")</script> & <b>bold</b> 'kettle'"
NASTY_ID = 'a/b "c"?<d>&e=1#f'


def make_shop(folder: Path, items: int = 300) -> Shop:
    """A generated shop, one item of which tries everything that text can try."""
    nasty = {
        "item_id": NASTY_ID,
        "title": NASTY,
        "brand": '"><img src=x onerror=alert(1)>',
        "description": "</table><script>alert(2)</script>",
        "category": ['Evil > "><script>'],
        "attributes": [{"name": "<i>colour</i>", "text": "<u>red</u>", "number": None, "unit": None}],
        "images": ["javascript:alert(3)"],
        "price_cents": 1999,
        "currency": "EUR",
    }
    shop = Shop.create(folder)
    generated = complete(catalogue(items, seed=3), CATALOGUE)
    extra = complete(pa.Table.from_pylist([nasty], pa.schema([f for f in CATALOGUE if f.name in nasty])), CATALOGUE)
    shop.write_generation([generated, extra])
    return shop


@contextmanager
def known_as(name: str, method: type[Method]) -> Iterator[None]:
    """A method under a name, as a package of its own would give it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "name_of", lambda m, was=registry.name_of: name if type(m) is method else was(m))
        yield


@pytest.fixture(scope="session")
def untouched_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop that nobody serves or writes to: copy it."""
    return make_shop(tmp_path_factory.mktemp("untouched") / "shop").folder


@pytest.fixture(scope="session")
def shop_folder(tmp_path_factory: pytest.TempPathFactory, untouched_folder: Path) -> Path:
    """The shop that ``live`` serves and tests write to."""
    return Path(shutil.copytree(untouched_folder, tmp_path_factory.mktemp("serve") / "shop"))


@pytest.fixture(scope="session")
def live(shop_folder: Path) -> Iterator[LiveShop]:
    """Settled on the hybrid plan over the shop's own encoder."""
    live = LiveShop(shop_folder, plan="hybrid_own").start()
    assert live.wait_ready(60)
    assert live.wait_settled(120)
    yield live
    live.close()


@pytest.fixture(scope="session")
def client(live: LiveShop) -> TestClient:
    return TestClient(create_app(live))
