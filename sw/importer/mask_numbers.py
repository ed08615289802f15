"""Which numbers a mask input is probed with, and which intervals of numbers may be taken for proven.

Nothing short of every number proves what a subgraph does with all of them. Where its operators have finitely many pieces
(comparisons, arithmetic, logic), pieces begin at the subgraph's constants and what they solve for: these are probed with their
neighbours, then drawn numbers between any two that do the same, and the stretch between them counts. Curves and products of the
mask with itself cross a constant where the mask does not; remainders, bits, steps, tables and waves change as often as they like.
There, of integers the probed ones alone count, a dense window among them, and of real numbers no stretch.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeflow.quant.canonical.masks import EXACT
from edgeflow.sw.importer.onnx_operators import Pieces, traits
from edgeflow.sw.rewrite.base import constant

State = bool | None
"""Whether a key with a mask value takes part; None where the model does something else with the value."""

WINDOW = range(-256, 1024)
"""Integers that are all probed, as far as the input's type has them."""
SINGLE = float(1 << 24)
DRAWN = 4  # numbers between two neighbours
_INTEGERS = (*range(-5, 13), 20, 50, 100, 1000, 10_000, 1_000_000, -10, -100, -1000, -10_000)
_FRACTIONS = (1e-30, 1e-3, 0.1, 0.25, 0.3, 0.5, 0.7, 0.75, 0.9, 0.99, 1.01, 1.1, 1.5, 2.5, 1e9, 1e30)
_FEW = 16  # elements of a constant whose values are probed
_SOLVED = 6  # constants up to which equations of three are solved, else of two


def piecewise(nodes: Sequence[ir.Node], dependent: Iterable[ir.Value]) -> bool:
    """Whether all nodes between a mask and what it does have finitely many pieces, most of which the constants tell.

    ``dependent``: the values that change with the mask. Steps count as long as nothing compares or computes with two such values:
    what a step takes off comes again and again."""
    changing = set(dependent)
    if any(_is_step(node) for node in nodes) and any(_mixes(node, changing) for node in nodes):
        return False
    return all(_is_step(node) or _has_pieces(node, changing) for node in nodes)


def _mixes(node: ir.Node, changing: set[ir.Value]) -> bool:
    """Whether a node compares or computes with two values that change."""
    return traits(node).pieces is not Pieces.JOINED and sum(value in changing for value in node.inputs) > 1


def _is_step(node: ir.Node) -> bool:
    pieces = traits(node).pieces
    whole = node.outputs[0].dtype in (ir.DataType.INT32, ir.DataType.INT64)
    return pieces is Pieces.STEPS or (pieces is Pieces.CONVERTED and _floats(node.inputs[0]) and whole)


def _has_pieces(node: ir.Node, changing: set[ir.Value]) -> bool:
    operator = traits(node)
    if operator.picks:  # of elements, not out of a table
        return node.inputs[1] not in changing
    if operator.pieces is Pieces.REAL:
        return _floats(node.outputs[0])
    if operator.pieces is Pieces.CONVERTED:
        return _keeps(node.inputs[0], node.outputs[0])
    if operator.pieces is Pieces.CURVED or (operator.multiplies and sum(value in changing for value in node.inputs) > 1):
        return False  # where a curve or a product of two crosses a constant is not where the mask does
    return operator.pieces is not None or operator.moves or operator.reads_shape or operator.stores


def _floats(value: ir.Value | None) -> bool:
    return value is not None and value.dtype is not None and value.dtype.is_floating_point()


def _keeps(source: ir.Value | None, target: ir.Value) -> bool:
    """Whether a conversion of types neither cuts fractions off nor wraps around."""
    if source is None or source.dtype is None or target.dtype is None:
        return False
    if target.dtype == ir.DataType.BOOL or target.dtype.is_floating_point() or source.dtype == ir.DataType.BOOL:
        return True
    if source.dtype.is_floating_point():
        return False
    return bool(np.can_cast(source.dtype.numpy(), target.dtype.numpy(), "safe"))


def constants_beside(nodes: Iterable[ir.Node]) -> list[float]:
    """Numbers that a mask's subgraph compares with, or computes with."""
    numbers: set[float] = set()
    for node in nodes:
        for value in node.inputs:
            array = constant(value)
            if array is not None and array.size <= _FEW and array.dtype.kind in "fiu":
                numbers.update(float(number) for number in array.reshape(-1) if np.isfinite(number))
    return sorted(numbers)


def first_numbers(dtype: np.dtype[Any], constants: Sequence[float]) -> list[float]:
    """Numbers of a type that a mask is probed with one by one, beside 0 and 1: usual ones, and constants with their neighbours."""
    if dtype.kind == "b":
        return []
    numbers = {float(number) for number in _INTEGERS} | set(constants)
    if dtype.kind == "f":
        numbers |= {sign * number for number in _FRACTIONS for sign in (-1.0, 1.0)}
        numbers |= _neighbours([*constants, 0.0, 0.5, 1.0])
    else:
        numbers |= {np.floor(number) + step for number in constants for step in (-1.0, 0.0, 1.0, 2.0)}
    return _of_type(numbers, dtype)


def more_numbers(dtype: np.dtype[Any], constants: Sequence[float]) -> list[float]:
    """Numbers of a type to probe beside those: what the constants solve for, the ends of the type, and of integers a dense window
    and the powers of two."""
    if dtype.kind == "b":
        return []
    numbers = _solutions(constants)
    if dtype.kind == "f":
        numbers |= _neighbours(sorted(numbers))
        numbers |= {float(np.finfo(np.float32).min), float(np.finfo(np.float32).max)}
    else:
        info = np.iinfo(dtype)
        numbers = {float(np.floor(number)) + step for number in numbers for step in (0.0, 1.0)} | {float(n) for n in WINDOW}
        powers = [float(1 << bit) for bit in range(8, 54)]
        numbers |= {sign * (power + step) for power in powers for sign in (-1.0, 1.0) for step in (-1.0, 0.0, 1.0)}
        numbers |= {max(float(info.min), -EXACT), min(float(info.max), EXACT)}
    return sorted(set(_of_type(numbers, dtype)) - set(first_numbers(dtype, constants)))


def _solutions(constants: Sequence[float]) -> set[float]:
    """Solutions x of ``a x + b = c`` for constants ``a``, ``b`` and ``c``, and of the simpler equations where they are many."""
    many = len(constants) > _SOLVED
    known = sorted({*constants, 0.0, 1.0})
    solutions: set[float] = set()
    for a, b, c in itertools.product(known, known, known):
        if a and (not many or a == 1.0 or b == 0.0):
            solutions.add((c - b) / a)
            solutions.add((b - c) / a)
    return {number for number in solutions if np.isfinite(number)}


def _neighbours(numbers: Sequence[float]) -> set[float]:
    """The single-precision numbers on both sides of each."""
    most = np.finfo(np.float32).max
    near = np.clip(np.array(numbers), -most, most).astype(np.float32)
    with np.errstate(over="ignore"):  # beside the largest number lies infinity, which is no number to probe
        sides = [np.nextafter(near, np.float32(side)) for side in (-np.inf, np.inf)]
    return {float(number) for number in np.concatenate(sides) if np.isfinite(number)}


def _of_type(numbers: Iterable[float], dtype: np.dtype[Any]) -> list[float]:
    """Those that a type has, but for zero and one."""
    if dtype.kind == "f":
        most = float(np.finfo(np.float32).max)
        kept = {float(np.float32(number)) for number in numbers if abs(number) <= most}
    else:
        info = np.iinfo(dtype)
        kept = {n for n in numbers if abs(n) <= EXACT and n == int(n) and info.min <= int(n) <= info.max}
    return sorted(kept - {0.0, 1.0})


def between(states: Mapping[float, State], dtype: np.dtype[Any], rng: np.random.Generator) -> list[float]:
    """Numbers drawn between every two neighbours that do the same."""
    drawn: set[float] = set()
    known = sorted(states)
    for low, high in itertools.pairwise(known):
        if states[low] is None or states[low] is not states[high]:
            continue
        even = low + (high - low) * rng.random(DRAWN // 2)
        sizes = np.sort(np.abs((low, high)))
        decades = max(sizes[0], sizes[1] * 1e-9) * (sizes[1] / max(sizes[0], sizes[1] * 1e-9)) ** rng.random(DRAWN - DRAWN // 2)
        draws = np.concatenate([even, decades if low >= 0 else -decades])
        if dtype.kind != "f":
            draws = np.floor(draws)
        drawn.update(float(number) for number in draws if low < number < high)
    return sorted(set(_of_type(drawn, dtype)) - set(known))


def intervals(states: Mapping[float, State], wanted: bool, dtype: np.dtype[Any], whole: bool) -> tuple[tuple[float, float], ...]:
    """Closed intervals of proven numbers with the wanted state: runs of neighbouring probed ones where the ``whole`` stretch
    between them counts, else of integers that follow each other (single precision, which tells them apart later, has those up to
    :data:`SINGLE`)."""
    runs: list[list[float]] = []
    last: float | None = None
    for number in sorted(states):
        if states[number] is not wanted or (not whole and abs(number) > SINGLE and dtype.kind in "iu"):
            last = None
            continue
        if last is not None and (whole or (dtype.kind in "iu" and number == last + 1)):
            runs[-1][1] = number
        else:
            runs.append([number, number])
        last = number
    return tuple((low, high) for low, high in runs)
