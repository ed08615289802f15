"""Code generation: the HLS project of an accelerator, from the header library and templates.

Generated text is only constants, instruction formats and calls; every algorithm is a header under ``hw/include/edgeflow``.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from edgeflow.hw.architecture import BYTES, HALVES, LINE_BYTES, NIBBLES, WORDS, Architecture, storage_bytes
from edgeflow.hw.arrays import IntArray
from edgeflow.hw.cpp_widths import WIDTHS
from edgeflow.hw.errors import InputError
from edgeflow.hw.field_widths import COUNT, LINE_BYTE, LINE_LENGTH, WORD
from edgeflow.hw.ops import instruction_layouts, registry, unit, units
from edgeflow.hw.ops.base import INCLUDE, INSTRUCTION_WORDS, STREAM_WORD, VectorUnit
from edgeflow.hw.process_network import CLIENTS, Kind, channels
from edgeflow.hw.program import Allocation, Program, pack_rows
from edgeflow.hw.stream_items import ItemLayouts
from edgeflow.sw.compiler.components import MEMORY_WORDS, components, cpp_type, identity, places, sized_channels

OVERLAY_TEMPLATES = (
    *("edgeflow_types.hpp", "edgeflow_config.hpp", "edgeflow_instructions.hpp", "edgeflow_component.hpp"),
    *("edgeflow_vector.hpp", "edgeflow_items.hpp", "csim.cpp"),
)
_COMMANDS = re.compile(r"""[\n\r"\\\[\]$;{}`]""")
INSTRUCTION_LIMIT = 4096  # only a hint to the HLS tool's latency report and the co-simulation's memory depth


def environment(finalize: Callable[[object], object] | None = None) -> jinja2.Environment:
    from edgeflow import hw

    folder = Path(hw.__file__).resolve().parent / "templates"
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), undefined=jinja2.StrictUndefined, keep_trailing_newline=True, finalize=finalize
    )
    templates.filters["camel"] = lambda name: "".join(part.capitalize() for part in name.split("_"))
    return templates


def plain(value: object) -> object:
    """What templates of scripts insert: nothing that ends what it stands in, or that Tcl would run."""
    if _COMMANDS.search(str(value)):
        raise InputError(f"{value!r} cannot stand in emitted code: only letters, digits and plain signs can")
    return value


def constants(architecture: Architecture) -> list[tuple[str, int]]:
    """Static sizes for the generated configuration: the architecture's own, then those of its units."""
    names = ("pi", "po", "epilogue", "slots", "vector", "axi_bits", "weight_ports", "narrow_lines", "wide_lines", "max_channels")
    sizes = {name.upper(): int(getattr(architecture, name)) for name in (*names, "max_tokens", "max_head")}
    # The array's processes stand in every accelerator.
    for cls in (*registry().values(), *(unit(layout) for layout in instruction_layouts())):
        if cls.on_array or cls.instruction.name in architecture.units:
            sizes |= cls.template_arguments(architecture)
    return list(sizes.items())


def codes() -> dict[str, int]:
    """Numbers that the headers share with the compiler, by their C++ names: storages of elements, then each unit's own."""
    numbers = {"LINE_BYTES": LINE_BYTES, "NIBBLES": NIBBLES, "BYTES": BYTES, "HALVES": HALVES, "WORDS": WORDS}
    counted = {"COUNT": COUNT, "WORD": WORD, "LINE_BYTE": LINE_BYTE, "LINE_LENGTH": LINE_LENGTH}
    numbers |= {f"{name}_BITS": width.bits for name, width in counted.items()}
    for cls in units():
        numbers |= cls.codes
    return numbers


def _values(architecture: Architecture) -> dict[str, Any]:
    """What the templates of C++ insert."""
    # The array decodes all of its instructions, whichever a model uses.
    array_units = {cls.instruction.name for cls in units() if cls.on_array}
    layouts = [layout for layout in instruction_layouts() if layout.name in {*architecture.units, *array_units}]
    vector_layouts = [layout for layout in layouts if layout.name not in array_units]
    return {
        "version": metadata.version("edgeflow"),
        "widths": WIDTHS,
        "codes": list(codes().items()),
        "constants": constants(architecture),
        "layouts": layouts,
        "identity": identity(architecture),
        "vector_layouts": vector_layouts,
        "vector_headers": sorted({unit(layout).header for layout in vector_layouts}),
        "readers": {cls.instruction.name for cls in units() if issubclass(cls, VectorUnit) and cls.reads_lines},
        "instruction_words": INSTRUCTION_WORDS,
        "stream_word": STREAM_WORD,
        "ports": architecture.weight_ports,
    }


def overlay_sources(architecture: Architecture) -> dict[str, str]:
    """Generated C++ by file name: the accelerator as processes joined by streams (hw/process_network.py), a component each, what
    these share, and C simulation that runs them."""
    templates, values = environment(), _values(architecture)
    layouts = item_layouts(architecture)
    items = [channel.item for channel in channels().values()]
    values = values | {
        "channels": sized_channels(architecture),
        "components": components(architecture),
        "control": Kind.CONTROL,
        "clients": CLIENTS,
        "places": places(),
        "bits": {name: layouts.bits(channel.item) for name, channel in channels().items()},
        "items": [{"type": cpp_type(name), "members": layouts.members(name)} for name in layouts.structs(items)],
        "network_headers": sorted(header.name for header in (INCLUDE / "edgeflow" / "network").glob("*.hpp")),
        "memory_words": MEMORY_WORDS,
    }
    sources = {name: templates.get_template(f"{name}.j2").render(values) for name in OVERLAY_TEMPLATES}
    for component in components(architecture):
        for kind, template in (("components", "component.cpp.j2"), ("testbenches", "component_testbench.cpp.j2")):
            text = templates.get_template(template).render(values, component=component)
            sources[f"{kind}/{component.name}.cpp"] = text
    return sources


def item_layouts(architecture: Architecture) -> ItemLayouts:
    """The bits of what streams carry, of an accelerator's C++."""
    folder, templates, values = INCLUDE / "edgeflow", environment(), _values(architecture)
    names = ("edgeflow_types.hpp", "edgeflow_instructions.hpp")
    generated = [templates.get_template(f"{name}.j2").render(values) for name in names]
    written = [header.read_text() for header in (folder / "memory.hpp", *sorted((folder / "network").glob("*.hpp")))]
    return ItemLayouts([*generated, *written], dict(constants(architecture)))


def overlay_files(architecture: Architecture) -> dict[str, bytes]:
    """The accelerator's C++ sources and the header library (without the native ``ap_int.h``), by their paths in the HLS project."""
    sources = {name: text.encode() for name, text in overlay_sources(architecture).items()}
    folder = INCLUDE / "edgeflow"
    headers = [*sorted(folder.glob("*.hpp")), *sorted((folder / "network").glob("*.hpp"))]
    headers += [folder / "simulation" / f"{name}.h" for name in ("bits", "replay")]
    return sources | {f"include/{header.relative_to(INCLUDE).as_posix()}": header.read_bytes() for header in headers}


def write_overlay(folder: Path, architecture: Architecture) -> None:
    """Write :func:`overlay_files` into a folder."""
    for name, content in overlay_files(architecture).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def write_data(data: Path, program: Program, samples: Sequence[tuple[Mapping[str, IntArray], Mapping[str, IntArray]]]) -> None:
    """What testbenches read, into a new folder: the program, the weight image, and each sample's inputs and outputs."""
    data.mkdir()
    (data / "program.bin").write_bytes(program.encode())
    (data / "weights.bin").write_bytes(program.weights)
    places = {a.tensor: a for a in program.allocations}
    for n, (inputs, outputs) in enumerate(samples):
        (data / f"input_{n}.bin").write_bytes(b"".join(_record(places[name], inputs[name]) for name in program.inputs))
        records = [
            _record(places[name], outputs[name])
            + pack_rows(_all_ones(places[name]), places[name].format, places[name].storage).tobytes()
            for name in program.outputs
        ]
        (data / f"output_{n}.bin").write_bytes(b"".join(records))


def _record(place: Allocation, value: IntArray) -> bytes:
    return struct.pack("<2I", place.external or 0, place.lines) + pack_rows(value, place.format, place.storage).tobytes()


def _all_ones(place: Allocation) -> IntArray:
    ones = -1 if place.signed else (1 << 8 * storage_bytes(place.bits)) - 1
    return np.full(place.shape, ones, dtype=np.int64)
