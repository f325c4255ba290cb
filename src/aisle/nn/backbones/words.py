"""Words: text to tokens and back.  A vocabulary learned from a shop's text, or that of a pre-trained model.

Marks (labels, tags of a grammar, separators) are single tokens by construction, wherever they stand in a text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np

from aisle.core.errors import AisleError, SettingError
from aisle.core.lists import Array

END, UNKNOWN = "<end>", "<unknown>"
"""What closes an answer; what stands for a word outside the vocabulary."""


class Words:
    """A tokenizer of the ``tokenizers`` library with marks that are one token each."""

    def __init__(self, tokenizer: Any, marks: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self.marks = tuple(marks)
        for mark in (END, *marks):
            self.id(mark)

    @classmethod
    def learn(
        cls, texts: Iterable[str], *, size: int, marks: Sequence[str] = (), kind: Literal["words", "pieces"] = "pieces"
    ) -> Words:
        """At most ``size`` tokens: whole ``words``, the most frequent ones, or ``pieces`` of them (byte-level BPE: no text
        is unknown).  Letters are lowered.

        Raises SettingError when the marks alone need more.
        """
        tokenizers = _library()
        special = [END, UNKNOWN, *marks]
        least = len(special) + (0 if kind == "words" else 256)
        if size < least:
            raise SettingError(
                f"a vocabulary of {size} cannot hold {len(marks)} marks and the letters; ask for {least} or more"
            )
        normal, pre, models, trainers = (
            getattr(tokenizers, name) for name in ("normalizers", "pre_tokenizers", "models", "trainers")
        )
        if kind == "words":
            tokenizer = tokenizers.Tokenizer(models.WordLevel(unk_token=UNKNOWN))
            tokenizer.pre_tokenizer = pre.Whitespace()
            trainer = trainers.WordLevelTrainer(vocab_size=size, special_tokens=special, show_progress=False)
        else:
            tokenizer = tokenizers.Tokenizer(models.BPE(byte_fallback=False))
            tokenizer.pre_tokenizer = pre.Sequence(
                [pre.Digits(individual_digits=True), pre.ByteLevel(add_prefix_space=True)]
            )
            tokenizer.decoder = tokenizers.decoders.ByteLevel()
            trainer = trainers.BpeTrainer(
                vocab_size=size,
                special_tokens=special,
                initial_alphabet=pre.ByteLevel.alphabet(),
                show_progress=False,
            )
        tokenizer.normalizer = normal.Sequence([normal.NFKC(), normal.Lowercase()])
        tokenizer.train_from_iterator(texts, trainer)
        return cls(tokenizer, marks)

    @classmethod
    def extended(cls, tokenizer: Any, marks: Sequence[str]) -> Words:
        """The vocabulary of a pre-trained model with the end token and the marks added to it."""
        tokenizer.add_special_tokens([_library().AddedToken(mark, special=True) for mark in (END, *marks)])
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return cls(tokenizer, marks)

    @classmethod
    def from_json(cls, text: str, marks: Sequence[str]) -> Words:
        return cls(_library().Tokenizer.from_str(text), marks)

    def to_json(self) -> str:
        return str(self._tokenizer.to_str())

    def __len__(self) -> int:
        return int(self._tokenizer.get_vocab_size())

    @property
    def end_id(self) -> int:
        return self.id(END)

    def id(self, token: str) -> int:
        """Raises SettingError when the vocabulary lacks it."""
        found = self._tokenizer.token_to_id(token)
        if found is None:
            raise SettingError(
                f"the vocabulary has no token {token!r}; give it as a mark when the vocabulary is learned"
            )
        return int(found)

    def ids(self, tokens: Sequence[str]) -> Array:
        """int64[N]."""
        return np.array([self.id(token) for token in tokens], np.int64)

    def encode(self, texts: Sequence[str]) -> list[Array]:
        """int64 tokens of each text."""
        return [np.array(e.ids, np.int64) for e in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    def decode(self, tokens: Sequence[Array]) -> list[str]:
        """Each list as text, marks included, without what closes it."""
        kept = [[int(t) for t in row if t != self.end_id] for row in tokens]
        return [text.strip() for text in self._tokenizer.decode_batch(kept, skip_special_tokens=False)]


def _library() -> Any:
    try:
        import tokenizers
        import tokenizers.decoders
        import tokenizers.models
        import tokenizers.normalizers
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError:
        raise AisleError("language models need the library 'tokenizers'; pip install 'aisle[neural]'") from None
    return tokenizers
