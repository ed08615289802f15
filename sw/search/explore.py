"""Exploring accelerators for a model and a board: a grid of configurations, each one's predicted latency and resources.

The folder of an exploration holds the quantized network of each precision (``bits-W8A8.json`` and ``.npz``) and ``points.jsonl``: a
first line that says what is explored, then a line for every point as it is done. Running it again goes on where it stopped.
``pareto.json``, ``pareto.csv``, ``pareto.png`` and ``pareto.svg`` (``edgeflow.sw.search.pareto``) are made of the points.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeflow.hw.accelerator_options import SHARE, SIZES
from edgeflow.hw.architecture import Architecture
from edgeflow.hw.boards import Board
from edgeflow.hw.errors import BoardError, InputError, UnsupportedError
from edgeflow.hw.fit import Space, excess, known_resources
from edgeflow.hw.graph import Graph
from edgeflow.hw.host import processors
from edgeflow.hw.progress import Progress
from edgeflow.quant.formats.config import LayerBits, QuantizationConfig
from edgeflow.quant.ptq import checked_data, quantize
from edgeflow.sim.cycles import estimate
from edgeflow.sw.compiler.lowering import lower
from edgeflow.sw.compiler.network import Network
from edgeflow.sw.files.arrays import described
from edgeflow.sw.files.build import hash_file
from edgeflow.sw.files.replacement import locked_folder, not_writable
from edgeflow.sw.files.writing import write_bytes
from edgeflow.sw.importer import import_model
from edgeflow.sw.measure.random_data import RANDOM_SAMPLES, random_inputs
from edgeflow.sw.search.accelerator import spaces
from edgeflow.sw.search.exploration_folder import POINTS, check_folder
from edgeflow.sw.search.pareto import write_front
from edgeflow.sw.search.sweep import run_cluster, run_local

REST = ("epilogue", "vector", "weight_ports")

Point = dict[str, Any]


@dataclass(frozen=True)
class Grid:
    """What to sweep. ``sizes``: for each of ``pi``, ``po``, ``epilogue``, ``vector`` and ``weight_ports`` the sizes to try; those
    left out are tried as far as they matter: every array that fits, and with each the largest accelerators around it, and those
    whose epilogue and vector units grow together, with the fewest and the most weight ports. ``clocks_mhz``: clocks to try.
    ``share``: of every resource of the board."""

    clocks_mhz: tuple[float, ...]
    sizes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    share: float = SHARE


@dataclass(frozen=True)
class Request:
    """What the user asked for. ``configs``: a quantization for each precision, by its name, such as W8A8. ``processes``: on this
    machine, unless ``scheduler`` is the address of a cluster's."""

    model: Path
    board: Board
    output: Path
    calibration: Mapping[str, NDArray[Any]] | None
    configs: Mapping[str, QuantizationConfig]
    dims: Mapping[str, int]
    grid: Grid
    seed: int = 0
    processes: int | None = None
    scheduler: str | None = None


@dataclass(frozen=True)
class Exploration:
    """All points of an exploration and its files. ``resumed``: how many of them were known before."""

    folder: Path
    points: tuple[Point, ...]
    resumed: int
    document: Mapping[str, Any]


def explore(request: Request, progress: Progress | None = None) -> Exploration:
    """Evaluate every point that is not known yet, and draw the front.

    BoardError if no accelerator of the grid fits, InputError if the folder holds another exploration, OutputError while another one
    writes into it, ClusterError if workers fail; the points that were done until then are kept.
    """
    check_folder(request.output)
    with locked_folder(request.output, "another exploration"):
        return _explore(request, progress)


def _explore(request: Request, progress: Progress | None) -> Exploration:
    say = progress or _silent
    folder, header = request.output, _header(request)
    started = check_folder(folder)
    known = read_points(folder / POINTS, header) if started else []
    stems = {bits: folder / f"bits-{bits}" for bits in request.configs}
    kept = {bits: stem.with_suffix(".json").is_file() for bits, stem in stems.items()}
    graphs = {bits: Graph.load(stems[bits]) if kept[bits] else _quantized(request, c, say) for bits, c in request.configs.items()}
    networks = {bits: Network(graph) for bits, graph in graphs.items()}
    wanted = {bits: {_key(bits, a): a for a in architectures(n, request.board, request.grid)} for bits, n in networks.items()}
    keys = [key for keys in wanted.values() for key in keys]
    done = {point["key"]: point for point in known if point["key"] in set(keys)}
    resumed = len(done)
    try:
        for bits, stem in stems.items():
            if not kept[bits]:
                _keep(graphs[bits], stem)
        if not started:
            (folder / POINTS).write_text(json.dumps(header) + "\n", encoding="utf-8")
        file = (folder / POINTS).open("a", encoding="utf-8")
    except OSError as error:
        raise not_writable(folder, error) from error
    with file:
        for bits, network in networks.items():
            missing = [a for key, a in wanted[bits].items() if key not in done]
            say("explore accelerators", len(done), len(keys))
            for point in _run(request, network, stems[bits], bits, missing):
                file.write(json.dumps(point) + "\n")
                file.flush()
                done[point["key"]] = point
                say("explore accelerators", len(done), len(keys))
    points = tuple(done[key] for key in keys)
    return Exploration(folder, points, resumed, write_front(folder, header, points))


def architectures(network: Network, board: Board, grid: Grid) -> list[Architecture]:
    """The accelerators of a grid that fit the board, each once; BoardError if there is none."""
    fitting: dict[Architecture, None] = {}
    refused: BoardError | None = None
    for clock in grid.clocks_mhz:
        for space in spaces(network, board, clock, grid.share):
            try:
                fitting |= dict.fromkeys(_grid(space, grid))
                break  # the largest scratchpad that fits: less only spills
            except BoardError as error:
                refused = error
    if not fitting:
        assert refused is not None
        raise refused
    return list(fitting)


def _grid(space: Space, grid: Grid) -> Iterator[Architecture]:
    """BoardError unless some accelerator of the grid fits."""
    for name, sizes in grid.sizes.items():
        wrong = [size for size in sizes if size not in SIZES[name]]
        if wrong:
            raise InputError(f"no accelerator has {name} = {wrong[0]}: choose from {', '.join(map(str, SIZES[name]))}")
    arrays = [s for s in space.arrays() if all(v in grid.sizes.get(n, (v,)) for n, v in zip(("pi", "po"), s, strict=True))]
    fitting: list[Architecture] = []
    sizes_fixed = any(name in grid.sizes for name in REST)
    for pi, po in arrays:
        if sizes_fixed:
            every = itertools.product(*(grid.sizes.get(name, SIZES[name]) for name in REST))
            tried = [space.make({"pi": pi, "po": po, **dict(zip(REST, rest, strict=True))}) for rest in every]
            fitting += [a for a in tried if a is not None and not excess(a, space.board, space.share)]
        else:
            fitting += [*space.accelerators(pi, po), *_diagonal(space, pi, po)]
    if not fitting:
        raise BoardError(
            f"no accelerator of this grid fits board {space.board.name} within {space.share:.0%} of its resources: "
            f"give smaller sizes, or leave some out"
        )
    yield from fitting


def _diagonal(space: Space, pi: int, po: int) -> Iterator[Architecture]:
    """Accelerators with an epilogue about as wide as the vector units, and the fewest or the most weight ports."""
    for vector in SIZES["vector"]:
        dividing = [size for size in SIZES["epilogue"] if po % size == 0]
        epilogue = max([size for size in dividing if size <= vector], default=min(dividing))
        diagonal = [
            space.make(dict(zip(("pi", "po", *REST), (pi, po, epilogue, vector, p), strict=True))) for p in SIZES["weight_ports"]
        ]
        fitting = [a for a in diagonal if a is not None and not excess(a, space.board, space.share)]
        yield from dict.fromkeys((*fitting[:1], *fitting[-1:]))


def precision_name(bits: LayerBits) -> str:
    """Bits of the weights and of the inputs of linear layers, such as W4A8 (the first and the last layer keep 8)."""
    return f"W{bits.weight}A{bits.activation}"


def evaluate(subject: Network | Path, job: tuple[str, LayerBits, Board, Architecture]) -> Point:
    """One point: predicted latency and resources of a network on an accelerator, or why it does not run there. ``subject``: the
    network, or where :meth:`Graph.save` has put its integer graph."""
    network = subject if isinstance(subject, Network) else _loaded(subject)
    key, bits, board, architecture = job
    fields = ("pi", "po", *REST, "narrow_lines", "wide_lines", "stream_lines", "slots", "clock_mhz")
    precision = {"precision": precision_name(bits), "bits": bits.weight, "activation_bits": bits.activation}
    point: Point = {"key": key, **precision, **{name: getattr(architecture, name) for name in fields}}
    point["resources"] = known_resources(architecture)
    try:
        report = estimate(lower(network, architecture), network.graph, board, architecture.clock_mhz)
    except UnsupportedError as error:
        return point | {"runs": False, "reason": str(error)}
    dsp = point["resources"]["dsp"]
    return point | {
        "runs": True,
        "latency_ms": report.latency_ms,
        "cycles": report.cycles,
        "mac_utilization": report.mac_utilization,
        "gops_per_dsp": 2 * report.macs / (report.latency_ms * 1e6) / dsp if dsp else None,
    }


@lru_cache(maxsize=1)
def _loaded(stem: Path) -> Network:
    return Network(Graph.load(stem))


POINT = frozenset({"key", "precision", "bits", "resources", "runs"})
"""What every point of an exploration has."""


def read_points(file: Path, header: Mapping[str, Any]) -> list[Point]:
    """The points of an earlier run, after which ``file`` can be appended to: a line that was cut short is removed, and precisions
    that ``header`` adds are in its first line. InputError if it belongs to something else."""
    *lines, rest = file.read_bytes().split(b"\n")
    try:
        entries = [json.loads(line) for line in lines]
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is damaged: remove it, or choose another folder with -o") from error
    kept = entries[0] if entries and isinstance(entries[0], dict) else {}
    precisions = kept.get("quantization", {})
    points = entries[1:]
    if not isinstance(precisions, dict) or not all(isinstance(point, dict) and point.keys() >= POINT for point in points):
        raise InputError(f"{file} is damaged: remove it, or choose another folder with -o")
    same = {bits: options for bits, options in header["quantization"].items() if bits not in precisions} | precisions
    changed = sorted(k for k in header if kept.get(k) != header[k] and k != "quantization")
    if not kept or changed or any(same[bits] != options for bits, options in header["quantization"].items()):
        what = ", ".join(changed) or "quantization"
        raise InputError(f"{file} holds another exploration ({what} changed): choose another folder with -o, or remove it")
    if same != precisions:
        write_bytes(file, b"\n".join([json.dumps({**header, "quantization": same}).encode(), *lines[1:], b""]))
    elif rest:
        with file.open("r+b") as stream:
            stream.truncate(len(b"\n".join(lines)) + 1)
    return points


def _run(request: Request, network: Network, stem: Path, bits: str, missing: Sequence[Architecture]) -> Iterator[Point]:
    config = request.configs[bits]
    jobs = [
        (_key(bits, a), LayerBits(weight=config.weight_bits, activation=config.activation_bits), request.board, a) for a in missing
    ]
    if request.scheduler is not None:
        return run_cluster(evaluate, network, jobs, request.scheduler)
    return run_local(evaluate, stem.resolve(), jobs, request.processes or processors())


def _key(bits: str, architecture: Architecture) -> str:
    text = f"{bits} {architecture.model_dump_json()}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _header(request: Request) -> dict[str, Any]:
    digest = hashlib.sha256()
    for name, value in sorted((request.calibration or {}).items()):
        digest.update(f"{name} {value.dtype} {value.shape}".encode() + np.ascontiguousarray(value).tobytes())
    return {
        "edgeflow": metadata.version("edgeflow"),
        "model": request.model.name,
        "sha256": _model_hash(request.model),
        "board": request.board.name,
        "board_sha256": hashlib.sha256(request.board.model_dump_json().encode()).hexdigest(),
        "calibration": digest.hexdigest() if request.calibration is not None else f"random, seed {request.seed}",
        "dims": dict(request.dims),
        "quantization": {bits: json.loads(config.model_dump_json()) for bits, config in request.configs.items()},
    }


def _model_hash(model: Path) -> str:
    try:
        return hash_file(model)
    except OSError:  # the importer says it better
        import_model(model, dims={}, shapes={})
        raise


def _quantized(request: Request, config: QuantizationConfig, say: Progress) -> Graph:
    calibration, config = request.calibration, config.model_copy(update={"selection_work": 0.0})  # its numbers do not matter
    if calibration is None:
        model = import_model(request.model, dims=request.dims)
        return quantize(model, random_inputs(model, RANDOM_SAMPLES, request.seed), config, say).graph
    what = described(calibration, "calibration data")
    shapes = {name: value.shape for name, value in calibration.items()}
    model = import_model(request.model, dims=request.dims, shapes=shapes, data=what)
    data = checked_data(model, calibration, what)
    return quantize(model, data, config, say).graph


def _keep(graph: Graph, stem: Path) -> None:
    """Save a graph so that its JSON file is there only when all of it is."""
    temporary = stem.with_name(f"{stem.name}-unfinished")
    graph.save(temporary)
    for suffix in (".npz", ".json"):
        temporary.with_suffix(suffix).replace(stem.with_suffix(suffix))


def _silent(what: str, done: int, total: int) -> None:
    """Report no progress."""
