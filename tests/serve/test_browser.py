"""Drives the page in a real browser: type, filter, open a product, ask why, on a desk and on a phone."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aisle.serve.app import create_app
from aisle.serve.live import LiveShop

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


@pytest.fixture(scope="module")
def address(live: LiveShop) -> Iterator[str]:
    import uvicorn

    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(live), log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine; install Debian's package 'chromium' to run the browser tests")
    with playwright.sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 860}, base_url=address)
    context.set_default_timeout(10_000)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("request", lambda r: None if r.url.startswith((address, "data:")) else problems.append(f"loads {r.url}"))
    yield page
    context.close()
    assert problems == []


def ids(page: Any) -> list[str]:
    return list(page.eval_on_selector_all(".card", "cards => cards.map(c => c.dataset.id)"))


def total(page: Any) -> int:
    return int(page.get_attribute(".page", "data-total"))


def until(page: Any, holds: Callable[[], bool], within_s: float = 10) -> None:
    """Wait for something; the page's policy forbids evaluating strings, so the looking is done from here."""
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, "it did not come to hold in time"
        page.wait_for_timeout(30)


def test_type_filter_and_go_back(page: Any, tmp_path: Path) -> None:
    page.goto("/")
    everything = total(page)
    page.locator("#q").press_sequentially("red sh", delay=20)
    until(page, lambda: total(page) < everything)
    page.wait_for_url("**q=red+sh")
    page.wait_for_selector("#suggestions li")
    page.screenshot(path=tmp_path / "typing.png")
    page.locator("#q").press("Escape")
    assert page.locator("#suggestions").is_hidden()
    assert page.input_value("#q") == "red sh"  # a browser's own Escape would empty a search box
    until(page, lambda: page.inner_text("h1") == "Results for “red sh”")
    typed = total(page)
    box = page.locator("details[data-field=brand] input[type=checkbox]").first
    brand = box.get_attribute("value")
    box.check()
    page.wait_for_selector(".chips")
    assert total(page) < typed
    assert set(page.locator(".maker").all_inner_texts()) == {brand}
    assert page.evaluate("document.activeElement.value") == brand
    assert brand in page.locator(".chips").inner_text()
    page.screenshot(path=tmp_path / "filtered.png")
    page.go_back()
    until(page, lambda: total(page) == typed)
    assert page.locator(".chips").count() == 0
    assert page.input_value("#q") == "red sh"


def test_suggestions_by_keyboard(page: Any) -> None:
    page.goto("/")
    page.locator("#q").press_sequentially("bla", delay=20)
    page.wait_for_selector("#suggestions li")
    page.locator("#q").press("ArrowDown")
    chosen = page.locator("#suggestions li[aria-selected=true]")
    assert page.get_attribute("#q", "aria-activedescendant") == chosen.get_attribute("id")
    text = chosen.get_attribute("data-text")
    page.locator("#q").press("Enter")
    until(page, lambda: text in page.inner_text("h1"))
    assert page.input_value("#q") == text
    assert page.locator("#suggestions").is_hidden()


def test_sort_and_pages_keep_the_address(page: Any) -> None:
    page.goto("/?q=kettle+shoes+dress+red")
    page.select_option("#sort", "price_cents")
    page.wait_for_url("**sort=price_cents**")
    first = ids(page)
    page.click(".pager a[rel=next]")
    page.wait_for_url("**page=2**")
    page.wait_for_selector(".pager a[aria-current=page]:has-text('2')")
    second = ids(page)
    assert second
    assert not set(first) & set(second)
    page.reload()
    assert ids(page) == second


def test_why_panel_and_product_page(page: Any, tmp_path: Path) -> None:
    page.goto("/?q=red")
    opener = page.locator("a[data-why]").nth(1)
    opener.click()
    page.wait_for_selector("#panel .lead")
    assert "2nd in this list" in page.inner_text("#panel .lead")
    assert "matches 'red'" in page.inner_text("#panel .reasons")
    page.screenshot(path=tmp_path / "why.png")
    page.keyboard.press("Escape")
    assert page.locator("#panel").is_hidden()
    assert "q=red" in page.url
    title = page.locator(".card h3").first.inner_text()
    page.locator(".card .body").first.click()
    page.wait_for_selector(".product h1")
    assert page.inner_text(".product h1") == title
    assert page.locator(".similar .card").count() > 3
    page.screenshot(path=tmp_path / "product.png")
    page.go_back()
    page.wait_for_selector(".grid")
    assert page.input_value("#q") == "red"


def test_a_click_is_logged(page: Any, live: LiveShop) -> None:
    assert live.log is not None
    before = live.log.last_sequence
    page.goto("/?q=red")
    item_id = ids(page)[2]
    page.locator(".card .body").nth(2).click()
    page.wait_for_selector(".product")
    until = time.monotonic() + 5
    while not (events := live.log.read(before, kinds=("event",))) and time.monotonic() < until:
        time.sleep(0.05)
    event = events[-1].value
    assert (event["action"], event["item_id"], event["position"], event["query"]) == ("click", item_id, 2, "red")


def test_nothing_runs_that_a_product_brought_along(page: Any) -> None:
    page.on("dialog", lambda dialog: pytest.fail(f"a product's text ran: {dialog.message}"))
    page.goto("/?q=kettle")
    assert "<script>" in page.inner_text(".grid")
    page.locator("a[data-why]").first.click()
    page.wait_for_selector("#panel .lead")
    page.keyboard.press("Escape")
    page.locator(".card", has_text="<script>").locator(".body").click()
    page.wait_for_selector(".product h1")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone_width(browser: Any, address: str, tmp_path: Path, scheme: str) -> None:
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, base_url=address, color_scheme=scheme, is_mobile=True, has_touch=True
    )
    page = context.new_page()
    for path in ("/", "/?q=red", "/?q=zzzzqqqq", "/docs"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        page.screenshot(path=tmp_path / f"phone{len(path)}-{scheme}.png")
    page.goto("/?q=red")
    assert page.locator("#filters").is_hidden()
    before = total(page)
    page.tap(".filters-button")
    page.wait_for_selector("#filters", state="visible")
    page.screenshot(path=tmp_path / f"filters-{scheme}.png")
    page.locator("details[data-field=brand] input[type=checkbox]").first.tap()
    until(page, lambda: total(page) < before)
    assert page.locator("#filters").is_visible()
    page.tap(".facets-head .done")
    assert page.locator("#filters").is_hidden()
    page.locator(".card .body").first.tap()
    page.wait_for_selector(".product h1")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()


def test_works_without_javascript(browser: Any, address: str) -> None:
    context = browser.new_context(java_script_enabled=False, base_url=address)
    page = context.new_page()
    page.goto("/")
    page.fill("#q", "kettle shoes dress red")
    page.locator("#q").press("Enter")
    page.wait_for_url("**q=kettle**")
    first = page.locator(".card h3").all_inner_texts()
    page.click(".pager a[rel=next]")
    page.wait_for_url("**page=2**")
    assert page.locator(".card h3").all_inner_texts() != first
    page.locator("details[data-field=brand] input[type=checkbox]").first.check()
    page.click(".apply")
    page.wait_for_url("**f.brand=**")
    assert page.locator(".chips a").count() == 2
    page.locator("a[data-why]").first.click()
    page.wait_for_selector(".lead")
    context.close()
