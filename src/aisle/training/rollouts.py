"""Rollouts: what a policy did, in groups that can be taken apart and put together.

``TextRollout`` are answers of a language model, ``ItemRollout`` items of a catalogue that a scorer put first, ``Together`` several
of them that stand for the same questions (the same ones asked with and without a retrieved text).  A method hangs its own
*columns* on the first two (the step of each token, which answers were guided): they go wherever the answers go.

Legend: Q prompts or requests, G answers a prompt, S = Q G answers, R answer tokens, K items a request, M items of a pool.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn

from aisle.core.errors import ContractError
from aisle.core.lists import Array
from aisle.nn.backbones.backbone import Backbone, Constraint, Sampling
from aisle.nn.backbones.packed import Packed, pack

Columns = Mapping[str, Tensor]


class Rollout(Protocol):
    """What a method's ``sample`` gives: Q groups."""

    def __len__(self) -> int:
        """Q."""
        ...

    def take(self, groups_Q: Array) -> Self: ...

    def join(self, other: Self) -> Self: ...


@dataclass(frozen=True, eq=False)
class TextRollout:
    """G answers to each of Q prompts.

    index    int64[Q]      the prompt's number in its pool
    prompts  token lists that the answers are scored under (not always those they were sampled under)
    answers  Q lists of G token lists
    old_logp float32[S, R] of the policy that sampled, 0 beyond an answer's end
    columns  name -> [S, ...], a row an answer; where rows of two rollouts differ in size, as tokens do, the shorter ones are
             filled up with -1 (integers), 0 or False
    """

    index: Array
    prompts: Sequence[Array]
    answers: Sequence[Sequence[Array]]
    old_logp: Tensor
    columns: Columns = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def group(self) -> int:
        return len(self.answers[0])

    @property
    def flat(self) -> list[Array]:
        """The S answers, one after the other."""
        return [answer for of in self.answers for answer in of]

    def packed(self, device: torch.device | str = "cpu") -> Packed:
        return pack(self.prompts, self.answers).to(device)

    def noted(self, **columns: Tensor) -> TextRollout:
        """With these columns, where the log-probabilities are.  Raises ContractError where one does not have a row an answer."""
        rows = len(self) * self.group
        for name, column in columns.items():
            if len(column) != rows:
                raise ContractError(f"column {name!r} has {len(column)} rows for {rows} answers; give a row an answer")
        placed = {name: column.to(self.old_logp.device) for name, column in columns.items()}
        return replace(self, columns={**self.columns, **placed})

    def take(self, groups_Q: Array) -> TextRollout:
        rows = torch.from_numpy((groups_Q[:, None] * self.group + np.arange(self.group)).ravel())
        return TextRollout(
            self.index[groups_Q],
            [self.prompts[q] for q in groups_Q],
            [self.answers[q] for q in groups_Q],
            self.old_logp[rows],
            {name: column[rows] for name, column in self.columns.items()},
        )

    def join(self, other: TextRollout) -> TextRollout:
        return TextRollout(
            np.concatenate([self.index, other.index]),
            [*self.prompts, *other.prompts],
            [*self.answers, *other.answers],
            _joined(self.old_logp, other.old_logp),
            _joined_columns(self.columns, other.columns),
        )

    def exchanged(self, groups_N: Array, places_NH: Array, other: TextRollout) -> TextRollout:
        """Of each of these groups the answers at H places give way to the H answers of ``other``'s group: an expert's, or those
        that were drawn under a hint.

        They are scored under this rollout's prompts from now on, so give ``other`` the ``old_logp`` that it has under them
        (``with_old_logp``).  Raises ContractError when ``other`` does not have N groups of H answers.
        """
        if places_NH.shape != (len(other), other.group) or len(groups_N) != len(other):
            raise ContractError(
                f"{len(other)} groups of {other.group} answers for {len(groups_N)} groups and places of shape "
                f"{places_NH.shape}; give as many of each"
            )
        answers = [list(of) for of in self.answers]
        for group, places, given in zip(groups_N, places_NH, other.answers, strict=True):
            for place, answer in zip(places, given, strict=True):
                answers[group][place] = answer
        # Behind the own answers stand the others'; each row takes its own or one of those.
        source = np.arange(len(self) * self.group)
        source[(groups_N[:, None] * self.group + places_NH).ravel()] = len(source) + np.arange(places_NH.size)
        rows = torch.from_numpy(source)
        columns = _joined_columns(self.columns, other.columns)
        return replace(
            self,
            answers=answers,
            old_logp=_joined(self.old_logp, other.old_logp)[rows],
            columns={name: column[rows] for name, column in columns.items()},
        )


@dataclass(frozen=True, eq=False)
class ItemRollout:
    """K items for each of Q requests, by a policy whose action is an item.

    index     int64[Q]       the request's number in its pool
    item      int64[Q, K]
    old_logp  float32[Q, K]  of each item among the K, when they were drawn
    columns   name -> [Q, ...], a row a request
    """

    index: Array
    item: Tensor
    old_logp: Tensor
    columns: Columns = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.index)

    def take(self, groups_Q: Array) -> ItemRollout:
        rows = torch.from_numpy(groups_Q)
        columns = {name: column[rows] for name, column in self.columns.items()}
        return ItemRollout(self.index[groups_Q], self.item[rows], self.old_logp[rows], columns)

    def join(self, other: ItemRollout) -> ItemRollout:
        return ItemRollout(
            np.concatenate([self.index, other.index]),
            torch.cat([self.item, other.item]),
            torch.cat([self.old_logp, other.old_logp]),
            _joined_columns(self.columns, other.columns),
        )


@dataclass(frozen=True, eq=False)
class Together:
    """Rollouts of the same Q questions, asked in several ways; they stay and go together.  A reward has one part for each."""

    parts: tuple[TextRollout, ...]

    def __len__(self) -> int:
        return len(self.parts[0])

    def take(self, groups_Q: Array) -> Together:
        return Together(tuple(part.take(groups_Q) for part in self.parts))

    def join(self, other: Together) -> Together:
        return Together(tuple(one.join(more) for one, more in zip(self.parts, other.parts, strict=True)))


# -- sampling ----------------------------------------------------------------------------------------------------------


def sample_freely(
    module: Backbone,
    index_Q: Array,
    prompts: Sequence[Array],
    group: int,
    sampling: Sampling,
    generator: torch.Generator,
    constraint: Constraint | None = None,
) -> TextRollout:
    """The usual ``sample``: G answers to each prompt as it stands.  A constraint that holds them belongs into the loss too."""
    answers = module.sample(prompts, group, sampling, generator=generator, constraint=constraint)
    lists = answers.lists()
    grouped = [lists[q * group : (q + 1) * group] for q in range(len(prompts))]
    return TextRollout(index_Q, prompts, grouped, answers.logp)


def with_old_logp(
    module: Backbone, rollout: TextRollout, temperature: float = 1.0, constraint: Constraint | None = None
) -> TextRollout:
    """The same answers with ``old_logp`` as the module gives them under ``rollout.prompts``: for answers that were written by
    somebody else, or sampled under another prompt (a hint, a context), and are learned under this one.

    Raises ContractError for an answer that the constraint does not let happen: it could be learned from no ratio.
    """
    with torch.no_grad():
        old_SR = module.logp(rollout.packed(module.device), temperature, constraint)
    impossible = old_SR.isinf().any(1).nonzero().squeeze(1).tolist()
    if impossible:
        raise ContractError(
            f"answers {impossible[:5]} of {len(old_SR)} break the constraint, so the policy never gives them; leave them out, "
            "or learn without the constraint"
        )
    return replace(rollout, old_logp=old_SR)


def top_items(index_Q: Array, score_QM: Tensor, item_M: Tensor, k: int, temperature: float) -> ItemRollout:
    """The K best of a pool for each request, and the policy's chances among them: a softmax over the K scores.

    Raises ContractError when the pool holds fewer than K or repeats an item (a copy would be its own rival), or when K is 1.
    """
    different = len(torch.unique(item_M))
    if different < len(item_M) or not 2 <= k <= different:
        raise ContractError(
            f"the best {k} of {len(item_M)} items, {different} of them different; give each item once, and ask for 2 or more"
        )
    best_QK, place_QK = score_QM.topk(k, 1)
    return ItemRollout(index_Q, item_M[place_QK], (best_QK / temperature).log_softmax(1))


def by_token(values: Sequence[Array], fill: int | float = -1) -> Tensor:
    """[S, R]: a value for each token of each answer, such as the step that it belongs to; ``fill`` beyond an answer's end."""
    length_S = np.array([len(value) for value in values])
    flat = np.concatenate(list(values))
    out = np.full((len(values), int(length_S.max(initial=0))), fill, flat.dtype)
    out[np.arange(out.shape[1]) < length_S[:, None]] = flat
    return torch.from_numpy(out)


def _joined(one: Tensor, other: Tensor) -> Tensor:
    """One behind the other, both filled up to the larger of their row sizes."""
    sizes = [max(sizes) for sizes in zip(one.shape[1:], other.shape[1:], strict=True)]
    fill = 0 if one.dtype.is_floating_point or one.dtype == torch.bool else -1

    def filled(tensor: Tensor) -> Tensor:
        missing = [size - own for size, own in zip(sizes, tensor.shape[1:], strict=True)]
        # From the last dimension to the first, none in front and what is missing behind.
        return nn.functional.pad(tensor, [n for behind in reversed(missing) for n in (0, behind)], value=fill)

    return torch.cat([filled(one), filled(other)])


def _joined_columns(one: Columns, other: Columns) -> Columns:
    if one.keys() != other.keys():
        raise ContractError(
            f"columns {sorted(one)} and {sorted(other)} cannot be joined; give both rollouts the same ones"
        )
    return {name: _joined(column, other[name]) for name, column in one.items()}
