"""Knobs: every premise of the world as a number, with a null setting that takes it away and an adverse one."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import NamedTuple

from aisle.core.errors import SettingError, UnknownName, nearest


def knob(default: float, *, null: float, adverse: float, says: str) -> float:
    """A field of ``Knobs``: its setting in the default world, without the premise, and against the premise."""
    return field(default=default, metadata={"null": null, "adverse": adverse, "says": says})


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """All between 0 and 1.  ``premises()`` says what each stands for.

    Raises SettingError outside [0, 1].
    """

    gap: float = knob(
        0.4,
        null=0.0,
        adverse=1.0,
        says="shoppers use other words than sellers: synonyms, abbreviations, paraphrased uses, other nouns",
    )
    morphology: float = knob(
        0.4, null=0.0, adverse=1.0, says="shoppers bend, join and split words: plurals, woollen, tshirt, 500g"
    )
    slips: float = knob(0.4, null=0.0, adverse=1.0, says="shoppers misspell: half of this share of slips in any query")
    foreign: float = knob(0.04, null=0.0, adverse=0.4, says="share of queries typed in a second language (German)")
    drift: float = knob(0.2, null=0.0, adverse=1.0, says="new words for old things spread as days go by")
    hard: float = knob(0.16, null=0.0, adverse=0.6, says="share of negations, alternatives, questions and knowledge")
    missing: float = knob(
        0.25, null=0.0, adverse=0.6, says="share of attributes that a seller leaves out of the attribute list"
    )
    wrong: float = knob(
        0.03,
        null=0.0,
        adverse=0.25,
        says="share of attributes that a seller gets wrong in the list, half also in the text",
    )
    german: float = knob(0.05, null=0.0, adverse=0.3, says="share of sellers who write in the second language (German)")
    tail: float = knob(
        0.9,
        null=0.0,
        adverse=1.0,
        says="how uneven demand is: a power law of exponent 1 + 1 / tail; 0: all items alike",
    )
    turnover: float = knob(0.05, null=0.0, adverse=0.5, says="share of items that come, and that go, in four weeks")
    useful: float = knob(
        0.45, null=0.0, adverse=0.15, says="share of external texts about an item that tell a fact of it"
    )
    falsehood: float = knob(
        0.35,
        null=0.0,
        adverse=0.8,
        says="share of the other external texts that tell a falsehood; the rest is idle talk",
    )
    noise: float = knob(0.7, null=0.0, adverse=1.0, says="errors of the annotator, by the full confusion matrix at 1")
    utility: float = knob(
        0.25, null=0.0, adverse=1.0, says="share of queries graded by a latent utility instead of the rule table"
    )
    taste: float = knob(
        0.7, null=0.0, adverse=1.0, says="how personal clicks are; the shelves a shopper visits are always personal"
    )
    interests: float = knob(0.5, null=0.0, adverse=1.0, says="how many interests a shopper has; 0: one")
    changes: float = knob(
        0.5,
        null=0.0,
        adverse=1.0,
        says="how often an interest gives way to another at once, and how far it turns; 0: never",
    )
    newcomers: float = knob(0.5, null=0.0, adverse=1.0, says="shoppers whose first visit falls inside the log")
    difference: float = knob(0.5, null=0.0, adverse=1.0, says="how far shoppers differ in patience and thrift")
    substitution: float = knob(
        0.5, null=0.0, adverse=1.0, says="how much items of one page that are alike take from each other"
    )
    variety: float = knob(
        0.5, null=0.0, adverse=1.0, says="how much the mixture on a page draws some shoppers and puts off others"
    )
    fatigue: float = knob(0.5, null=0.0, adverse=1.0, says="how much an item loses that was shown before")
    picture: float = knob(0.5, null=0.0, adverse=1.0, says="how much a picture draws the eye and the click")
    together: float = knob(
        0.5, null=0.0, adverse=1.0, says="how much an item gains that goes with what was clicked before"
    )
    loyalty: float = knob(0.5, null=0.0, adverse=1.0, says="how much the next visit depends on how the last ones went")

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not 0.0 <= value <= 1.0:
                raise SettingError(f"the knob {name} is {value}; give a number from 0 (null) to 1")


class Premise(NamedTuple):
    default: float
    null: float
    adverse: float
    says: str


def premises() -> dict[str, Premise]:
    """Every knob by name, with its three settings and what it says."""
    return {f.name: Premise(f.default, **f.metadata) for f in fields(Knobs)}  # type: ignore[arg-type]


def checked(settings: dict[str, float]) -> Knobs:
    """Knobs of these settings.  Raises UnknownName with the nearest name, SettingError outside [0, 1]."""
    known = premises()
    for name in settings:
        if name not in known:
            raise UnknownName(f"there is no knob {name!r}{nearest(name, known)}")
    return Knobs(**settings)
