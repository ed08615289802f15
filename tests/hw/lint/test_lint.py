"""The synthesizability linter: exactly the marked lines of the fixtures, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgeflow.hw.errors import InputError, ToolchainError
from edgeflow.hw.lint import Finding, lint
from edgeflow.hw.lint.__main__ import main
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


def test_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([str(FIXTURES / "clean.cpp")]) == 0
    assert capsys.readouterr().out == ""
    assert main([str(FIXTURES / "goto.cpp")]) == 1
    path = FIXTURES / "goto.cpp"
    assert capsys.readouterr().out == f"{path}:4: error: goto: write a loop with a static bound [goto]\n"
    assert main([str(FIXTURES / "floating-point.cpp")]) == 0
    assert capsys.readouterr().out.count(": warning: ") == 2
    assert main([str(tmp_path / "missing.cpp")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    (tmp_path / "edgeflow_top.cpp").write_text('#include "part.hpp"\n')
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "part.hpp").write_text("inline int f(int n) {\n    static int sum;\n    return sum += n;\n}\n")
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().out.endswith("[static-local]\n")
    assert main(["--rules"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(RULES)


def test_linter_starts_without_libclang(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['clang'] = None; from edgeflow.hw.lint.__main__ import main; "
        f"sys.exit(main([{str(FIXTURES / 'clean.cpp')!r}]))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "pip install 'edgeflow[lint]'" in result.stderr


def test_finding_reads_like_a_compiler_message() -> None:
    finding = Finding(Path("top.cpp"), 7, "goto", "goto: write a loop")
    assert str(finding) == "top.cpp:7: error: goto: write a loop [goto]"
