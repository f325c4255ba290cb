"""What a request is about, before anything is found: the columns of the understanding stages, and the vectors of encoders.

Legend: Q requests, L latest items of a history, D width.
"""

from __future__ import annotations

import numpy as np

from aisle.core.env import Env
from aisle.core.lists import Array
from aisle.core.requests import Requests
from aisle.funnel.stages import Way

LATEST = 20
"""Of a history's items, those that say what its user wants now."""


def understood(way: Way, requests: Requests) -> Requests:
    """The requests with the columns of every understanding stage, and ``emb_<encoder>`` of every encoder that a stage reads."""
    stages = way.stages
    for name in stages.plan.understanding:
        slot = f"understanding.{name}"
        work = lambda s=stages[slot], r=requests: s.enrich_requests(r)  # noqa: E731
        columns = way.run(slot, requests, work)
        if columns is not None:
            requests = requests.with_columns(**columns)
    for encoder in stages.encoders:
        if f"emb_{encoder}" not in requests.columns:
            work = lambda e=encoder, r=requests: embed(r, e, stages.env)  # noqa: E731
            emb_QD = way.run(f"encoder.{encoder}", requests, work)
            if emb_QD is not None:
                requests = requests.with_columns(**{f"emb_{encoder}": emb_QD})
    return requests


def embed(requests: Requests, encoder: str, env: Env) -> Array:
    """float32[Q, D] of what each request is about: its query without what it says no to, else its anchor's vector, else the mean
    of its latest history.

    The query of a batch is encoded once, however many stages read it.
    """
    coder = env.encoder(encoder)
    emb_QD = np.zeros((len(requests), coder.dim), np.float32)
    asked = np.array([bool(q) for q in requests.query])
    wanted = np.array([env.engine.text.asked(query).wanted if query else "" for query in requests.query], object)
    if wanted.any():
        texts, which = np.unique(wanted[wanted != ""].astype(str), return_inverse=True)
        emb_QD[wanted != ""] = coder.encode([str(t) for t in texts])[which]
    anchored = ~asked & (requests.anchor >= 0)
    if anchored.any():
        emb_QD[anchored] = env.engine.vectors(encoder).vectors(requests.anchor[anchored])
    remembering = ~asked & ~anchored & (requests.history.counts > 0)
    for q in np.flatnonzero(remembering):
        emb_QD[q] = _taste(env.engine.vectors(encoder).vectors(requests.history.list_of(int(q)).item[-LATEST:]))
    return emb_QD


def _taste(history_LD: Array) -> Array:
    """float32[D]: the direction of a history."""
    mean_D: Array = history_LD.mean(0)
    return mean_D / max(float(np.linalg.norm(mean_D)), 1e-9)
