"""Narrow every type of the C++ and compile: what the overflow proof still admits must compute the words that it did.

    python scripts/check_widths.py [--width Element] [--bits 16]

For every width of hw/cpp_widths.py, of the operators whose C++ holds values in it: the bits that their cases' registers say they
need, the most and the fewest of those below today's. With so few bits the units are compiled, and each case must fail the proof, be
refused in one line, or compute the words of its definition. A case that states less than it holds is proven and computes other
words. A line for each width and number of bits; exit status 1 where a case is proven and wrong. Half an hour.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "shared"))

import numpy as np
from header_types import types_held
from operator_harness import ARCHITECTURES, build, case_graph, narrowed, operator_cases, reference

from edgeflow.hw.arrays import IntArray
from edgeflow.hw.cpp_widths import WIDTHS, Width
from edgeflow.hw.errors import ToolchainError, UnsupportedError, VerificationError
from edgeflow.hw.ops import Case, registry
from edgeflow.hw.verify import verify_graph


def holders(width: Width) -> list[str]:
    """Names of the operators whose C++ holds values in a type."""
    return [name for name, cls in registry().items() if width.name in types_held(cls)]


def need(width: Width, case: Case) -> int:
    """Bits of a type that a case's registers say it needs; 0 if none has it."""
    registers = case.operator.registers(case.formats, {i: case.inputs[i] for i in case.constants})
    return max((width.needed(r.minimum, r.maximum) for r in registers if r.width is width), default=0)


def numbers_of_bits(width: Width) -> list[int]:
    """The bits to narrow a type to: for each operator the most and the fewest that its cases state, where below today's."""
    tried = set()
    for name in holders(width):
        needs = {need(width, case) or width.bits * 3 // 4 for case in operator_cases(name)}
        fewer = [max(bits, 2) for bits in needs if max(bits, 2) < width.bits]
        tried |= {min(fewer), max(fewer)} if fewer else set()
    return sorted(tried, reverse=True)


def outcome(case: Case, run: Callable[[Case], IntArray]) -> str:
    """What becomes of a case in a library whose type is narrowed: ``unproven``, ``refused``, ``equal`` or ``WRONG``."""
    try:
        words = run(case)
    except VerificationError:
        return "unproven"
    except UnsupportedError:
        return "refused"
    return "equal" if np.array_equal(words, reference(case)) else "WRONG"


def proven(case: Case) -> bool:
    """Whether a case passes the proof."""
    try:
        verify_graph(case_graph(case))
    except VerificationError:
        return False
    return True


def check(width: Width, bits: int) -> tuple[str, list[str]]:
    """A line on the cases of all operators that hold values in a type of so few bits, and those that are proven and wrong."""
    cases = [case for name in holders(width) for case in operator_cases(name)]
    with narrowed(width, bits):
        left = [case for case in cases if proven(case)]
        counts = {"unproven": len(cases) - len(left), "refused": 0, "equal": 0, "WRONG": 0}
        wrong = []
        units = {case.operator.instruction.name for case in left}
        if left:
            architecture = ARCHITECTURES["16x16 axi128"].model_copy(update={"units": (*sorted(units), "dma")})
            with tempfile.TemporaryDirectory(prefix="edgeflow-widths-") as folder:
                try:
                    library = build(Path(folder), architecture)
                except ToolchainError:
                    return f"{width.name:20} {width.bits:2} -> {bits:2}  does not compile", []
                for case in left:
                    result = outcome(case, library.run)
                    counts[result] += 1
                    if result == "WRONG":
                        wrong.append(f"{case.operator.name}: {case.name}")
    shown = "  ".join(f"{count:3} {name}" for name, count in counts.items())
    return f"{width.name:20} {width.bits:2} -> {bits:2}  {shown}", wrong


def main() -> int:
    """Check every width, each number of bits in a process of its own: what is proven and wrong may end it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--width", choices=[width.name for width in WIDTHS], help="this one alone")
    parser.add_argument("--bits", type=int, help="this number of bits alone (needs --width)")
    options = parser.parse_args()
    chosen = [width for width in WIDTHS if options.width in (None, width.name)]
    if options.bits is not None:
        line, wrong = check(chosen[0], options.bits)
        print("\n    ".join([line, *wrong]), flush=True)
        return bool(wrong)
    failed = 0
    for width in chosen:
        for bits in numbers_of_bits(width):
            began = time.perf_counter()
            status = subprocess.run([sys.executable, __file__, "--width", width.name, "--bits", str(bits)], check=False).returncode
            if status not in (0, 1):
                print(f"{width.name:20} {width.bits:2} -> {bits:2}  ended with status {status}")
            failed += status != 0
            print(f"    {time.perf_counter() - began:.0f} s", flush=True)
    print(f"{failed} narrowed widths are proven and wrong" if failed else "nothing is proven and wrong")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
