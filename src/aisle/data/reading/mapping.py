"""Mapping: which column of a file becomes which column of the catalogue, and how.  Inferred, shown, overridable.

A mapping is a value: it prints, compares and round-trips through JSON.  Columns that it does not name become typed
attributes, so a sparse file with thousands of columns needs no list of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict

from aisle.core.errors import SettingError, nearest
from aisle.data.reading.column_names import SHORT, TARGETS, attribute_name

HOWS = {
    "price_cents": ("units", "units, decimal comma", "cents"),
    "list_price_cents": ("units", "units, decimal comma", "cents"),
    "category": ("path", "paths", ">", "|", "/", " / ", ";", "text"),
    "rating": ("of 5", "of 10", "of 100"),
    "created_s": ("date", "day first", "month first", "seconds", "milliseconds"),
    "attributes": ("auto", "text", "number", "boolean", "pairs", "object"),
}
"""How a column may be read, where there is a choice; the first is the default."""

ALIASES = {
    "comma": "units, decimal comma",
    "decimal comma": "units, decimal comma",
    "s": "seconds",
    "ms": "milliseconds",
}


class Rule(BaseModel):
    """One catalogue column: the columns it is made of (joined, or the first that has a value), how, and why."""

    model_config = ConfigDict(frozen=True)
    columns: tuple[str, ...]
    how: str = ""
    why: str = ""


class Mapping(BaseModel):
    """
    fields     catalogue column -> Rule
    attributes columns that become attributes in a stated way (the rest: by their values)
    ignored    column -> why it is left out
    currency   of all prices, when no column says so
    """

    model_config = ConfigDict(frozen=True)
    fields: dict[str, Rule]
    attributes: dict[str, Rule] = {}
    ignored: dict[str, str] = {}
    currency: str | None = None

    def used(self) -> set[str]:
        """Columns that a field takes."""
        return {column for rule in self.fields.values() for column in rule.columns}

    def is_ignored(self, column: str) -> bool:
        return column in self.ignored or any(
            rule.endswith("*") and column.startswith(rule[:-1]) for rule in self.ignored
        )

    def rows(self) -> list[tuple[str, str, str, str]]:
        """(catalogue column, from, how, why) in reading order, attributes and ignored columns last."""
        lines = [(target, " + ".join(rule.columns), rule.how, rule.why) for target, rule in self.fields.items()]
        names = [
            f"{attribute_name(c)}" + (f" ({r.how})" if r.how not in ("auto", "text", "") else "")
            for c, r in self.attributes.items()
        ]
        if names:
            shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
            lines.append(("attributes", shown, "by value", "columns of no catalogue column of their own"))
        return lines + [("(ignored)", column, "", why) for column, why in self.ignored.items()]

    def __str__(self) -> str:
        lines = [(a, b, "; ".join(x for x in (c, d) if x)) for a, b, c, d in self.rows()]
        return "\n".join(f"  {a:<17} <- {b}" + (f"  ({c})" if c else "") for a, b, c in lines)

    def overridden(self, maps: Sequence[str] = (), ignore: Sequence[str] = (), columns: Iterable[str] = ()) -> Mapping:
        """The mapping with ``title=product_name``, ``price=price:cents``, ``description=a+b`` and ignored columns applied.

        Raises SettingError for an unknown catalogue column, an unknown way, or a column that the file lacks.
        """
        known = set(columns)
        fields, attributes, ignored = dict(self.fields), dict(self.attributes), dict(self.ignored)
        for text in maps:
            target, rule = self._parsed(text, known)
            for column in rule.columns:
                ignored.pop(column, None)
                attributes.pop(column, None)
                # A column that was given elsewhere leaves its former place.
                fields = {
                    t: r if column not in r.columns or t == target else _less(r, column) for t, r in fields.items()
                }
            fields = {t: r for t, r in fields.items() if r.columns}
            (attributes if target == "attributes" else fields)[
                rule.columns[0] if target == "attributes" else target
            ] = rule
        for column in ignore:
            if known and column not in known and not column.endswith("*"):
                raise SettingError(f"--ignore {column}: the file has no such column{nearest(column, known)}")
            fields = {t: r for t, r in ((t, _less(r, column)) for t, r in fields.items()) if r.columns}
            attributes.pop(column, None)
            ignored[column] = "you said so"
        return Mapping(
            fields={t: fields[t] for t in TARGETS if t in fields},
            attributes=attributes,
            ignored=ignored,
            currency=self.currency,
        )

    @staticmethod
    def _parsed(text: str, known: set[str]) -> tuple[str, Rule]:
        target, equals, source = text.partition("=")
        target = SHORT.get(target.strip(), target.strip())
        if not equals or not source.strip():
            raise SettingError(
                f"--map {text!r} is not understood; write CATALOGUE_COLUMN=FILE_COLUMN, such as --map title=product_name"
            )
        if target not in TARGETS and target != "attributes":
            raise SettingError(
                f"--map {text!r}: the catalogue has no column {target!r}{nearest(target, [*TARGETS, 'attributes', *SHORT])}"
            )
        source, how = source.strip(), ""
        if source not in known and ":" in source:
            source, _, how = source.rpartition(":")
            how = ALIASES.get(how, how)
        names = (source,) if source in known else tuple(part.strip() for part in source.split("+"))
        for name in names:
            if known and name not in known:
                raise SettingError(f"--map {text!r}: the file has no column {name!r}{nearest(name, known)}")
        if how and how not in HOWS.get(target, ()):
            ways = ", ".join(HOWS.get(target, ())) or "nothing to choose"
            raise SettingError(f"--map {text!r}: {target} cannot be read as {how!r}; expected one of: {ways}")
        return target, Rule(columns=names, how=how or HOWS.get(target, ("",))[0], why="you said so")


def _less(rule: Rule, column: str) -> Rule:
    return rule.model_copy(update={"columns": tuple(c for c in rule.columns if c != column)})
