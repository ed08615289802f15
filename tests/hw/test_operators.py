"""Every registered operator: definition = fast kernel = emitted C++, with native and with exact headers; mutations are caught."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from header_mutations import MUTATIONS
from operator_harness import ARCHITECTURES, Built, build, case_graph, fast, operator_cases, reference

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.commands import loops
from edgeflow.hw.cost import RESOURCE_NAMES, Cycles, Unknown
from edgeflow.hw.ops import Operator, instruction_layouts, registry, unit
from edgeflow.hw.ops.base import InstructionLayout, included_headers, register, register_unit
from edgeflow.hw.ops.dma import DMA, Dma
from edgeflow.hw.ops.pool import Pool
from edgeflow.hw.ops.table import Table
from edgeflow.hw.verify import verify_graph
from edgeflow.sim.counting import commands

needs_exact = pytest.mark.skipif(importlib.util.find_spec("hls4ml") is None, reason="the exact headers come with hls4ml")


@pytest.fixture(scope="session")
def overlays(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Built]:
    return {name: build(tmp_path_factory.mktemp("overlay"), a) for name, a in ARCHITECTURES.items()}


@pytest.fixture(scope="session")
def exact_overlay(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("exact"), ARCHITECTURES["16x16 axi128"], exact=True)


@pytest.mark.parametrize("name", sorted(registry()))
class TestOperator:
    def test_cases_are_seeded(self, name: str) -> None:
        first, second = operator_cases(name), operator_cases(name)
        assert first
        for a, b in zip(first, second, strict=True):
            assert a.operator == b.operator
            for x, y in zip(a.inputs, b.inputs, strict=True):
                np.testing.assert_array_equal(x, y)

    @pytest.mark.parametrize("seed", [0, 1])
    def test_kernel_equals_reference(self, name: str, seed: int) -> None:
        for case in operator_cases(name, seed):
            expected = reference(case)
            out = case.operator.infer(case.formats)
            assert expected.shape[1:] == out.shape, case.name
            assert out.minimum <= expected.min(), case.name
            assert expected.max() <= out.maximum, case.name
            np.testing.assert_array_equal(fast(case), expected, err_msg=f"{name}: {case.name}")

    def test_graphs_verify(self, name: str) -> None:
        for case in operator_cases(name):
            verify_graph(case_graph(case))

    @pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
    def test_cpp_equals_reference_in_predicted_iterations(self, name: str, architecture: str, overlays: dict[str, Built]) -> None:
        for case in operator_cases(name):
            actual, differences = overlays[architecture].counted_run(case)
            np.testing.assert_array_equal(actual, reference(case), err_msg=f"{name}: {case.name}")
            assert differences == [], f"{name}: {case.name}"

    @needs_exact
    def test_exact_cpp_equals_reference(self, name: str, exact_overlay: Built) -> None:
        for case in operator_cases(name):
            np.testing.assert_array_equal(exact_overlay.run(case), reference(case), err_msg=f"{name}: {case.name}")

    def test_demands_suffice(self, name: str) -> None:
        from edgeflow.sw.compiler.lowering import lower
        from edgeflow.sw.compiler.network import Network

        for case in operator_cases(name):
            network = Network(case_graph(case))
            lower(network, Architecture.model_validate({**network.demands, "units": network.units}))

    def test_costs_are_stated(self, name: str) -> None:
        from edgeflow.sw.compiler.lowering import lower
        from edgeflow.sw.compiler.network import Network

        architecture = ARCHITECTURES["16x16 axi128"]
        for case in operator_cases(name):
            program = lower(Network(case_graph(case)), architecture)
            for step in program.steps:
                assert any(one.trips for command in commands(step, program) for one in command.phases), f"{name}: {case.name}"


@pytest.mark.parametrize("layout", instruction_layouts(), ids=lambda layout: layout.name)
class TestUnit:
    def test_cases_run_every_counter(self, layout: InstructionLayout) -> None:
        """So that no formula of trip counts stands untested: those of the cases, which are compared, name all."""
        from edgeflow.sw.compiler.lowering import lower
        from edgeflow.sw.compiler.network import Network

        users = [cls for cls in registry().values() if layout in (cls.instruction, DMA)]
        cases = [case for cls in users for case in operator_cases(cls.name)]
        counters: set[str] = set()
        array = unit(layout).on_array
        for architecture in ARCHITECTURES.values():
            for case in cases:
                program = lower(Network(case_graph(case)), architecture)
                own = [step for step in program.steps if step.instruction.layout is layout]
                counters |= {
                    loop for step in own for process, loop in loops(commands(step, program)) if array or process == "vector"
                }
            if counters == set(unit(layout).counters):
                break
        assert counters == set(unit(layout).counters)

    @pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
    def test_resources_are_positive_or_unknown(self, layout: InstructionLayout, architecture: str) -> None:
        """Logic and registers of a unit on its own; multipliers and memories it may do without."""
        alone = ARCHITECTURES[architecture].model_copy(update={"units": (layout.name, "dma")})
        resources = unit(layout).resources(alone)
        for name in RESOURCE_NAMES:
            count = getattr(resources, name)
            least = 1 if name in ("lut", "ff") else 0
            assert count.reason if isinstance(count, Unknown) else count >= least, name


class TestRegistration:
    """What nobody could test is not registered: an operator whose C++ does not count the loops that its formula predicts."""

    def declare(self, **attributes: object) -> type[Operator]:
        inherited = {"name": "unregistered", "__annotations__": {}}
        return dataclass(frozen=True)(type("Unregistered", (Table,), inherited | attributes))

    def test_operator_without_counters(self) -> None:
        with pytest.raises(TypeError, match="operator Unregistered must name the counters of its loops"):
            register(self.declare(counters=()))

    def test_operator_that_leaves_them_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cls = self.declare()
        monkeypatch.delattr(Table, "counters")
        with pytest.raises(TypeError, match="operator Unregistered must define counters"):
            register(cls)

    def test_counter_that_the_header_lacks(self) -> None:
        with pytest.raises(TypeError, match=r"operator Unregistered: table.hpp does not count chunks \(EDGEFLOW_TRIP\)"):
            register(self.declare(counters=("table", "chunks")))

    def test_unit_without_counters(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cls = type("Unregistered", (Dma,), {"name": "unregistered"})
        monkeypatch.delattr(Dma, "counters")
        with pytest.raises(TypeError, match="unit Unregistered must define counters"):
            register_unit(cls)


def test_a_wrong_formula_is_noticed(overlays: dict[str, Built], monkeypatch: pytest.MonkeyPatch) -> None:
    right = Pool.cycles

    def wrong(values: Mapping[str, int], architecture: Architecture) -> Cycles:
        return right({**values, "columns": values["columns"] + 1}, architecture)

    monkeypatch.setattr(Pool, "cycles", wrong)
    _, (difference,) = overlays["16x16 axi128"].counted_run(operator_cases("pool")[0])
    assert "(pool): " in difference


def test_every_header_has_a_mutation() -> None:
    assert {cls.header for cls in registry().values()} <= {header for header, _, _ in MUTATIONS}


def users_of(header: str) -> list[str]:
    """Operators whose header is, or includes, a header (the DMA unit takes part in all)."""
    users = [name for name, cls in registry().items() if header in included_headers(cls.header)]
    return users or sorted(registry())


@pytest.mark.parametrize(("header", "old", "new"), MUTATIONS)
def test_mutation_is_caught(header: str, old: str, new: str, tmp_path: Path) -> None:
    from edgeflow.sim import csim
    from edgeflow.sw.compiler.codegen import write_overlay

    # Few units compile quickly: those of the first operators that use the header.
    users = users_of(header)[:3]
    units = {registry()[name].instruction.name for name in users} | {"dma"}
    everything = ARCHITECTURES["16x16 axi128"]
    architecture = everything.model_copy(update={"units": tuple(u for u in everything.units if u in units)})
    write_overlay(tmp_path, architecture)
    path = tmp_path / "include" / "edgeflow" / header
    text = path.read_text()
    assert text.count(old) == 1, f"{header}: the text to mutate must stand there once"
    path.write_text(text.replace(old, new))
    mutant = Built(architecture, csim.build(tmp_path))
    caught = any(not np.array_equal(mutant.run(case), reference(case)) for n in users for case in operator_cases(n))
    assert caught, f"a wrong {header} passes every case"
