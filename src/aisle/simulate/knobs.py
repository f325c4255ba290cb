"""Knobs: every premise of the world as a number with a null setting."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from aisle.core.errors import SettingError


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """All between 0 and 1; 0 is the null setting.

    gap      how far shoppers' words are from sellers': synonyms, slips, abbreviations, paraphrased uses, other nouns
    missing  share of attributes that a seller leaves out of the attribute list (colours always stand there)
    noise    of the annotator: 0 reads the truth, 1 errs by the full confusion matrix
    taste    how much of what a shopper clicks is personal; the shelves a shopper visits are always personal

    Raises SettingError outside [0, 1].
    """

    gap: float = 1.0
    missing: float = 0.08
    noise: float = 1.0
    taste: float = 1.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not 0.0 <= value <= 1.0:
                raise SettingError(f"the knob {name} is {value}; give a number from 0 (null) to 1")
