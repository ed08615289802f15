"""Mutations of ONNX models: each changes one thing of a kind that files get wrong, or are made to get wrong.

A mutation takes a seeded generator and the model, weights inside, and returns whether it could change anything. ``SPOILS`` change
the file after it has been written.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fuzz_nodes as nodes
import fuzz_structure as structure
import fuzz_tensors as tensors
import onnx
from fuzz_parts import Random, pick

Mutation = Callable[[Random, onnx.ModelProto], bool]

MUTATIONS: dict[str, tuple[Mutation, ...]] = {
    "nodes": (
        nodes.drop_node,
        nodes.repeat_node,
        nodes.other_operator,
        nodes.other_operator_alone,
        nodes.other_domain,
        nodes.outputs,
        nodes.node_order,
        nodes.names,
        nodes.long_chain,
    ),
    "operands": (nodes.other_operand, nodes.lost_operand, nodes.operand_count, nodes.swapped_operands),
    "cycles": (nodes.cycle,),
    "attributes": (
        nodes.drop_attribute,
        nodes.attribute_value,
        nodes.attribute_value,
        nodes.attribute_type,
        nodes.more_attributes,
        nodes.referred_attribute,
    ),
    "shapes": (
        tensors.input_shape,
        tensors.no_shape,
        tensors.declared_shape,
        tensors.tensor_dims,
        tensors.tensor_shape,
        tensors.integers,
    ),
    "types": (tensors.value_type, tensors.tensor_type, tensors.tensor_field),
    "elements": (tensors.elements, structure.sparse),
    "interface": (structure.interface, structure.doubled_initializer, structure.versions),
    "functions": (structure.functions, structure.doubling_functions),
    "branches": (structure.conditional,),
    "quantizers": (
        structure.quantizer_operand,
        structure.quantizer_source,
        structure.inserted_quantizer,
        structure.own_metadata,
    ),
    "sizes": (structure.huge,),
    "external data": (),
    "bytes": (),
}
"""Mutations by kind; those of external data and bytes change files (:data:`SPOILS`)."""


def spoil_external(random: Random, file: Path) -> None:
    """Where a tensor lies, of a model with its weights beside it."""
    proto = onnx.ModelProto.FromString(file.read_bytes())
    data = file.with_suffix(".bin")
    tensors = [tensor for tensor in proto.graph.initializer if tensor.external_data]
    tensor = pick(random, tensors)
    choice = random.integers(5)
    if choice == 0:
        data.write_bytes(data.read_bytes()[: int(random.integers(data.stat().st_size))])
    elif choice == 1:
        data.unlink()
    elif choice == 2:
        del tensor.external_data[int(random.integers(len(tensor.external_data)))]
    else:
        entry = pick(random, tensor.external_data)
        places = ("", ".", "..", "/etc/passwd", "../model.bin", "a\0b", data.name + "/x", "x" * 5000)
        numbers = ("-1", "1", "3", "99999999", "x", "", "1e3", "9" * 40, "0x10", "١")
        entry.value = pick(random, places if entry.key == "location" else numbers)
    file.write_bytes(proto.SerializeToString())


def spoil_bytes(random: Random, file: Path) -> None:
    """Flip, cut or repeat bytes of the message."""
    content = bytearray(file.read_bytes())
    for _ in range(int(random.integers(1, 4))):
        position = int(random.integers(len(content)))
        choice = random.integers(4)
        if choice == 0:
            content[position] ^= 1 << int(random.integers(8))
        elif choice == 1:
            content[position] = int(random.integers(256))
        elif choice == 2:
            del content[position : position + int(random.integers(1, 9))]
        else:
            content[position:position] = content[position : position + int(random.integers(1, 9))]
        content = content or bytearray(b"\0")
    file.write_bytes(bytes(content))


SPOILS: dict[str, Callable[[Random, Path], None]] = {"external data": spoil_external, "bytes": spoil_bytes}
