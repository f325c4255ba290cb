"""The words by which a language says no to something, as data.  A language is a line of this table; one without a line knows
the operators alone (``-red``, ``NOT red``)."""

from __future__ import annotations

from typing import NamedTuple


class NegationWords(NamedTuple):
    """Lower case, no accents; a phrase is written with blanks.

    far      say no to what follows, and in a product's text to a whole list: "free of parabens, sulfates and silicones"
    near     say no to what follows at once: "no plastic"
    name     of those above, the ones that often begin the name of a feature: "non stick pan", "no show socks"
    behind   say no to the word before them: "sugar-free", "sugar free"
    endings  the same as the end of a word, read in queries and in products: "zuckerfrei"
    suffixes the same, read in products alone, since many such words name something else: "strapless", but "stainless"
    between  may stand between such a word and what it says no to: "without any plastic"
    lead     go with such a word when they stand before it: "but not red"
    joins    go on with a list: "without plastic and glass"
    ends     end what is said no to, beside the language's stop words: "without plastic under 50"
    never    say no to nothing: "no more than 20"
    anywhere of all the above, those that mean nothing else in other languages and are understood in every shop
    """

    far: tuple[str, ...] = ()
    near: tuple[str, ...] = ()
    name: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()
    endings: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    between: tuple[str, ...] = ()
    lead: tuple[str, ...] = ()
    joins: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    anywhere: tuple[str, ...] = ()


ENGLISH = NegationWords(
    far=("without", "w/o", "free of", "free from", "excluding", "except", "except for", "apart from", "other than"),
    near=(
        "no", "not", "non", "but not", "anything but", "everything but", "all but", "any colour but", "any color but",
        "instead of",
    ),
    name=("no", "non"),
    behind=("free",),
    endings=("free",),
    suffixes=("less",),
    between=(
        "a", "an", "any", "the", "of", "in", "with", "from", "for", "made", "added", "too", "very", "so", "being", "having",
    ),
    lead=("but", "and", "with", "in"),
    joins=("and", "or", "nor", "&", "/"),
    ends=("under", "below", "over", "above", "from", "size", "please", "only"),
    never=(
        "no more than", "not more than", "no less than", "not less than", "no bigger than", "no larger than", "no later than",
        "not only", "not just", "no matter", "no one", "no name", "no idea", "not sure", "no problem", "not working",
    ),
    anywhere=("without",),
)  # fmt: skip

GERMAN = NegationWords(
    far=("ohne", "frei von", "ausser", "ausgenommen"),
    near=("kein", "keine", "keinen", "keinem", "keiner", "keines", "nicht", "aber nicht", "statt", "anstatt"),
    behind=("frei", "freie", "freier", "freies", "freien", "freiem"),
    endings=("frei", "freie", "freier", "freies", "freien", "freiem"),
    suffixes=("los", "lose", "loser", "loses", "losen"),
    between=(
        "ein", "eine", "einen", "einem", "einer", "jede", "jeden", "jedes", "der", "die", "das", "den", "dem", "aus", "in",
        "mit", "von", "fur", "zu", "sehr", "zusatzliche", "zusatzlichen", "zusatz",
    ),
    lead=("aber", "und", "mit", "in"),
    joins=("und", "oder", "noch", "sowie", "&", "/"),
    ends=("unter", "uber", "bis", "ab", "grosse", "bitte", "nur"),
    never=("nicht nur", "nicht mehr als", "nicht weniger als", "nicht grosser als", "kein problem", "keine ahnung"),
    anywhere=("ohne", "kein", "keine", "keinen"),
)  # fmt: skip

LANGUAGES = {
    "danish": NegationWords(far=("uden",), joins=("og", "eller"), anywhere=("uden",)),
    "dutch": NegationWords(far=("zonder",), near=("geen", "niet"), between=("een", "de", "het"), joins=("en", "of")),
    "english": ENGLISH,
    "french": NegationWords(
        far=("sans",), near=("pas de", "pas en"), between=("le", "la", "de"), joins=("et", "ou", "ni")
    ),
    "german": GERMAN,
    "italian": NegationWords(
        far=("senza",), near=("non",), between=("il", "la"), joins=("e", "o"), anywhere=("senza",)
    ),
    "norwegian": NegationWords(far=("uten",), near=("ikke",), joins=("og", "eller")),
    "portuguese": NegationWords(far=("sem",), between=("o", "a"), joins=("e", "ou")),
    "spanish": NegationWords(far=("sin",), between=("el", "la", "de"), joins=("y", "o", "ni")),
    "swedish": NegationWords(far=("utan",), near=("ej", "inte"), joins=("och", "eller")),
}


def words_of(language: str) -> NegationWords:
    """The words of a language, and those of all others that are understood anywhere."""
    own = LANGUAGES.get(language, NegationWords())
    others = [words for name, words in LANGUAGES.items() if name != language]

    def more(kind: str) -> tuple[str, ...]:
        return tuple(w for words in others for w in words.anywhere if w in getattr(words, kind))

    return own._replace(far=own.far + more("far"), near=own.near + more("near"))
