"""What goes over the wire: bodies of requests and answers of the JSON API."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SceneName = Literal["search", "feed", "similar"]

MAX_TEXT = 1000
MAX_LIMIT = 200
MAX_OFFSET = 1_000_000


class SearchIn(BaseModel):
    """A question to the shop.  An empty ``q`` asks for the feed: everything, best first."""

    model_config = ConfigDict(extra="forbid")

    q: str = Field("", max_length=MAX_TEXT, description='what the shopper typed; "a phrase", -word or NOT word, begin*')
    prefix: bool = Field(False, description="the last word is still being typed: what begins so is found too")
    filter: dict[str, Any] | None = Field(
        None,
        description='JSON such as {"brand": ["A", "B"], "price_cents": {"low": 100, "high": 900}}; any, all, not nest',
    )
    sort: str = Field("", max_length=200, description="price_cents, -rating, ...; empty for the funnel's own order")
    offset: int = Field(0, ge=0, le=MAX_OFFSET, description="rows to skip")
    limit: int = Field(24, ge=0, le=MAX_LIMIT, description="rows wanted, 200 at most")
    user: str = Field("", max_length=MAX_TEXT, description="the shop's own user id; empty when anonymous")
    session: str = Field("", max_length=MAX_TEXT, description="visit id: fixes what is drawn at random")
    scene: SceneName | None = Field(None, description="taken from q when absent: search with words, feed without")
    cursor: str = Field("", max_length=100_000, description="the cursor of an earlier answer; goes on where that ended")
    locale: str = Field("en", max_length=35, description="language of the shopper")
    deadline_ms: float | None = Field(
        None, gt=0, description="stages that would run later are skipped and named in the trace"
    )


class ItemOut(BaseModel):
    """One product as a result card needs it."""

    id: str
    title: str
    brand: str
    price_cents: int | None
    list_price_cents: int | None
    currency: str
    rating: float | None = Field(description="stars, 0 to 5")
    rating_count: int | None
    image: str | None = Field(description="the shop's own address of the main picture")
    picture: str = Field(description="a picture this server draws itself, for every product")
    group: int = Field(description="variants of one product share it")
    stock: int | None
    category: str = Field(description="the first category path")


class AttributeOut(BaseModel):
    name: str
    value: str


class ItemDetail(ItemOut):
    """Everything that the catalogue knows of a product."""

    description: str
    categories: list[str]
    attributes: list[AttributeOut]
    merchant: str
    active: bool


class StageOut(BaseModel):
    stage: str
    ms: float
    rows: int
    skipped: str | None = None


class SearchOut(BaseModel):
    """A page of results."""

    items: list[ItemOut]
    total: int = Field(description="products that paging would reach")
    total_is_exact: bool
    facets: dict[str, Any] = Field(description="field -> counts over the whole match set")
    suggestion: str | None = Field(description="did you mean")
    suggestion_confidence: float | None = Field(
        None,
        description="how sure that is, 0 to 1: its share among all words that are as close; null without a suggestion",
    )
    redirect: str | None
    applied_rules: list[str]
    coverage: float = Field(description="share of the plan's stages that ran, 0 to 1")
    cursor: str = Field(description="send it back for the next page; empty at the end")
    trace: list[StageOut]
    latency_ms: float
    plan: str
    generation: int
    request_id: str


class ReasonOut(BaseModel):
    stage: str
    words: str
    weight: float | None = None


class ExplainOut(BaseModel):
    """Why an item stands where it does."""

    item: ItemOut
    query: str
    position: int | None = Field(description="place in the whole list, from 0; null when beyond what was ranked")
    summary: str = Field(description="one sentence")
    reasons: list[ReasonOut]
    columns: dict[str, float | None] = Field(description="the numbers that the stages wrote for this item")
    plan: str
    generation: int


class Suggestion(BaseModel):
    text: str
    kind: Literal["brand", "category", "words"]
    count: int


class SuggestOut(BaseModel):
    suggestions: list[Suggestion]


class EncodingOut(BaseModel):
    """How far the vectors are.  ``state``: off, waiting, encoding, fitting, done or failed."""

    state: str
    encoder: str = ""
    done: int = 0
    total: int = 0
    cached: int = Field(0, description="texts whose vectors stood in the cache already")
    seconds_left: float | None = None


class LogOut(BaseModel):
    """How far this process is behind the shop's log."""

    last: int = Field(description="number of the last accepted record")
    shown: int = Field(description="number of the last record that searches here show")
    lag: int = Field(description="accepted records that searches here do not show yet")
    forgotten: int = Field(description="records up to this number were compacted away")


class IndexOut(BaseModel):
    """One index: ``catalogue``, ``text``, ``counters``, ``vectors <encoder>`` or ``bags <model>``."""

    name: str
    sequence: int = Field(description="the log record up to which it answers")
    lag: int
    saved: int | None = Field(None, description="the log record up to which it stands on disk; later ones are replayed")
    rows: int = Field(description="rows that it holds; of counters: events")
    missing: int = Field(0, description="live items that it lacks; they are found by words")


class ProcessOut(BaseModel):
    """Another process of the same shop."""

    name: str
    pid: int
    alive: bool
    generation: int
    sequence: int
    lag: int


class ReadyOut(BaseModel):
    ready: bool
    step: str = Field(description="what is going on now, in words")
    shop: str
    plan: str
    generation: int
    items: int
    encoding: EncodingOut
    sequence_lag: int = Field(description="accepted log records that searches do not show yet")
    events_unlearned: int = Field(
        description="events accepted since the start, which the served plan does not know yet"
    )
    log: LogOut | None = None
    indexes: list[IndexOut] = []
    processes: list[ProcessOut] = Field([], description="the shop's processes, where there are several")
    synonyms_error: str | None = Field(
        None, description="why the shop's rules/synonyms.txt is not in use; the last good rules go on"
    )
    error: str | None = None
    notice: str | None = Field(None, description="what the operator should know, such as a fitted plan passed over")


class HealthOut(BaseModel):
    status: Literal["up"] = "up"
    up_s: float


class Problem(BaseModel):
    """What went wrong and what to do about it."""

    error: str
    remedy: str
