"""The conformance checks that every method passes, public, so that outside methods can pass the same suite.

from aisle.testing import CHECKS, fitted_case

@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
def test_my_method(check):
    check(fitted_case("ranking.mine"))
"""

from aisle.testing.case import Case, fitted_case
from aisle.testing.checks import CHECKS

__all__ = ["CHECKS", "Case", "fitted_case"]
