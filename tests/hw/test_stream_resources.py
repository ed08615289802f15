"""What streams take: bits of items as the C++ has them, memories as the Verilog has them, as yosys finds."""

from __future__ import annotations

from typing import Any

import pytest
from scratchpad_synthesis import synthesized

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.process_network import channels
from edgeflow.hw.stream_resources import item_bits, stream
from edgeflow.sw.compiler.codegen import item_layouts

ALL = ("linear", "attention", "layernorm")
SIZES: tuple[dict[str, Any], ...] = (
    {"pi": 4, "po": 8, "epilogue": 2, "vector": 1, "axi_bits": 32, "precisions": (8,), "units": ALL},
    {"pi": 64, "po": 48, "epilogue": 16, "vector": 32, "weight_ports": 4, "precisions": (8, 4), "units": ALL},
    {"pi": 32, "po": 12, "epilogue": 4, "axi_bits": 64, "weight_ports": 2, "units": ("linear",)},
    {"pi": 64, "po": 64, "epilogue": 32, "vector": 16, "weight_ports": 2, "precisions": (8, 2), "units": ALL},
)


@pytest.mark.parametrize("sizes", SIZES, ids=lambda sizes: f"{sizes['pi']}x{sizes['po']}")
def test_items_have_the_bits_of_their_structs(sizes: dict[str, Any]) -> None:
    architecture = Architecture.model_validate({"slots": 2048, **sizes})
    layouts = item_layouts(architecture)
    expected = {name: layouts.bits(channel.item) for name, channel in channels().items()}
    assert {name: item_bits(channel.item, architecture) for name, channel in channels().items()} == expected


@pytest.mark.parametrize(("bits", "depth"), [(1, 2), (92, 2), (68, 16), (550, 8), (1, 1024), (256, 512), (144, 256)])
def test_streams_take_what_yosys_finds(bits: int, depth: int) -> None:
    pytest.importorskip("pyosys", reason="yosys comes with edgeflow[synthesis]")
    netlist, counted = synthesized("edgeflow_stream", {"BITS": bits, "DEPTH": depth}), stream(bits, depth)
    assert netlist.bram18 == counted.bram18
    assert abs(netlist.ff - counted.ff) <= 0.15 * counted.ff
    assert abs(netlist.lut - counted.lut) <= max(0.15 * counted.lut, 6)
