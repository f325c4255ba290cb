"""How shoppers put a wish into words: the mechanisms that part their words from sellers' words, each with its knob.

gap         other nouns and other names of values, by table
morphology  plurals, derived forms, words joined or split, units run together, by rule
slips       misspellings: a letter swapped, lost, doubled, or its neighbour on the keyboard
foreign     the whole query in German
drift       coined words (a noun clipped, with a new ending) that spread along a logistic curve, shelf by shelf
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from math import exp
from random import Random

from aisle.simulate.catalogue import german
from aisle.simulate.catalogue.sellers import misspelt
from aisle.simulate.catalogue.taxonomy import CODE, KINDS, LEAVES
from aisle.simulate.grades.intent import Want
from aisle.simulate.knobs import Knobs

# Other names of values and uses: what a shopper says for what the seller's list calls by the first word.
_OTHER_NAMES = """
navy: dark blue, navy blue | sky blue: light blue, baby blue | teal: blue green | burgundy: wine red, maroon
scarlet: bright red | charcoal: dark grey, dark gray | grey: gray | silver: metallic | ivory: off white | cream: off white
jet black: deep black | olive: khaki, army green | forest green: dark green | mint: pale green | mustard: dark yellow
rust: burnt orange | fuchsia: hot pink | rose: dusty pink | lavender: light purple | plum: dark purple | tan: light brown
chocolate: dark brown | taupe: greige | sand: light beige | purple: violet
women: ladies, female | men: gents, male, mens | kids: children, childrens, boys, girls
dotted: polka dot | striped: with stripes, pinstripe | checked: plaid, tartan | floral: flowery, with flowers
slim fit: skinny, tight | relaxed fit: loose, baggy | cotton: pure cotton | polyester: poly | fleece: fuzzy
wool: woolly | merino: merinos | leather: real leather, genuine leather | suede: suede leather | mesh: breathable net
boucle: teddy fabric | velvet: velour | linen: flax | wood: solid wood | oak: oakwood | metal: metallic | steel: iron
aluminium: aluminum, alu | stainless steel: inox, steel | cast iron: iron | ceramic: pottery, china | enamel: tin
natural rubber: rubber | plastic: acrylic | silicone: rubber | bluetooth: wireless, cordless | wired: with cable
usb-c: type c | sensitive skin: irritated skin, delicate skin | dry skin: dehydrated skin | oily skin: greasy skin
curly hair: curls | fine hair: thin hair | coloured hair: dyed hair, colour treated hair | unscented: fragrance free
matte: non shiny | glossy: shiny | shimmer: glitter | organic: bio, eco | fair trade: ethical | mild: gentle
dark: bitter | toddlers: babies, 1 year old | ages 3-6: preschool, 4 year old | ages 7-12: 8 year old, schoolchild
modern: contemporary | rustic: farmhouse, country style | industrial: loft style | scandinavian: nordic, scandi
four-season: winter, expedition | two-season: summer, light | three-season: spring | beginner: starter, first
tournament: pro | club: intermediate | firm support: strong, hinged | light support: soft, thin | lined: ruled
squared: grid, graph paper | dot grid: dotted paper, bullet | blank: unlined, plain paper
fine nib: thin line | broad nib: thick line
running: jogging, runners | everyday: daily, casual | office: work, business | party: going out, birthday
winter: cold weather | summer: hot weather, holidays | hiking: trekking, walking | commuting: bike to work
gym: workout, fitness | beach: seaside, sea | travel: trips, flights | gaming: gamers, playing | reading: books
small spaces: tiny flat, small apartment | children's rooms: nursery, kids room | sleeping: bedtime, good nights
induction: magnetic hob | camping: outdoors, tent trips | smoothies: shakes, frozen fruit | breakfast: morning
gifts: present, birthday gift | dinner: supper | training: practice | rainy days: indoors | balconies: terrace
sore knees: knee pain | sore backs: back pain | sore necks: neck pain | sore elbows: tennis elbow
sore muscles: muscle ache | latte art: barista | puppies: young dogs
"""


def _parse(text: str) -> dict[str, tuple[str, ...]]:
    cells = (cell.split(": ") for cell in text.strip().replace("\n", " | ").split(" | "))
    return {value.strip(): tuple(names.split(", ")) for value, names in cells}


OTHER_NAMES = _parse(_OTHER_NAMES)

_DERIVED = {
    "wool": "woollen", "wood": "wooden", "striped": "stripes", "dotted": "dots", "checked": "checks", "floral": "flower",
    "oak": "oaken", "leather": "leathery", "kids": "kid", "rustic": "rustical", "velvet": "velvety", "pine": "pinewood",
    "toddlers": "toddler",
}  # fmt: skip

_TYPED = {"women": "womens", "men": "mens"}
"""How everybody types these."""

_NEIGHBOURS = {letter: row[max(n - 1, 0) : n] + row[n + 1 : n + 2] for row in ("qwertyuiop", "asdfghjkl", "zxcvbnm")
               for n, letter in enumerate(row)}  # fmt: skip

_ENDINGS = ("y", "o", "ster", "ito", "core")
SPREAD_DAYS = 12.0
FIRST_DAY, LAST_DAY = -40.0, 150.0
"""A shelf's coined word reaches half of its spread on a day between these."""

UNIT_WORDS = {"in": ("inch", '"'), "GB": ("gb", "gig"), "h": ("hours", "hrs"), "cm": ("cm", "centimetre"),
              "ml": ("ml",), "g": ("grams", "gr"), "kg": ("kilo", "kgs"), "l": ("litre", "liter"),
              "MP": ("megapixel", "mpx")}  # fmt: skip


@dataclass
class Speaker:
    """One shopper's way with words for one query.  ``changes`` collects the mechanisms that touched the query."""

    knobs: Knobs
    words: Random
    seed: int = 0
    day: float = 0.0
    in_german: bool = False
    changes: dict[str, None] = field(default_factory=dict)

    def noun(self, leaf: int, *, synonym: bool = False) -> str:
        """A word for the shelf; ``synonym``: one that sellers do not use, as far as the knob ``gap`` goes."""
        if self.in_german:
            of_shelf = german.NOUNS[leaf]
            return self.words.choice(of_shelf.synonyms if self.by_table(0.35) else of_shelf.nouns)
        if self.words.random() < 0.5 * self.knobs.drift * spread(leaf, self.day, self.seed):
            self.changes["coined"] = None
            return coined(leaf, self.seed)
        shelf = LEAVES[leaf]
        noun = shelf.nouns[0]
        if synonym and self.words.random() < min(1.0, 2.5 * self.knobs.gap):
            self.changes["synonym"] = None
            noun = self.words.choice(shelf.synonyms)
        elif not synonym and self.by_table(0.25):
            noun = self.words.choice((*shelf.nouns[1:], *shelf.synonyms))
        return self._bent(noun)

    def value(self, text: str) -> str:
        """A word for a value or a use."""
        if self.in_german:
            return german.USES[text][0] if text in german.USES else german.VALUES[CODE[text]]
        if text in OTHER_NAMES and self.by_table(0.4):
            return self.words.choice(OTHER_NAMES[text])
        if text in _DERIVED and self._bends(0.6):
            return _DERIVED[text]
        return _TYPED.get(text, text)

    def number(self, want: Want) -> str:
        """A number with its unit, run together or with another name of the unit: '500 g', '500g', '15 inch'."""
        kind = next((k for k in KINDS.values() if k.name == want.field and want.number in k.numbers), None)
        unit = (kind.unit or kind.name) if kind else want.field
        if self.in_german:
            return f"{want.number:g} {german.NAMES.get(unit, unit)}"
        if kind and kind.unit is None:
            return f"{want.field} {want.number:g}" if "size" in want.field else f"{want.number:g} {want.field}"
        if unit in UNIT_WORDS and self.by_table(0.4):
            unit = self.words.choice(UNIT_WORDS[unit])
        return f"{want.number:g}{unit}" if unit == '"' or self._bends(0.5) else f"{want.number:g} {unit}"

    def finished(self, text: str, *, slip: bool) -> str:
        """The query as it arrives: lower case, at times with a slip; ``slip``: nearly always."""
        text = " ".join(text.lower().split())
        chance = min(1.0, 3 * self.knobs.slips) if slip else 0.1 * self.knobs.slips
        if self.words.random() < chance:
            slipped = self._slipped(text)
            if slipped != text:
                self.changes["slip"] = None
            return slipped
        return text

    def by_table(self, chance: float) -> bool:
        """Whether the table of other names is used this time."""
        if self.words.random() < chance * self.knobs.gap:
            self.changes["synonym"] = None
            return True
        return False

    def _bends(self, chance: float) -> bool:
        if self.words.random() < chance * self.knobs.morphology:
            self.changes["morphology"] = None
            return True
        return False

    def _bent(self, noun: str) -> str:
        """The noun in the plural, joined ('dining table', 'diningtable') or split ('t-shirt', 't shirt')."""
        if not noun.endswith("s") and self._bends(0.5):
            return plural(noun)
        others = sorted({noun.replace("-", " "), noun.replace("-", "").replace(" ", "")} - {noun})
        if others and self._bends(0.25):
            return self.words.choice(others)
        return noun

    def _slipped(self, text: str) -> str:
        if self.words.random() < 0.6:
            return misspelt(text, self.words)
        tokens = text.split(" ")
        long = [n for n, token in enumerate(tokens) if len(token) > 4 and token.isalpha() and token.isascii()]
        if not long:
            return text
        n = self.words.choice(long)
        at = self.words.randrange(1, len(tokens[n]))
        tokens[n] = tokens[n][:at] + self.words.choice(_NEIGHBOURS[tokens[n][at]]) + tokens[n][at + 1 :]
        return " ".join(tokens)


def spread(leaf: int, day: float, seed: int) -> float:
    """How far the coined word of a shelf has spread by a day, 0 to 1."""
    half_s = FIRST_DAY + (LAST_DAY - FIRST_DAY) * _unit(leaf, seed, "day")
    return 1.0 / (1.0 + exp(-(day - half_s) / SPREAD_DAYS))


@lru_cache(maxsize=64)
def _coined_words(seed: int) -> tuple[str, ...]:
    taken: dict[str, None] = {}
    for leaf, shelf in enumerate(LEAVES):
        noun = shelf.nouns[0].split(" ")[-1].replace("-", "")
        vowel = next((n for n, letter in enumerate(noun) if letter in "aeiou" and n > 0), 1)
        word = noun[: vowel + 2]
        first = int(len(_ENDINGS) * _unit(leaf, seed, "ending"))
        endings = (*_ENDINGS[first:], *_ENDINGS[:first])
        # Nouns that begin alike take different endings, and one more ending when those run out.
        free = next(
            word + e for e in (*endings, *(f"{e}{f}" for e in endings for f in endings)) if word + e not in taken
        )
        taken[free] = None
    return tuple(taken)


def coined(leaf: int, seed: int) -> str:
    """The new word for a shelf: its noun clipped after the first closed syllable, with a fashionable ending."""
    return _coined_words(seed)[leaf]


def _unit(leaf: int, seed: int, what: str) -> float:
    """A number in [0, 1) that depends on nothing but its arguments."""
    return int.from_bytes(blake2b(f"{seed} {leaf} {what}".encode(), digest_size=6).digest()) / 2**48


def plural(noun: str) -> str:
    """The plural of an English noun, by the usual endings."""
    if noun.endswith(("s", "sh", "ch", "x")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"
