"""The HLS project of an accelerator whose processes are components: sources, Verilog, scripts for synthesis and packaging, data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

import edgeflow.hw
from edgeflow.hw.architecture import Architecture
from edgeflow.hw.arrays import IntArray
from edgeflow.hw.process_network import Kind
from edgeflow.hw.program import Program
from edgeflow.sw.compiler.accelerator_verilog import TOP, Accelerator, accelerator
from edgeflow.sw.compiler.codegen import environment, item_layouts, overlay_files, plain, write_data
from edgeflow.sw.compiler.components import REGISTERS, Component, components, identity

SCRIPTS = {"run_hls.tcl": "run_components.tcl.j2", "package_ip.tcl": "package_ip.tcl.j2"}


def accelerator_verilog(architecture: Architecture) -> tuple[Accelerator, str]:
    """The Verilog module that joins the processes of an accelerator, as data and as text."""
    whole = accelerator(architecture, item_layouts(architecture))
    values = {"version": metadata.version("edgeflow"), "accelerator": whole}
    return whole, environment().get_template(f"{TOP}.v.j2").render(values)


def synthesized(architecture: Architecture) -> list[Component]:
    """The components that an HLS tool builds; of the others the C++ is a model."""
    return [component for component in components(architecture) if component.process.kind is not Kind.CORE]


def component_files(architecture: Architecture, *, part: str, clock_mhz: float) -> dict[str, bytes]:
    """The project's files by their paths, without data."""
    whole, verilog = accelerator_verilog(architecture)
    values = {
        "version": metadata.version("edgeflow"),
        "part": part,
        "period_ns": f"{1000 / clock_mhz:.3f}",
        "synthesized": synthesized(architecture),
        "accelerator": whole,
        "identity": f"{identity(architecture):08x}",
        "registers": REGISTERS,
    }
    scripts = {name: environment(plain).get_template(template).render(values) for name, template in SCRIPTS.items()}
    rtl = sorted((Path(edgeflow.hw.__file__).parent / "rtl").glob("edgeflow_*.v"))
    return (
        overlay_files(architecture)
        | {f"rtl/{file.name}": file.read_bytes() for file in rtl}
        | {name: text.encode() for name, text in {f"rtl/{TOP}.v": verilog, **scripts}.items()}
    )


def write_component_project(
    folder: Path,
    program: Program,
    *,
    part: str,
    clock_mhz: float,
    samples: Sequence[tuple[Mapping[str, IntArray], Mapping[str, IntArray]]],
) -> None:
    """A whole project. ``samples``: for each, the integer inputs and the expected integer outputs by name, in per-sample shape.

    Recordings for the testbenches are not part of it: :func:`edgeflow.sim.recording.record_streams` adds them to its folder
    ``data``.
    """
    for name, content in component_files(program.architecture, part=part, clock_mhz=clock_mhz).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    write_data(folder / "data", program, samples)
