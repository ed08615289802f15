"""What streams take: bits of items as the C++ has them, memories as the Verilog has them, as yosys finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scratchpad_synthesis import synthesized

from edgeflow.hw import array_core_resources, scratchpad_core_resources
from edgeflow.hw.architecture import Architecture
from edgeflow.hw.array_core import ArrayCore
from edgeflow.hw.array_resources import products, stationary
from edgeflow.hw.fabric import scratchpad
from edgeflow.hw.process_network import channels
from edgeflow.hw.scratchpad_core import ScratchpadCore
from edgeflow.hw.stream_resources import item_bits, stream, streams
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


def test_the_page_says_what_is_not_counted_yet() -> None:
    sizes = {"narrow_lines": 4096, "wide_lines": 2048, "stream_lines": 512, "max_channels": 1024, "max_tokens": 256}
    units = (*ALL, "elementwise", "move", "dma", "patches")
    own = {"pi": 64, "po": 48, "slots": 64, "epilogue": 16, "vector": 16, "weight_ports": 4, "precisions": (8,), "units": units}
    a = Architecture.model_validate({**sizes, **own})
    array = products(a)[1] + stationary(a)[1], array_core_resources.process(ArrayCore.of(a)).lut
    memory = scratchpad(a).lut, scratchpad_core_resources.resources(ScratchpadCore.of(a)).lut
    page = (Path(__file__).parents[2] / "docs" / "hardware.md").read_text()
    for name, (counted, taken) in {"array, without epilogue and attention": array, "scratchpad": memory}.items():
        assert f"| {name} | {counted:,} | {taken:,} |" in page
    assert f"| streams | part of the units that they join | {streams(a).lut:,} |" in page
    small = {"pi": 4, "po": 8, "epilogue": 2, "vector": 1, "weight_ports": 1, "axi_bits": 64, "stream_lines": 64}
    least = a.model_copy(update={**small, "max_channels": 192, "max_tokens": 64})
    assert f"At 4 x 8 products with one weight port of 64 bits the streams take {streams(least).lut:,} LUTs" in page
