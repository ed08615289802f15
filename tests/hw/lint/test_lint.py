"""The synthesizability linter: exactly the marked lines of the fixtures, and nothing else."""

from __future__ import annotations

import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgeflow.hw.errors import InputError, ToolchainError
from edgeflow.hw.lint import Finding, lint, lint_project
from edgeflow.hw.lint.linter import RULES
from edgeflow.sim.headers import exact_include, native_include

FIXTURES = Path(__file__).with_name("fixtures")


def expected(file: Path) -> list[tuple[str, int]]:
    """Return the rules and lines that a fixture marks with ``// expect: RULE, RULE``."""
    lines = enumerate(file.read_text().splitlines(), start=1)
    return sorted((rule, line) for line, text in lines for rule in re.findall(r"[\w-]+", text.partition("// expect: ")[2]))


@pytest.mark.parametrize("rule", sorted(RULES))
def test_rule_finds_exactly_what_its_fixture_marks(rule: str) -> None:
    file = FIXTURES / f"{rule}.cpp"
    assert rule in {name for name, _ in expected(file)}
    findings = lint([file], native_include())
    assert sorted((finding.rule, finding.line) for finding in findings) == expected(file)
    assert {finding.file for finding in findings} == {file.resolve()}


@pytest.mark.parametrize("file", sorted(FIXTURES.glob("*.cpp")), ids=lambda file: file.stem)
def test_fixture_is_valid_and_belongs_to_a_rule(file: Path) -> None:
    assert file.stem in {*RULES, "clean"}
    command = ["g++", "-std=c++14", "-fsyntax-only", "-w", *(f"-I{folder}" for folder in native_include()), str(file)]
    assert subprocess.run(command, capture_output=True, text=True, check=False).stderr == ""


def test_synthesizable_code_has_no_findings() -> None:
    assert lint([FIXTURES / "clean.cpp"], native_include()) == []


@pytest.mark.skipif(find_spec("hls4ml") is None, reason="the vendor's ap_int headers come with hls4ml")
@pytest.mark.parametrize("name", ["clean", "dataflow-channel", "memory-ports", "shift-width", "uninitialised"])
def test_vendor_headers_change_no_finding(name: str) -> None:
    file = FIXTURES / f"{name}.cpp"
    assert sorted((finding.rule, finding.line) for finding in lint([file], exact_include())) == expected(file)


def test_streams_move_by_operators_too(tmp_path: Path) -> None:
    (tmp_path / "hls_stream.h").write_text(
        "namespace hls {\ntemplate <class T>\nstruct stream {\n    T held;\n};\n"
        "template <class T>\nvoid operator<<(stream<T>& s, const T& item) { s.held = item; }\n"
        "template <class T>\nvoid operator>>(stream<T>& s, T& item) { item = s.held; }\n}\n"
    )
    (tmp_path / "ap_int.h").write_text("")
    text = (
        '#include "hls_stream.h"\nstatic void put(hls::stream<int>& s, int x) { s << x; }\n'
        "static void get(hls::stream<int>& s, int& x) { s >> x; }\n"
        "void kernel(int& a, int& b) {\n#pragma HLS DATAFLOW\n    hls::stream<int> s;\n    put(s, 1);\n    get(s, a);\nMORE}\n"
    )
    (tmp_path / "code").mkdir()
    file = tmp_path / "code" / "kernel.cpp"
    file.write_text(text.replace("MORE", ""))
    assert lint([file], [tmp_path]) == []
    file.write_text(text.replace("MORE", "    get(s, b);\n"))
    assert [(finding.rule, finding.line) for finding in lint([file], [tmp_path])] == [("dataflow-channel", 4)]


def test_header_of_ours_is_linted_once(tmp_path: Path) -> None:
    (tmp_path / "unit.hpp").write_text("inline int f(int n) {\n    static int sum;\n    return sum += n;\n}\n")
    for name in ("a.cpp", "b.cpp"):
        (tmp_path / name).write_text('#include "unit.hpp"\n')
    findings = lint([tmp_path / "a.cpp", tmp_path / "b.cpp"], [])
    assert [(finding.file.name, finding.line, finding.rule) for finding in findings] == [("unit.hpp", 2, "static-local")]


def test_every_rule_states_itself() -> None:
    for name, rule in RULES.items():
        assert rule.id == name
        assert rule.rationale.endswith(".")
        assert rule.remedy.endswith(".")


def test_misspelling_suggests_the_right_word() -> None:
    messages = {finding.line: finding.message for finding in lint([FIXTURES / "unknown-pragma.cpp"], [])}
    assert messages[4] == "#pragma HLS PIPLINE is unknown: did you mean PIPELINE?"
    assert messages[5] == "#pragma HSL is unknown: did you mean HLS?"


def test_macros_and_top_are_given(tmp_path: Path) -> None:
    file = tmp_path / "kernel.cpp"
    pragmas = "".join(f"#pragma HLS INTERFACE mode=s_axilite port={port}\n" for port in ("x", "return"))
    file.write_text(f"int kernel(int x) {{\n{pragmas}    return x + OFFSET;\n}}\n")
    assert lint([file], [], ["OFFSET=3"], top="kernel") == []
    assert {finding.rule for finding in lint([file], [], ["OFFSET=3"])} == {"interface-outside-top"}


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        lint([tmp_path / "missing.cpp"], [])
    file = tmp_path / "broken.cpp"
    file.write_text("int f( {\n")
    with pytest.raises(ToolchainError, match=r"broken\.cpp:1: not valid C\+\+14"):
        lint([file], [])


def test_a_project_is_linted_with_its_headers(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no edgeflow_top\.cpp: give a build"):
        lint_project(tmp_path)
    with pytest.raises(InputError, match="is not a folder: give a build"):
        lint_project(tmp_path / "missing")
    (tmp_path / "edgeflow_top.cpp").write_text('#include "ap_int.h"\n#include "part.hpp"\n')
    (tmp_path / "include").mkdir()
    header = tmp_path / "include" / "part.hpp"
    header.write_text("inline int f(int n) {\n    static int sum;\n    return sum += n;\n}\n")
    assert [(finding.file, finding.line, finding.rule) for finding in lint_project(tmp_path)] == [(header, 2, "static-local")]


def sections() -> dict[str, str]:
    """The sections of docs/lint.md that stand for a rule: their headings are in code."""
    text = (Path(__file__).resolve().parents[3] / "docs" / "lint.md").read_text()
    parts = re.split(r"^### `([^`]*)`", text, flags=re.MULTILINE)
    assert len(parts[1::2]) == len(set(parts[1::2])), "a rule is documented twice"
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_rule_is_documented_and_every_documented_rule_exists() -> None:
    assert sorted(sections()) == sorted(RULES)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_the_documentation_says_what_the_rule_says(rule: str) -> None:
    section = " ".join(sections()[rule].split())
    assert f"({RULES[rule].level})" in section
    assert RULES[rule].rationale in section
    assert RULES[rule].remedy in section


def test_finding_reads_like_a_compiler_message() -> None:
    finding = Finding(Path("top.cpp"), 7, "goto", "goto: write a loop")
    assert str(finding) == "top.cpp:7: error: goto: write a loop [goto]"
