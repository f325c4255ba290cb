"""Text encoders by name, loaded when first asked for.

``minilm``  all-MiniLM-L6-v2, from the package that carries its weights (extra ``neural``), on OpenVINO where it is
            installed (extra ``openvino``: a third of the time for a query), on torch elsewhere
``own``     trained on the shop's own titles, no torch, no download
a path      a folder with a BERT-like model in the sentence-transformers layout
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from aisle.core.env import Encoder
from aisle.core.errors import AisleError, UnknownName
from aisle.nn.encoders.checkpoint import WEIGHTS_PACKAGE, Checkpoint, minilm_checkpoint, read_checkpoint


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
            return load(minilm_checkpoint())
        if (Path(name) / "config.json").exists():
            return load(read_checkpoint(Path(name), name))
        raise UnknownName(
            f"no encoder {name!r}; there are {', '.join(self)} and the paths of model folders (with a config.json)"
        )


def minilm_is_installed() -> bool:
    """Whether the package with the weights, tokenizers, and OpenVINO or torch are there."""
    return _there(WEIGHTS_PACKAGE) and _there("tokenizers") and (_there("openvino") or _there("torch"))


def load(checkpoint: Checkpoint) -> Encoder:
    """The encoder of a checkpoint on the fastest library that is installed.  Raises AisleError when there is none."""
    if _there("openvino"):
        from aisle.nn.encoders.openvino import OpenVinoEncoder

        return OpenVinoEncoder(checkpoint)
    if _there("torch"):
        from aisle.nn.encoders.bert import BertEncoder

        return BertEncoder(checkpoint)
    raise AisleError(
        f"the encoder {checkpoint.name!r} needs torch or OpenVINO: pip install 'aisle[neural]' or 'aisle[openvino]', "
        "or use the encoder 'own'"
    )


def _there(package: str) -> bool:
    return find_spec(package) is not None
