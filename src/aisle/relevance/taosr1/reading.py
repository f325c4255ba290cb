"""How a judge's grade is read: at once by prefill, or behind reasoning that it writes first."""

from __future__ import annotations

from aisle.relevance._judge.grammar import Order
from aisle.relevance._judge.llm import Llm
from aisle.relevance._judge.reasoned import LONGEST as LONGEST
from aisle.relevance._judge.reasoned import ReasonFirst as ReasonFirst


def judge_of(order: Order) -> type[Llm]:
    """The class that reads the grades of answers in this order."""
    return ReasonFirst if order == "reason_first" else Llm
