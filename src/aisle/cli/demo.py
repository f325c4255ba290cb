"""aisle demo: a generated shop and its shoppers; learned from, measured, tested live and served with this package alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aisle.data.shop import Shop
    from aisle.evaluate.results import Experiment
    from aisle.recipes.live_tests import AbTest

METRIC = "ndcg@10"
DAYS = 7
VISITS_PER_DAY = 3000
TEST_DAYS = 3
NEAR = 0.01
"""nDCG that a ranker of clicks may lie below the order that it starts from: what is clicked is not all that is relevant."""
EXPECTED = {"/": "<form", "/?q=lamp": "amp", "/api/search?q=lamp&limit=3": '"items"', "/ready": '"ready":true'}
"""What the server must answer to each path."""


def demo(
    check: Annotated[
        bool, typer.Option("--check", help="Do it all once without staying up; exit 1 on failure.")
    ] = False,
    items: Annotated[int, typer.Option(min=200, help="Number of products.")] = 2500,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    into: Annotated[
        Path | None, typer.Option("--into", metavar="SHOP", help="Keep the shop in this new folder.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where the page is served; 0 takes a free port.")] = 8000,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Generate a shop and its shoppers, learn from their log, measure against the truth, test live, and serve.

    Example:  aisle demo --check
    """
    from tempfile import TemporaryDirectory

    from aisle.cli._console import one_thread

    one_thread()
    if not check:
        from aisle.serve.running import check_free

        check_free("127.0.0.1", port)
    with TemporaryDirectory(prefix="aisle-demo-") as scratch:
        story = _told(into or Path(scratch) / "shop", items, seed, as_json)
        if not check:
            from aisle.cli.serve import serve

            serve(story.shop.folder, port=port)
            return
        failures = [*_measured_wrong(story), *_served_wrong(story.shop)]
        for failure in failures:
            print(f"FAILED: {failure}", file=sys.stderr)
        if not failures:
            typer.echo("demo check passed: simulated, learned, measured, tested live, served", err=as_json)
        raise typer.Exit(1 if failures else 0)


class Story(NamedTuple):
    """The shop with its learned plan to serve, and what was measured."""

    shop: Shop
    experiment: Experiment
    test: AbTest


def _told(folder: Path, items: int, seed: int, as_json: bool) -> Story:
    """Simulate, learn, measure, test; said step by step."""
    from aisle.cli._console import progress
    from aisle.cli._demo_steps import Steps

    with progress(quiet=as_json) as report:
        steps = Steps(folder, items, seed, report)
        steps.simulate(DAYS, VISITS_PER_DAY)
        steps.learn()
        experiment = steps.measure(METRIC)
        test = steps.test_live(TEST_DAYS, VISITS_PER_DAY)
    if as_json:
        typer.echo(json.dumps([*experiment.rows(), *steps.rows(test)]))
    else:
        steps.say(experiment, test)
    return Story(steps.shop, experiment, test)


def _measured_wrong(story: Story) -> list[str]:
    """What the figures show that they should not."""
    value = {plan: story.experiment.mean(plan, METRIC).value for plan in story.experiment.plans}
    wrong = [f"{plan} reaches {METRIC} {v:.3f}; at least .3 was expected" for plan, v in value.items() if not v >= 0.3]
    served = story.test.treatment
    for other, margin in (("lexical", 0.0), ("hybrid", -NEAR)):
        if not value[served] > value[other] + margin:
            wrong.append(f"{served} ({value[served]:.3f}) is below {other} ({value[other]:.3f}) by {METRIC}")
    effect, true = story.test.effects["clicks"], story.test.truth["clicks"]
    if not effect.low - effect.standard_error <= true <= effect.high + effect.standard_error:
        wrong.append(
            f"the A/B test says {effect.low:+.3f} to {effect.high:+.3f} clicks a page, the truth is {true:+.3f}"
        )
    return wrong


def _served_wrong(shop: Shop) -> list[str]:
    """What the page and the API answer that they should not, asked of ``aisle serve`` in a process of its own."""
    import subprocess

    command = [sys.executable, "-m", "aisle", "serve", str(shop.folder), "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            address = _address(server.stdout or ())
            if address is None:
                return [f"'aisle serve {shop.folder}' ended without serving"]
            return [wrong for path, expected in EXPECTED.items() if (wrong := _asked(address + path, expected))]
        finally:
            server.terminate()
            # Read to its end, or it would still be talking into a closed pipe.
            server.communicate()


def _address(lines: Iterable[str]) -> str | None:
    """Where the server says that it serves."""
    for line in lines:
        said = json.loads(line)
        if said["kind"] == "serving":
            return str(said["url"])
    return None


def _asked(url: str, expected: str) -> str | None:
    """What is wrong with the answer of an address, None when it is right."""
    from urllib.error import HTTPError
    from urllib.request import urlopen

    try:
        with urlopen(url, timeout=20) as answer:
            body = answer.read().decode()
    except (HTTPError, OSError) as error:
        return f"GET {url}: {error}"
    return None if expected in body else f"GET {url} holds no {expected!r}: {body[:200]}"
