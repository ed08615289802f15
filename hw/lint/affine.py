"""Integers that are known up to a sum of multiples of unknowns: what an index is when a circuit is built."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from math import gcd


@dataclass(frozen=True)
class Symbol:
    """An unknown integer; ``parts`` numbers the variables that it is computed from."""

    key: str
    parts: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Affine:
    """``constant`` plus the sum of factor times symbol over ``terms``, which are sorted by key and have no factor 0."""

    constant: int
    terms: tuple[tuple[Symbol, int], ...] = ()

    @property
    def known(self) -> int | None:
        """The value, if there is no unknown in it."""
        return None if self.terms else self.constant

    @property
    def stride(self) -> int:
        """The greatest common divisor of the factors: the value is ``constant`` modulo this; 0 for a known value."""
        return gcd(*(factor for _, factor in self.terms))

    @property
    def content(self) -> int:
        """The greatest integer that surely divides the value; 0 for the value 0."""
        return gcd(self.constant, self.stride)

    @property
    def parts(self) -> frozenset[int]:
        """The variables that the value depends on."""
        return frozenset[int]().union(*(symbol.parts for symbol, _ in self.terms))

    def __str__(self) -> str:
        words = [f"{factor}*{symbol.key}" for symbol, factor in self.terms]
        return "+".join([*words, str(self.constant)])


Evaluate = Callable[[int, int], int]


def _shift(value: int, places: int) -> int:
    return value << places if 0 <= places < 4096 else 0


def _quotient(a: int, b: int) -> int:
    return 0 if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


FOLDED: Mapping[str, Evaluate] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": _quotient, "%": lambda a, b: a - b * _quotient(a, b),
    "<<": _shift, ">>": lambda a, b: a >> b if 0 <= b < 4096 else 0, "&": operator.and_, "|": operator.or_,
    "^": operator.xor, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq,
    "!=": operator.ne, "&&": lambda a, b: bool(a and b), "||": lambda a, b: bool(a or b),
}  # fmt: skip


@dataclass
class _Sum:
    constant: int = 0
    terms: dict[Symbol, int] = field(default_factory=dict)

    def add(self, value: Affine, factor: int) -> None:
        self.constant += factor * value.constant
        for symbol, times in value.terms:
            self.terms[symbol] = self.terms.get(symbol, 0) + factor * times

    def result(self) -> Affine:
        kept = sorted(((symbol, factor) for symbol, factor in self.terms.items() if factor), key=lambda term: term[0].key)
        return Affine(self.constant, tuple(kept))


def known(value: int) -> Affine:
    """Return a known integer."""
    return Affine(value)


def unknown(key: str, parts: frozenset[int], factor: int = 1) -> Affine:
    """Return ``factor`` times an unknown integer; long keys are shortened to a digest."""
    if len(key) > 160:
        key = "#" + blake2b(key.encode(), digest_size=12).hexdigest()
    return Affine(0, ((Symbol(key, parts), factor),)) if factor else Affine(0)


def combine(word: str, left: Affine, right: Affine) -> Affine:
    """Return the result of a binary operator of C++ on integers that do not overflow."""
    if not left.terms and not right.terms:
        return Affine(int(FOLDED[word](left.constant, right.constant)))
    if word in ("+", "-"):
        total = _Sum()
        total.add(left, 1)
        total.add(right, 1 if word == "+" else -1)
        return total.result()
    if word == "<<" and right.known is not None:
        return combine("*", left, Affine(_shift(1, right.constant)))
    if word == "*":
        for one, other in ((left, right), (right, left)):
            if other.known is not None:
                total = _Sum()
                total.add(one, other.constant)
                return total.result()
        factor = left.content * right.content
        return unknown(f"({left}*{right})", left.parts | right.parts, factor or 1)
    if word in ("/", "%", ">>", "&") and right.known is not None:
        exact = _by_constant(word, left, right.constant)
        if exact is not None:
            return exact
    return unknown(f"({left}{word}{right})", left.parts | right.parts)


def _by_constant(word: str, left: Affine, right: int) -> Affine | None:
    """Return a quotient or remainder where every unknown part is a multiple of the divisor."""
    if word == ">>":
        divisor = _shift(1, right)
    elif word == "&":
        divisor = right + 1 if right > 0 and right & (right + 1) == 0 else 0
    else:
        divisor = right
    if divisor <= 0 or left.constant < 0 or left.stride % divisor:
        return None
    if word in ("%", "&"):
        return Affine(left.constant % divisor)
    return Affine(left.constant // divisor, tuple((symbol, factor // divisor) for symbol, factor in left.terms))


def either(condition: Affine, left: Affine, right: Affine) -> Affine:
    """Return ``condition ? left : right``."""
    if condition.known is not None:
        return left if condition.constant else right
    if left == right:
        return left
    factor = gcd(left.content, right.content)
    return unknown(f"({condition}?{left}:{right})", condition.parts | left.parts | right.parts, factor or 1)
