"""The components of a build: every testbench on what went through the streams in C simulation, and the exact headers.

    python scripts/check_components.py BUILD [--project FOLDER] [--calls 24]

Writes the project of the build's accelerator as components (into FOLDER, which stays; else it goes), records the first calls
of each process on one sample, compiles every component and its testbench with g++, with native integers and with the exact headers,
and replays the recordings. A line a process; exit status 1 where a word differs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "shared"))

from component_projects import compile_testbenches, replay

import edgeflow
from edgeflow.hw.boards import load_board
from edgeflow.quant.canonical.inputs import encode_inputs
from edgeflow.sim import csim
from edgeflow.sim.executor import Executor
from edgeflow.sim.headers import exact_include, native_include
from edgeflow.sim.recording import CALLS, record_streams
from edgeflow.sw.compiler.codegen import overlay_files
from edgeflow.sw.compiler.component_project import write_component_project
from edgeflow.sw.compiler.components import components
from edgeflow.sw.files.build import Build


def main() -> int:
    """Parse the options, write, record and replay."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path)
    parser.add_argument("--project", type=Path)
    parser.add_argument("--calls", type=int, default=CALLS)
    args = parser.parse_args()
    try:
        build = Build(args.build)
        if args.project is not None:
            return check(build, args.project, args.calls)
        with tempfile.TemporaryDirectory(prefix="edgeflow-components-") as work:
            return check(build, Path(work) / "project", args.calls)
    except edgeflow.EdgeFlowError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status


def check(build: Build, project: Path, calls: int) -> int:
    """The exit status of one build."""
    architecture = build.program.architecture
    words = encode_inputs(build.graph, {name: value[:1] for name, value in build.golden().items()})
    expected = Executor(build.graph).run(words)
    sample = {name: value[0] for name, value in words.items()}
    outputs = {name: expected[name][0] for name in build.program.outputs}
    board = load_board(build.manifest["board"])
    write_component_project(
        project, build.program, part=board.part, clock_mhz=architecture.clock_mhz, samples=[(sample, outputs)]
    )  # fmt: skip
    record_streams(build.program, csim.build(overlay_files(architecture)), sample, project / "data", calls)
    names = [component.name for component in components(architecture)]
    differing = 0
    for integers, include in (("native", native_include()), ("exact", exact_include())):
        program = compile_testbenches(project, names, include, project / f"replays_{integers}")
        for name, (status, different, compared) in replay(program, project / "data", names).items():
            print(f"{integers:7} {name:16} {different:7,} of {compared:9,} words differ")
            differing += status != 0
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main())
