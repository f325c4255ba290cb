"""A scale: names and places of grades."""

from __future__ import annotations

import numpy as np
import pytest

from aisle.core.errors import ContractError, SettingError
from aisle.relevance._scale import scale_of


class TestScale:
    def test_words_by_the_number_of_grades(self):
        assert scale_of([1, 2, 3, 4]).names == ("irrelevant", "mismatch", "related", "excellent")
        assert scale_of([0, 1, 2, 3, 4]).names[-1] == "exact"
        assert scale_of([0, 1]).names == ("level0", "level1")

    def test_places(self):
        scale = scale_of([4, 2, 1, 3])
        assert scale.places(np.array([1, 4, 2])).tolist() == [0, 3, 1]
        with pytest.raises(ContractError, match="a grade 9"):
            scale.places(np.array([1, 9]))

    def test_one_grade_is_no_scale(self):
        with pytest.raises(SettingError):
            scale_of([3])
