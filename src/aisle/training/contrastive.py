"""Learning vectors: a query's item is told apart from the others of the batch.

Legend: N queries, M items, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def cosines(query_ND: Tensor, item_MD: Tensor) -> Tensor:
    """float32[N, M] of vectors of any length."""
    return functional.normalize(query_ND.float(), dim=1) @ functional.normalize(item_MD.float(), dim=1).T


def info_nce(cosine_NM: Tensor, positive_N: Tensor, *, temperature: float, allowed_NM: Tensor | None = None) -> Tensor:
    """float[N]: - log of the softmax over M items, of cosine / ``temperature``, at each query's item (arXiv:1807.03748).

    M items are those of the batch and as many more as the caller likes (a random part of the catalogue, shared by all).

    positive_N  int64, the place of each query's item; several queries may share one
    allowed_NM  False where an item may not count as a wrong one: another product that answers the query as well
    """
    score_NM = cosine_NM / temperature
    if allowed_NM is not None:
        is_own_NM = torch.arange(score_NM.shape[1], device=score_NM.device) == positive_N[:, None]
        score_NM = score_NM.masked_fill(~(allowed_NM | is_own_NM), -torch.inf)
    return functional.cross_entropy(score_NM, positive_N, reduction="none")
