"""Small wrong changes of the HLS headers, which the operators' cases must catch."""

from __future__ import annotations

from typing import Any

import pytest

from edgeflow.sw.compiler import codegen, component_project
from edgeflow.sw.flow import own_cpp

# Wrong lines: the header, the text that stands there and what it is changed to.
MUTATIONS = (
    ("requantize.hpp", "return (kept + 1) >> 1;", "return kept >> 1;"),
    ("requantize.hpp", "(last == 1 && below != 0)", "last == 1"),
    ("requantize.hpp", "= ~above;", "= ~above - 1;"),
    ("rotate.hpp", "value[(i + 2 * hop) % N]", "value[(i + hop) % N]"),
    ("memory.hpp", "value.byte[b] >> 4);", "value.byte[b] >> 3);"),
    ("network/multiply.hpp", "const CascadeSum high = (chain - low) >>", "const CascadeSum high = chain >>"),
    ("network/epilogue.hpp", "[index + middle];", "[index + middle - 1];"),
    ("network/epilogue.hpp", "command.half_even != 0)", "false)"),
    ("network/sequence.hpp", "epilogue.channel = ins.y_channel;", "epilogue.channel = 0;"),
    ("network/feed.hpp", "(part * C::PI + i) % LINE_BYTES", "(part * C::PI + i + 1) % LINE_BYTES"),
    ("network/values.hpp", "bank[(first + i + channel) % LINE_BYTES]", "bank[(first + i) % LINE_BYTES]"),
    ("network/normalize.hpp", "Deviation(x[lane]) << command.fraction_bits;", "Deviation(x[lane]);"),
    ("network/weigh.hpp", "attended && score > before ?", "score > before ?"),
    ("chunk.hpp", "chunk_part<C>(chunk, storage) * bytes;", "chunk_part<C>(chunk, storage) * C::VECTOR;"),
    ("layernorm.hpp", "step < NEWTON_STEPS; ++step", "step < 1; ++step"),
    ("softmax.hpp", "if (first != 0 || highest > maximum)", "if (highest > maximum)"),
    ("interpolate.hpp", "segment + 1 < knots", "segment + 2 < knots"),
    ("long_chunk.hpp", "(element & 15u) << 2", "(element & 15u) << 1"),
    ("smooth.hpp", "ins.output_shift) + zero_point", "ins.output_shift) - zero_point"),
    ("elementwise.hpp", "const Product sum = scaled + added;", "const Product sum = scaled - added;"),
    ("elementwise.hpp", "(ins.shift_a, ins.half_even)", "(ins.shift_a, false)"),
    ("table.hpp", "[2 * pair + half] =", "[2 * pair + 1 - half] ="),
    ("embedding.hpp", "unsigned(id) : ins.vocabulary - 1;", "unsigned(id) : 0;"),
    ("embedding.hpp", "id != TokenId(ins.padding)", "id == TokenId(ins.padding)"),
    ("pool.hpp", "(counted >> 1)", "(counted >> 2)"),
    ("row_mask.hpp", "mask[row >> 6]", "mask[0]"),
    ("extreme.hpp", "counts && (!some || beyond)", "counts && beyond"),
    ("move.hpp", "take_piece(source, to.count, run)", "take_piece(source, from.count, run)"),
    ("dma.hpp", "w % PARTS, memory[base + w]", "w % PARTS, memory[base]"),
    ("patches.hpp", "unsigned(ins.down_step)", "unsigned(ins.patch_bytes)"),
)


def with_another_header(monkeypatch: pytest.MonkeyPatch, header: str, old: str, new: str) -> None:
    """From here on, this installation emits a header in which ``old`` is replaced by ``new``."""
    emit = codegen.overlay_files

    def changed(*arguments: Any) -> dict[str, bytes]:
        files = emit(*arguments)
        name = f"include/edgeflow/{header}"
        assert old.encode() in files[name]
        return files | {name: files[name].replace(old.encode(), new.encode())}

    for module in (codegen, component_project, own_cpp):
        monkeypatch.setattr(module, "overlay_files", changed)
