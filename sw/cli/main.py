"""The ``edgeflow`` command: starts fast, and ends with a clear line and exit status whatever happens.

Exit status: 0 done; 1 a check that was asked for failed; 2 the input is wrong, or the machine failed (a full disk, too little
memory); 70 an error inside EdgeFlow; 130 interrupted; 141 nobody reads the output any more; 143 terminated. Errors are one line on
standard error, ``error: ...``, or, of a model that cannot be compiled, its diagnosis, at most a screen. With ``--json`` standard
output is one JSON document: the command's result or ``{"error": {"type", "message", "exit_status"}}``, for such a model with its
``diagnosis``. ``EDGEFLOW_DEBUG=1`` shows tracebacks and warnings.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence

from edgeflow.hw.diagnosis import printable
from edgeflow.hw.errors import EdgeFlowError, UnsupportedError
from edgeflow.sw.cli.interrupts import Terminated, terminable
from edgeflow.sw.cli.machine import (
    CLOSED_PIPE,
    FAULT,
    drop_output,
    fault,
    repair_streams,
)
from edgeflow.sw.cli.memory import address_space, out_of_memory, refuse_libraries, supervised

INTERNAL = 70
INTERRUPTED = 130
TERMINATED = 143
_GLOBAL = ("--quiet", "-q", "--json")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; ``arguments`` are the process's own unless given."""
    if arguments is not None:
        return _guarded(list(arguments), _run)
    repair_streams()
    words = sys.argv[1:]
    if address_space() is None:
        return _guarded(words, _run, last=True)
    refuse_libraries()
    outcome = supervised(lambda: _guarded(words, _run, supervised=True, last=True))
    return outcome if isinstance(outcome, int) else _guarded(words, lambda _: _raised(outcome))


def _raised(error: BaseException) -> int:
    raise error


def _guarded(words: list[str], run: Callable[[list[str]], int], *, supervised: bool = False, last: bool = False) -> int:
    debug = os.environ.get("EDGEFLOW_DEBUG", "0") not in ("", "0")
    as_json = "--json" in words
    try:
        with terminable(last=last), warnings.catch_warnings():
            if not debug and not sys.warnoptions:
                warnings.simplefilter("ignore")
            status = run(_global_first(words) or ["--help"])
            sys.stdout.flush()
            return status
    except EdgeFlowError as error:
        return _fail(error, out_of_memory(error) or str(error), error.exit_status, as_json, debug)
    except KeyboardInterrupt as error:
        if supervised:
            raise
        return _fail(error, "interrupted", INTERRUPTED, as_json, debug)
    except Terminated as error:
        return _fail(error, "terminated", TERMINATED, as_json, debug)
    except BrokenPipeError:
        drop_output()
        return CLOSED_PIPE
    except SystemExit as error:  # what rich makes of a closed pipe
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        return CLOSED_PIPE
    except Exception as error:
        if (message := fault(error)) is not None:
            return _fail(error, message, FAULT, as_json, debug)
        if (message := _usage(error)) is not None:
            return _fail(error, message, 2, as_json, debug)
        text = f"internal error: {type(error).__name__}: {error}; please report it"
        hint = "" if debug else ", and run again with EDGEFLOW_DEBUG=1 for the traceback"
        return _fail(error, text + hint, INTERNAL, as_json, debug)


def _run(arguments: list[str]) -> int:
    import shlex

    import typer.main

    from edgeflow.hw.renamed import current_arguments
    from edgeflow.sw.cli.commands import app

    command = typer.main.get_command(app)
    arguments, old = current_arguments(arguments)
    for line in old:
        print(f"warning: {line}", file=sys.stderr)
    try:
        with command.make_context("edgeflow", arguments, obj=shlex.join(["edgeflow", *arguments])) as context:
            command.invoke(context)
    except typer.Exit as done:
        return done.exit_code
    return 0


def _global_first(arguments: list[str]) -> list[str]:
    """The arguments with the options that hold for every command moved to the front, where typer expects them."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    moved = [a for a in arguments[:end] if a in _GLOBAL]
    return [*moved, *(a for i, a in enumerate(arguments) if i >= end or a not in _GLOBAL)]


def _usage(error: Exception) -> str | None:
    """The message of a usage error of the command line parser, with where to look; None for any other exception."""
    text = getattr(error, "format_message", None)
    if text is None:
        return None
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "edgeflow"
    message = " ".join(str(text()).split()).rstrip(".")
    return f"{message[:1].lower()}{message[1:]} ({path} --help tells what it takes)"


def _fail(error: BaseException, message: str, status: int, as_json: bool, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
    line = printable(" ".join(message.split("\n")))
    diagnosis = error.diagnosis if isinstance(error, UnsupportedError) else None
    told = f"error: {line}" if diagnosis is None or diagnosis.is_short else diagnosis.text(mark="error: ")
    drop_output()
    with contextlib.suppress(OSError):
        print(told, file=sys.stderr, flush=True)
        if as_json:
            document: dict[str, object] = {"type": type(error).__name__.lstrip("_"), "message": line, "exit_status": status}
            if diagnosis is not None:
                document["diagnosis"] = diagnosis.document()
            print(json.dumps({"error": document}, indent=1), flush=True)
    drop_output()
    return status


if __name__ == "__main__":
    sys.exit(main())
