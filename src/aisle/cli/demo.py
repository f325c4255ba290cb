"""aisle demo: a generated shop, measured and served, with nothing but this package."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aisle.core.env import Env, Progress
    from aisle.data.shop import Shop
    from aisle.evaluate.results import Experiment

METRIC = "ndcg@10"
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
    as_json: Annotated[bool, typer.Option("--json", help="Print the evaluation as JSON.")] = False,
) -> None:
    """Generate a shop, measure three plans on it, and serve it.

    Example:  aisle demo --check
    """
    from tempfile import TemporaryDirectory

    if not check:
        from aisle.serve.running import check_free

        check_free("127.0.0.1", port)
    with TemporaryDirectory(prefix="aisle-demo-") as scratch:
        shop, experiment = _prepared(into or Path(scratch) / "shop", items, seed, as_json)
        if not check:
            from aisle.cli.serve import serve

            serve(str(shop.folder), port=port)
            return
        failures = [*_measured_wrong(experiment), *_served_wrong(shop)]
        for failure in failures:
            print(f"FAILED: {failure}", file=sys.stderr)
        if not failures:
            typer.echo("demo check passed: simulated, indexed, measured, served", err=as_json)
        raise typer.Exit(1 if failures else 0)


def _prepared(folder: Path, items: int, seed: int, as_json: bool) -> tuple[Shop, Experiment]:
    """The shop, simulated, indexed, encoded and measured, with its learned plan stored as the one to serve."""
    from aisle.cli._console import progress
    from aisle.data.shop import Shop
    from aisle.evaluate.report import show
    from aisle.recipes.environment import open_env
    from aisle.simulate.world import simulate

    start = perf_counter()
    with progress(quiet=as_json) as report:
        simulate(folder, items, 7, seed, progress=report)
        shop = Shop.open(folder)
        env = open_env(shop, seed=seed, progress=report)
        experiment = _measured(shop, env, report)
    if as_json:
        typer.echo(json.dumps(experiment.rows()))
    else:
        typer.echo(f"{items} products, measured on queries that no plan was fitted on:\n")
        show(experiment)
        typer.echo(f"\nsimulated, indexed, fitted and measured in {perf_counter() - start:.0f} s")
    return shop, experiment


def _measured(shop: Shop, env: Env, report: Progress) -> Experiment:
    """bm25, hybrid and learned on the validation queries; ``learned`` was fitted on the training queries."""
    from aisle import funnel as funnels
    from aisle import recipes
    from aisle.evaluate.experiment import run
    from aisle.nn.encoders import minilm_is_installed
    from aisle.recipes.environment import encode_items

    encoder = "minilm" if minilm_is_installed() else "own"
    encode_items(env, shop, encoder, progress=report)
    view = shop.view()
    plans = {"lexical": recipes.lexical(), "hybrid": recipes.hybrid(encoder), "learned": recipes.learned(encoder)}
    fitted = {name: plan.fit(view, env) for name, plan in plans.items()}
    shop.point(funnel=funnels.save(fitted["learned"], shop), plan="learned")
    return run(fitted, None, view.judgments("validation"), (METRIC, "recall@100", "judged@10"), progress=report)


def _measured_wrong(experiment: Experiment) -> list[str]:
    """What the evaluation shows that it should not."""
    value = {plan: experiment.mean(plan, METRIC).value for plan in experiment.plans}
    wrong = [f"{plan} reaches {METRIC} {v:.3f}; at least .3 was expected" for plan, v in value.items() if not v >= 0.3]
    if not value["learned"] > value["lexical"]:
        wrong.append(f"learned ({value['learned']:.3f}) does not beat lexical ({value['lexical']:.3f})")
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
