"""Numba's compiled loops in EdgeFlow's own cache, where they are checked before they are loaded.

Numba's files are not: a damaged one is a crash, and it writes them beside the sources.
"""

from __future__ import annotations

import hashlib
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from edgeflow.hw import cache

_PART, _SUFFIX = "loops", ".loop"
_RESULT: Any = CompileResult  # which has no types
_DUMPS: Any = dumps


Loop = TypeVar("Loop", bound=Callable[..., None])


def compiled_loop(**options: Any) -> Callable[[Loop], Loop]:
    """A decorator that compiles a function when it is first called, or takes what an earlier process compiled. It releases the GIL.

    ``options`` of ``numba.njit`` are part of the module, whose source is part of the key.
    """

    def decorate(function: Loop) -> Loop:
        loop: Any = numba.njit(nogil=True, **options)(function)
        loop._cache = LoopCache(function)
        return cast("Loop", loop)

    return decorate


class LoopCache(NullCache):
    """What Numba asks for compiled code before it compiles a function, and gives it afterwards."""

    def __init__(self, function: Callable[..., Any]) -> None:
        source = hashlib.sha256(Path(function.__code__.co_filename).read_bytes()).hexdigest()
        self._facts = (function.__qualname__, source, numba.__version__, sys.version)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled function for a signature; None if it is not kept."""
        target_context.refresh()
        kept = cache.load(_PART, self._key(sig, target_context.codegen()), _SUFFIX)
        return None if kept is None else _RESULT._rebuild(target_context, *pickle.loads(kept[1]))

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled function."""
        content = _DUMPS(data._reduce())
        cache.store(_PART, self._key(sig, data.codegen), _SUFFIX, lambda file: file.write(content))

    def _key(self, sig: Any, codegen: Any) -> str:
        """``codegen`` knows the processor."""
        return hashlib.sha256(repr((self._facts, sig, codegen.magic_tuple())).encode()).hexdigest()[:32]
