from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from aisle.serve.address import Address
from aisle.serve.app import create_app
from aisle.serve.facets import facets_of
from aisle.serve.live import LiveShop

NASTY_ID = 'a/b "c"?<d>&e=1#f'


class Tags(HTMLParser):
    """Every tag with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def cards(text: str) -> list[str]:
    return [a["data-id"] for a in Tags(text).all("li") if "card" in a.get("class", "").split()]


@pytest.mark.parametrize(
    "path", ["/?q=kettle", f"/item/{quote(NASTY_ID, safe='')}", f"/why/{quote(NASTY_ID, safe='')}?q=kettle"]
)
def test_text_of_a_product_never_becomes_markup(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert "bold" in answer.text
    page = Tags(answer.text)
    assert [a["src"].split("?")[0] for a in page.all("script")] == ["/static/aisle.js"]
    assert "<b>bold" not in answer.text
    assert not [t for t, _ in page.tags if t in ("i", "u")]
    assert not [a for _, a in page.tags if any(n.startswith("on") or n == "style" for n in a)]
    assert not [a for _, a in page.tags if "javascript:" in a.get("src", "") + a.get("href", "")]
    assert "<script>alert" not in answer.text
    assert "script-src" not in answer.headers["content-security-policy"]
    assert "default-src 'self'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("q", ['"><script>alert(1)</script>', "{{ 7 * 7 }}", "%00%ff", "</title><h1>"])
def test_what_is_typed_never_becomes_markup(client: TestClient, q: str) -> None:
    answer = client.get("/", params={"q": q, "f.brand": q, "sort": ""})
    assert "<script>alert" not in answer.text
    assert "<h1></h1>" not in answer.text
    assert q.strip() in unescape(answer.text)


def test_no_asset_comes_from_elsewhere(client: TestClient) -> None:
    for path in ("/", "/?q=red", "/docs"):
        for _, attributes in Tags(client.get(path).text).tags:
            for name in ("src", "href"):
                assert not attributes.get(name, "").startswith(("http", "//"))
    for name in ("aisle.css", "aisle.js", "icon.svg"):
        assert client.get(f"/static/{name}").status_code == 200


def test_pages_by_address_walk_the_list_without_repeats(client: TestClient) -> None:
    total = client.get("/api/search", params={"q": "kettle shoes dress red"}).json()["total"]
    seen: list[str] = []
    path: str | None = "/?q=kettle+shoes+dress+red"
    while path:
        text = client.get(path).text
        seen += cards(text)
        path = next((a["href"] for a in Tags(text).all("a") if a.get("rel") == "next"), None)
    assert len(seen) == len(set(seen)) == total > 24


def test_a_filter_in_the_address_shows_a_chip_that_takes_it_back(client: TestClient) -> None:
    brand = client.get("/api/search").json()["facets"]["brand"]["values"][0]["value"]
    text = client.get("/", params={"f.brand": brand, "min.price_cents": "1"}).text
    assert f"Brand: {brand}" in unescape(text)
    checked = [a for a in Tags(text).all("input") if a.get("name") == "f.brand" and "checked" in a]
    assert [a["value"] for a in checked] == [brand]
    block = text[text.index('class="chips"') :]
    hrefs = [unescape(h) for h in re.findall(r'href="([^"]+)"', block[: block.index("</ul>")])]
    assert hrefs == ["/?min.price_cents=1", f"/?f.brand={quote(brand).replace('%20', '+')}", "/"]


def test_category_links_lead_down_the_tree(client: TestClient) -> None:
    text = client.get("/").text
    down = next(a["href"] for a in Tags(text).all("a") if a.get("href", "").startswith("/?f.category="))
    inside = client.get(down).text
    assert 'aria-current="true"' in inside
    assert "All categories" in inside
    assert cards(inside)


def test_nothing_found_says_what_to_do(client: TestClient) -> None:
    text = client.get("/?q=zzzzqqqq&f.brand=Nobody").text
    assert "Nothing found" in text
    assert "Remove the filter" in text


def test_words_that_no_product_has_are_said_to_be_so(client: TestClient) -> None:
    assert "closest in meaning" not in client.get("/?q=red").text
    shirt = client.get("/?q=zqshirtqz").text
    assert cards(shirt)
    assert "No product has this word" in shirt


def test_bad_addresses_never_break_the_page(client: TestClient) -> None:
    ends = "min.price_cents=abc&max.price_cents=nan"
    for query in ("page=0", "page=99999999999", "page=x", ends, "f.=1&f.x=", "sort=price_cents&page=9"):
        assert client.get(f"/?{query}").status_code == 200
    wrong = client.get("/?f.no_such_field=1")
    assert wrong.status_code == 400
    assert "no_such_field" in wrong.text
    assert client.get("/item/none").status_code == 404


def test_an_item_page_shows_details_and_similar_items(client: TestClient) -> None:
    item_id = client.get("/api/search", params={"q": "red"}).json()["items"][0]["id"]
    text = client.get(f"/item/{item_id}?q=red").text
    assert "Back to results" in text
    assert "Details" in text
    similar = cards(text)
    assert similar
    assert item_id not in similar


def test_every_product_has_a_picture(client: TestClient) -> None:
    items = client.get("/api/search", params={"limit": 3}).json()["items"]
    items.append(client.get("/api/items/" + quote(NASTY_ID, safe="")).json())
    for item in items:
        answer = client.get(item["picture"])
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "image/svg+xml"
        assert answer.text.startswith("<svg")
        assert "<script" not in answer.text
    assert client.get("/picture/none.svg").status_code == 404


def test_remote_pictures_load_only_when_asked_for(live: LiveShop, client: TestClient) -> None:
    assert "img.remote" not in client.get("/").text
    assert "https:" not in client.get("/").headers["content-security-policy"]
    remote = TestClient(create_app(live, remote_images=True))
    assert "https:" in remote.get("/").headers["content-security-policy"]


def test_a_field_that_hardly_any_product_has_is_no_facet() -> None:
    def values(*counts: int) -> dict[str, object]:
        return {"kind": "values", "values": [{"value": f"v{n}", "count": c} for n, c in enumerate(counts)]}

    found = {"brand": values(60, 40), "width": values(1, 1)}
    assert [f.field for f in facets_of(found, Address(), 100)] == ["brand"]
    assert [f.field for f in facets_of(found, Address(values={"width": ("v0",)}), 100)] == ["brand", "width"]


def test_a_facet_of_measures_names_its_unit() -> None:
    buckets = [{"low": 0.0, "high": 1.0, "count": 60}, {"low": 1.0, "high": 2.0, "count": 40}]
    weight = {"kind": "range", "low": 0.1, "high": 2.0, "unit": "kg", "buckets": buckets}
    assert [f.name for f in facets_of({"weight": weight}, Address(), 100)] == ["Weight (kg)"]
