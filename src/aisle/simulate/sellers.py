"""How sellers write: titles in five styles and short descriptions, with filler words, abbreviations and slips."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from aisle.simulate.taxonomy import Leaf
from aisle.simulate.wording import ABBREVIATIONS, ADJECTIVES, CLOSINGS, FILLERS, OPENINGS, USES

Entry = dict[str, str | float | None]
SILENT_IN_TITLES = ("plain", "conventional", "regular fit")


class Product(NamedTuple):
    """What a seller knows of the item to be described; ``model`` is a name such as 'Veli 300'."""

    leaf: Leaf
    brand: str
    use: str
    attributes: list[Entry]
    model: str


def title(product: Product, style: int, has_variants: bool, gap: float, words: Random) -> str:
    """A title.  style: 0 brand first, 1 attributes first, 2 noun first, 3 stuffed with filler, 4 short."""
    noun = _noun(product.leaf, gap, words)
    chance = (0.65, 0.75, 0.6, 0.6, 0.25)[style]
    parts = []
    for entry in product.attributes:
        varies = has_variants and entry == product.attributes[-1]
        if entry["text"] not in SILENT_IN_TITLES and (varies or words.random() < (chance if gap else 1.0)):
            parts.append(phrase(entry))
    model = product.model if words.random() < (0.7 if product.leaf.department == "Electronics" else 0.25) else ""
    front = [p for p in parts if not p[0].isdigit()]
    back = [p for p in parts if p[0].isdigit()]
    if style == 0:
        pieces = [product.brand, model, *front, noun, *back]
    elif style == 1:
        pieces = [*front, noun, *back, "by", product.brand]
    elif style == 2:
        pieces = [noun, model, "-", product.brand, *[f"{p}," for p in parts[:-1]], *parts[-1:]]
    elif style == 3:
        use = USES[product.use][words.randrange(3) if gap else 0]
        first, last = words.sample(FILLERS, 2)
        pieces = [first, product.brand, *front, noun, *back, use, "-", last]
    else:
        pieces = [product.brand, model, *front[:1], noun, *back[:1]]
    text = " ".join(_abbreviated(p, gap, words) for p in pieces if p)
    if words.random() < 0.04 * gap:
        text = misspelt(text, words)
    return " ".join(map(_headline, text.split(" "))) if style in (0, 2) else _upper(text)


def describe(product: Product, gap: float, words: Random) -> str:
    """One to three sentences; nearly always one on what the item is for, often in other words than shoppers use."""
    noun = _noun(product.leaf, gap, words)
    first, second = words.sample(ADJECTIVES, 2)
    opening = words.choice(OPENINGS).format(noun=noun, brand=product.brand, adjective=first, second=second)
    wording = USES[product.use][0 if words.random() >= 0.75 * gap else words.randrange(1, 3)]
    told = [phrase(e) for e in product.attributes if e["text"] not in SILENT_IN_TITLES]
    words.shuffle(told)
    sentences = [f"{opening}, {wording}"] if words.random() >= 0.08 * gap else [opening]
    if words.random() < 0.7 and told:
        sentences.append(" and ".join(told[:2]))
    if words.random() < 0.4:
        sentences.append(words.choice(CLOSINGS))
    return " ".join(f"{_upper(s)}." for s in sentences)


def phrase(entry: Entry) -> str:
    """An attribute as written in running text: 'navy', '500 g', 'size M', '12 h battery life'."""
    name, text, number, unit = entry["name"], entry["text"], entry["number"], entry["unit"]
    if text is not None:
        return f"size {text}" if name == "size" else str(text)
    amount = f"{number:g}" if isinstance(number, float) else ""
    if unit:
        return f"{amount} {unit}"
    return f"{amount} {name}" if name in ("pieces", "persons") else f"{name} {amount}"


def misspelt(text: str, words: Random) -> str:
    """The text with one slip in one of its longer words: two letters swapped, one lost, or one doubled."""
    tokens = text.split(" ")
    long = [n for n, token in enumerate(tokens) if len(token) > 4 and token.isalpha()]
    if not long:
        return text
    n = words.choice(long)
    at = words.randrange(1, len(tokens[n]) - 2)
    word = tokens[n]
    slips = (
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        word[:at] + word[at + 1 :],
        word[:at] + word[at] + word[at:],
    )
    changed = [slip for slip in slips if slip != word]
    tokens[n] = words.choice(changed)
    return " ".join(tokens)


def _noun(leaf: Leaf, gap: float, words: Random) -> str:
    return words.choice(leaf.nouns) if words.random() < 0.35 * gap else leaf.nouns[0]


def _abbreviated(text: str, gap: float, words: Random) -> str:
    return ABBREVIATIONS[text] if text in ABBREVIATIONS and words.random() < 0.2 * gap else text


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _headline(word: str) -> str:
    return word if len(word) < 3 else _upper(word)
