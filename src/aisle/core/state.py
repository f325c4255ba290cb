"""Fitted stages on disk: ``stage.json`` (what, with which settings), ``tensors.safetensors``, named side files.  No pickle.

A stage folder is written beside its final place and renamed, so a reader never sees half of one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np

from aisle.core import registry
from aisle.core.atomic import disk_errors, file_hash, sync, sync_tree
from aisle.core.env import Env
from aisle.core.errors import GenerationError, SettingError, StateError
from aisle.core.lists import Array
from aisle.core.method import NOTHING, Given, Method, State

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Saved:
    """``stage.json``: everything about a saved stage but its numbers."""

    method: str
    settings: Mapping[str, Any]
    generation: int
    settings_version: int = 1
    needs: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT


def _from_format_0(record: dict[str, Any]) -> dict[str, Any]:
    """Format 0 named the method ``name``, had neither hashes nor a settings version, and held one ``state`` of plain values."""
    return {
        "method": record["name"],
        "settings": record["settings"],
        "generation": record.get("generation", 0),
        "values": record.get("state", {}),
        "format": 1,
    }


MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {0: _from_format_0}
"""Saved format -> the step that brings its record one format further."""


def save(method: Method, stage: Any, folder: Path, *, generation: int, needs: Mapping[str, str] | None = None) -> str:
    """Write the stage to ``folder`` (which must not exist yet).  Returns its version: a hash of all that it is."""
    from safetensors.numpy import save_file

    state: State = stage.state()
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(mkdtemp(prefix=".stage-", dir=folder.parent))
    try:
        hashes = {}
        if state.tensors:
            tensors = {n: np.ascontiguousarray(a) for n, a in state.tensors.items()}
            with disk_errors(folder):
                save_file(tensors, work / "tensors.safetensors")
            hashes["tensors.safetensors"] = file_hash(work / "tensors.safetensors")
        for name, source in state.files.items():
            shutil.copyfile(source, work / name)
            hashes[name] = file_hash(work / name)
        record = Saved(
            method=registry.name_of(method),
            settings=method.model_dump(mode="json"),
            generation=generation,
            settings_version=type(method).settings_version,
            needs=dict(needs or {}),
            values=dict(state.values),
            hashes=hashes,
        )
        text = json.dumps(_record(record), indent=1)
        (work / "stage.json").write_text(text)
        sync_tree(work)
        os.replace(work, folder)
        sync(folder.parent)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _record(saved: Saved) -> dict[str, Any]:
    return {n: getattr(saved, n) for n in Saved.__dataclass_fields__}


def read_record(folder: Path) -> Saved:
    """The record of a saved stage, brought up to the current format.  Raises StateError."""
    try:
        record = json.loads((folder / "stage.json").read_text())
    except FileNotFoundError:
        raise StateError(f"{folder} holds no saved stage (no stage.json); fit it again with 'aisle fit'") from None
    except ValueError as error:
        raise StateError(
            f"{folder / 'stage.json'} is damaged ({error}); fit the stage again with 'aisle fit'"
        ) from None
    try:
        version = record.get("format", 0)
        if version > FORMAT:
            raise StateError(f"{folder} was saved in format {version}; this aisle reads up to {FORMAT}: update aisle")
        while version < FORMAT:
            record = MIGRATIONS[version](record)
            version = record["format"]
        return Saved(**record)
    except (AttributeError, KeyError, TypeError) as error:
        raise StateError(
            f"{folder / 'stage.json'} is damaged ({error}); fit the stage again with 'aisle fit'"
        ) from None


def load(folder: Path, env: Env, given: Given = NOTHING) -> tuple[Method, Any]:
    """The method and the fitted stage saved in ``folder``.

    Raises GenerationError when it was fitted on another generation than ``env.engine``'s, StateError when a file is
    missing or differs from its hash.
    """
    saved = read_record(folder)
    if saved.generation != env.engine.generation:
        raise GenerationError(
            f"{saved.method} was fitted on generation {saved.generation}, the shop is at {env.engine.generation}: its row "
            f"numbers name other items; fit it again with 'aisle fit SHOP {saved.method}'"
        )
    for name, expected in saved.hashes.items():
        if not (folder / name).exists():
            raise StateError(f"{folder / name} is missing; restore it from a backup or fit the stage again")
        if file_hash(folder / name) != expected:
            raise StateError(
                f"{folder / name} does not have its recorded hash; restore a backup or fit the stage again"
            )
    cls = registry.method(saved.method)
    if not issubclass(cls, Method):
        raise StateError(f"{saved.method} is a part, not a method; {folder} cannot be a stage of it")
    settings = dict(saved.settings)
    if saved.settings_version > cls.settings_version:
        raise StateError(
            f"{folder} has settings of version {saved.settings_version}; this {saved.method} reads up to "
            f"{cls.settings_version}: update what provides it"
        )
    if saved.settings_version < cls.settings_version:
        settings = cls.migrate(settings, saved.settings_version)
    try:
        method = cls(**settings)
    except SettingError as error:
        raise SettingError(
            f"{folder} was saved with settings that {saved.method} does not take now ({error}); fit it again with 'aisle fit SHOP "
            f"{saved.method}'"
        ) from None
    tensors: Mapping[str, Array] = {}
    if "tensors.safetensors" in saved.hashes:
        from safetensors.numpy import load_file

        tensors = load_file(folder / "tensors.safetensors")
    files = {name: folder / name for name in saved.hashes if name != "tensors.safetensors"}
    return method, method.restore(State(tensors, saved.values, files), env, given)
