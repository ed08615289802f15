"""The accelerator as one Verilog module: everything is joined as the table of processes says, and Verilator finds nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from array_bench import verilate
from operator_harness import ARCHITECTURES

import edgeflow.hw
from edgeflow.hw.process_network import channels, network, processes
from edgeflow.sw.compiler.accelerator_verilog import TOP, Accelerator, Instance
from edgeflow.sw.compiler.component_project import accelerator_verilog

RTL = [
    file for pattern in ("edgeflow_*.v", "sim/*.v") for file in sorted((Path(edgeflow.hw.__file__).parent / "rtl").glob(pattern))
]
FLAGS = ("--lint-only", "-Wall", "-Wno-DECLFILENAME", "-Wno-SYMRSVDWORD")  # several modules to a file; `interrupt` is the vendor's


@dataclass(frozen=True)
class Whole:
    """A module without parameters."""

    parameters: Mapping[str, int | str] = field(default_factory=dict)


def black_box(instance: Instance) -> str:
    """A module with the ports of a process and nothing in it."""
    parameters = ", ".join(f"parameter {name} = {value}" for name, value in instance.parameters.items())
    ports = ",\n".join(f"    {port.direction} wire {port.range}{port.name}" for port in instance.ports)
    quiet = "/* verilator lint_off UNDRIVEN */ /* verilator lint_off UNUSED */"
    return f"{quiet}\nmodule {instance.module}{f' #({parameters})' if parameters else ''} (\n{ports}\n);\nendmodule\n"


def elaborated(accelerator: Accelerator, text: str, folder: Path) -> str:
    """What Verilator says of the module, with black boxes for the components."""
    known = {file.stem for file in RTL}
    (folder / f"{TOP}.v").write_text(text)
    (folder / "components.v").write_text("".join(black_box(one) for one in accelerator.instances if one.module not in known))
    done = verilate(Whole(), *FLAGS, files=[folder / f"{TOP}.v", folder / "components.v", *RTL], top=TOP)
    return done.stderr


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_widths_and_directions_agree(name: str, tmp_path: Path) -> None:
    assert elaborated(*accelerator_verilog(ARCHITECTURES[name]), tmp_path) == ""


def test_a_wrong_width_is_noticed(tmp_path: Path) -> None:
    accelerator, text = accelerator_verilog(ARCHITECTURES["16x16 axi128"])
    width = next(queue.bits for queue in accelerator.queues if queue.name == "steps")
    wrong = text.replace(f"wire [{width - 1}:0] steps_in_data", f"wire [{width}:0] steps_in_data")
    assert wrong != text
    assert "WIDTH" in elaborated(accelerator, wrong, tmp_path)


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_each_stream_has_one_writer_and_one_reader(name: str) -> None:
    """In the text: the queue's own connections, and one instance at each end, those that the table says."""
    accelerator, text = accelerator_verilog(ARCHITECTURES[name])
    instances = {
        one[2]: one[3] for one in re.finditer(r"^    (\w+)(?: #\(.*?\n    \))? (\w+) \(\n(.*?)\n    \);", text, re.M | re.S)
    }
    assert sum(name.startswith("process_") for name in instances) == len(processes())
    assert {queue.name for queue in accelerator.queues} == set(channels())
    for writer, reader, stream in network().edges(keys=True):
        for side, process in (("in", writer), ("out", reader)):
            for net in ("valid", "ready", "data"):
                used = {one for one, body in instances.items() if re.search(rf"\b{stream}_{side}_{net}\b", body)}
                assert used == {f"queue_{stream}", f"process_{process}"}


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_ports_of_the_outside_belong_to_one_process_each(name: str) -> None:
    architecture = ARCHITECTURES[name]
    accelerator, text = accelerator_verilog(architecture)
    for port in accelerator.ports:
        assert text.count(f".{port.name}({port.name})") == 1
        assert len(re.findall(rf"^    (?:input|output) wire (?:\[\d+:0\] )?{port.name}$", text.replace(",\n", "\n"), re.M)) == 1
    masters = [f"m_axi_gmem_{port}" for process in processes() for port in process.pointers(architecture.weight_ports)]
    assert sorted(accelerator.masters) == sorted(masters)
    associated = re.search(r"ASSOCIATED_BUSIF ([\w:]+),", text)
    assert associated is not None
    assert associated[1].split(":") == ["s_axi_control", *accelerator.masters]


def test_ports_are_no_wider_than_the_tool_takes() -> None:
    """4096 bits (UG1399)."""
    for architecture in ARCHITECTURES.values():
        assert max(queue.bits for queue in accelerator_verilog(architecture)[0].queues) <= 4096
