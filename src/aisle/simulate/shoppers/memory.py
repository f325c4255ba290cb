"""Memory: what the shoppers of a town did and saw so far, and how they feel about the shop.

Legend: U shoppers, V visits, K places, H acts kept, R items remembered, N acts.
"""

from __future__ import annotations

import copy

import numpy as np

from aisle.core.lists import Array, ItemLists, splits_of
from aisle.core.requests import Action

KEPT = 30
"""Acts of each shopper that a history holds."""

REMEMBERED = 20
"""Items shown last that a shopper recognises."""


class Memory:
    """
    last_item  int32[U]     the row clicked last, -1 none
    seen       int32[U, R]  rows shown last, newest first, -1 none
    mood       float32[U]   -1 to 1: how the last visits went
    """

    def __init__(self, num_users: int) -> None:
        self.last_item = np.full(num_users, -1, np.int32)
        self.seen = np.full((num_users, REMEMBERED), -1, np.int32)
        self.mood = np.zeros(num_users, np.float32)
        self._item = np.full((num_users, KEPT), -1, np.int32)
        self._action = np.zeros((num_users, KEPT), np.int8)
        self._time_s = np.zeros((num_users, KEPT))
        self._count = np.zeros(num_users, np.int64)

    def copy(self) -> Memory:
        return copy.deepcopy(self)

    def show(self, user_V: Array, item_VK: Array) -> None:
        """Pages were shown.  Of two pages of one user in a batch the last is remembered."""
        k = min(item_VK.shape[1], REMEMBERED)
        older = self.seen[user_V, : REMEMBERED - k]
        self.seen[user_V] = np.concatenate([item_VK[:, :k], older], 1)

    def feel(self, user_V: Array, change_V: Array) -> None:
        """Moods move: old feelings fade a little, the new one is added."""
        self.mood[user_V] = np.clip(0.85 * self.mood[user_V] + change_V, -1, 1)

    def keep(self, user_N: Array, item_N: Array, action_N: Array, time_N: Array) -> None:
        """Acts, more than impressions, go into the histories."""
        order = np.lexsort((time_N, user_N))
        user, item, action, time_s = user_N[order], item_N[order], action_N[order], time_N[order]
        starts = np.flatnonzero(np.diff(user, prepend=-1))
        counts = np.diff(np.append(starts, len(user)))
        number = np.arange(len(user)) - np.repeat(starts, counts)
        slot = (self._count[user] + number) % KEPT
        self._item[user, slot], self._action[user, slot], self._time_s[user, slot] = item, action, time_s
        self._count[user[starts]] += counts
        clicks = action == Action.CLICK
        self.last_item[user[clicks]] = item[clicks]

    def histories(self, user_V: Array) -> ItemLists:
        """V lists, oldest first, of the last KEPT acts; columns ``action`` int8, ``time_s`` float64."""
        count = np.minimum(self._count[user_V], KEPT)
        splits = splits_of(count)
        owner = np.repeat(np.arange(len(user_V)), count)
        number = np.arange(splits[-1]) - np.repeat(splits[:-1], count)
        user = user_V[owner]
        slot = (np.maximum(self._count[user] - KEPT, 0) + number) % KEPT
        columns = {"action": self._action[user, slot], "time_s": self._time_s[user, slot]}
        return ItemLists(self._item[user, slot], splits, columns)
