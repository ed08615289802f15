"""The files around the code say the same: versions, extras, pins, hooks, the workflow and the forms."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
TESTING = "test"  # the one extra that is no part of "all": what the suite needs, not what EdgeFlow uses


@cache
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@cache
def read_yaml(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())
    return document


def extra(name: str) -> set[Requirement]:
    """What an extra installs; extras that it names are followed."""
    requirements: set[Requirement] = set()
    for text in pyproject()["project"]["optional-dependencies"][name]:
        requirement = Requirement(text)
        if canonicalize_name(requirement.name) == "edgeflow":
            requirements = requirements.union(*(extra(inner) for inner in requirement.extras))
        else:
            requirements.add(requirement)
    return requirements


def supported() -> list[str]:
    """The versions of Python that the classifiers name."""
    names = [text.rpartition(" :: ")[2] for text in pyproject()["project"]["classifiers"] if "Python :: 3." in text]
    assert names
    return names


def test_the_extra_all_has_every_optional_package() -> None:
    extras = pyproject()["project"]["optional-dependencies"]
    assert extra("all") == set().union(*(extra(name) for name in extras if name not in ("all", TESTING)))


def test_extras_agree_about_versions() -> None:
    ranges: dict[str, set[SpecifierSet]] = {}
    for name in pyproject()["project"]["optional-dependencies"]:
        for requirement in extra(name):
            ranges.setdefault(canonicalize_name(requirement.name), set()).add(requirement.specifier)
    assert {name: specifiers for name, specifiers in ranges.items() if len(specifiers) > 1} == {}


def test_everything_the_package_names_is_pinned_within_its_range() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines if not line.startswith("#"))}
    project = pyproject()["project"]
    named = [Requirement(text) for text in (*project["dependencies"], *pyproject()["build-system"]["requires"])]
    for requirement in named + [r for name in project["optional-dependencies"] for r in extra(name)]:
        assert pins[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def test_what_the_package_imports_is_named() -> None:
    """Every module that is imported belongs to a distribution of pyproject.toml: none comes by way of another one."""
    project = pyproject()["project"]
    named = {canonicalize_name(Requirement(text).name) for text in project["dependencies"]}
    named |= {canonicalize_name(requirement.name) for requirement in extra("all")}
    modules = {"clang": "libclang", "google": "protobuf", "pydantic_core": "pydantic"}
    imported: dict[str, Path] = {}
    for room in ("edgeflow/__init__.py", "hw", "models", "quant", "sim", "sw"):
        for path in [ROOT / room] if room.endswith(".py") else (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    imported |= {alias.name.split(".")[0]: path for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    imported[node.module.split(".")[0]] = path
    foreign = {name: path for name, path in imported.items() if name not in sys.stdlib_module_names and name != "edgeflow"}
    assert {name: path for name, path in foreign.items() if canonicalize_name(modules.get(name, name)) not in named} == {}


def test_the_citation_is_of_this_version() -> None:
    citation = read_yaml("CITATION.cff")
    project = pyproject()["project"]
    assert citation["version"] == project["version"] == metadata.version("edgeflow")
    assert citation["license"] == project["license"]
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in project["authors"]]


def test_the_workflow_runs_every_version_that_is_supported() -> None:
    job = read_yaml(".github/workflows/ci.yml")["jobs"]["check"]
    assert job["strategy"]["matrix"]["python"] == supported()
    assert all(version in SpecifierSet(pyproject()["project"]["requires-python"]) for version in supported())
    (check,) = (step for step in job["steps"] if step.get("run") == ".ci/run")
    assert check["env"]["PYTHON"] == "python${{ matrix.python }}"
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_hooks_call_the_projects_own_linters() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pre_commit", "validate-config"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    makefile = (ROOT / "Makefile").read_text()
    for repository in read_yaml(".pre-commit-config.yaml")["repos"]:
        assert repository["repo"] == "local"
        for hook in repository["hooks"]:
            command, *arguments = hook["entry"].split()
            if command == "make":
                assert re.search(rf"^{arguments[-1]}:", makefile, re.MULTILINE)
            else:
                assert command.startswith(".venv-test/bin/")
                assert f"$(TEST)/{Path(command).name} {arguments[0]}" in makefile


@pytest.mark.parametrize("name", sorted(p.name for p in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if p.stem != "config"))
def test_issue_forms_ask_something(name: str) -> None:
    form = read_yaml(f".github/ISSUE_TEMPLATE/{name}")
    assert form["name"]
    assert form["description"]
    asked = [field for field in form["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in asked}) == len(asked)
    assert all(field["attributes"]["label"] for field in asked)
    assert any(field.get("validations", {}).get("required") for field in asked)


def test_types_of_package_scripts_and_tests_are_checked_as_they_import_each_other() -> None:
    checker, runner = pyproject()["tool"]["mypy"], pyproject()["tool"]["pytest"]["ini_options"]
    assert checker["strict"] is True
    assert set(checker["files"]) == {"edgeflow", "scripts", "tests"}
    assert checker["mypy_path"] == runner["pythonpath"]


def test_coverage_looks_at_every_folder_of_the_package() -> None:
    folders = {link.name for link in (ROOT / "edgeflow").iterdir() if link.is_dir() and link.name != "__pycache__"}
    assert set(pyproject()["tool"]["coverage"]["run"]["source"]) == {"edgeflow", *folders}
