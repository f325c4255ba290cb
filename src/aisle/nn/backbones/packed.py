"""Packed: prompts with their answers, laid side by side in rows of tokens so that nothing shared is computed twice.

A *document* is one prompt with any number of *branches*: the sampled answers of a group, the chosen and the rejected answer
of a pair, the items of one request.  Every branch sees the prompt and itself, no branch sees another, and each continues the
prompt's positions.  So a prompt is computed once however many branches it has, and short documents share a row.

Legend: B rows, T tokens of a row, S branches of all documents in order, R tokens of the longest branch, N branch tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from aisle.core.errors import ContractError
from aisle.core.lists import Array

PAD = -1
"""The document of a token that only fills its row."""


@dataclass(frozen=True, eq=False)
class Packed:
    """
    token     int64[B, T]
    position  int64[B, T]  place in its own document and branch
    document  int64[B, T]  number within the row, PAD where the row is only filled up
    branch    int64[B, T]  0 for the prompt, then 1, 2, ... within the document
    row, place, source  int64[N]  of each branch token, by branch and then time: its row, its place there, and the place
              whose output predicts it (the prompt's last token for the first of a branch)
    owner     int64[N]     which of the S branches it belongs to
    step      int64[N]     0 for the first token of a branch
    counts    int64[S]     tokens of each branch
    """

    token: Tensor
    position: Tensor
    document: Tensor
    branch: Tensor
    row: Tensor
    place: Tensor
    source: Tensor
    owner: Tensor
    step: Tensor
    counts: Tensor

    def __len__(self) -> int:
        """Number of branches, S."""
        return len(self.counts)

    @property
    def is_plain(self) -> bool:
        """One document of one branch a row: then a causal mask alone keeps everything apart."""
        return int(self.document.max()) <= 0 and int(self.branch.max()) <= 1

    @cached_property
    def mask(self) -> Tensor:
        """bool[B, 1, T, T]: who may look at whom.  A filler sees itself, so that no softmax is over nothing."""
        same = self.document[:, :, None] == self.document[:, None, :]
        shared = (self.branch[:, None, :] == 0) | (self.branch[:, :, None] == self.branch[:, None, :])
        causal = torch.ones(self.token.shape[1], self.token.shape[1], dtype=torch.bool, device=self.token.device).tril()
        filler = self.document == PAD
        own = torch.eye(self.token.shape[1], dtype=torch.bool, device=self.token.device)
        return torch.where(filler[:, :, None], own, same & shared & causal)[:, None]

    @property
    def target(self) -> Tensor:
        """int64[N]: the branch tokens themselves."""
        return self.token[self.row, self.place]

    @property
    def answer(self) -> Tensor:
        """int64[S, R]: the branch tokens, a row a branch, -1 beyond its end."""
        return self.by_branch(self.target, -1)

    @property
    def last(self) -> tuple[Tensor, Tensor]:
        """(row, place), int64[S] each: the last token of every branch."""
        ends = self.counts.cumsum(0) - 1
        return self.row[ends], self.place[ends]

    def by_branch(self, value_N: Tensor, fill: float = 0.0) -> Tensor:
        """[S, R]: values of branch tokens, a row a branch."""
        longest = int(self.counts.max()) if len(self.counts) else 0
        out = value_N.new_full((len(self.counts), longest), fill)
        out[self.owner, self.step] = value_N
        return out

    @property
    def is_token(self) -> Tensor:
        """bool[S, R]: where a branch has a token."""
        return self.by_branch(torch.ones_like(self.step, dtype=torch.bool), False)

    def to(self, device: torch.device | str) -> Packed:
        names = ("token", "position", "document", "branch", "row", "place", "source", "owner", "step", "counts")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


def pack(
    prompts: Sequence[Array], branches: Sequence[Sequence[Array]], *, row_tokens: int = 0, fill: int = 0
) -> Packed:
    """Prompts, each with its branches, as rows.

    row_tokens  short documents share rows up to this length; 0 gives every document a row of its own

    Raises ContractError for a prompt or a branch without a token: nothing could predict the first token after it.
    """
    documents = [_document(prompt, list(of)) for prompt, of in zip(prompts, branches, strict=True)]
    rows = _first_fit([len(d.token) for d in documents], row_tokens)
    width = max((sum(len(documents[d].token) for d in row) for row in rows), default=0)
    shape = (len(rows), width)
    token, position = np.full(shape, fill, np.int64), np.zeros(shape, np.int64)
    document, branch = np.full(shape, PAD, np.int64), np.zeros(shape, np.int64)
    where: dict[int, tuple[int, int]] = {}
    for r, row in enumerate(rows):
        start = 0
        for number, d in enumerate(row):
            part = slice(start, start + len(documents[d].token))
            token[r, part], position[r, part] = documents[d].token, documents[d].position
            document[r, part], branch[r, part] = number, documents[d].branch
            where[d] = (r, start)
            start = part.stop
    counts = np.array([len(b) for of in branches for b in of], np.int64)
    row_N = np.concatenate([np.full(len(d.place), where[i][0], np.int64) for i, d in enumerate(documents)])
    place_N = np.concatenate([d.place + where[i][1] for i, d in enumerate(documents)])
    source_N = np.concatenate([d.source + where[i][1] for i, d in enumerate(documents)])
    owner_N = np.repeat(np.arange(len(counts)), counts)
    step_N = np.arange(len(owner_N)) - np.repeat(np.cumsum(counts) - counts, counts)
    arrays = (token, position, document, branch, row_N, place_N, source_N, owner_N, step_N, counts)
    return Packed(*(torch.from_numpy(a) for a in arrays))


@dataclass(frozen=True, eq=False)
class _Document:
    """token, position, branch of every token; place and source of the branch tokens."""

    token: Array
    position: Array
    branch: Array
    place: Array
    source: Array


def _document(prompt: Array, branches: list[Array]) -> _Document:
    if not len(prompt) or not branches or not all(len(b) for b in branches):
        raise ContractError(
            f"a prompt of {len(prompt)} tokens with branches of {[len(b) for b in branches]}; each needs one token or more"
        )
    p, lengths = len(prompt), np.array([len(b) for b in branches])
    ends = p + np.cumsum(lengths)
    within = np.concatenate([np.arange(n) for n in lengths])
    place = np.arange(p, ends[-1])
    return _Document(
        np.concatenate([prompt, *branches]).astype(np.int64),
        np.concatenate([np.arange(p), p + within]),
        np.concatenate([np.zeros(p, np.int64), np.repeat(np.arange(1, len(branches) + 1), lengths)]),
        place,
        np.where(within == 0, p - 1, place - 1),
    )


def _first_fit(lengths: Sequence[int], row_tokens: int) -> list[list[int]]:
    """Rows of document numbers, the longest documents first, none over ``row_tokens`` unless one document is."""
    if row_tokens <= 0:
        return [[d] for d in range(len(lengths))]
    rows: list[list[int]] = []
    room: list[int] = []
    for d in sorted(range(len(lengths)), key=lambda d: -lengths[d]):
        fitting = next((r for r, left in enumerate(room) if left >= lengths[d]), None)
        if fitting is None:
            rows.append([d])
            room.append(max(row_tokens - lengths[d], 0))
        else:
            rows[fitting].append(d)
            room[fitting] -= lengths[d]
    return rows
