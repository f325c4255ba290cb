"""Which shelves are used together, and which replace each other: the use-together graph of the generated shop.

Legend: N pairs of rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aisle.core.lists import Array
from aisle.simulate.catalogue.taxonomy import LEAVES
from aisle.simulate.catalogue.truth import Truth

_TOGETHER = """
Smartphones > Phone Cases | 1.0 | screen size
Smartphones > Chargers | .8
Tablets > Chargers | .6
Laptops > Keyboards | .5
Laptops > Monitors | .6
Laptops > Backpacks | .4
Laptops > Headphones | .5
Monitors > Keyboards | .6
Televisions > Soundbars | .9
Smartwatches > Running Shoes | .4
Cameras > Backpacks | .4
Desks > Office Chairs | .9
Desks > Monitors | .5
Desks > Floor Lamps | .4
Office Chairs > Heating Pads | .3
Sofas > Armchairs | .6 | style
Sofas > Rugs | .5
Sofas > Floor Lamps | .4 | style
Armchairs > Floor Lamps | .5 | style
Dining Tables > Pendant Lights | .6 | style
Dining Tables > Plates | .4
Bookcases > Armchairs | .3 | style
Wardrobes > Bookcases | .3 | style
Curtains > Rugs | .5 | colour
Duvet Covers > Pillows | 1.0 | width
Frying Pans > Saucepans | .7 | material
Frying Pans > Olive Oil | .4
Saucepans > Pasta | .4
Saucepans > Rice | .3
Kitchen Knives > Frying Pans | .4
Plates > Mugs | .7 | colour
Coffee Machines > Coffee | 1.0
Coffee Machines > Milk Frothers | .8
Coffee Machines > Mugs | .5
Milk Frothers > Coffee | .5
Kettles > Tea | .8
Tea > Honey | .6
Tea > Biscuits | .5
Coffee > Biscuits | .4
Pasta > Olive Oil | .7
Blenders > Breakfast Cereals | .3
Breakfast Cereals > Honey | .4
Crisps > Board Games | .3
Face Creams > Sunscreens | .6 | skin type
Shampoos > Conditioners | 1.0 | hair type
Lipsticks > Nail Polish | .7 | colour
Perfumes > Lipsticks | .4
Dumbbells > Yoga Mats | .6
Yoga Mats > Leggings | .7
Running Shoes > Socks | .8
Running Shoes > Knee Supports | .4
Hiking Boots > Backpacks | .7
Hiking Boots > Socks | .6
Hiking Boots > Raincoats | .4
Tents > Sleeping Bags | 1.0 | persons
Tents > Backpacks | .5
Bicycle Helmets > Bicycle Lights | .9
Bicycle Helmets > Water Bottles | .4
Footballs > Shorts | .4
Tennis Rackets > Sneakers | .4
Massage Guns > Dumbbells | .3
Jeans > Belts | .7
Jeans > T-Shirts | .7 | gender
Trousers > Shirts | .8 | gender
Trousers > Belts | .6
Shirts > Sweaters | .4 | gender
Skirts > Ankle Boots | .3
Dresses > Sandals | .4
Jackets > Scarves | .6
Sweaters > Scarves | .4 | colour
Hoodies > Caps | .4 | gender
Swimsuits > Sandals | .6
Swimsuits > Sunscreens | .6
Soft Toys > Building Blocks | .4 | age
Jigsaw Puzzles > Board Games | .5 | age
Plant Pots > Watering Cans | .8
Dog Beds > Dog Food | .7
Notebooks > Fountain Pens | .9
"""


class Together(NamedTuple):
    """``leaf`` calls for ``other`` with ``weight`` in (0, 1]; items fit fully when the attribute ``fits`` agrees."""

    leaf: int
    other: int
    weight: float
    fits: str


def _parse(text: str) -> tuple[Together, ...]:
    place = {leaf.shelf: n for n, leaf in enumerate(LEAVES)}
    found = []
    for line in text.strip().splitlines():
        pair, weight, *fits = (cell.strip() for cell in line.split("|"))
        leaf, other = pair.split(" > ")
        found.append(Together(place[leaf], place[other], float(weight), fits[0] if fits else ""))
    return tuple(found)


TOGETHER = _parse(_TOGETHER)
UNFIT = 0.25
"""What is left of a weight when the attribute that should agree does not: a case for another phone."""

BACKWARDS = 0.5
"""Weight of the opposite direction: who buys a case needs a phone less often than the other way round."""


def _graph() -> Array:
    weight = np.zeros((len(LEAVES), len(LEAVES)), np.float32)
    for pair in TOGETHER:
        weight[pair.leaf, pair.other] = max(weight[pair.leaf, pair.other], pair.weight)
        weight[pair.other, pair.leaf] = max(weight[pair.other, pair.leaf], BACKWARDS * pair.weight)
    weight.flags.writeable = False
    return weight


WEIGHT_SS = _graph()
"""float32[S, S] over shelves: how much an item of the row's shelf calls for one of the column's shelf."""


def together(truth: Truth, first: Array, second: Array) -> Array:
    """float32[N] in [0, 1]: how much owning item ``first`` calls for item ``second``, both rows [N]."""
    leaf, other = truth.leaf[first], truth.leaf[second]
    weight: Array = WEIGHT_SS[leaf, other].copy()
    for pair in TOGETHER:
        if not pair.fits:
            continue
        here = ((leaf == pair.leaf) & (other == pair.other)) | ((leaf == pair.other) & (other == pair.leaf))
        rows = np.flatnonzero(here)
        if len(rows):
            weight[rows] *= np.where(_agree(truth, pair.fits, first[rows], second[rows]), 1.0, UNFIT)
    return weight


def replaces(truth: Truth, first: Array, second: Array) -> Array:
    """float32[N] in [0, 1]: how far item ``second`` does what ``first`` does: 1 a variant, .6 the same shelf and price
    tier, .4 the same shelf, 0 another shelf."""
    same_shelf = truth.leaf[first] == truth.leaf[second]
    tier = truth.tier[first] == truth.tier[second]
    variant = truth.group[first] == truth.group[second]
    degree: Array = np.where(variant, 1.0, np.where(same_shelf, np.where(tier, 0.6, 0.4), 0.0)).astype(np.float32)
    return degree


def _agree(truth: Truth, attribute: str, first: Array, second: Array) -> Array:
    """bool[N]: the same family of the text, or the same number."""
    if attribute in truth.numbers:
        numbers = truth.numbers[attribute]
        agree: Array = numbers[first] == numbers[second]
    else:
        families = truth.families[attribute]
        agree = families[first] == families[second]
    return agree
