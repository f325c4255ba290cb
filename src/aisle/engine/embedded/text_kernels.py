"""Compiled loops of the text index: postings made and merged, BM25 added up, phrases looked for.

A segment holds D documents.  Their words stand field by field, one document after the other within a field: field f of
document d is ``words[splits[f * D + d] : splits[f * D + d + 1]]``, -1 where a word was too long to be indexed.  The
postings of term t in field f stand at ``starts[t * F + f] : starts[t * F + f + 1]``, documents ascending.

Legend: D documents, F fields, T terms of a segment, P postings, L posting lists of a query, S slots (words of a query),
N documents found, K cut-off.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from aisle.core.lists import Array
from aisle.engine.embedded.compiled import bit_count, compiled, lowest_bit, prefetch
from aisle.engine.embedded.impacts_kernels import place_of

BLOCK_BITS = 13
BLOCK = 1 << BLOCK_BITS
"""Documents of a block: their sums stay in the processor's cache."""
NO_WORD = 64
"""Words that a row is said to lack beyond those needed, when it holds none of them: as many as a query may have."""
AHEAD = 64
"""Documents whose words are asked of the memory together."""
BINS = 1024
FEW = 8
"""Term frequencies below this are looked up in a table, which is quicker than a division."""


@compiled
def inverted(words: Array, splits: Array, local_W: Array, num_terms: int, num_fields: int) -> Any:
    """Postings of a segment: starts int64[T*F+1], docs int32[P], tfs uint8[P]; ``local_W`` is each word's term here."""
    keys = num_terms * num_fields
    start = np.zeros(keys + 1, np.int64)
    num_docs = (len(splits) - 1) // num_fields
    for slot in range(len(splits) - 1):
        field = slot // num_docs
        for p in range(splits[slot], splits[slot + 1]):
            if words[p] >= 0:
                start[np.int64(local_W[words[p]]) * num_fields + field + 1] += 1
    for key in range(keys):
        start[key + 1] += start[key]
    docs, tfs = np.empty(start[keys], np.int32), np.empty(start[keys], np.uint8)
    end = start[:-1].copy()
    for slot in range(len(splits) - 1):
        doc, field = slot % num_docs, slot // num_docs
        for p in range(splits[slot], splits[slot + 1]):
            if words[p] < 0:
                continue
            mine = np.int64(local_W[words[p]]) * num_fields + field
            at = end[mine]
            if at > start[mine] and docs[at - 1] == doc:
                if tfs[at - 1] < 255:
                    tfs[at - 1] += np.uint8(1)
            else:
                docs[at], tfs[at] = doc, 1
                end[mine] = at + 1
    starts, used = np.zeros(keys + 1, np.int64), 0
    for key in range(keys):
        for p in range(start[key], end[key]):
            docs[used], tfs[used] = docs[p], tfs[p]
            used += 1
        starts[key + 1] = used
    return starts, docs[:used].copy(), tfs[:used].copy()


@compiled
def count_gone(
    words: Array, splits: Array, terms: Array, term_W: Array, num_fields: int, doc_N: Array, gone_K: Array
) -> None:
    """Add to ``gone_K`` (int32[T*F]) one for each posting of these documents."""
    num_docs = (len(splits) - 1) // num_fields
    for doc in doc_N:
        for field in range(num_fields):
            slot = field * num_docs + doc
            low, high = np.int64(splits[slot]), np.int64(splits[slot + 1])
            for p in range(low, high):
                if words[p] < 0:
                    continue
                term, first = term_W[words[p]], True
                for before in range(low, p):
                    if words[before] >= 0 and term_W[words[before]] == term:
                        first = False
                        break
                if first:
                    gone_K[place_of(terms, 0, len(terms), term) * num_fields + field] += 1


@compiled
def _add(
    docs: Array, tfs: Array, length_D: Array, share_TL: Array, norm_L: Array, weight: Any, bit: Any,
    at: Any, stop: Any, low: Any, high: Any, sums: Array, seen: Array, touched: Array,
) -> Any:  # fmt: skip
    """Add a list's BM25 of documents below ``high`` to ``sums`` and its bit to ``seen``; returns where the list goes on.

    ``touched`` gets a bit for each document, 64 of them in a number.
    """
    while at < stop and docs[at] < high:
        doc, tf = np.uint32(docs[at]), tfs[at]
        length = length_D[doc]
        place = np.uint32(doc - low)
        if tf < FEW:
            sums[place] += weight * share_TL[tf, length]
        else:
            sums[place] += weight * np.float32(tf) / (np.float32(tf) + norm_L[length])
        seen[place] |= bit
        touched[place >> np.uint32(6)] |= np.uint64(1) << np.uint64(place & np.uint32(63))
        at += 1
    return at


@compiled
def evaluate(
    docs: Array, tfs: Array, length_FD: Array, share_FTL: Array, norm_FL: Array, dead_D: Array,
    start_L: Array, stop_L: Array, field_L: Array, weight_L: Array, bits_L: Array, slot_L: Array, choice_L: Array,
    many_L: Array, doc_N: Array, score_N: Array, seen_N: Array,
) -> int:  # fmt: skip
    """Every living document that a list holds: its score and the bits of its lists.  Returns how many.

    The lists stand by slot, within a slot by choice.  The lists of one choice (a term in its fields) are added, of the
    choices of a slot (a word, its synonyms) the best one counts; ``many_L`` says that a slot has more than one.
    The arrays that are filled have one place more than documents can be found.
    """
    L = len(start_L)
    at_L = start_L.copy()
    sums, seen, touched = np.zeros(BLOCK, np.float32), np.zeros(BLOCK, np.uint64), np.zeros(BLOCK >> 6, np.uint64)
    best, part, here = np.zeros(BLOCK, np.float32), np.zeros(BLOCK, np.float32), np.zeros(BLOCK, np.uint64)
    used = 0
    while True:
        low = np.int64(1) << 40
        for n in range(L):
            if at_L[n] < stop_L[n]:
                low = min(low, np.int64(docs[at_L[n]]))
        if low == np.int64(1) << 40:
            return used
        low = (low >> BLOCK_BITS) << BLOCK_BITS
        high = low + BLOCK
        n = 0
        while n < L:
            slot, many = slot_L[n], many_L[n]
            while n < L and slot_L[n] == slot:
                choice = choice_L[n]
                while n < L and choice_L[n] == choice and slot_L[n] == slot:
                    f = field_L[n]
                    at_L[n] = _add(
                        docs, tfs, length_FD[f], share_FTL[f], norm_FL[f], weight_L[n], bits_L[n],
                        at_L[n], stop_L[n], low, high, part if many else sums, here if many else seen, touched,
                    )  # fmt: skip
                    n += 1
                if many:
                    for d in range(BLOCK):
                        best[d] = max(best[d], part[d])
                        part[d] = 0
            if many:
                for d in range(BLOCK):
                    sums[d] += best[d]
                    seen[d] |= here[d]
                    best[d] = 0
                    here[d] = 0
        used = _collect(sums, seen, touched, dead_D, low, doc_N, score_N, seen_N, used)


@compiled
def _collect(
    sums: Array, seen: Array, touched: Array, dead_D: Array, low: Any,
    doc_N: Array, score_N: Array, seen_N: Array, used: Any,
) -> Any:  # fmt: skip
    """Move what was seen of a block behind the first ``used`` documents; returns how many there are then.

    From bit to bit, since processors cannot foresee which document comes next.
    """
    for word in range(len(touched)):
        bits = touched[word]
        touched[word] = 0
        while bits:
            d = (np.int64(word) << 6) + lowest_bit(bits)
            bits &= bits - np.uint64(1)
            doc_N[used], score_N[used], seen_N[used] = low + d, sums[d], seen[d]
            used += np.int64(not dead_D[low + d])
            sums[d] = 0
            seen[d] = 0
    return used


@compiled
def finish(
    row_D: Array, doc_N: Array, seen_N: Array, wanted: Any, all_words: Any, asked: Any, needed: Any,
    score_N: Array, row_N: Array, missing_N: Array,
) -> None:  # fmt: skip
    """Add what having every wanted word is worth; write each document's row and how many of the asked words it lacks.

    A row that holds none of the words matches no query that has words, however far it is relaxed.
    """
    none = needed + NO_WORD if needed > 0 else 0
    for n in range(len(doc_N)):
        seen = seen_N[n]
        score_N[n] += all_words if seen & wanted == wanted else np.float32(0)
        held = bit_count(seen & asked)
        missing_N[n] = none if held == 0 else max(needed - held, 0)
        row_N[n] = row_D[doc_N[n]]


@compiled
def add_pairs(
    words: Array, splits: Array, term_W: Array, length_D: Array, norm_L: Array, doc_N: Array, seen_N: Array,
    bits_P: Array, term_PJ: Array, gap_P: Array, weight_P: Array, score_N: Array,
) -> None:  # fmt: skip
    """Add BM25 of two terms that stand ``gap_P[p]`` apart in the field that begins at ``splits[0]``, to documents that may
    hold the pair p because they have all of ``bits_P[p]``."""
    pick = np.empty(len(doc_N), np.int64)
    for p in range(len(bits_P)):
        bits = bits_P[p]
        size: Any = 0
        for n in range(len(doc_N)):
            pick[size] = n
            size += np.int64(seen_N[n] & bits == bits)
        held = int(size)
        for first in range(0, held, AHEAD):
            last = min(first + AHEAD, held)
            for at in range(first, last):
                prefetch(words, np.int64(splits[doc_N[pick[at]]]))
            for at in range(first, last):
                n = pick[at]
                doc = doc_N[n]
                tf = np.float32(_stands(words, splits, term_W, doc, term_PJ[p, 0], term_PJ[p, 1], gap_P[p]))
                if tf > 0:
                    score_N[n] += weight_P[p] * tf / (tf + norm_L[length_D[doc]])


@compiled
def _stands(words: Array, splits: Array, term_W: Array, slot: Any, first: Any, second: Any, gap: Any) -> Any:
    """How often two terms stand that far apart in the field of a document that begins at ``splits[slot]``."""
    count = 0
    for p in range(np.int64(splits[slot]), np.int64(splits[slot + 1]) - gap):
        if words[p] >= 0 and term_W[words[p]] == first and words[p + gap] >= 0 and term_W[words[p + gap]] == second:
            count += 1
    return count


@compiled
def mark_best(row_N: Array, missing_N: Array, out_I: Array) -> None:
    """Mark the rows that lack the fewest words; rows beyond ``out_I`` are left out."""
    least = np.uint8(255)
    for n in range(len(row_N)):
        least = min(least, missing_N[n])
    for n in range(len(row_N)):
        if missing_N[n] == least and row_N[n] < len(out_I):
            out_I[row_N[n]] = True


@compiled
def phrase_counts(
    words: Array, splits: Array, term_W: Array, num_fields: int, fields: Array,
    doc_N: Array, term_J: Array, gap_J: Array,
) -> Array:  # fmt: skip
    """int32[N]: how often the terms stand at those distances from the first one, in these fields together."""
    out = np.zeros(len(doc_N), np.int32)
    J, num_docs = len(term_J), (len(splits) - 1) // num_fields
    for n in range(len(doc_N)):
        for field in fields:
            slot = field * num_docs + doc_N[n]
            low, high = np.int64(splits[slot]), np.int64(splits[slot + 1])
            for p in range(low, high - gap_J[J - 1]):
                j = 0
                while j < J and words[p + gap_J[j]] >= 0 and term_W[words[p + gap_J[j]]] == term_J[j]:
                    j += 1
                if j == J:
                    out[n] += 1
    return out


@compiled
def best_rows(row_N: Array, score_N: Array, allowed_I: Array, k: int) -> Any:
    """Rows int32 and scores float32 among which the k best allowed ones are, in no order, with all that tie with the k-th.

    The scores are counted in BINS of like width, so that those far from the best are left out without a comparison that
    processors cannot foresee; hardly more than k are returned, unless very many score alike.
    """
    bin_N = np.empty(len(row_N), np.int16)
    used: Any = 0
    at: Any = 0
    low, high = np.float32(np.inf), np.float32(-np.inf)
    for n in range(len(row_N)):
        allowed = row_N[n] < len(allowed_I) and allowed_I[row_N[n]]
        bin_N[n] = np.int16(allowed) - np.int16(1)
        used += np.int64(allowed)
        low = min(low, score_N[n] if allowed else low)
        high = max(high, score_N[n] if allowed else high)
    least = np.int16(0)
    if used > k:
        count_B, factor = np.zeros(BINS, np.int64), np.float32(BINS - 1) / max(high - low, np.float32(1e-9))
        for n in range(len(row_N)):
            if bin_N[n] >= 0:
                bin_N[n] = np.int16((score_N[n] - low) * factor)
                count_B[bin_N[n]] += 1
        least, used = np.int16(BINS - 1), count_B[BINS - 1]
        while used < k:
            least -= np.int16(1)
            used += count_B[least]
    rows, scores = np.empty(used + 1, np.int32), np.empty(used + 1, np.float32)
    for n in range(len(row_N)):
        # Written whether it counts or not, for the same reason.
        rows[at], scores[at] = row_N[n], score_N[n]
        at += np.int64(bin_N[n] >= least)
    return rows[:used], scores[:used]


@compiled
def edits(code: Array, start_V: Array, length_V: Array, pick_N: Array, typed: Array, most: int) -> Array:
    """uint8[N]: edits between ``typed`` and each picked word (a swap of neighbours counts one), ``most + 1`` for more.

    ``code`` holds all words' letters (uint32), word v at ``start_V[v]``.
    """
    out = np.empty(len(pick_N), np.uint8)
    m = len(typed)
    before, previous, row = np.zeros(m + 1, np.int64), np.zeros(m + 1, np.int64), np.zeros(m + 1, np.int64)
    for n in range(len(pick_N)):
        first, length = start_V[pick_N[n]], length_V[pick_N[n]]
        for j in range(m + 1):
            row[j] = j
        result = -1
        for i in range(length):
            for j in range(m + 1):
                before[j], previous[j] = previous[j], row[j]
            row[0] = i + 1
            least = row[0]
            x = code[first + i]
            for j in range(m):
                cost = min(previous[j + 1] + 1, row[j] + 1, previous[j] + (x != typed[j]))
                if i > 0 and j > 0 and x == typed[j - 1] and code[first + i - 1] == typed[j]:
                    cost = min(cost, before[j - 1] + 1)
                row[j + 1] = cost
                least = min(least, cost)
            if least > most:
                result = most + 1
                break
        out[n] = min(row[m], most + 1) if result < 0 else result
    return out
