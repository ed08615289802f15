"""The memory map of a program: where its activations lie, for those that read or write them from outside."""

from __future__ import annotations

from edgeflow.hw.program import Allocation, Stay, format_lines
from edgeflow.sw.compiler.placement import Placement


def allocations(placement: Placement) -> tuple[Allocation, ...]:
    """Every activation, views included, in order of computation; then the constants that are copied into the scratchpad."""
    storage, network = placement.storage, placement.storage.network
    fixed = [name for name, t in storage.activations.items() if t.constant]
    places = []
    for name in [*network.legal.inputs, *network.producers, *fixed]:
        base, offset = storage.base(name)
        t, f = storage.activations[base], network.formats[name]
        spans = sorted(placement.spans.get(base, ()), key=lambda span: span.first)
        whole = next((span for span in spans if span.operand is None), None)
        held = whole is not None and (t.produced < 0 or whole.first == t.begun)
        external = placement.external.get(base)
        last = len(network.operations) if t.output else max([t.produced, *t.touches, *t.reads])
        stays = tuple(Stay(placement.lines[s], s.lines, s.first, s.last) for s in spans)
        places.append(
            Allocation(
                tensor=name,
                line=placement.lines[whole] + offset if whole is not None and held else None,
                external=None if external is None else external + offset,
                lines=format_lines(f, t.storage),
                storage=t.storage,
                shape=f.shape,
                bits=f.bits,
                signed=f.signed,
                first=t.produced,
                last=last,
                view_of=base if name != base else None,
                stays=stays if name == base else (),
            )
        )
    return tuple(places)
