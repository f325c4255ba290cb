"""The command line.  One file a command; a command imports what it needs when it runs, so that help is instant."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from aisle.cli._console import in_words
from aisle.cli.backup import backup
from aisle.cli.bench import bench
from aisle.cli.care import care
from aisle.cli.demo import demo
from aisle.cli.evaluate import evaluate
from aisle.cli.export import export
from aisle.cli.fit import fit
from aisle.cli.ingest import ingest
from aisle.cli.judge import judge
from aisle.cli.methods import methods
from aisle.cli.restore import restore
from aisle.cli.rollback import rollback
from aisle.cli.search import search
from aisle.cli.serve import serve
from aisle.cli.simulate import simulate
from aisle.cli.synonyms import synonyms

STOPPED = 130
"""Exit code after Ctrl-C."""

app = typer.Typer(
    name="aisle",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="E-commerce search and recommendation: from a product file to a ranked, explained page.\n\n"
    "Start with:  aisle demo   or   aisle serve products.csv",
)


def _say_version(wanted: bool) -> None:
    if wanted:
        from aisle import __version__

        typer.echo(f"aisle {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


OPERATIONS = (rollback, backup, restore, export, care)
for command in (demo, serve, ingest, search, evaluate, fit, judge, bench, methods, simulate, synonyms, *OPERATIONS):
    app.command()(command)


def main() -> None:
    """Entry point: ends the process with the exit code of ``run``."""
    sys.exit(run(sys.argv[1:]))


def run(args: list[str]) -> int:
    """Run one command line.  Returns 0, 2 after an error (one line on stderr), 130 after Ctrl-C, or what the command says."""
    from aisle.core.errors import AisleError

    try:
        # Not standalone: usage errors arrive here as exceptions and become one line like every other error.
        code = app(args, standalone_mode=False, prog_name="aisle")
    except (AisleError, OSError) as error:
        print(in_words(error), file=sys.stderr)
        return 2
    except Exception as error:
        # The parser's own errors know how to say themselves; anything else is a bug and keeps its traceback.
        if not hasattr(error, "format_message"):
            raise
        if message := usage(error):
            print(f"error: {message}", file=sys.stderr)
            return 2
        return 0  # "aisle" alone has printed its help
    if code == STOPPED:
        print("stopped", file=sys.stderr)
    return code if isinstance(code, int) else 0


def usage(error: Any) -> str:
    """A wrong command line in one line, with the help that mends it."""
    of = error.ctx.command_path if getattr(error, "ctx", None) else "aisle"
    message = " ".join(str(error.format_message()).split()).rstrip(".")
    return f"{message}; see {of} --help" if message else ""
