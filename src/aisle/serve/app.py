"""The web application of one live shop: JSON under /api, the page at /, and /health and /ready for operations."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Response
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from pydantic import ValidationError
from starlette.middleware.gzip import GZipMiddleware

from aisle import __version__
from aisle.core.errors import SettingError
from aisle.serve.active import Active
from aisle.serve.answers import Answer, answer, explain, plain, requests_of
from aisle.serve.cards import detail, row_of
from aisle.serve.headers import SecurityHeaders
from aisle.serve.limits import BodyLimit
from aisle.serve.live import LiveShop
from aisle.serve.models import (
    ExplainOut,
    HealthOut,
    ItemDetail,
    Problem,
    ReadyOut,
    SceneName,
    SearchIn,
    SearchOut,
    SuggestOut,
)
from aisle.serve.pages import Pages
from aisle.serve.problems import install
from aisle.serve.writes import writes

PROBLEMS: dict[int | str, dict[str, Any]] = {400: {"model": Problem}, 404: {"model": Problem}, 503: {"model": Problem}}
CONCURRENT = 4
"""Requests that compute at once; more wait in line, which is faster than sharing two cores among forty."""


def create_app(live: LiveShop, *, remote_images: bool = False) -> FastAPI:
    """The application of a shop; opening it starts the shop, closing it stops background work."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        import anyio.to_thread

        anyio.to_thread.current_default_thread_limiter().total_tokens = CONCURRENT
        live.start()
        yield
        live.close()

    app = FastAPI(
        title="aisle",
        version=__version__,
        summary="Search and recommendations of one shop",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(GZipMiddleware, minimum_size=1024)
    app.add_middleware(BodyLimit)
    app.add_middleware(SecurityHeaders, remote_images=remote_images)
    app.include_router(_api(live))
    app.include_router(writes(live, PROBLEMS))
    app.include_router(_operations(live))
    pages = Pages(live, app.openapi, remote_images)
    app.include_router(pages.router)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
    install(app, pages)
    return app


def _about(name: str) -> Any:
    """A query parameter that is described where the body's field is."""
    return Query(description=SearchIn.model_fields[name].description)


def asked_of(
    q: Annotated[str, _about("q")] = "",
    prefix: Annotated[bool, _about("prefix")] = False,
    filter: Annotated[str, _about("filter")] = "",
    sort: Annotated[str, _about("sort")] = "",
    offset: Annotated[int, _about("offset")] = 0,
    limit: Annotated[int, _about("limit")] = 24,
    user: Annotated[str, _about("user")] = "",
    session: Annotated[str, _about("session")] = "",
    scene: Annotated[SceneName | None, _about("scene")] = None,
    cursor: Annotated[str, _about("cursor")] = "",
    locale: Annotated[str, _about("locale")] = "en",
    deadline_ms: Annotated[float | None, _about("deadline_ms")] = None,
) -> SearchIn:
    """The question in the query parameters; ``filter`` is JSON."""
    try:
        chosen = json.loads(filter) if filter else None
    except (ValueError, RecursionError) as error:
        raise SettingError(
            f'the filter {filter[:200]!r} is not JSON ({error}); write it as {{"brand": ["A"]}}'
        ) from None
    if chosen is not None and not isinstance(chosen, dict):
        raise SettingError(f'the filter {filter[:200]!r} is not an object; write it as {{"brand": ["A"]}}')
    values = locals()
    try:
        return SearchIn(**{name: values[name] for name in SearchIn.model_fields if name != "filter"}, filter=chosen)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None


Asked = Annotated[SearchIn, Depends(asked_of)]


def _api(live: LiveShop) -> APIRouter:
    router = APIRouter(prefix="/api", tags=["shop"], responses=PROBLEMS)

    def active() -> Active:
        now = live.active
        if now is None:
            raise HTTPException(503, live.status().step)
        return now

    def answered(asked: SearchIn, similar_to: str | None = None) -> Answer:
        now = active()
        return live.noted(now, answer(now, asked, similar_to=similar_to))

    @router.get("/search")
    def search(asked: Asked) -> SearchOut:
        """A page of results with facets, totals and the time of each stage."""
        with live:
            return answered(asked).out

    @router.post("/search")
    def search_by_body(asked: SearchIn) -> SearchOut:
        """The same with the question as a JSON body."""
        with live:
            return answered(asked).out

    @router.get("/similar/{item_id:path}")
    def similar(item_id: str, asked: Asked) -> SearchOut:
        """Items like this one."""
        with live:
            return answered(asked, similar_to=item_id).out

    @router.get("/items/{item_id:path}")
    def item(item_id: str) -> ItemDetail:
        """Everything that the catalogue knows of an item."""
        items = active().funnel.env.engine.items
        return detail(items, row_of(items, item_id))

    @router.get("/explain")
    def why(item_id: str, asked: Asked, similar_to: str | None = None) -> ExplainOut:
        """Why an item stands where it does: reasons in words, and the numbers that the stages wrote."""
        with live:
            return explain(active(), asked, item_id, similar_to=similar_to)

    @router.get("/facets/{field}")
    def facet(field: str, asked: Asked, typed: str = "") -> dict[str, Any]:
        """The values of a field with a word that begins as typed (or a synonym of it), counted in the list of a search."""
        with live:
            now, name = active(), f"{field}~{typed[:200]}"
            page = now.funnel.serve(requests_of(now, asked.model_copy(update={"limit": 0})), facets=[name])
            return dict(plain(page.facets[0][name]))

    @router.get("/suggest")
    def suggest(q: str = "", limit: int = 8) -> SuggestOut:
        """Completions of what was typed so far."""
        return SuggestOut(suggestions=live.completer.complete(q[:200], max(0, min(limit, 20))))

    return router


def _operations(live: LiveShop) -> APIRouter:
    router = APIRouter(tags=["operations"])
    started_s = monotonic()

    @router.get("/health")
    def health() -> HealthOut:
        """The process is up."""
        return HealthOut(up_s=round(monotonic() - started_s, 3))

    @router.get("/ready", responses={503: {"model": ReadyOut}})
    def ready(response: Response) -> ReadyOut:
        """200 once a funnel answers, 503 before; what is served, and how far every index and process is."""
        status = live.status(full=True)
        response.status_code = 200 if status.ready else 503
        response.headers["Cache-Control"] = "no-store"
        return status

    return router
