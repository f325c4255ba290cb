"""Method: a frozen settings object that fits a stage.  The configuration is the method: printable, comparable, saved as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from aisle.core.env import Env
from aisle.core.errors import SettingError, UnknownName, nearest
from aisle.core.lists import Array, ItemLists
from aisle.core.requests import Requests
from aisle.core.shop import Counter, ShopView


class Settings(BaseModel):
    """Frozen settings that refuse an undeclared name and say the nearest one."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=False)

    def __init__(self, **values: Any) -> None:
        refuse_unknown(type(self), values)
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingError(_in_words(type(self).__name__, error)) from None

    def with_setting(self, assignment: str) -> Self:
        """``method.with_setting("train.lr=3e-4")``: one setting changed, nested by dots; values are JSON or plain text."""
        path, equals, text = assignment.partition("=")
        if not equals:
            raise SettingError(f"{assignment!r} sets nothing; write path=value, such as train.lr=3e-4")
        values = self.model_dump()
        _put(type(self), values, path.split("."), _value(text), path)
        return type(self)(**values)


def refuse_unknown(cls: type[BaseModel], values: Mapping[str, Any], where: str = "") -> None:
    """Raises SettingError for a name that ``cls`` (or a nested settings class) does not declare."""
    for name, value in values.items():
        if name not in cls.model_fields:
            hint = nearest(where + name, [where + known for known in cls.model_fields])
            raise SettingError(f"{cls.__name__} has no setting {where + name!r}{hint}")
        inner = cls.model_fields[name].annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel) and isinstance(value, Mapping):
            refuse_unknown(inner, value, f"{where}{name}.")


def _put(cls: type[BaseModel], values: dict[str, Any], path: list[str], value: Any, whole: str) -> None:
    name, *rest = path
    if name not in cls.model_fields:
        where = whole.removesuffix(".".join(path))
        refuse_unknown(cls, {name: None}, where)
    if not rest:
        values[name] = value
        return
    inner = cls.model_fields[name].annotation
    if isinstance(inner, type) and issubclass(inner, BaseModel):
        _put(inner, values[name], rest, value, whole)
    elif isinstance(values[name], dict):
        values[name] = {**values[name], ".".join(rest): value}
    else:
        raise SettingError(f"{whole!r} reaches into {name!r}, which has no parts; set {name!r} itself")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _in_words(name: str, error: ValidationError) -> str:
    return f"{name}: " + "; ".join(_told(name, one) for one in error.errors())


def _told(name: str, error: Mapping[str, Any]) -> str:
    """What is wrong with one value; of a part, what the part itself said, by its whole path."""
    where, said = ".".join(map(str, error["loc"])), error.get("ctx", {}).get("error")
    if where and isinstance(said, SettingError) and isinstance(error["input"], Mapping):
        return f"{where}.{str(said).partition(': ')[2]}"
    return f"{where or name} is {error['input']!r}: {error['msg'].removeprefix('Value error, ')}"


@dataclass(frozen=True, slots=True)
class State:
    """A fitted stage without its code: numbers as tensors, settings-like values as JSON, large things as files."""

    tensors: Mapping[str, Array] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)


class Stage(Protocol):
    """What every fitted stage has besides its role."""

    def state(self) -> State: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Given:
    """What a method asked for in ``needs``, read-only, and the lists that the plan's earlier stages make.

    stages      name -> fitted stage
    columns     name -> stored column set
    candidates  (requests, folds) -> ItemLists: what reaches this method's slot, out of fold when folds > 1
    versions    name -> version used, recorded with the fitted stage
    """

    stages: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)
    candidates: Callable[[Requests, int], ItemLists] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    def stage(self, name: str) -> Any:
        """Raises UnknownName when the method did not ask for it."""
        if name not in self.stages:
            raise UnknownName(f"no stage {name!r} was given{nearest(name, self.stages)}; declare it in needs")
        return self.stages[name]


NOTHING = Given()


class Method(Settings):
    """Base of every method.  Subclasses add settings, and ``METHOD = <class>`` at the end of their file.

    reads, writes   columns the fitted stage reads from and writes to its requests or candidates
    bags            the model whose bags of items the fitted stage makes (``core.roles.BagMaker``); "" for none
    counters        what the fitted stage asks ``env.counts`` for; a server keeps these, and no others
    loudness        what the ``relevance`` that it writes counts for beside the ranking's ``score``, where a plan has no utility
                    and too few held-back queries to choose it
    needs           name -> ``retrieval.bm25`` (a stage of this plan), ``relevance.lref@VERSION`` or ``columns:NAME``
    settings_version, migrate   how older saved settings are brought up to date
    """

    settings_version: ClassVar[int] = 1

    @property
    def reads(self) -> frozenset[str]:
        return frozenset()

    @property
    def writes(self) -> frozenset[str]:
        return frozenset()

    @property
    def bags(self) -> str:
        return ""

    @property
    def counters(self) -> tuple[Counter, ...]:
        return ()

    @property
    def loudness(self) -> float:
        return 1.0

    @property
    def needs(self) -> Mapping[str, str]:
        return {}

    def fit(self, shop: ShopView, env: Env, given: Given = NOTHING) -> Any:
        """Learn from ``shop`` and return a fitted stage."""
        raise TypeError(f"{type(self).__name__} defines no fit(shop, env, given)")

    def restore(self, state: State, env: Env, given: Given = NOTHING) -> Any:
        """The stage whose ``state()`` this is."""
        raise TypeError(f"{type(self).__name__} defines no restore(state, env, given)")

    @classmethod
    def tiny(cls) -> Self:
        """Settings that fit in 2 s, for the conformance suite."""
        return cls()

    @classmethod
    def migrate(cls, settings: dict[str, Any], version: int) -> dict[str, Any]:
        """Settings saved under an older ``settings_version``, brought up to date."""
        return settings


class Part(Settings):
    """A learning part (balance, sparse, online): ``build`` returns a component with ``state()``."""

    def build(self, env: Env) -> Any:
        raise TypeError(f"{type(self).__name__} defines no build(env)")

    @classmethod
    def tiny(cls) -> Self:
        return cls()
