"""The HTML page: rendered on the server, complete without JavaScript."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, FileSystemLoader, select_autoescape

from aisle.core.errors import AisleError, UnknownName
from aisle.data.schema import CATEGORY_SEPARATOR
from aisle.serve import words
from aisle.serve.active import Active
from aisle.serve.address import PAGE_SIZE, Address
from aisle.serve.answers import Answer, answer, explain
from aisle.serve.cards import detail, records, row_of
from aisle.serve.facets import SHOWN, chips_of, facets_of
from aisle.serve.live import LiveShop
from aisle.serve.models import ItemDetail, ItemOut, SearchIn
from aisle.serve.pictures import picture_svg

HERE = Path(__file__).parent
SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥", "CNY": "¥", "INR": "₹"}
SORTS = (
    ("", "Best match"),
    ("price_cents", "Price, low to high"),
    ("-price_cents", "Price, high to low"),
    ("-rating", "Best rated"),
    ("-created_s", "Newest"),
)
NUM_SIMILAR = 12


def money(cents: int | None, currency: str) -> str:
    """``1234, "EUR"`` -> ``€12.34``; "" when unknown."""
    if cents is None:
        return ""
    whole = f"{cents / 100:,.2f}"
    if currency in SYMBOLS:
        return SYMBOLS[currency] + whole
    return f"{whole} {currency}".strip()


def item_address(item_id: str) -> str:
    return f"/item/{quote(item_id, safe='')}"


@cache
def templates() -> Environment:
    """The template environment; every value is escaped."""
    env = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {"money": money, "item_address": item_address, "ordinal": words.ordinal, "stage": words.stage_name}
    env.filters |= {"column": words.column_name}
    env.globals |= {
        "column_value": words.column_value,
        "worth_showing": words.worth_showing,
        "SHOWN": SHOWN,
        "style": _version("aisle.css"),
        "script": _version("aisle.js"),
    }
    return env


def _version(name: str) -> str:
    """Address of a static file that changes with its content."""
    from aisle.core.atomic import file_hash

    return f"/static/{name}?v={file_hash(HERE / 'static' / name)[:8]}"


class Pages:
    """The routes of the page over one live shop.  ``remote_images``: load the shop's own pictures from their addresses."""

    def __init__(self, live: LiveShop, openapi: Callable[[], dict[str, Any]], remote_images: bool = False) -> None:
        self.live, self.openapi = live, openapi
        self.remote_images = remote_images
        self.router = APIRouter(include_in_schema=False)
        self.router.add_api_route("/", self.home, response_class=HTMLResponse)
        self.router.add_api_route("/item/{item_id:path}", self.item, response_class=HTMLResponse)
        self.router.add_api_route("/why/{item_id:path}", self.why, response_class=HTMLResponse)
        self.router.add_api_route("/docs", self.docs, response_class=HTMLResponse)
        self.router.add_api_route("/picture/{item_id:path}.svg", self.picture)

    def home(self, request: Request) -> HTMLResponse:
        address = Address.parse(request.query_params.multi_items())
        active = self.live.active
        if active is None:
            return self._waiting(address)
        with self.live:
            try:
                found = self.live.noted(active, answer(active, address.asked()))
            except AisleError as error:
                return self._problem(400, str(error), address)
            return self._render("search.html", **self._search_values(active, address, found))

    def _search_values(self, active: Active, address: Address, found: Answer) -> dict[str, Any]:
        out = found.out
        currency = next((i.currency for i in out.items if i.currency), "")
        num_pages = max(1, -(-out.total // PAGE_SIZE))
        return {
            "address": address,
            "out": out,
            "facets": facets_of(out.facets, address, out.total),
            "chips": chips_of(address, SYMBOLS.get(currency, currency)),
            "currency": SYMBOLS.get(currency, currency),
            "num_pages": num_pages,
            "pages": page_numbers(address.page, num_pages),
            "first": (address.page - 1) * PAGE_SIZE,
            "only_close": bool(address.q and out.items)
            and not active.funnel.env.engine.text.match(address.q, {}).any(),
            "skipped": words.slow_stages(out.trace),
            "sorts": sorts_of(active, address.sort),
            "context": address.pairs(),
        }

    def item(self, item_id: str, request: Request) -> HTMLResponse:
        address = Address.parse(request.query_params.multi_items())
        active = self.live.active
        if active is None:
            return self._waiting(address)
        with self.live:
            items = active.funnel.env.engine.items
            try:
                shown = detail(items, row_of(items, item_id))
                similar = answer(active, SearchIn(limit=NUM_SIMILAR), similar_to=item_id).out
            except UnknownName as error:
                return self._problem(404, str(error), address)
            paths = [path.split(CATEGORY_SEPARATOR) for path in shown.categories[:1]]
            crumbs = [
                (name, Address(values={"category": (CATEGORY_SEPARATOR.join(path[: n + 1]),)}).url())
                for path in paths
                for n, name in enumerate(path)
            ]
            return self._render(
                "item.html", address=address, item=shown, similar=similar, crumbs=crumbs, paragraphs=_paragraphs(shown),
                brand_url=Address(values={"brand": (shown.brand,)}).url(), back=address.url() if address else "",
            )  # fmt: skip

    def why(self, item_id: str, request: Request) -> HTMLResponse:
        """The panel "why this order", as a page of its own; the script shows its body in a side panel."""
        params = request.query_params
        address = Address.parse(params.multi_items())
        active = self.live.active
        if active is None:
            return self._waiting(address)
        with self.live:
            try:
                why = explain(active, address.asked(), item_id, similar_to=params.get("similar_to"))
            except AisleError as error:
                return self._problem(404 if isinstance(error, UnknownName) else 400, str(error), address)
            back = item_address(params["similar_to"]) if "similar_to" in params else address.url()
            return self._render("why.html", address=address, why=why, back=back)

    def picture(self, item_id: str) -> Response:
        active = self.live.active
        if active is None:
            return Response(status_code=503)
        items = active.funnel.env.engine.items
        row = int(items.rows_of([item_id])[0])
        if row < 0:
            return Response(status_code=404)
        (record,) = records(items, np.array([row]))
        return Response(picture_svg(record), media_type="image/svg+xml", headers={"Cache-Control": "max-age=3600"})

    def docs(self) -> HTMLResponse:
        """The API in one page; the description it is made from stands at /openapi.json."""
        api = self.openapi()
        return self._render("docs.html", address=Address(), paths=api["paths"], schemas=api["components"]["schemas"])

    def problem(self, status_code: int, message: str) -> HTMLResponse:
        """A page that says what went wrong."""
        return self._problem(status_code, message, Address())

    def _waiting(self, address: Address) -> HTMLResponse:
        status = self.live.status()
        return self._render("waiting.html", status=status, status_code=500 if status.error else 503, address=address)

    def _problem(self, status_code: int, message: str, address: Address) -> HTMLResponse:
        return self._render("problem.html", status_code=status_code, message=message, code=status_code, address=address)

    def _render(self, name: str, *, status_code: int = 200, **values: Any) -> HTMLResponse:
        status = self.live.status()
        common = {"ready": status, "remote_images": self.remote_images, "remote": self._remote, "urlencode": urlencode}
        return HTMLResponse(templates().get_template(name).render(**common, **values), status_code=status_code)

    def _remote(self, item: ItemOut) -> str:
        """The remote picture to load over the drawn one, "" for none."""
        image = item.image or ""
        return image if self.remote_images and image.startswith(("https://", "http://")) else ""


def sorts_of(active: Active, current: str) -> list[tuple[str, str]]:
    """The orders that this shop's catalogue can give, the current one always among them."""
    items = active.funnel.env.engine.items
    kept = [
        (value, label)
        for value, label in SORTS
        if not value or bool(np.isfinite(_sample(items, value.lstrip("-"))).any())
    ]
    if current and current not in dict(kept):
        kept.append((current, current.lstrip("-").replace("_", " ")))
    return kept


def _sample(items: Any, field: str) -> Any:
    rows = np.linspace(0, items.num_rows - 1, min(items.num_rows, 500)).astype(np.int32)
    return items.number(field, rows)


def page_numbers(page: int, num_pages: int) -> list[int]:
    """Numbers for the pager, 0 for a gap: 1 0 4 5 6 0 20."""
    near = sorted({1, num_pages, *range(max(1, page - 1), min(num_pages, page + 1) + 1)})
    numbers: list[int] = []
    for n in near:
        if numbers and n - numbers[-1] == 2:
            numbers.append(n - 1)
        elif numbers and n - numbers[-1] > 2:
            numbers.append(0)
        numbers.append(n)
    return numbers


def _paragraphs(item: ItemDetail) -> list[str]:
    return [line.strip() for line in item.description.split("\n") if line.strip()]
