"""The steps of ``aisle demo``, and how they are told."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from aisle import funnel as funnels
from aisle import recipes
from aisle.core.env import Progress
from aisle.core.lists import ItemLists, splits_of
from aisle.core.shop import Judgments
from aisle.data.shop import Shop
from aisle.data.splits import split_judgments
from aisle.data.view import View
from aisle.evaluate.experiment import run
from aisle.evaluate.report import report
from aisle.evaluate.results import Experiment
from aisle.nn.encoders import minilm_is_installed
from aisle.recipes.click_grades import click_grades
from aisle.recipes.environment import encode_items, open_env
from aisle.recipes.live_tests import METRICS, AbTest, ab_test, interleaved
from aisle.simulate.grades.rules import GAINS
from aisle.simulate.loop.log import town_of
from aisle.simulate.loop.oracle import TruthPolicy, value
from aisle.simulate.loop.policies import LexicalPolicy, RankedPolicy
from aisle.simulate.world import World, simulate

if TYPE_CHECKING:
    from rich.table import Table

    from aisle.evaluate.interleaving import Preference
    from aisle.funnel import Funnel

CONTROL, TREES, NETWORK = "lexical", "learned", "clicked"
SAID = {"clicks": "clicks", "orders": "orders", "revenue_cents": "revenue, $"}


class Steps:
    """One demo.  Call the steps in their order."""

    def __init__(self, folder: Path, items: int, seed: int, progress: Progress) -> None:
        self.folder, self.items, self.seed, self.progress = folder, items, seed, progress
        self.taken_s: dict[str, float] = {}
        self.preference: Preference | None = None
        self.bound = 0.0
        self.treatment = NETWORK if find_spec("torch") else TREES

    def simulate(self, days: int, visits_per_day: int) -> None:
        """A shop folder with its catalogue, log and judgments; and the same world in memory, to hold figures against."""
        start = perf_counter()
        self.days, self.visits_per_day = days, visits_per_day
        self.written = simulate(
            self.folder, self.items, days, self.seed, visits_per_day=visits_per_day, progress=self.progress
        )
        self.shop = Shop.open(self.folder)
        self.world = World.make(self.items, self.seed)
        self.taken_s["simulated"] = perf_counter() - start

    def learn(self) -> None:
        """Fit the plans; what is learned, is learned from the log."""
        start = perf_counter()
        encoder = "minilm" if minilm_is_installed() else "own"
        env = open_env(self.shop, seed=self.seed, progress=self.progress)
        encode_items(env, self.shop, encoder, progress=self.progress)
        self.taken_s["indexed"] = perf_counter() - start
        events = self.shop.view().events
        self.graded = split_judgments(click_grades(events), self.seed)
        view = View(self.shop.items(), events, {"train": self.graded["train"]})
        plans = {CONTROL: recipes.lexical(), "hybrid": recipes.hybrid(encoder), TREES: recipes.learned(encoder)}
        if self.treatment == NETWORK:
            plans[NETWORK] = recipes.clicked(encoder)
        self.fitted: dict[str, Funnel] = {name: plan.fit(view, env) for name, plan in plans.items()}
        self.shop.point(funnel=funnels.save(self.fitted[self.treatment], self.shop), plan=self.treatment)
        self.taken_s["fitted"] = perf_counter() - start - self.taken_s["indexed"]

    def measure(self, metric: str) -> Experiment:
        """The plans against the truth, on queries whose clicks no plan was fitted on."""
        start = perf_counter()
        found = run(self.fitted, None, self._truth(), (metric, "recall@100"), progress=self.progress)
        self.taken_s["measured"] = perf_counter() - start
        return found

    def test_live(self, days: int, visits_per_day: int) -> AbTest:
        """An A/B test of two plans on the shoppers that wrote the log, from where it ends."""
        start = perf_counter()
        town = town_of(self.world, self.days, self.visits_per_day, self.seed)
        for day in range(self.days):
            for _ in town.served(LexicalPolicy(self.world), day, self.visits_per_day):
                pass
        policies = {n: RankedPolicy(self.fitted[n], searches_are_personal=False) for n in (CONTROL, self.treatment)}
        test = ab_test(
            town, policies, days, visits_per_day,
            days_before=2, first_day=self.days, truth_days=1, progress=self.progress,
        )  # fmt: skip
        # Fewer visits are enough here: every page compares both.
        (self.preference,) = interleaved(town, policies, 1, visits_per_day // 3, first_day=self.days)
        self.bound = value(
            town, TruthPolicy(town, policies[self.treatment]), 1, visits_per_day // 10, first_day=self.days
        ).clicks
        self.taken_s["tested live"] = perf_counter() - start
        return test

    def rows(self, test: AbTest) -> list[dict[str, Any]]:
        """The A/B test as rows beside those of the experiment."""
        return [
            {
                "metric": f"ab {metric}", "plan": test.treatment, "baseline": test.control, "value": effect.value,
                "low": effect.low, "high": effect.high, "truth": test.truth[metric],
            }
            for metric, effect in test.effects.items()
        ]  # fmt: skip

    def say(self, experiment: Experiment, test: AbTest) -> None:
        """The whole demo in words and tables."""
        from rich.console import Console

        console = Console(highlight=False)
        w = self.written
        console.rule(f"[bold]1  A shop with known truth[/]  (world {w['version']})", align="left", style="dim")
        console.print(
            f"{w['items']:,} products, and {w['events']:,} events of {self.days} days: what shoppers with tastes of their own "
            "did on pages of plain BM25, one in five of them shuffled.\n"
        )
        console.rule("[bold]2  Learned from the log, measured against the truth[/]", align="left", style="dim")
        num_pairs = len(self.graded["train"].lists.item)
        console.print(
            f"A click model took the position out of the clicks and graded {num_pairs:,} pairs: the trees of [b]learned[/] saw "
            f"nothing else. {self._network()}\nMeasured on the true grades of {len(experiment.query)} other queries:\n"
        )
        console.print(report(experiment))
        console.rule("[bold]3  Tested live[/]", align="left", style="dim")
        console.print(self._live(test))
        console.print(self._in_words(test))
        console.rule("[bold]4  Served[/]", align="left", style="dim")
        taken = ", ".join(f"{what} in {seconds:.0f} s" for what, seconds in self.taken_s.items())
        console.print(f"{taken}: {sum(self.taken_s.values()):.0f} s in all.\n")

    def _network(self) -> str:
        if self.treatment == NETWORK:
            return f"The network of [b]{NETWORK}[/] learned from every logged page by the training core, and is what is served."
        return f"torch is not installed, so no network was trained and {TREES} is served: pip install 'aisle[neural]'."

    def _live(self, test: AbTest) -> Table:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        table.add_column("a page", no_wrap=True)
        for name in (test.control, test.treatment, "difference", "95%", "truth"):
            table.add_column(name, justify="right", no_wrap=True)
        for metric in METRICS:
            effect, (control, treatment) = test.effects[metric], test.means[metric]
            unit, digits = (100.0, 2) if metric == "revenue_cents" else (1.0, 3 if metric == "clicks" else 4)
            star = " *" if effect.verdict != "undecided" else ""
            table.add_row(
                SAID[metric],
                f"{control / unit:.{digits}f}",
                f"{treatment / unit:.{digits}f}",
                f"{effect.value / unit:+.{digits}f}{star}",
                f"[{effect.low / unit:+.{digits}f} {effect.high / unit:+.{digits}f}]".replace("[", r"\["),
                f"{test.truth[metric] / unit:+.{digits}f}",
            )
        return table

    def _in_words(self, test: AbTest) -> str:
        assert self.preference is not None
        p = self.preference
        users = sum(test.num_users)
        preferred = {"first": p.first, "second": p.second, "undecided": "neither"}[p.verdict]
        return (
            f"{users:,} shoppers, each with one plan; * excludes 0; truth is what would happen if all had one or all the other."
            f"\nInterleaved on one page, {p.wins + p.losses + p.ties:,} shoppers prefer {preferred} "
            f"({p.second} wins {p.losses}, loses {p.wins}, p {p.p:.2g}); told the truth, one could have "
            f"{self.bound:.3f} clicks a page.\n"
        )

    def _truth(self) -> Judgments:
        """True grades above the lowest, of all products on sale, for queries that are not among those learned from."""
        learned_from = set(self.graded["train"].query)
        asked = [query for query in self.world.queries(600) if query.text not in learned_from]
        live = self.shop.items().live
        rows, grades = [], []
        for query in asked:
            grade = self.world.grades(query)
            row = np.flatnonzero((grade > 1) & live)
            rows.append(row.astype(np.int32))
            grades.append(grade[row].astype(np.int32))
        lists = ItemLists(
            np.concatenate(rows),
            splits_of(np.array([len(row) for row in rows])),
            {"grade": np.concatenate(grades)},
            self.shop.generation,
        )
        return Judgments([query.text for query in asked], lists, dict(GAINS))
