"""``trueup``: the entry point, which loads a command's module only when that command runs.

How to add a command: write ``trueup/cli/NAME.py`` with a plain function whose parameters are
annotated in Typer's style (``Annotated[Path, typer.Option("--html", help=...)]``) and whose
docstring is its help, and add one line to :data:`COMMANDS`. Shared options are in
``trueup/cli/options.py``. The module may import heavy packages inside its function only, because
``trueup NAME --help`` imports it too. A group of sub-commands is a ``typer.Typer`` object instead
of a function.

A command says what went wrong by raising a :class:`~trueup.errors.TrueupError`, and gives another
exit code by ``raise typer.Exit(3)``. :func:`main` turns what comes out of it into one sentence on
standard error and an exit code:

====================================  ===the command line is wrong             2
``TrueupError``                       its ``exit_code``: 2 for bad input, 1 for a failure
Ctrl-C                                130
the reader of standard output left    141, in silence (a shell's code for SIGPIPE)
any other exception                   1, with its type; ``TRUEUP_DEBUG=1`` shows the traceback
====================================  ==="""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperGroup
from typer.main import get_command

from trueup import __version__
from trueup.errors import TrueupError

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")

EXIT_FAILURE = 1
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


class Entry(NamedTuple):
    """Where a command lives, and its line in ``trueup --help``."""

    target: str
    help: str


COMMANDS: dict[str, Entry] = {
    "init": Entry("trueup.cli.init:init", "Write a commented trueup.toml."),
    "compare": Entry(
        "trueup.cli.compare:compare", "Compare serving data with training data: drift or fault?"
    ),
    "profile": Entry("trueup.cli.profile:profile", "Say what is in a data set; keep its profile."),
    "tfdv": Entry("trueup.cli.tfdv:tfdv", "Infer schemas and find anomalies by TFDV itself."),
    "train": Entry(
        "trueup.cli.train:train", "Train a version; the gate decides whether it is live."
    ),
    "retrain": Entry(
        "trueup.cli.train:retrain", "Train anew, if the policy lets it; keep the decision."
    ),
    "jobs": Entry("trueup.cli.train:jobs", "List jobs and how they are doing."),
    "cancel": Entry("trueup.cli.train:cancel", "End a job."),
    "token": Entry("trueup.cli.token:token", "Make, list and revoke tokens for the server."),
    "import": Entry(
        "trueup.cli.registry:import_model", "Register a model trained elsewhere as a version."
    ),
    "versions": Entry("trueup.cli.registry:versions", "List a model's versions."),
    "promote": Entry("trueup.cli.registry:promote", "Make a version live."),
    "rollback": Entry("trueup.cli.registry:rollback", "Go back to the version that was live."),
    "serve": Entry("trueup.cli.serve:serve", "Answer predictions, and capture every request."),
    "compact": Entry(
        "trueup.cli.compact:compact", "Turn captured requests into rows and window profiles."
    ),
    "capture": Entry("trueup.cli.capture:capture", "Read captured rows back."),
    "ingest": Entry("trueup.cli.ingest:ingest", "Bring in raw inputs that were logged elsewhere."),
    "labels": Entry("trueup.cli.labels:labels", "Bring in true outcomes and find their rows."),
    "forget": Entry("trueup.cli.forget:forget", "Erase a person's rows from capture and labels."),
    "doctor": Entry(
        "trueup.cli.doctor:doctor", "Check installation, store, disk and clock; say what to mend."
    ),
}

_CONTEXT = {"help_option_names": ["-h", "--help"]}


class LazyGroup(TyperGroup):
    """A group that knows its commands' names and help lines without importing them."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        entry = COMMANDS.get(cmd_name)
        return None if entry is None else _load(cmd_name, entry)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in COMMANDS:
            near = get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "trueup --help lists them."
            ctx.fail(f"No such command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])

    def make_context(self, *args: Any, **extra: Any) -> Any:
        with _our_endings():  # --help is printed in here
            return super().make_context(*args, **extra)

    def invoke(self, ctx: Any) -> Any:
        with _our_endings():
            return super().invoke(ctx)


@contextmanager
def _our_endings() -> Iterator[None]:
    """Typer and Rich end these two in ways of their own, which differ between their releases."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except BrokenPipeError:
        raise typer.Exit(EXIT_BROKEN_PIPE) from None
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # Rich makes it an exit with 1
            raise typer.Exit(EXIT_BROKEN_PIPE) from None
        raise


def _load(name: str, entry: Entry) -> Any:
    module, _, attribute = entry.target.partition(":")
    found = getattr(import_module(module), attribute)
    if isinstance(found, typer.Typer):
        return get_command(found)
    app = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=_CONTEXT)
    app.command(name=name)(found)
    return get_command(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"trueup {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings=_CONTEXT,
)


@app.callback()
def trueup(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Keep a TensorFlow model true to the data it serves."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code.

    :param arguments: without the program's name; ``sys.argv[1:]`` when absent.
    """
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        code = EXIT_BROKEN_PIPE
    if code == EXIT_BROKEN_PIPE:
        _silence_standard_output()
    return code


def _run(arguments: Sequence[str] | None) -> int:
    args = None if arguments is None else list(arguments)
    try:
        get_command(app).main(args=args, prog_name="trueup")
    except SystemExit as end:  # Typer's own ending: --help, usage errors, typer.Exit
        return end.code if isinstance(end.code, int) else EXIT_FAILURE if end.code else 0
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        return EXIT_BROKEN_PIPE
    except TrueupError as error:
        return _say(error, str(error), error.exit_code)
    except Exception as error:  # noqa: BLE001  the last border: no traceback for a user
        what = " ".join(str(error).split())[:500]
        return _say(
            error,
            f"unexpected {type(error).__name__}{': ' if what else ''}{what} "
            "(this is a defect; TRUEUP_DEBUG=1 shows the traceback)",
            EXIT_FAILURE,
        )
    return 0


def _say(error: Exception, sentence: str, code: int) -> int:
    if os.environ.get("TRUEUP_DEBUG", "") not in ("", "0"):
        import traceback

        traceback.print_exception(error)
    shown = _CONTROLS.sub(_escaped, sentence.encode("utf-8", "backslashreplace").decode())
    typer.echo(f"trueup: {shown}", err=True)
    return code


def _escaped(found: re.Match[str]) -> str:
    """Names come from files: a line end in one must not look like a second message."""
    return f"\\x{ord(found[0]):02x}"


def _silence_standard_output() -> None:
    """Keep the interpreter from failing on its last flush to a pipe that nobody reads."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
