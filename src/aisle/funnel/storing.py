"""Funnels on disk: ``funnels/<version>.json`` pins the plan, the generation, the encoders and the version of every stage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from aisle.core import registry, state
from aisle.core.atomic import write_json
from aisle.core.env import Env
from aisle.core.errors import GenerationError, SettingError, StateError, UnknownName
from aisle.core.lists import Array
from aisle.core.method import Given
from aisle.funnel.fitting import CANDIDATES, StageStore, fit_order, slot_of
from aisle.funnel.loudness import Loudness
from aisle.funnel.plan import Plan
from aisle.funnel.serving import Funnel
from aisle.funnel.stages import Fitted

FORMAT = 1


class Folders(Protocol):
    """Where a shop keeps stages and funnels."""

    def stage_folder(self, name: str, version: str) -> Path: ...

    def funnel_path(self, version: str) -> Path: ...


def save(funnel: Funnel, shop: Folders) -> str:
    """Write the stages that are not stored yet, then the funnel's file.  Returns its version."""
    generation = funnel.env.engine.generation
    for slot, fitted in funnel.fitted.items():
        folder = shop.stage_folder(registry.name_of(fitted.method), fitted.version)
        if not folder.exists():
            needs = {need: funnel.fitted[slot_of(funnel.plan, need)].version for need in _plan_needs(funnel.plan, slot)}
            state.save(fitted.method, fitted.stage, folder, generation=generation, needs=needs)
    record = {
        "format": FORMAT,
        "generation": generation,
        "sequence": funnel.env.engine.sequence,
        "encoders": sorted(funnel.plan.encoders()),
        "bags": sorted(funnel.plan.bags()),
        "plan": funnel.plan.to_json(),
        "stages": {slot: fitted.version for slot, fitted in funnel.fitted.items()},
        "loudness": None if funnel.loudness is None else asdict(funnel.loudness),
    }
    write_json(shop.funnel_path(funnel.version), record)
    return funnel.version


def load(shop: Folders, version: str, env: Env) -> Funnel:
    """The funnel saved under ``version``, its stages loaded in the order of their needs.

    Raises StateError when there is none or its format is newer, GenerationError when the shop has moved on.
    """
    path = shop.funnel_path(version)
    try:
        record = json.loads(path.read_text())
    except FileNotFoundError:
        raise StateError(
            f"no funnel {version!r} is saved ({path} is not there); fit one with 'aisle fit SHOP PLAN'"
        ) from None
    except ValueError as error:
        raise StateError(f"{path} is damaged ({error}); fit the plan again with 'aisle fit SHOP PLAN'") from None
    if record.get("format") != FORMAT:
        raise StateError(
            f"{path} has format {record.get('format')!r}; this aisle reads {FORMAT}: update aisle, or fit again"
        )
    if record["generation"] != env.engine.generation:
        raise GenerationError(
            f"funnel {version} was fitted on generation {record['generation']}, the shop is at {env.engine.generation}: its row "
            "numbers name other items; fit it again with 'aisle fit SHOP PLAN'"
        )
    try:
        plan = Plan.from_json(record["plan"])
    except SettingError as error:
        raise StateError(
            f"funnel {version} was saved by another aisle, whose plan this one does not know ({error}); fit it again with 'aisle "
            "fit SHOP PLAN'"
        ) from None
    methods = plan.slots()
    fitted: dict[str, Fitted] = {}
    for slot in fit_order(plan):
        given = Given(
            stages={name: fitted[slot_of(plan, need)].stage for name, need in _named_needs(plan, slot).items()}
        )
        version_of_slot = record["stages"][slot]
        folder = shop.stage_folder(registry.name_of(methods[slot]), version_of_slot)
        method, stage = state.load(folder, env, given)
        fitted[slot] = Fitted(method, stage, version_of_slot)
    loudness = Loudness(**record["loudness"]) if record.get("loudness") else None
    return Funnel(plan, env, {slot: fitted[slot] for slot in methods}, version, loudness)


class StoredStages(StageStore):
    """Stages of a shop by name and version, for needs such as ``relevance.lref@VERSION``."""

    def __init__(self, shop: Folders) -> None:
        self._shop = shop

    def stage(self, name: str, version: str, env: Env) -> Any:
        """Raises UnknownName when it is not stored."""
        folder = self._shop.stage_folder(name, version)
        if not folder.exists():
            raise UnknownName(
                f"no stage {name!r} of version {version!r} is stored; fit it with 'aisle fit SHOP {name}'"
            )
        return state.load(folder, env)[1]

    def columns(self, name: str) -> Mapping[str, Array]:
        """A column set: the tensors of ``stages/columns/<name>``."""
        from safetensors.numpy import load_file

        path = self._shop.stage_folder("columns", name) / "columns.safetensors"
        if not path.exists():
            raise UnknownName(f"no column set {name!r} is stored ({path} is not there)")
        return load_file(path)


def _named_needs(plan: Plan, slot: str) -> dict[str, str]:
    """The needs of a slot that another slot of the plan meets."""
    needs = plan.slots()[slot].needs.items()
    return {
        name: need for name, need in needs if need != CANDIDATES and "@" not in need and not need.startswith("columns:")
    }


def _plan_needs(plan: Plan, slot: str) -> list[str]:
    return list(_named_needs(plan, slot).values())
