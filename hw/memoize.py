"""Functions of an accelerator, or of an instruction's fields, remembered by what they looked at.

Choosing an accelerator asks the same question of thousands that differ in few sizes: what a unit takes, how long a layer runs. What
a function reads is recorded when it runs, in order: a field, then one that may depend on the first one's value, and so on. An
accelerator that agrees in all of them has the same answer. So it is with instructions, most of whose fields are places that no
prediction depends on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.errors import EdgeFlowError

T = TypeVar("T")


class Remembered(Generic[T]):
    """A function of an accelerator that runs once for all that agree in the fields it reads; refusals are remembered as well.

    The function must depend on nothing else that changes, and must not keep the accelerator that it is given.
    """

    def __init__(self, function: Callable[[Architecture], T]) -> None:
        self._function = function
        self._root = _Known[T]()

    def __call__(self, architecture: Architecture) -> T:
        known: _Known[T] | None = self._root
        while known is not None and known.reads is not None:
            known = known.following.get(getattr(architecture, known.reads))
        if known is None or known.answer is None:
            known = self._ask(architecture)
        assert known.answer is not None
        return known.answer()

    def _ask(self, architecture: Architecture) -> _Known[T]:
        recorder = _Recorder(architecture)
        answer: Callable[[], T]
        try:
            value = self._function(cast(Architecture, recorder))
            answer = lambda: value  # noqa: E731
        except EdgeFlowError as refused:
            answer = _raises(refused)
        known = self._root
        for name, size in recorder._read.items():
            known.reads = name
            known = known.following.setdefault(size, _Known())
        known.answer = answer
        return known


class RememberedFields(Generic[T]):
    """A function of an instruction's fields that runs once for all instructions that agree in the fields it reads.

    The function must depend on nothing else that changes, and take fields by their names alone.
    """

    def __init__(self, function: Callable[[Mapping[str, int]], T]) -> None:
        self._function = function
        self._root = _Known[T]()

    def __call__(self, values: Mapping[str, int]) -> T:
        known: _Known[T] | None = self._root
        while known is not None and known.reads is not None:
            known = known.following.get(values[known.reads])
        if known is None or known.answer is None:
            known = self._ask(values)
        assert known.answer is not None
        return known.answer()

    def _ask(self, values: Mapping[str, int]) -> _Known[T]:
        recorder = _Fields(values)
        answer = self._function(recorder)
        known = self._root
        for name, value in recorder.read.items():
            known.reads = name
            known = known.following.setdefault(value, _Known())
        known.answer = lambda: answer
        return known


class _Fields(Mapping[str, int]):
    """Fields that note which of them are read."""

    def __init__(self, values: Mapping[str, int]) -> None:
        self._values = values
        self.read: dict[str, int] = {}

    def __getitem__(self, name: str) -> int:
        value = self.read[name] = self._values[name]
        return value

    def __iter__(self) -> Iterator[str]:
        raise TypeError("fields of an instruction that is recorded can only be read by their names")

    def __len__(self) -> int:
        return len(self._values)


@dataclass
class _Known(Generic[T]):
    """What is known so far: the field that is read next, and by its value what follows; or the answer."""

    reads: str | None = None
    following: dict[Any, _Known[T]] = field(default_factory=dict)
    answer: Callable[[], T] | None = None


class _Recorder:
    """An accelerator that notes which of its fields are read."""

    def __init__(self, architecture: Architecture) -> None:
        self._architecture = architecture
        self._read: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        """A field that has not been read yet; from then on it is an attribute of the recorder itself."""
        value = getattr(self._architecture, name)
        if callable(value):
            raise AttributeError(f"{name} of an accelerator that is recorded: only fields can be read")
        self._read[name] = self.__dict__[name] = value
        return value


def _raises(error: EdgeFlowError) -> Callable[[], Any]:
    def answer() -> Any:
        raise error

    return answer
