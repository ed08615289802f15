"""Every option of a compilation, and how they go together: what the command line, Python and a run file all build.

InputError, in one line that names the option and what it takes, for a wrong one. Nothing heavy is imported before all are checked.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, SkipValidation, ValidationError, field_validator, model_validator

from edgeflow.hw.accelerator_options import SHARE, SIZES, checked_clock, checked_share, checked_size
from edgeflow.hw.architecture import Architecture
from edgeflow.hw.boards import Board, load_board
from edgeflow.hw.errors import InputError
from edgeflow.quant.formats.config import SELECTION_WORK, LayerBits, QuantizationConfig
from edgeflow.sw.search.bit_requests import METHODS, BitRequest, bit_request, method_or_layers

if TYPE_CHECKING:
    from edgeflow.sw.files.batches import Data
else:
    Data = Any  # whatever it is, reading it says what is wrong with it

EngineName = Literal["numpy", "csim", "float"]
Options = TypeVar("Options", bound=BaseModel)


def validated(what: str, kind: type[Options], options: Mapping[str, Any]) -> Options:
    """An object of options; InputError names the first wrong option, with ``what`` before it, and the values that it takes."""
    try:
        return kind.model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        place = [str(part) for part in first["loc"] if part != "[key]"]
        name = f"{what} {'.'.join(place)}" if place else what.removesuffix(" option")
        if first["type"] == "extra_forbidden":
            known = _names(kind, place[:-1])
            near = difflib.get_close_matches(place[-1], known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise InputError(f"{name}: there is no {place[-1]!r}; {hint}there are {', '.join(known)}") from error
        raise InputError(f"{name}: {first['msg']}") from error


def _names(kind: type[BaseModel], path: Sequence[str]) -> list[str]:
    """The options of the model that lies at ``path`` in another."""
    current: Any = kind
    for part in path:
        models = isinstance(current, type) and issubclass(current, BaseModel)
        current = current.model_fields[part].annotation if models else get_args(current)[-1]
    return list(current.model_fields)


class _Shared(BaseModel):
    """What compilations and explorations have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    board: str = Field(default="kv260", description="name of a board, or a board's TOML file")
    calibration: Annotated[Data | None, SkipValidation] = Field(
        default=None, description="what sets ranges and rounding: an .npz file, arrays by input name, or batches; else random data"
    )
    dims: Mapping[str, int] = Field(default_factory=dict, description="sizes of symbolic axes other than the batch")
    quantization: QuantizationConfig = Field(
        default_factory=lambda: QuantizationConfig(selection_work=SELECTION_WORK), description="options of quantization"
    )
    share: float | None = Field(default=None, description=f"part of every resource of the board that may be used; else {SHARE}")
    seed: int = Field(default=0, ge=0, description="seed of every random choice, in quantization, too, unless it has its own")

    @model_validator(mode="before")
    @classmethod
    def _whole_quantization(cls, fields: Any) -> Any:
        """Techniques are chosen unless told otherwise, and there is one seed unless there are two."""
        options = {name: value for name, value in dict(fields).items() if value is not None}
        config, seed = options.get("quantization", {}), options.get("seed", 0)
        if isinstance(config, QuantizationConfig):
            if "seed" not in config.model_fields_set:
                options["quantization"] = config.model_copy(update={"seed": seed})
        elif isinstance(config, Mapping):
            options["quantization"] = {"selection_work": SELECTION_WORK, "seed": seed, **config}
        return options

    @field_validator("board", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        return os.fspath(value) if isinstance(value, os.PathLike) else value

    @field_validator("dims")
    @classmethod
    def _positive(cls, value: Mapping[str, int]) -> Mapping[str, int]:
        for name, size in value.items():
            if size < 1:
                raise InputError(f"option dims (--dim): {name} = {size} is no size: give a positive one, such as --dim {name}=128")
        return value

    @field_validator("share")
    @classmethod
    def _possible(cls, value: float | None) -> float | None:
        return None if value is None else checked_share(value)

    @property
    def resources(self) -> float:
        """The part of the board's resources that may be used."""
        return SHARE if self.share is None else self.share

    def loaded_board(self) -> Board:
        """The board; BoardError if there is none."""
        return load_board(self.board)


class CompileOptions(_Shared):
    """Every option of a compilation but the model and where the build goes.

    ``labels`` are the class labels ``(samples,)`` of the calibration data and ``test_labels`` those of the test data, or the names
    of arrays in them that hold them. ``bits`` is ``hawq`` or ``fit``, to choose bits under ``budget``, or the ``bits.json`` of a
    build.
    """

    labels: Annotated[Any, SkipValidation] = Field(default=None, description="class labels of the calibration data, or their name")
    test: Annotated[Data | None, SkipValidation] = Field(default=None, description="data that measures accuracy and sets no number")
    test_labels: Annotated[Any, SkipValidation] = Field(default=None, description="class labels of the test data, or their name")
    bits: Literal["hawq", "fit"] | None = Field(default=None, description="how the bits of layers are chosen under the budgets")
    budget: tuple[str, ...] = Field(default=(), description="limits of latency, size or bops, such as latency=0.6x")
    overlay: Path | Architecture | None = Field(default=None, description="an existing accelerator, or its overlay.json")
    clock_mhz: float | None = Field(default=None, description="clock in MHz; the board's own if not given")
    sizes: Mapping[str, int] = Field(default_factory=dict, description="sizes of the accelerator that are not to be chosen")

    @model_validator(mode="before")
    @classmethod
    def _bits_of_a_file(cls, fields: Any) -> Any:
        """``bits`` may be a file of them, which the options of quantization then hold."""
        options = dict(fields)
        bits = options.get("bits")
        if bits is None:
            return options
        if not isinstance(bits, str | os.PathLike) or (isinstance(bits, str) and bits not in METHODS and not Path(bits).is_file()):
            raise InputError(f"bits are chosen by {' or '.join(METHODS)}, not by {bits!r}; or give the bits.json of a build")
        method, layers = method_or_layers(os.fspath(bits))
        options["bits"] = method
        if layers:
            config = options.get("quantization") or {}
            named = config.layers if isinstance(config, QuantizationConfig) else config.get("layers")
            if named:
                raise InputError("option bits (--bits) and the quantization option layers both give bits: leave one of the two out")
            if isinstance(config, QuantizationConfig):
                options["quantization"] = config.model_copy(update={"layers": layers})
            else:
                options["quantization"] = {**config, "layers": layers}
        return options

    @field_validator("budget", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("sizes")
    @classmethod
    def _known_sizes(cls, value: Mapping[str, int]) -> Mapping[str, int]:
        check_sizes(value)
        return {name: checked_size(name, size) for name, size in value.items()}

    @field_validator("clock_mhz")
    @classmethod
    def _clock(cls, value: float | None) -> float | None:
        return None if value is None else checked_clock(value, "200")

    @model_validator(mode="after")
    def _together(self) -> CompileOptions:
        if self.overlay is not None and (self.sizes or self.clock_mhz is not None or self.share is not None):
            raise InputError(
                "option overlay (--overlay) fixes the accelerator and its clock: leave out clock_mhz, share and sizes"
                " (--clock, --share, --pi, --po, --epilogue, --vector, --weight-ports)"
            )
        if self.labels is not None and self.calibration is None:
            raise InputError("labels are the classes of calibration data: give it, too (option --labels: add --calib FILE.npz)")
        if self.test_labels is not None and self.test is None:
            raise InputError("test_labels are the classes of test data: give it, too (option --labels: add --test FILE.npz)")
        if self.bits is not None and self.quantization.layers:
            raise InputError("bits are to be allocated, but the quantization option layers gives them: leave one of the two out")
        self.bit_request()
        return self

    def refuse_for_quantized(self) -> None:
        """InputError where an option sets what a quantized model has set already."""
        useless = [name for name in ("calibration", "labels", "bits") if getattr(self, name) is not None]
        useless += ["dims"] if self.dims else []
        if "quantization" in self.model_fields_set and self.quantization != CompileOptions(seed=self.seed).quantization:
            useless.append("config")
        if useless:
            raise InputError(f"the model is quantized already, which {', '.join(useless)} cannot change: leave that out")

    def bit_request(self) -> BitRequest | None:
        """How bits are to be chosen, None if they are as configured."""
        return bit_request(self.bits, self.budget)

    def architecture(self) -> Architecture | None:
        """The accelerator to compile for, None to choose one; InputError if the file holds none."""
        from edgeflow.sw.compiler.overlay import read_overlay

        return None if self.overlay is None else read_overlay(self.overlay)


class ExploreOptions(_Shared):
    """Every option of an exploration but the model and its folder."""

    sizes: Mapping[str, tuple[int, ...]] = Field(default_factory=dict, description="for each size the values to try")
    clocks_mhz: tuple[float, ...] = Field(default=(), description="clocks to try; the board's own if there is none")
    jobs: int | None = Field(default=None, ge=1, description="processes on this machine")
    scheduler: str | None = Field(default=None, description="address of a Dask cluster's scheduler")
    weight_bits: tuple[int, ...] = Field(default=(), description="bits of weights to try; those of quantization if there are none")
    activation_bits: tuple[int, ...] = Field(
        default=(), description="bits of the inputs of linear layers to try with each; those of the weights if there are none"
    )

    @field_validator("weight_bits", "activation_bits")
    @classmethod
    def _possible_bits(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        wrong = [bits for bits in value if not 2 <= bits <= 8]
        if wrong:
            raise InputError(f"explore takes 2 to 8 bits, not {wrong[0]}: give others (options --weight-bits, --activation-bits)")
        return tuple(dict.fromkeys(value))

    def precisions(self) -> list[LayerBits]:
        """The bits to try: every pair of both options, equal ones where only the weights' are listed."""
        own = self.quantization
        if self.weight_bits and not self.activation_bits:
            return [LayerBits(weight=bits, activation=bits) for bits in self.weight_bits]
        weights = self.weight_bits or (own.weight_bits,)
        return [LayerBits(weight=w, activation=a) for w in weights for a in self.activation_bits or (own.activation_bits,)]

    @field_validator("sizes")
    @classmethod
    def _known_sizes(cls, value: Mapping[str, tuple[int, ...]]) -> Mapping[str, tuple[int, ...]]:
        check_sizes(value)
        return value

    @field_validator("clocks_mhz")
    @classmethod
    def _clocks(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(checked_clock(clock, "200") for clock in value)

    @model_validator(mode="after")
    def _together(self) -> ExploreOptions:
        if self.jobs is not None and self.scheduler is not None:
            raise InputError("option --jobs is for this machine, --scheduler for a cluster: leave one of them out")
        return self


class SimulationOptions(BaseModel):
    """What computes: the integer network in NumPy or as the emitted C++, or the original model; ``exact``: with ap_int headers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: EngineName = "numpy"
    exact: bool = False

    @model_validator(mode="after")
    def _together(self) -> SimulationOptions:
        if self.exact and self.engine != "csim":
            raise InputError("option exact (--exact) is for the C simulation: add engine='csim' (--engine csim)")
        return self


def check_sizes(names: Mapping[str, Any]) -> None:
    """InputError unless all are sizes of an accelerator that may be given."""
    for name in names:
        if name not in SIZES:
            near = difflib.get_close_matches(name, SIZES, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise InputError(f"option sizes: there is no size {name!r}; {hint}sizes are {', '.join(SIZES)}")
