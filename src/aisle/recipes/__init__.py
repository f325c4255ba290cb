"""Whole Plans by name.  Their settings are frozen constants: nothing here was fitted on a set it is measured on."""

from __future__ import annotations

from collections.abc import Callable

from aisle.core.errors import UnknownName, nearest
from aisle.funnel.plan import Plan

SCENES = {"bm25": ("search", "similar"), "item_cf": ("feed", "similar"), "popular": ("feed",)}
"""Words answer a search and find look-alikes; what others did fills feeds and similar items."""

LEAST = {"minilm": 0.3}
"""Cosine below which an encoder finds nothing alike, where that is known of it."""

CLICKED_START = 4.0
"""How loud the fused order is beside what was learned of clicks: see docs/methods/dnn.md."""


def lexical() -> Plan:
    """Words alone: BM25 over weighted, stemmed fields.  No torch, ready in seconds."""
    from aisle.ranking.fusion import Fusion
    from aisle.retrieval.bm25 import Bm25
    from aisle.retrieval.item_cf import ItemCf
    from aisle.retrieval.popular import Popular

    return Plan(
        retrieval={"bm25": Bm25(), "item_cf": ItemCf(), "popular": Popular()},
        ranking=Fusion(retrievers={"bm25": 1.0, "item_cf": 1.0, "popular": 0.5}),
        scenes=SCENES,
    )


def hybrid(encoder: str = "minilm") -> Plan:
    """Words and meaning: BM25 and a dense encoder, each score as a share of the request's best, added; then an item like
    the three best moves up.  Kind and feedback were chosen on generated shops (docs/log.md).  Feeds are left to what others did:
    a feed of things that read like the last ones is clicked a third less (docs/log.md)."""
    from aisle.ranking.fusion import Fusion
    from aisle.retrieval.minilm import MiniLm

    words = lexical()
    return words.replace(
        retrieval={
            "bm25": words.retrieval["bm25"],
            "minilm": MiniLm(encoder=encoder, least=LEAST.get(encoder, 0.0)),
            **words.retrieval,
        },
        scenes={**SCENES, "minilm": ("search", "similar")},
        ranking=Fusion(
            retrievers={"bm25": 1.0, "minilm": 1.0, "item_cf": 1.0, "popular": 0.5},
            kind="share",
            late=("minilm",),
            feedback=3,
            feedback_encoder=encoder,
        ),
    )


def hybrid_own() -> Plan:
    """``hybrid`` on an encoder trained on the shop's own text: no torch, no pre-trained weights."""
    return hybrid("own")


def learned(encoder: str = "minilm") -> Plan:
    """``hybrid`` with its candidates ordered by trees that learned from the shop's graded queries, near-equals spread apart."""
    from aisle.ranking.lambdamart import LambdaMart
    from aisle.reranking.mmr import Mmr

    plan = hybrid(encoder)
    return plan.replace(ranking=LambdaMart(start=plan.ranking), reranking=Mmr(diversity=0.05))


def neural(encoder: str = "minilm") -> Plan:
    """``hybrid`` whose order a Transformer changes by what it learned from the shop's own log of clicks, carts and orders."""
    from aisle.ranking.hhft import Hhft

    plan = hybrid(encoder)
    utility = {"click": 1.0, "cart": 2.0, "order": 4.0}
    return plan.replace(ranking=Hhft(encoder=encoder, utility=utility, start=plan.ranking))


def clicked(encoder: str = "minilm") -> Plan:
    """``hybrid`` whose order a small network changes by what the shop's log says of clicks: learned in seconds, on one processor.

    Nothing is passed off as seen and passed over (``negatives`` 0): what the log never showed is unknown, not unwanted."""
    from aisle.ranking.dnn import Dnn
    from aisle.training.settings import TrainSettings

    plan = hybrid(encoder)
    ranking = Dnn(
        tasks=("click",),
        encoder=encoder,
        start=plan.ranking,
        start_weight=CLICKED_START,
        negatives=0,
        threads=1,
        train=TrainSettings(epochs=2, lr=2e-3, watch="loss", patience=2, save_every=20),
    )
    return plan.replace(ranking=ranking)


def plan(name: str) -> Plan:
    """The recipe called ``name``.  Raises UnknownName."""
    if name not in RECIPES:
        raise UnknownName(f"no plan {name!r}{nearest(name, RECIPES)}")
    return RECIPES[name]()


RECIPES: dict[str, Callable[[], Plan]] = {
    "lexical": lexical,
    "hybrid": hybrid,
    "hybrid_own": hybrid_own,
    "learned": learned,
    "neural": neural,
    "clicked": clicked,
}
