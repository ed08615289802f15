"""The pragmas of Vitis HLS 2023.2 with their options (source: the pragma pages of AMD's user guide UG1399, 2023.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Scope = Literal["function", "loop", "block"]
Choices = tuple[str, ...]

FREE: Choices = ()
BODY: frozenset[Scope] = frozenset(("function", "loop"))
ANY: frozenset[Scope] = frozenset(("function", "loop", "block"))
FUNCTION: frozenset[Scope] = frozenset(("function",))
LOOP: frozenset[Scope] = frozenset(("loop",))


@dataclass(frozen=True)
class Directive:
    """What may be said in a pragma and where it may stand.

    ``options`` maps each ``name=value`` option to its values (``FREE``: any); ``words`` are the arguments without a
    value.  ``first``: no statement may stand before it in its body.  ``declared``: its variable must be declared
    before it in the same scope.
    """

    scopes: frozenset[Scope]
    options: Mapping[str, Choices] = field(default_factory=dict)
    words: frozenset[str] = frozenset()
    required: frozenset[str] = frozenset()
    first: bool = False
    declared: bool = False


def _directive(
    scopes: frozenset[Scope], words: str = "", required: str = "", *, first: bool = False, declared: bool = False,
    **options: Choices,
) -> Directive:  # fmt: skip
    named = {name.rstrip("_"): choices for name, choices in options.items()}
    return Directive(scopes, named, frozenset(_words(words)), frozenset(_words(required)), first, declared)


def _words(text: str) -> Choices:
    return tuple(text.split())


TRUTH = ("true", "false")
MODES = (
    "ap_none ap_stable ap_vld ap_ack ap_hs ap_ovld ap_fifo ap_memory bram axis s_axilite m_axi ap_ctrl_chain ap_ctrl_hs "
    "ap_ctrl_none ap_auto"
)
PARTITIONS = "cyclic block complete"
MEMORIES = ("fifo", "ram_1p", "ram_1wnr", "ram_2p", "ram_s2p", "ram_t2p", "rom_1p", "rom_2p", "rom_np")
IMPLEMENTATIONS = ("auto", "bram", "bram_ecc", "lutram", "uram", "uram_ecc", "srl", "memory")
OPERATIONS = _words(
    "mul add sub dadd dsub dmul ddiv dexp dlog drecip drsqrt dsqrt fadd fsub fmul fdiv fexp flog frecip frsqrt fsqrt "
    "fmacc hadd hsub hmul hdiv hsqrt facc"
)
OPERATORS = ("auto", "dsp", "fabric", "meddsp", "fulldsp", "maxdsp", "primitivedsp", "fast", "none")

DIRECTIVES: dict[str, Directive] = {
    "AGGREGATE": _directive(
        ANY, required="variable", declared=True, variable=FREE, compact=("bit", "byte", "none", "auto")
    ),
    "ALIAS": _directive(FUNCTION, required="ports", ports=FREE, distance=FREE, offset=FREE),
    "ALLOCATION": _directive(
        ANY, "function operation", "instances", instances=FREE, limit=FREE, type=("function", "operation")
    ),
    "ARRAY_PARTITION": _directive(
        ANY, f"{PARTITIONS} off", "variable", declared=True,
        variable=FREE, type=tuple(PARTITIONS.split()), factor=FREE, dim=FREE, off=TRUTH,
    ),
    "ARRAY_RESHAPE": _directive(
        ANY, f"{PARTITIONS} object off", "variable", declared=True,
        variable=FREE, type=tuple(PARTITIONS.split()), factor=FREE, dim=FREE, off=TRUTH,
    ),
    "ARRAY_STENCIL": _directive(LOOP, "off", "variable", variable=FREE, off=TRUTH),
    "BIND_OP": _directive(
        ANY, required="variable op", variable=FREE, op=OPERATIONS, impl=OPERATORS, latency=FREE
    ),
    "BIND_STORAGE": _directive(
        ANY, required="variable type", declared=True, variable=FREE, type=MEMORIES, impl=IMPLEMENTATIONS, latency=FREE
    ),
    "CACHE": _directive(FUNCTION, required="port", port=FREE, lines=FREE, depth=FREE, ways=FREE, users=FREE),
    "DATAFLOW": _directive(BODY, "disable_start_propagation", first=True),
    "DEPENDENCE": _directive(
        BODY, "array pointer inter intra raw war waw true false",
        variable=FREE, class_=("array", "pointer"), type=("inter", "intra"), direction=("raw", "war", "waw"),
        distance=FREE, dependent=TRUTH,
    ),
    "DISAGGREGATE": _directive(ANY, required="variable", declared=True, variable=FREE),
    "EXPRESSION_BALANCE": _directive(ANY, "off"),
    "FUNCTION_INSTANTIATE": _directive(FUNCTION, required="variable", variable=FREE),
    "INLINE": _directive(FUNCTION, "off recursive", first=True),
    "INTERFACE": _directive(
        FUNCTION, f"{MODES} register direct_io", "port", mode=tuple(MODES.split()), port=FREE, bundle=FREE, clock=FREE,
        channel=FREE, depth=FREE, direct_io=TRUTH, interrupt=FREE, latency=FREE, max_read_burst_length=FREE,
        max_widen_bitwidth=FREE, max_write_burst_length=FREE, name=FREE, num_read_outstanding=FREE,
        num_write_outstanding=FREE, offset=FREE, register=TRUTH, register_mode=("both", "forward", "reverse", "off"),
        storage_impl=IMPLEMENTATIONS, storage_type=MEMORIES,
    ),
    "LATENCY": _directive(ANY, first=True, min=FREE, max=FREE),
    "LOOP_FLATTEN": _directive(LOOP, "off", first=True),
    "LOOP_MERGE": _directive(ANY, "force"),
    "LOOP_TRIPCOUNT": _directive(LOOP, first=True, min=FREE, max=FREE, avg=FREE),
    "OCCURRENCE": _directive(ANY, "off", cycle=FREE),
    "PERFORMANCE": _directive(LOOP, first=True, target_ti=FREE, target_tl=FREE, assume_ti=FREE, assume_tl=FREE),
    "PIPELINE": _directive(BODY, "off rewind", first=True, ii=FREE, style=("stp", "frp", "flp"), off=TRUTH),
    "PROTOCOL": _directive(ANY, "floating fixed", mode=("floating", "fixed")),
    "RESET": _directive(ANY, "off", "variable", variable=FREE),
    "STABLE": _directive(FUNCTION, required="variable", variable=FREE),
    "STREAM": _directive(
        ANY, "off", "variable", declared=True,
        variable=FREE, depth=FREE, type=("fifo", "pipo", "shared", "unsync"), off=TRUTH,
    ),
    "TOP": _directive(FUNCTION, name=FREE),
    "UNROLL": _directive(LOOP, "skip_exit_check off", first=True, factor=FREE, off=TRUTH),
}  # fmt: skip

# Pragmas of Vivado HLS that Vitis HLS no longer reads, and what took their place.
REPLACED = {
    "RESOURCE": "BIND_STORAGE or BIND_OP",
    "DATA_PACK": "AGGREGATE",
    "ARRAY_MAP": "an explicit array",
    "CLOCK": "create_clock in the Tcl script",
}
# Pragmas outside the HLS family that compilers know.
COMPILER = frozenset(("once", "GCC", "STDC", "omp", "clang", "message", "push_macro", "pop_macro", "weak", "pack"))
