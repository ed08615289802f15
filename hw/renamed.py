"""Options and keys that changed their names: the old ones are understood for one more version, with a warning.

:data:`RENAMED` is the table; what reads options or keys passes them through :func:`current_names` (run files, JSON documents),
:func:`current_arguments` (the command line) or :func:`accepts_old_names` (Python).
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, ParamSpec, TypeVar

Place = Literal["Python option", "option", "run file key", "JSON key"]
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Renaming:
    """A name that changed. ``goes``: the version of EdgeFlow that no longer knows the old one."""

    place: Place
    old: str
    new: str
    goes: str

    def __str__(self) -> str:
        return f"{self.place} {self.old} is now {self.new}; version {self.goes} does not know the old name any more"


RENAMED: tuple[Renaming, ...] = (Renaming("option", "--ports", "--weight-ports", "0.3"),)


class RenamedWarning(FutureWarning):
    """An option or key was given by its old name."""


def renaming(place: Place, name: str) -> Renaming | None:
    """What a name has become, None if it is no old one."""
    return next((entry for entry in RENAMED if (entry.place, entry.old) == (place, name)), None)


def current_names(place: Place, entries: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The entries under their current names, with a warning for each that has an old one; in tables within tables, too, whose keys
    the table of names writes with dots (``sizes.ports``). A current name that is there as well wins."""
    current: dict[str, Any] = {}
    for name, value in entries.items():
        entry = renaming(place, prefix + name)
        if entry is not None:
            warnings.warn(str(entry), RenamedWarning, stacklevel=3)
            name = entry.new.removeprefix(prefix)
            if name in entries:
                continue
        current[name] = current_names(place, value, f"{prefix}{name}.") if isinstance(value, Mapping) else value
    return current


def current_arguments(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments of a command line with current option names, and a line for every old one."""
    current, lines = [], []
    end = arguments.index("--") if "--" in arguments else len(arguments)
    for i, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        entry = renaming("option", name) if i < end else None
        if entry is not None:
            lines.append(str(entry))
        current.append(argument if entry is None else f"{entry.new}{equals}{value}")
    return current, lines


def accepts_old_names(function: Callable[P, R]) -> Callable[P, R]:
    """A function that understands old names of its keyword arguments."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in [name for name in kwargs if renaming("Python option", name) is not None]:
            entry = renaming("Python option", name)
            assert entry is not None
            if entry.new in kwargs:
                raise TypeError(f"{function.__name__}() got both {entry.new} and its old name {name}")
            warnings.warn(str(entry), RenamedWarning, stacklevel=2)
            kwargs[entry.new] = kwargs.pop(name)
        return function(*args, **kwargs)

    return wrapper
