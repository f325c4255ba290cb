"""The whole platform as three values: a Plan of unfitted methods, the Funnel it fits, and the Page that answers a request."""

from aisle.funnel.fitting import CANDIDATES, StageStore, fit
from aisle.funnel.page import Page, StageTrace
from aisle.funnel.plan import Depth, Plan
from aisle.funnel.serving import Funnel
from aisle.funnel.stages import Fitted
from aisle.funnel.storing import StoredStages, load, save
from aisle.funnel.understanding import embed

__all__ = [
    "CANDIDATES",
    "Depth",
    "Fitted",
    "Funnel",
    "Page",
    "Plan",
    "StageStore",
    "StageTrace",
    "StoredStages",
    "embed",
    "fit",
    "load",
    "save",
]
