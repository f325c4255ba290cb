"""Pieces: the words of a BERT-like model, with the marks that stand between and around texts.

Legend: N texts, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from aisle.core.lists import Array
from aisle.nn.backbones.words import Words

CLS, SEP, PAD = "[CLS]", "[SEP]", "[PAD]"


class Pieces:
    """A tokenizer of the ``tokenizers`` library that adds nothing by itself."""

    def __init__(self, tokenizer: Any) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer = tokenizer
        self.cls_id, self.sep_id, self.pad_id = (int(tokenizer.token_to_id(mark)) for mark in (CLS, SEP, PAD))

    @classmethod
    def learned(cls, texts: Sequence[str], size: int) -> Pieces:
        """Of these texts, letters lowered, at most ``size`` pieces; the same texts give the same pieces."""
        return cls.from_json(Words.learn(texts, size=size, marks=(CLS, SEP, PAD)).to_json())

    @classmethod
    def from_json(cls, text: str) -> Pieces:
        import tokenizers

        return cls(tokenizers.Tokenizer.from_str(text))

    def to_json(self) -> str:
        return str(self._tokenizer.to_str())

    def __len__(self) -> int:
        return int(self._tokenizer.get_vocab_size())

    def encode(self, texts: Sequence[str]) -> list[Array]:
        """int64[T] of each text, no marks added."""
        return [np.array(e.ids, np.int64) for e in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)]
