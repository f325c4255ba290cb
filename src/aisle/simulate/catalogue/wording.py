"""Words of the generated shop that are not values: uses, looks, filler, what sellers open and close with, brand names.

Data only; ``taxonomy`` holds shelves and values, ``german`` the second language.
"""

from __future__ import annotations

from aisle.simulate.catalogue.taxonomy import Leaf

# A use as shoppers name it, and how sellers write it; the first wording holds the shopper's word.
USES = {
    "running": ("great for running", "built for joggers and long miles", "keeps up on every training lap"),
    "everyday": ("for everyday wear", "easy to combine, day in, day out", "your daily companion"),
    "office": ("right for the office", "made for a working day at the desk", "ideal at work"),
    "party": ("ready for your next party", "turns heads on a night out", "perfect when guests come"),
    "winter": ("warm in winter", "for cold days and frosty mornings", "keeps the chill out"),
    "summer": ("made for summer", "light on hot days", "a holiday favourite"),
    "hiking": ("good for hiking", "at home on mountain trails", "for long walks in rough country"),
    "commuting": ("for commuting", "on the way to work in any weather", "made for city riders"),
    "gym": ("for the gym", "for your workout", "takes you through every exercise"),
    "beach": ("for the beach", "loves sand and sea", "ready for a day by the water"),
    "travel": ("for travel", "fits in any suitcase", "small enough for the plane"),
    "gaming": ("for gaming", "made for players and long matches", "low delay for e-sport"),
    "small spaces": ("for small spaces", "fits in narrow flats", "saves room in compact homes"),
    "reading": ("for reading", "made for long evenings with a book", "your corner for a novel"),
    "children's rooms": ("for children's rooms", "soft under small feet", "kids love it"),
    "sleeping": ("for better sleeping", "calm nights guaranteed", "helps you rest at bedtime"),
    "induction": ("works on induction", "suits every hob", "heats evenly on magnetic cooktops"),
    "camping": ("for camping", "a mate under the stars", "made for nights outdoors"),
    "smoothies": ("for smoothies", "crushes ice and fruit", "for creamy shakes"),
    "breakfast": ("for breakfast", "starts the morning right", "good first thing in the day"),
    "gifts": ("for gifts", "a lovely present", "comes nicely wrapped"),
    "salads": ("for salads", "lovely over fresh leaves", "best used cold"),
    "dinner": ("for a quick dinner", "on the table in ten minutes", "feeds the family in the evening"),
    "yoga": ("for yoga", "steady in every asana", "grip for your flow"),
    "training": ("for training", "takes daily drills", "made for club practice"),
    "rainy days": ("for rainy days", "hours of quiet fun indoors", "for afternoons at home"),
    "latte art": ("for making latte art", "pours hearts like a barista", "turns milk into silky foam"),
    "sore knees": ("for sore knees", "relief for tired joints", "steadies the kneecap on stairs"),
    "sore backs": ("for sore backs", "kind to the spine", "eases tension after long sitting"),
    "sore necks": ("for sore necks", "lets the head rest level", "loosens stiff shoulders overnight"),
    "sore elbows": ("for sore elbows", "spares the arm on every stroke", "soft on the joints"),
    "sore muscles": ("for sore muscles", "loosens hard legs after sport", "recovery in ten minutes"),
    "puppies": ("for puppies", "right from the eighth week", "small bites for young dogs"),
    "balconies": ("for balconies", "for small terraces", "reaches every window box"),
}

# What else the products of a department may be for, besides the uses of their shelf.
DEPARTMENT_USES = {
    "Clothing": ("everyday", "office", "party", "travel"),
    "Shoes": ("everyday", "office", "travel"),
    "Electronics": ("office", "travel", "gifts", "commuting"),
    "Home": ("small spaces", "children's rooms", "reading"),
    "Kitchen": ("camping", "gifts", "small spaces"),
    "Grocery": ("breakfast", "gifts", "camping"),
    "Beauty": ("summer", "winter", "gifts"),
    "Sport": ("beach", "travel", "commuting"),
    "Health": ("travel", "office", "training"),
    "Pets": ("puppies", "small spaces", "travel"),
    "Office": ("travel", "reading", "gifts"),
    "Toys": ("rainy days", "travel", "gifts"),
    "Garden": ("balconies", "gifts"),
}


def uses_of(leaf: Leaf) -> tuple[str, ...]:
    """What the products of a shelf may be for, the usual first."""
    return tuple(dict.fromkeys((*leaf.uses, *DEPARTMENT_USES[leaf.department])))


FILLERS = (
    "new", "premium", "top quality", "bestseller", "original", "2024 edition", "must have", "high quality",
    "free shipping",
)  # fmt: skip
ABBREVIATIONS = {
    "women": "womens", "men": "mens", "black": "blk", "white": "wht", "stainless steel": "ss", "bluetooth": "bt",
    "with": "w/", "regular fit": "reg fit", "organic": "org", "television": "tv", "polyester": "poly",
}  # fmt: skip
OPENINGS = (
    "meet our {noun} by {brand}",
    "{brand} {noun}",
    "{adjective} {noun} from {brand}",
    "{adjective} and {second} {noun}",
)
LOOKS = {
    "classic": ("classic", "elegant", "timeless"),
    "sporty": ("sporty", "dynamic", "light"),
    "bold": ("bold", "striking", "cheerful"),
    "natural": ("natural", "honest", "earthy"),
    "minimal": ("minimal", "simple", "clean"),
}
"""The look of a product, which some shoppers prefer, and the adjectives by which descriptions tell it."""

ADJECTIVES = ("comfortable", "durable", "reliable", "versatile", "handy", "well made")
CLOSINGS = ("loved by our customers", "designed in house", "easy to care for", "ships in recycled packaging")

# Brand names are joined from these; each brand has home departments, a price tier and a quality.
BRAND_HEADS = (
    "Nor", "Vel", "Kest", "Alto", "Brim", "Cor", "Dax", "Elm", "Fjor", "Gal", "Hart", "Ilex", "Juni", "Lumi", "Mar",
    "Ost", "Pell", "Quen", "Rand", "Sol", "Tarn", "Ulm", "Wex", "Zan",
)  # fmt: skip
BRAND_TAILS = ("dane", "via", "rel", "wick", "mont", "ora", "field", "lin")
