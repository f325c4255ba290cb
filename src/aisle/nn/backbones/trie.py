"""Trie: answers held to the codes of a catalogue, semantic ids or the words of a closed list.

    trie = Trie.of(codes, vocab_size=backbone.vocab_size, end_id=backbone.end_id)
    answers = backbone.sample(prompts, 16, Sampling(max_new=4), constraint=trie)
    code_S = trie.read(answers.token)

Legend: I codes as they were given, C different ones, S answers, t tokens so far, R answer tokens, V vocabulary, E edges, N nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from aisle.core.errors import ContractError
from aisle.core.lists import Array


@dataclass(frozen=True, eq=False)
class Trie:
    """Which tokens may come next (a ``Constraint``): those of a code, then the end token.  What left every code may only end.

    vocab_size  V
    number      int64[I]  of each given code among the different ones; equal codes share it
    edge        int64[E]  node * V + token, ascending
    behind      int64[E]  the node behind the edge; the last node of all is that of answers which left every code
    complete    int64[N]  the number of the code that a node completes, -1 for none
    """

    vocab_size: int
    number: Array
    edge: Tensor
    behind: Tensor
    complete: Tensor

    @classmethod
    def of(
        cls, codes: Sequence[Array] | Array, *, vocab_size: int, end_id: int, device: torch.device | str = "cpu"
    ) -> Trie:
        """Raises ContractError for a code that is empty, holds the end token or one outside the vocabulary."""
        token_IL = _closed(codes, vocab_size, end_id)
        node_I, code_I = np.zeros(len(token_IL), np.int64), np.full(len(token_IL), -1)
        keys, children, complete, num_nodes, num_codes = [], [], [np.array([-1])], 1, 0
        open_I = np.arange(len(token_IL))
        for token_I in token_IL.T:
            key, child_I = np.unique(node_I[open_I] * vocab_size + token_I[open_I], return_inverse=True)
            ends = key % vocab_size == end_id
            code = np.where(ends, num_codes + np.cumsum(ends) - 1, -1)
            keys.append(key)
            children.append(num_nodes + np.arange(len(key)))
            complete.append(code)
            node_I[open_I], code_I[open_I] = num_nodes + child_I, code[child_I]
            num_nodes, num_codes = num_nodes + len(key), num_codes + int(ends.sum())
            open_I = open_I[code_I[open_I] < 0]
        complete.append(np.array([-1]))
        code_N, key_E, child_E = np.concatenate(complete), np.concatenate(keys), np.concatenate(children)
        # An answer that is over goes on with the end token, and so does one that is lost.
        over = np.append(np.flatnonzero(code_N >= 0), num_nodes)
        closing = key_E % vocab_size == end_id
        code_N[key_E[closing] // vocab_size] = code_N[child_E[closing]]
        key_E, child_E = np.append(key_E, over * vocab_size + end_id), np.append(child_E, over)
        order = np.argsort(key_E)
        return cls(
            vocab_size, code_I, *(torch.from_numpy(of).to(device) for of in (key_E[order], child_E[order], code_N))
        )

    def __call__(self, token_St: Tensor) -> Tensor:
        """bool[S, V]: what may come after each beginning."""
        node_S = self._walked(token_St)
        first_S, last_S = (torch.searchsorted(self.edge, (node_S + n) * self.vocab_size) for n in (0, 1))
        count_S = last_S - first_S
        row = torch.arange(len(node_S), device=node_S.device).repeat_interleave(count_S)
        within = torch.arange(len(row), device=row.device) - (count_S.cumsum(0) - count_S)[row]
        allowed_SV = torch.zeros(len(node_S), self.vocab_size, dtype=torch.bool, device=row.device)
        allowed_SV[row, self.edge[first_S[row] + within] % self.vocab_size] = True
        return allowed_SV

    def read(self, token_SR: Tensor) -> Tensor:
        """int64[S]: the number of the code that each answer is, with or without its end token; -1 where it is none."""
        return self.complete[self._walked(token_SR)]

    def _walked(self, token_St: Tensor) -> Tensor:
        """int64[S]: the node that each beginning leads to; -1 stands for no token."""
        lost = len(self.complete) - 1
        node_S = torch.zeros(len(token_St), dtype=torch.int64, device=token_St.device)
        for token_S in token_St.T:
            key_S = node_S * self.vocab_size + token_S
            place_S = torch.searchsorted(self.edge, key_S).clamp(max=len(self.edge) - 1)
            next_S = torch.where(self.edge[place_S] == key_S, self.behind[place_S], lost)
            node_S = torch.where(token_S < 0, node_S, next_S)
        return node_S


def _closed(codes: Sequence[Array] | Array, vocab_size: int, end_id: int) -> Array:
    """int64[I, L]: the codes, each behind its last token filled up with the end token."""
    length_I = np.array([len(code) for code in codes])
    flat = np.concatenate(list(codes)).astype(np.int64) if len(length_I) else np.zeros(0, np.int64)
    wrong = (flat < 0) | (flat >= vocab_size) | (flat == end_id)
    if not len(length_I) or not length_I.all() or wrong.any():
        raise ContractError(
            f"{len(length_I)} codes, {int((length_I == 0).sum())} of them empty, tokens {np.unique(flat[wrong])[:5].tolist()} "
            f"not allowed; give codes of one token or more from 0 to {vocab_size - 1}, without the end token {end_id}"
        )
    token_IL = np.full((len(length_I), int(length_I.max()) + 1), end_id, np.int64)
    token_IL[np.arange(token_IL.shape[1]) < length_I[:, None]] = flat
    return token_IL
