"""``python -m edgeflow.hw.lint FILE... [-I DIR]``: one line a finding; exit status 1 if one of them is an error."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import edgeflow.hw
from edgeflow.hw.errors import EdgeFlowError


def main(arguments: list[str] | None = None) -> int:
    """Run the linter and return its exit status: 0 clean or warnings only, 1 errors found, 2 nothing could be linted."""
    parser = argparse.ArgumentParser(prog="python -m edgeflow.hw.lint", description="Lint HLS C++ for synthesizability.")
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE",
                        help="C++ files that synthesis compiles, or the folder of an emitted accelerator")  # fmt: skip
    parser.add_argument("-I", dest="include", action="append", type=Path, default=[], metavar="DIR",
                        help="an include folder, searched before EdgeFlow's own")  # fmt: skip
    parser.add_argument("-D", dest="defines", action="append", default=[], metavar="NAME[=VALUE]", help="a macro")
    parser.add_argument("--top", default="edgeflow_top", help="the function that synthesis starts from")
    parser.add_argument("--rules", action="store_true", help="list the rules and stop")
    options = parser.parse_args(arguments)
    own = Path(edgeflow.hw.__file__).resolve().parent / "include"
    include = [*options.include]
    files = []
    for file in options.files:
        if file.is_dir():
            include += [file, file / "include"]
            file = file / "edgeflow_top.cpp"
        files.append(file)
    include += [own / "edgeflow" / "native", own]
    try:
        from edgeflow.hw.lint.linter import RULES, run

        if options.rules:
            for rule in RULES.values():
                print(f"{rule.id} ({rule.level}): {rule.rationale}")
            return 0
        if not options.files:
            parser.error("name at least one FILE to lint, or give --rules")
        findings = run(files, include, options.defines, options.top)
    except EdgeFlowError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    for finding in findings:
        print(finding)
    return 1 if any(finding.level == "error" for finding in findings) else 0


if __name__ == "__main__":
    sys.exit(main())
