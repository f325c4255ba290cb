"""An encoder trained on the shop's own text, without torch: latent semantic analysis over words and letter groups.

A text is a bag of words and of 4-letter groups (which forgive a misspelling), weighted (1 + log tf) * idf, projected on the
leading singular directions of the shop's titles, brands, categories and descriptions (Deerwester et al., 1990).

Legend: N texts, F features, D width.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from aisle.core.atomic import write_file
from aisle.core.env import Progress, silent
from aisle.core.errors import DataError
from aisle.core.lists import Array
from aisle.core.shop import Items

WORD = re.compile(r"[^\W_]+")
LETTERS = 4
LETTER_WEIGHT = 0.5
MAX_FEATURES = 120_000
MAX_TRAINING_TEXTS = 200_000


@lru_cache(maxsize=500_000)
def features_of(word: str) -> tuple[str, ...]:
    """A word and its letter groups, the word's ends marked."""
    marked = f"<{word}>"
    groups = {marked[i : i + LETTERS] for i in range(len(marked) - LETTERS + 1)} if len(word) >= LETTERS else set()
    return (word, *sorted("#" + g for g in groups))


class OwnEncoder:
    """Encoder: ``idf_F`` float32[F], ``project_FD`` float16[F, D], features by name."""

    def __init__(self, features: dict[str, int], idf_F: Array, project_FD: Array) -> None:
        self.name, self.dim = "own", int(project_FD.shape[1])
        self.revision = hashlib.blake2b(
            project_FD.astype(np.float16).tobytes() + idf_F.tobytes(), digest_size=6
        ).hexdigest()
        self._features, self._idf_F, self._project_FD = features, idf_F, project_FD.astype(np.float32)
        self._weight_F = _weights(features, idf_F)

    def encode(self, texts: Sequence[str]) -> Array:
        """float32[N, D], unit rows; 0 for a text without a known feature."""
        emb_ND = np.asarray(_bags(texts, self._features, self._weight_F) @ self._project_FD, np.float32)
        norm_N1 = np.linalg.norm(emb_ND, axis=1, keepdims=True)
        return emb_ND / np.where(norm_N1 > 1e-6, norm_N1, 1.0)

    def save(self, folder: Path) -> None:
        """Write ``features.json`` and ``own.safetensors``."""
        from safetensors.numpy import save_file

        tensors = {"idf_F": self._idf_F, "project_FD": self._project_FD.astype(np.float16)}
        write_file(folder / "own.safetensors", lambda path: save_file(tensors, path))
        write_file(folder / "features.json", lambda path: path.write_text(json.dumps(list(self._features))))

    @classmethod
    def load(cls, folder: Path) -> OwnEncoder:
        """The inverse of ``save``."""
        from safetensors.numpy import load_file

        tensors = load_file(folder / "own.safetensors")
        names = json.loads((folder / "features.json").read_text())
        return cls({n: i for i, n in enumerate(names)}, tensors["idf_F"], tensors["project_FD"])


def train_own(items: Items, *, width: int = 128, seed: int = 0, progress: Progress = silent) -> OwnEncoder:
    """Fit on the live items' texts.  Raises DataError for a shop without a word."""
    rows = np.flatnonzero(items.live).astype(np.int32)
    if len(rows) > MAX_TRAINING_TEXTS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MAX_TRAINING_TEXTS, replace=False))
    fields = [items.text(f, rows) for f in ("title", "brand", "category", "description")]
    texts = [f"{t} {b} {c} {d[:300]}" for t, b, c, d in zip(*fields, strict=True)]
    progress("train encoder", 0, 2)
    features, idf_F = _vocabulary(texts)
    if not features:
        raise DataError("no item has a word that another shares; an encoder cannot be trained on this shop's text")
    bags_NF = _bags(texts, features, _weights(features, idf_F))
    progress("train encoder", 1, 2)
    encoder = OwnEncoder(features, idf_F, _directions(bags_NF, width, seed))
    progress("train encoder", 2, 2)
    return encoder


def _vocabulary(texts: Sequence[str]) -> tuple[dict[str, int], Array]:
    """Features of at least two texts, the most frequent MAX_FEATURES, and their idf."""
    count: dict[str, int] = {}
    for text in texts:
        for feature in {f for word in set(WORD.findall(text.lower())) for f in features_of(word)}:
            count[feature] = count.get(feature, 0) + 1
    at_least = 2 if len(texts) > 3 else 1
    kept = sorted((f for f, n in count.items() if n >= at_least), key=lambda f: (-count[f], f))[:MAX_FEATURES]
    idf_F = np.log((1 + len(texts)) / (1 + np.array([count[f] for f in kept], np.float64))) + 1
    return {f: i for i, f in enumerate(kept)}, idf_F.astype(np.float32)


def _weights(features: dict[str, int], idf_F: Array) -> Array:
    """float32[F]: what one occurrence of each feature weighs; a letter group less than a word."""
    return idf_F * np.array([LETTER_WEIGHT if f.startswith("#") else 1.0 for f in features], np.float32)


def _bags(texts: Sequence[str], features: dict[str, int], weight_F: Array) -> Any:
    """Sparse float32[N, F], unit rows."""
    from scipy import sparse

    column: list[int] = []
    ends = [0]
    for text in texts:
        for word in WORD.findall(text.lower()):
            column += [features[f] for f in features_of(word) if f in features]
        ends.append(len(column))
    bags = sparse.csr_matrix(
        (np.ones(len(column), np.float32), np.array(column, np.int32), ends), (len(texts), len(weight_F))
    )
    bags.sum_duplicates()
    bags.data = (1 + np.log(bags.data)) * weight_F[bags.indices]
    norm_N = np.sqrt(np.asarray(bags.multiply(bags).sum(1)).ravel())
    return sparse.diags_array(1 / np.maximum(norm_N, 1e-9)).astype(np.float32) @ bags


def _directions(bags_NF: Any, width: int, seed: int) -> Array:
    """float32[F, D]: leading right singular directions by randomised range finding (Halko et al., 2011), 3 power steps."""
    rng = np.random.default_rng(seed)
    width = max(1, min(width, *bags_NF.shape) - 1) if min(bags_NF.shape) > 1 else 1
    sketch_FD = rng.standard_normal((bags_NF.shape[1], width + 16)).astype(np.float32)
    for _ in range(3):
        basis_ND, _ = np.linalg.qr(bags_NF @ sketch_FD)
        sketch_FD, _ = np.linalg.qr(bags_NF.T @ basis_ND)
    small_NK = bags_NF @ sketch_FD
    _, scale_D, vt_DD = np.linalg.svd(small_NK, full_matrices=False)
    # The leading directions say mostly "frequent word"; the square root of their scale keeps them from drowning the rest.
    keep = slice(0, width)
    damped_D = 1 / np.sqrt(np.maximum(scale_D[keep], 1e-6))
    return np.asarray(sketch_FD @ vt_DD[keep].T * damped_D, np.float32)
