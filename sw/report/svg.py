"""A few helpers to write SVG by hand: escaped elements, axes with round ticks, numbers for people."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from markupsafe import Markup, escape

Attribute = str | int | float


def tag(element: str, *children: Markup | str, **attributes: Attribute) -> Markup:
    """An element; underscores in attribute names become hyphens (``class_`` is ``class``), coordinates are shortened."""
    text = "".join(f' {name.rstrip("_").replace("_", "-")}="{escape(_short(value))}"' for name, value in attributes.items())
    content = Markup("").join(children)
    return Markup(f"<{element}{text}>{content}</{element}>") if children else Markup(f"<{element}{text}/>")


def _short(value: Attribute) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


def drawing(width: int, height: int, label: str, *children: Markup, role: str = "img") -> Markup:
    """An SVG that fills its column; ``label`` tells what it shows to those who cannot see it. One with links is a ``group``."""
    return tag("svg", *children, viewBox=f"0 0 {width} {height}", role=role, aria_label=label, class_="chart")


def tooltip(*lines: str) -> Markup:
    """What the browser shows when the pointer rests on the parent."""
    return tag("title", "\n".join(lines))


@dataclass(frozen=True)
class Axis:
    """A linear axis from ``low`` to ``high`` that maps onto ``start`` to ``stop`` (pixels)."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)

    def ticks(self, count: int) -> list[float]:
        """About ``count`` round values within the axis."""
        step = round_step((self.high - self.low) / count)
        first = math.ceil(self.low / step - 1e-9)
        return [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


def round_step(raw: float) -> float:
    """The next of 1, 2, 5, 10 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(raw))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))


def si(value: float) -> str:
    """A number with three digits and k, M, G."""
    for factor, suffix in ((1e9, "\u00a0G"), (1e6, "\u00a0M"), (1e3, "\u00a0k")):
        if abs(value) >= factor:
            return f"{value / factor:.3g}{suffix}"
    return f"{value:.3g}"


def size(count: int) -> str:
    """Bytes in binary multiples."""
    for factor, suffix in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= factor:
            return f"{count / factor:.3g}\u00a0{suffix}"
    return f"{count}\u00a0bytes"


def thousands(value: int) -> str:
    """An integer in groups of three digits, which do not break."""
    return f"{value:,}".replace(",", "\u202f")


def breakable(name: str) -> Markup:
    """A name that may break after its separators."""
    return Markup(re.sub(r"([/._])(?=.)", r"\1<wbr>", str(escape(name))))
