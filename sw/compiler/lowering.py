"""Lowering: a network becomes a program for one accelerator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgeflow.hw.architecture import Architecture, slots_of
from edgeflow.hw.errors import UnsupportedError
from edgeflow.hw.memoize import Remembered
from edgeflow.hw.ops.base import Instruction
from edgeflow.hw.ops.dma import CONSTANTS, DMA, transfer
from edgeflow.hw.program import Program, Step, pack_rows
from edgeflow.sw.compiler.instructions import instructions, require
from edgeflow.sw.compiler.memory_map import allocations
from edgeflow.sw.compiler.network import Network, Operation
from edgeflow.sw.compiler.placement import Placement, plan
from edgeflow.sw.compiler.schedule import Action, Schedule, Transfer
from edgeflow.sw.compiler.weight_image import Image, SizedImage, WeightImage
from edgeflow.sw.compiler.weight_prefetch import link

LISTED = 4  # nodes that a message names


def lower(network: Network, architecture: Architecture) -> Program:
    """A program that computes ``network`` on ``architecture``; UnsupportedError lists what does not fit it and why."""
    return Compiler(network).program(architecture)


class Compiler:
    """Programs of one network for many accelerators. Memory is planned once for all accelerators that agree in what the plan
    depends on. UnsupportedError lists what does not fit an accelerator and why."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._plans = Remembered(lambda architecture: plan(network, architecture))

    def placement(self, architecture: Architecture) -> Placement:
        """The memory plan."""
        try:
            return self._plans(architecture)
        except UnsupportedError as error:
            raise self._refusal(architecture, [str(error)]) from None

    def program(self, architecture: Architecture) -> Program:
        """The whole program."""
        image, placement = WeightImage(architecture), self.placement(architecture)
        steps, graph = self._steps(architecture, placement, image), self.network.graph
        return Program(architecture, steps, image.encode(), allocations(placement), image.parameters, graph.inputs, graph.outputs)

    def outline(self, architecture: Architecture) -> Program:
        """The program's instructions alone, without weights and memory map: to predict how long it runs."""
        steps, graph = self._steps(architecture, self.placement(architecture), SizedImage(architecture)), self.network.graph
        return Program(architecture, steps, b"", (), (), graph.inputs, graph.outputs)

    def transfers(self, architecture: Architecture) -> list[Transfer]:
        """The program's transfers between the scratchpad and the other memories."""
        schedule = Schedule(self.placement(architecture))
        every = (action for operation in self.network.executed for action in schedule.actions(operation))
        return [action for action in every if isinstance(action, Transfer)]

    def _steps(self, architecture: Architecture, placement: Placement, image: Image) -> tuple[Step, ...]:
        """The steps, the weight image's contents handed to ``image``."""
        schedule = Schedule(placement)
        steps: list[Step] = []
        problems: list[str] = []
        for operation in self.network.executed:
            try:
                _check_units(operation, architecture)
                for action in schedule.actions(operation):
                    steps += _steps(operation, action, architecture, placement, image)
            except UnsupportedError as error:
                problems.append(str(error))
        if problems:
            raise self._refusal(architecture, problems)
        return link(steps, architecture)

    def _refusal(self, architecture: Architecture, problems: Sequence[str]) -> UnsupportedError:
        sizes = {name: (need, getattr(architecture, name)) for name, need in self.network.demands.items()}
        del sizes["max_tokens"]  # more keys come in blocks
        short = [f"{name} {need}, not {limit}" for name, (need, limit) in sizes.items() if need > limit]
        held = self.network.stationary(architecture.max_tokens)
        slots = 2 * max((slots_of(lengths, architecture.pi) for lengths in held), default=0)
        short += [f"slots {slots}, not {architecture.slots}"] if slots > architecture.slots else []
        lacking = [f"unit {unit}" for unit in self.network.units if unit not in architecture.units]
        wanted = "; ".join([*short, *lacking])
        more = f"; and {len(problems) - LISTED} more" if len(problems) > LISTED else ""
        needs = f" (it needs {wanted})" if wanted else ""
        return UnsupportedError(f"the accelerator cannot run this model{needs}: {'; '.join(problems[:LISTED])}{more}")


def _check_units(operation: Operation, architecture: Architecture) -> None:
    for needed in (operation.operator.instruction.name, DMA.name):
        has = needed in architecture.units
        require(has, operation.node, f"the overlay has no {needed} unit (units: {', '.join(architecture.units)})")


def _steps(operation: Operation, action: Action, architecture: Architecture, placement: Placement, image: Image) -> Iterator[Step]:
    """The instructions of one action."""
    if isinstance(action, Transfer):
        program = [_transfer(action, placement, image)]
    else:
        program = instructions(action.operation, action.operands, architecture, image)
    for i, instruction in enumerate(program):
        yield Step(instruction, operation.node.origin, action.completes if i == len(program) - 1 else None)


def _transfer(action: Transfer, placement: Placement, image: Image) -> Instruction:
    storage, name = placement.storage, action.tensor
    if action.mode == CONSTANTS:
        network = storage.network
        start = image.place(name, pack_rows(network.legal.constants[name], network.formats[name], storage.of(name)))
    else:
        start = placement.external[name]
    return transfer(action.mode, start + action.offset, action.scratch_line, action.lines)
