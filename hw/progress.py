"""How functions that take their time say how far they are."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]  # what goes on, how much of it is done, of how much (0: not known)

STEP = "step "
"""What goes on begins with this where it is a step of a compilation, which ends where the next one begins."""
