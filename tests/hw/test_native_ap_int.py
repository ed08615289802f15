"""The native ``ap_int.h`` computes what the vendor's computes: one program, two headers, equal output."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from edgeflow.sim.headers import exact_include, native_include

PROGRAM = Path(__file__).with_name("native_ap_int.cpp")
SEED = 20240229
EDGES = [0, 1, -1, 2, -2, 7, -8, 127, -128, 255, 32767, -32768, 2**26, -(2**26), 2**31 - 1, -(2**31), 2**32 - 1]
EDGES += [2**47, -(2**47), 2**62, -(2**62), 2**63 - 1, -(2**63)]


def compile_program(source: Path, include: Sequence[Path], output: Path, *flags: str) -> str:
    """Compile ``source`` and return what g++ printed."""
    command = ["g++", "-std=c++14", *flags, *(f"-I{folder}" for folder in include), str(source), "-o", str(output)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stderr


def run_program(program: Path, operands: Path) -> list[str]:
    result = subprocess.run([program, operands], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


@pytest.fixture(scope="module")
def operands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of 64-bit integers: edge values against small ones, then random widths and signs."""
    generator = random.Random(SEED)
    pairs = [(a, b) for a in EDGES for b in EDGES[:7]]
    for _ in range(60):
        a, b = (generator.getrandbits(generator.randint(1, 63)) * generator.choice((-1, 1)) for _ in range(2))
        pairs.append((a, b))
    path = tmp_path_factory.mktemp("operands") / "operands.txt"
    path.write_text("".join(f"{a} {b}\n" for a, b in pairs))
    return path


def test_every_operator_equals_the_exact_header(operands: Path, tmp_path: Path) -> None:
    warnings = compile_program(PROGRAM, exact_include(), tmp_path / "exact", "-O0", "-w")
    warnings += compile_program(
        PROGRAM,
        native_include(),
        tmp_path / "native",
        *("-O1", "-Wall", "-Wextra", "-Wno-sign-compare", "-fsanitize=undefined", "-fno-sanitize-recover=all"),
    )
    assert warnings == ""
    exact = run_program(tmp_path / "exact", operands)
    native = run_program(tmp_path / "native", operands)
    assert len(exact) > 500_000
    different = [pair for pair in zip(exact, native, strict=True) if pair[0] != pair[1]]
    assert different == []


@pytest.mark.parametrize(
    ("original", "mutant"),
    [
        ("static_cast<type>(static_cast<unsigned_type>(bits << spare)) >> spare", "bits"),
        ("if (shift + count > 64) bits |=", "if (shift + count > 65) bits |="),
        ("~(mask << shift)", "(mask << shift)"),
        ("return set(bits() * static_cast<modular>(other));", "return set(bits() + static_cast<modular>(other));"),
    ],
    ids=["no sign extension", "field read loses a limb", "field write clears the rest", "product is a sum"],
)
def test_a_wrong_header_is_caught(operands: Path, tmp_path: Path, original: str, mutant: str) -> None:
    header = (native_include()[0] / "ap_int.h").read_text()
    assert header.count(original) == 1
    (tmp_path / "ap_int.h").write_text(header.replace(original, mutant))
    compile_program(PROGRAM, native_include(), tmp_path / "right", "-DEDGEFLOW_FEW_WIDTHS")
    compile_program(PROGRAM, [tmp_path], tmp_path / "wrong", "-DEDGEFLOW_FEW_WIDTHS", "-w")
    assert run_program(tmp_path / "wrong", operands) != run_program(tmp_path / "right", operands)


@pytest.mark.parametrize("operator", ["==", "<", ">=", "/", "%"])
def test_mixed_signedness_does_not_compile(tmp_path: Path, operator: str) -> None:
    source = tmp_path / "mixed.cpp"
    source.write_text(f'#include "ap_int.h"\nlong f(ap_int<8> a, ap_uint<8> b) {{ return (long)(a {operator} b); }}\n')
    command = ["g++", "-std=c++14", "-fsyntax-only", f"-I{native_include()[0]}", str(source)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "use of deleted function" in result.stderr


@pytest.mark.parametrize("accumulator", ["int", "ap_int<32>"])
def test_multiply_accumulate_loops_are_vectorized(tmp_path: Path, accumulator: str) -> None:
    source = tmp_path / "dot.cpp"
    source.write_text(
        '#include "ap_int.h"\n'
        f"int dot(const ap_int<8>* a, const ap_int<8>* b, int n) {{\n    {accumulator} sum = 0;\n"
        "    for (int i = 0; i < n; ++i) sum += a[i] * b[i];\n    return sum;\n}\n"
    )
    report = compile_program(source, native_include(), tmp_path / "dot.o", "-O3", "-c", "-fopt-info-vec-optimized")
    assert "dot.cpp:4" in report
    assert "loop vectorized" in report
