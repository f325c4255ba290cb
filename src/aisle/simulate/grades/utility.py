"""A second way to grades: how well an item would serve a shopper, felt rather than ruled, cut at fixed heights.

Nothing of the rule table is in it.  Kinds of product lie near or far in the taxonomy and in what they are for; colours
lie near or far in perceived lightness and hue; numbers and prices by their ratio; each shopper weighs wants differently.
``world.grades`` uses it for a share ``utility`` of the queries.

Legend: N rows, W wants, S shelves.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np

from aisle.core.lists import Array
from aisle.simulate.catalogue.taxonomy import CODE, HEX, LEAVES, TEXTS
from aisle.simulate.catalogue.truth import Truth
from aisle.simulate.grades.intent import Intent, Want
from aisle.simulate.grades.rules import values_of_rows

CUTS = (-2.5, -1.05, -0.4)
"""Below the first is grade 1, above the last grade 4."""

MOST_MISSED = 2.2
"""What the wants can cost together."""

OUT_OF_AISLE, OUT_OF_DEPARTMENT, IN_AISLE = 3.2, 4.5, 1.5


def felt_grades(truth: Truth, intent: Intent, rows: Array, text: str) -> Array:
    """int8[N], 1 to 4: what these rows are worth to a shopper who typed ``text``."""
    missed = np.zeros(len(rows))
    for want, heavy in zip(intent.wants, weights(intent, text), strict=True):
        missed += heavy * distance(truth, want, rows)
    return cut(far(intent)[truth.leaf[rows]], missed)


def cut(far: Array, missed: Array) -> Array:
    """int8, 1 to 4: of the distance of the shelf and of what the wants miss, which alone make nothing irrelevant."""
    return (1 + np.searchsorted(CUTS, -far - np.minimum(missed, MOST_MISSED), "right")).astype(np.int8)


def weights(intent: Intent, text: str) -> Array:
    """float64[W]: how heavily the shopper who typed ``text`` takes each want."""
    rng = np.random.default_rng(int.from_bytes(blake2b(text.encode(), digest_size=8).digest()))
    return rng.lognormal(0.0, 0.4, len(intent.wants))


def far(intent: Intent) -> Array:
    """float64[S]: how far each shelf is from the nearest that was asked for."""
    nearest: Array = FAR_SS[list(intent.leaves)].min(axis=0)
    return nearest


def uses_utility(text: str, share: float) -> bool:
    """Whether a query is among the share that is graded by utility; depends on its text alone."""
    return int.from_bytes(blake2b(text.encode(), digest_size=6, salt=b"utility").digest()) / 2**48 < share


def _far() -> Array:
    """float64[S, S]: distance of shelves in the taxonomy, nearer where they serve the same uses."""
    far = np.empty((len(LEAVES), len(LEAVES)))
    for i, one in enumerate(LEAVES):
        for j, two in enumerate(LEAVES):
            steps = IN_AISLE if one.aisle == two.aisle else OUT_OF_AISLE
            steps = steps if one.department == two.department else OUT_OF_DEPARTMENT
            shared = len(set(one.uses) & set(two.uses)) / len(set(one.uses) | set(two.uses))
            far[i, j] = 0.0 if i == j else steps - 0.8 * shared
    far.flags.writeable = False
    return far


FAR_SS = _far()


def distance(truth: Truth, want: Want, rows: Array) -> Array:
    """float64[N]: 0 where the want is met, about 1 where it is plainly not."""
    if want.field == "price_cents":
        return np.clip(2.0 * np.log(truth.price_cents[rows] / want.number), 0.0, 1.6)
    if want.field in ("brand", "use"):
        names, own = (truth.brands, truth.brand) if want.field == "brand" else (truth.uses, truth.use)
        return _turned(want, (own[rows] != names.index(want.text)).astype(float))
    return value_distance(want, *values_of_rows(truth, want, rows))


def value_distance(want: Want, text: Array, family: Array, number: Array) -> Array:
    """float64[N] as ``distance``, for values of the attribute that is wanted: codes of texts and families, numbers."""
    if not want.text:
        away = np.nan_to_num(np.minimum(np.abs(np.log2(number / want.number)), 1.0), nan=1.0)
    elif want.field == "colour":
        away = _colours_apart(want, text, family)
    else:
        same_family = family == CODE[want.family]
        same = (text == CODE[want.text]) | (same_family & (want.text == want.family))
        away = np.where(same, 0.0, np.where(same_family, 0.35, 1.0))
    return _turned(want, away)


def _turned(want: Want, away: Array) -> Array:
    """The distance from a want that may be negated: what is near to the unwanted is far from the wish."""
    return 1.2 * np.clip(1.0 - 1.8 * away, 0.0, 1.0) if want.negated else away


def _lab(code: str) -> Array:
    """float64[3]: lightness and two axes of hue (Oklab, Ottosson 2020) of a colour such as '#22355c'."""
    srgb = np.array([int(code[n : n + 2], 16) for n in (1, 3, 5)]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    to_lms = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    to_lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    lab: Array = np.array(to_lab) @ np.cbrt(np.array(to_lms) @ linear)
    return lab


_LAB = np.array([_lab(HEX[text]) if text in HEX else np.full(3, np.nan) for text in TEXTS])


def _colours_apart(want: Want, text: Array, family: Array) -> Array:
    """float64[N]: perceived distance of colours, 1 from 0.25 on; a shade of the family asked for is nearer."""
    away = np.nan_to_num(np.minimum(np.linalg.norm(_LAB[text] - _LAB[CODE[want.text]], axis=1) / 0.25, 1.0), nan=1.0)
    of_family = (want.text == want.family) & (family == CODE[want.family])
    return np.where(of_family, 0.3 * away, np.where(text < 0, 1.0, away))
