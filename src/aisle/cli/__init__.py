"""The command line.  One file a command; a command imports what it needs when it runs, so that help is instant."""

from __future__ import annotations

import sys

import typer

from aisle.cli.bench import bench
from aisle.cli.demo import demo
from aisle.cli.evaluate import evaluate
from aisle.cli.fit import fit
from aisle.cli.ingest import ingest
from aisle.cli.methods import methods
from aisle.cli.search import search
from aisle.cli.serve import serve
from aisle.cli.simulate import simulate

app = typer.Typer(
    name="aisle",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="E-commerce search and recommendation: from a product file to a ranked, explained page.\n\n"
    "Start with:  aisle demo  |  aisle serve products.csv",
)
for command in (demo, serve, ingest, search, evaluate, fit, bench, methods, simulate):
    app.command()(command)


def main() -> None:
    """Entry point.  Our own errors become one line with a remedy and exit code 2; Ctrl-C exits 130."""
    from aisle.core.errors import AisleError

    try:
        app()
    except AisleError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)
