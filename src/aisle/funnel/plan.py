"""Plan: which method stands in which slot of the funnel.  Unfitted, comparable, round-trips through JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from aisle.core import expression, registry
from aisle.core.errors import SettingError, nearest
from aisle.core.method import Method, Settings
from aisle.core.requests import Scene

if TYPE_CHECKING:
    from aisle.core.env import Env
    from aisle.core.shop import Counter, ShopView
    from aisle.funnel.serving import Funnel

MANY = ("understanding", "offline", "retrieval")
ONE = ("relevance", "ranking", "reranking", "allocation")
RANKED, JUDGED = "score", "relevance"
"""Columns that a ranking and a judge of relevance write."""


class Depth(Settings):
    """How many items leave a stage, per request.

    retrieve: of each retriever. rank: after ranking; what is re-ranked, allocated and held in a cursor.
    """

    retrieve: int = 500
    rank: int = 100


@dataclass(frozen=True, kw_only=True)
class Plan:
    """
    retrieval      name -> retriever; its columns are ``score_<name>``, ``found_<name>``, ``rank_<name>``
    relevance, ranking, reranking, allocation   one method each, or None
    understanding  name -> enricher of requests, run first
    offline        name -> method fitted only because another one ``needs`` it (a teacher), never served
    utility        an expression over columns: what candidates are ordered by; empty for ``score``, and where a stage judges
                   relevance and the ranking does not read what it says for ``score`` + loudness * ``relevance``, the loudness
                   chosen by the fit (``funnel.loudness``)
    depth          how many items leave a stage
    scenes         retriever -> the scenes it answers in (``search``, ``feed``, ``similar``); one that is not named answers in all
    collapse       show one variant of a product only

    Raises SettingError when a method stands in a slot of another folder or reads a column that nothing writes.
    """

    retrieval: Mapping[str, Method]
    relevance: Method | None = None
    ranking: Method | None = None
    reranking: Method | None = None
    allocation: Method | None = None
    understanding: Mapping[str, Method] = field(default_factory=dict)
    offline: Mapping[str, Method] = field(default_factory=dict)
    utility: str = ""
    depth: Depth = field(default_factory=Depth)
    scenes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    collapse: bool = True

    def __post_init__(self) -> None:
        if not self.retrieval:
            raise SettingError(
                "this plan retrieves nothing; give at least one method, such as retrieval={'bm25': Bm25()}"
            )
        for slot, method in self.slots().items():
            _check_folder(slot, method)
        if self.ranking is None and len(self.retrieval) > 1:
            raise SettingError(
                f"{len(self.retrieval)} retrievers ({', '.join(self.retrieval)}) need a ranking that joins their scores, "
                "such as ranking.fusion"
            )
        self._check_scenes()
        self._check_columns()

    def _check_scenes(self) -> None:
        known = {scene.name.lower() for scene in Scene}
        for name, scenes in self.scenes.items():
            if name not in self.retrieval:
                raise SettingError(f"scenes name {name!r}, which does not retrieve{nearest(name, self.retrieval)}")
            for scene in set(scenes) - known:
                raise SettingError(f"{name!r} answers in {scene!r}, which is no scene{nearest(scene, known)}")

    def answers_in(self, retriever: str) -> tuple[int, ...]:
        """The scenes a retriever answers in, as numbers."""
        names = self.scenes.get(retriever)
        return tuple(Scene) if names is None else tuple(Scene[name.upper()] for name in names)

    def slots(self) -> dict[str, Method]:
        """Slot -> method in the order in which they serve; offline methods come first."""
        found: dict[str, Method] = {}
        for folder in MANY:
            found |= {f"{folder}.{name}": method for name, method in getattr(self, folder).items()}
        found |= {folder: method for folder in ONE if (method := getattr(self, folder)) is not None}
        return found

    def served(self) -> dict[str, Method]:
        """The slots that a request passes through."""
        return {slot: method for slot, method in self.slots().items() if not slot.startswith("offline.")}

    def encoders(self) -> frozenset[str]:
        """Names of the encoders whose query embedding some served stage reads."""
        reads = {column for method in self.served().values() for column in method.reads}
        return frozenset(column.removeprefix("emb_") for column in reads if column.startswith("emb_"))

    def bags(self) -> dict[str, str]:
        """Model whose bags of items a served stage makes -> its slot."""
        return {method.bags: slot for slot, method in self.served().items() if method.bags}

    def counters(self) -> frozenset[Counter]:
        """What the plan's stages ask ``env.counts`` for."""
        return frozenset(counter for method in self.slots().values() for counter in method.counters)

    def _check_columns(self) -> None:
        written = {f"{prefix}_{name}" for name in self.retrieval for prefix in ("score", "found", "rank")}
        written |= {"score"} if self.ranking is None else set()
        requests: set[str] = set()
        for slot, method in self.served().items():
            known = requests | (set() if slot.startswith(("understanding", "retrieval")) else written)
            for column in method.reads - known:
                if not column.startswith("emb_"):
                    raise SettingError(
                        f"{slot} ({registry.name_of(method)}) reads {column!r}, which no earlier stage writes"
                        f"{nearest(column, known)}"
                    )
            (requests if slot.startswith("understanding") else written).update(method.writes)
        for column in expression.columns_of(self.order) - written:
            raise SettingError(
                f"the utility {self.order!r} reads {column!r}, which no stage writes{nearest(column, written)}"
            )

    @property
    def hears_judge(self) -> bool:
        """Whether a judge's relevance is added to the score: there is one, and neither a utility nor the ranking reads it."""
        is_read = self.ranking is not None and JUDGED in self.ranking.reads
        return not self.utility and self.relevance is not None and JUDGED in self.relevance.writes and not is_read

    @property
    def order(self) -> str:
        """The expression that candidates are ordered by where no fit has chosen the loudness of the judge."""
        return self.order_at(0.0 if self.relevance is None else self.relevance.loudness)

    def order_at(self, loudness: float) -> str:
        """``utility``, or what stands for an empty one with a judge of this loudness."""
        if self.utility:
            return self.utility
        return f"{RANKED} + {loudness:g} * {JUDGED}" if self.hears_judge and loudness else RANKED

    def replace(self, **slots: Any) -> Plan:
        """The same plan with these slots changed."""
        return replace(self, **slots)

    def with_setting(self, assignment: str) -> Plan:
        """One thing changed: ``ranking=ranking.fusion``, ``ranking.weights.bm25=2``, ``retrieval.bm25.k=9``, ``depth.rank=50``.

        Raises SettingError for a path that leads nowhere.
        """
        path, equals, text = assignment.partition("=")
        head, _, rest = path.partition(".")
        if not equals or head not in self.__dataclass_fields__:
            raise SettingError(
                f"{assignment!r} sets nothing{nearest(head, self.__dataclass_fields__)}; write slot.setting=value"
            )
        if head == "depth" and not rest:
            raise SettingError(f"{assignment!r} sets no depth; write depth.retrieve={text} or depth.rank={text}")
        if head == "depth":
            return replace(self, depth=self.depth.with_setting(f"{rest}={text}"))
        if head == "utility":
            return replace(self, utility=text)
        if head == "collapse":
            if text not in ("true", "false"):
                raise SettingError(f"{assignment!r} is neither yes nor no; write collapse=true or collapse=false")
            return replace(self, collapse=text == "true")
        if head in ONE:
            return self.replace(**{head: _changed(getattr(self, head), rest, text, path)})
        name, _, rest = rest.partition(".")
        many = dict(getattr(self, head))
        if rest and name not in many:
            slots = [f"{head}.{known}" for known in many]
            raise SettingError(
                f"{assignment!r} sets a part of {head}.{name}, which is empty{nearest(f'{head}.{name}', slots)}"
            )
        changed = _changed(many.get(name), rest, text, path)
        if changed is None:
            many.pop(name, None)
        else:
            many[name] = changed
        return self.replace(**{head: many})

    def to_json(self) -> dict[str, Any]:
        """Plain values; ``Plan.from_json`` is the inverse."""
        slots: dict[str, Any] = {}
        for folder in MANY:
            slots[folder] = {name: _method_json(m) for name, m in getattr(self, folder).items()}
        for folder in ONE:
            method = getattr(self, folder)
            slots[folder] = None if method is None else _method_json(method)
        scenes = {name: list(scenes) for name, scenes in self.scenes.items()}
        rest = {"utility": self.utility, "depth": self.depth.model_dump(), "scenes": scenes, "collapse": self.collapse}
        return slots | rest

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Plan:
        """Raises SettingError for a slot that there is not, UnknownName for a method that nobody registered."""
        for name in value.keys() - cls.__dataclass_fields__.keys():
            raise SettingError(f"a plan has no slot {name!r}{nearest(name, cls.__dataclass_fields__)}")
        slots: dict[str, Any] = dict(value)
        for folder in MANY:
            slots[folder] = {name: _method_of(m) for name, m in value.get(folder, {}).items()}
        for folder in ONE:
            method = value.get(folder)
            slots[folder] = None if method is None else _method_of(method)
        slots["depth"] = Depth(**value.get("depth", {}))
        slots["scenes"] = {name: tuple(scenes) for name, scenes in value.get("scenes", {}).items()}
        return cls(**slots)

    def fit(self, shop: ShopView, env: Env, *, previous: Funnel | None = None) -> Funnel:
        """Fit every method in the order of its needs; a stage of ``previous`` whose inputs are unchanged is kept."""
        from aisle.funnel.fitting import fit

        return fit(self, shop, env, previous=previous)


def _check_folder(slot: str, method: Method) -> None:
    folder = slot.partition(".")[0]
    actual = registry.folder_of(registry.name_of(method))
    if folder != "offline" and actual in registry.FOLDERS and actual != folder:
        raise SettingError(f"{registry.name_of(method)} stands in the slot {slot!r}; it belongs to {actual!r}")


def _changed(method: Method | None, rest: str, text: str, path: str) -> Method | None:
    if not rest:
        return None if text in ("none", "null", "") else registry.build(text)
    if method is None:
        raise SettingError(
            f"{path!r} sets a part of an empty slot; put a method there first, such as {path.split('.')[0]}=METHOD"
        )
    return method.with_setting(f"{rest}={text}")


def _method_json(method: Method) -> dict[str, Any]:
    version = type(method).settings_version
    dated = {"version": version} if version > 1 else {}
    return {"method": registry.name_of(method), "settings": method.model_dump(mode="json"), **dated}


def _method_of(value: Mapping[str, Any] | str) -> Method:
    if isinstance(value, str):
        return registry.build(value)  # type: ignore[no-any-return]
    cls, settings = registry.method(value["method"]), dict(value.get("settings") or {})
    version = value.get("version", 1)
    if issubclass(cls, Method) and version < cls.settings_version:
        settings = cls.migrate(settings, version)
    return cls(**settings)  # type: ignore[return-value]
