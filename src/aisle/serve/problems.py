"""What went wrong, in one shape for every route: the value, what was expected, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException as StarletteHTTPException

from aisle.core.errors import AisleError, GenerationError, UnknownName, nearest
from aisle.engine.embedded.log_commit import NotWritten
from aisle.serve.models import Problem, SearchIn
from aisle.serve.models_in import AttributeIn, ChangeIn, EventIn, EventsIn, ItemIn, ItemsIn
from aisle.serve.pages import Pages

SEE = "see /docs for the fields and their limits"
MOST_SHOWN = 80
INSIDE: Mapping[str, type[BaseModel]] = {"items": ItemIn, "events": EventIn, "attributes": AttributeIn}
"""Name of a list in a body -> what its entries are."""
BODIES: Mapping[tuple[str, str], type[BaseModel]] = {
    ("POST", "/api/items"): ItemsIn,
    ("POST", "/api/events"): EventsIn,
    ("PATCH", "/api/items/"): ChangeIn,
    ("POST", "/api/search"): SearchIn,
}
EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}
"""What pydantic calls a mistake -> what was expected, in our words."""


def install(app: FastAPI, pages: Pages) -> None:
    """Answer every mistake with a ``Problem``; a person who opened a page gets a page."""

    async def no_route(request: Request, error: Exception) -> Response:
        assert isinstance(error, StarletteHTTPException)
        problem = of_http(request, error)
        if "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/api/"):
            return pages.problem(error.status_code, problem.error)
        return JSONResponse(problem.model_dump(), error.status_code, headers=error.headers)

    app.add_exception_handler(AisleError, of_aisle)
    app.add_exception_handler(RequestValidationError, of_body)
    app.add_exception_handler(StarletteHTTPException, no_route)


def of_aisle(request: Request, error: Exception) -> JSONResponse:
    """An AisleError: its message before the first semicolon, and its remedy after it."""
    message, _, remedy = str(error).partition("; ")
    if isinstance(error, NotWritten):
        return _answer(503, message, remedy or "try again")
    unknown_item = isinstance(error, UnknownName) and (
        "/items/" in request.url.path + "/" or str(error).startswith("no item")
    )
    fallback = (
        "ask for the first page again" if isinstance(error, GenerationError) else "see /docs for what can be asked"
    )
    return _answer(404 if unknown_item else 400, message, remedy or fallback)


def of_http(request: Request, error: StarletteHTTPException) -> Problem:
    """A path or verb that there is not, a body that cannot be read, or a shop that is still opening."""
    path = request.url.path[:200]
    if error.status_code == 404:
        return Problem(error=f"there is nothing at {path}", remedy="see /docs for the paths there are")
    if error.status_code == 405:
        return Problem(error=f"{path} does not answer {request.method}", remedy="see /docs for what it answers")
    if error.status_code == 403:
        return Problem(error=str(error.detail), remedy="send 'Authorization: Bearer KEY', the key of AISLE_WRITE_KEY")
    if error.status_code == 503:
        return Problem(error=f"the shop is not ready: {error.detail}", remedy="ask again when /ready answers 200")
    if error.status_code == 400 and "parsing the body" in str(error.detail):
        return Problem(
            error="the body is no JSON that can be read (not UTF-8, or nested too deeply)",
            remedy="send a JSON object in UTF-8; see /docs for its fields",
        )
    return Problem(error=str(error.detail), remedy="see /docs for what can be asked")


def of_body(request: Request, error: Exception) -> JSONResponse:
    """The first thing that is wrong with a body or a parameter."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    kind, loc = first["type"], list(first["loc"])
    if kind == "json_invalid":
        why = first.get("ctx", {}).get("error", "cannot be read")
        return _answer(
            400,
            f"the body is not JSON ({why} at character {loc[-1]})",
            "send a JSON object; see /docs for its fields",
        )
    if loc in (["body"], []):
        missing = kind == "missing"
        return _answer(
            400,
            "there is no body" if missing else "the body is not a JSON object",
            "send one with the header Content-Type: application/json; see /docs for its fields",
        )
    found = _deepest(error.errors())
    path, kind = _path(found[0]), found[0]["type"]
    place = ".".join(path)
    if kind == "extra_forbidden":
        return _answer(400, f"{place} is no field", _fields_remedy(request, path))
    if kind == "missing":
        return _answer(400, f"{place} is missing", "give one; see /docs for the fields")
    expected = " or ".join(dict.fromkeys(_expected(one) for one in found))
    is_time = kind == "less_than_equal" and path[-1] in ("time_s", "created_s")
    remedy = "give unix seconds, not milliseconds" if is_time else SEE
    return _answer(400, f"{place} is {_shown(found[0].get('input'))}: expected {expected}", remedy)


def _path(error: Mapping[str, Any]) -> list[str]:
    """Where it is, in the words of the caller: without what pydantic calls the arms of a union."""
    loc = [str(part) for part in error["loc"]]
    loc = loc[1:] if loc[0] in ("body", "query", "path") and len(loc) > 1 else loc
    return [part for part in loc if "[" not in part and part not in ("str", "float")]


def _deepest(errors: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of the first mistake, what its nearest reading says: a value may be wrong as a list and as a text."""
    first = _path(errors[0])
    mine = [error for error in errors if _path(error)[: len(first)] == first]
    deepest = max((_path(error) for error in mine), key=len)
    return [error for error in mine if _path(error) == deepest]


def _expected(error: Mapping[str, Any]) -> str:
    if error["type"] in ("too_short", "too_long"):
        limits = error["ctx"]
        return f"at least {limits['min_length']}" if "min_length" in limits else f"at most {limits['max_length']}"
    said = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    return EXPECTED.get(error["type"], said)


def _fields_remedy(request: Request, path: Sequence[Any]) -> str:
    """The nearest field that there is, or all of them; a shop's own columns have their place."""
    model = next((m for (verb, at), m in BODIES.items() if verb == request.method and _is_at(request, at)), None)
    for part in path[:-1]:
        model = INSIDE.get(str(part), model)
    known = [] if model is None else list(model.model_fields)
    found = nearest(str(path[-1]), known).removeprefix("; ")
    if model in (ItemIn, ChangeIn) and not found.startswith("did you mean"):
        return f"{found}; what is not among them goes into attributes"
    if model is EventIn and not found.startswith("did you mean"):
        return f"{found}; what is not among them goes into extra"
    return found or SEE


def _is_at(request: Request, path: str) -> bool:
    return request.url.path.startswith(path) if path.endswith("/") else request.url.path == path


def _shown(value: Any) -> str:
    text = repr(value) if not isinstance(value, list | dict) else f"a {type(value).__name__} of {len(value)}"
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}... ({len(text)} letters)"


def _answer(status: int, error: str, remedy: str) -> JSONResponse:
    return JSONResponse(Problem(error=error, remedy=remedy).model_dump(), status)
