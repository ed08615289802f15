"""The Python API: models, data and options in every form that it takes, and refusals like the command line's."""

from __future__ import annotations

import subprocess
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import pytest
from tiny_transformer import Tiny

import edgeflow
from edgeflow.hw.architecture import Architecture
from edgeflow.quant.formats.config import QuantizationConfig, QuantizationOptions
from edgeflow.quant.techniques.qat.options import FineTuning, FineTuningOptions
from edgeflow.sw.files.batches import read_data

CLASSES = 4


@pytest.fixture(scope="module")
def overlay(tiny_build: Path) -> Path:
    """The accelerator of the good build: compiling for it takes no search."""
    return tiny_build / "overlay.json"


def tokens(tiny: Tiny) -> np.ndarray:
    """The calibration data."""
    with np.load(tiny.calibration) as archive:
        array: np.ndarray = archive["tokens"]
    return array


def program(build: edgeflow.Build) -> tuple[bytes, bytes]:
    """What the accelerator executes."""
    return (build.folder / "program.bin").read_bytes(), (build.folder / "weights.bin").read_bytes()


# Names


def test_public_types_are_imported_late() -> None:
    code = (
        "import sys, edgeflow; assert 'numpy' not in sys.modules; edgeflow.Build; edgeflow.Quantized; edgeflow.Board;"
        "edgeflow.Architecture; edgeflow.Verification; edgeflow.CompileOptions; print(edgeflow.__version__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == edgeflow.__version__
    with pytest.raises(AttributeError, match="no attribute 'Bild'"):
        edgeflow.Bild  # noqa: B018
    assert set(edgeflow.__all__) <= set(dir(edgeflow))


@pytest.mark.parametrize(("typed", "model"), [(QuantizationOptions, QuantizationConfig), (FineTuningOptions, FineTuning)])
def test_keyword_arguments_are_the_fields_of_the_options(typed: type, model: Any) -> None:
    assert list(typing.get_type_hints(typed)) == list(model.model_fields)


def test_the_old_call_of_options_works() -> None:
    assert edgeflow.quantization(weight_bits=4).weight_bits == 4
    assert edgeflow.fine_tuning(epochs=2).epochs == 2


# Options


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"sizes": {"pie": 3}}, ("sizes", "'pie'", "did you mean 'pi'", "weight_ports")),
        ({"sizes": {"pi": "wide"}}, ("sizes.pi", "integer")),
        ({"sizes": {"pi": 12}}, ("pi = 12", "16")),
        ({"overlay": Architecture(), "sizes": {"pi": 16}}, ("overlay", "sizes")),
        ({"overlay": Architecture(), "clock_mhz": 100}, ("overlay", "clock_mhz")),
        ({"overlay": Architecture(), "share": 0.5}, ("overlay", "share")),
        ({"clock_mhz": float("nan")}, ("clock nan MHz",)),
        ({"share": 1.5}, ("share 1.5",)),
        ({"seed": -1}, ("seed", "greater than or equal to 0")),
        ({"dims": {"sequence": 0}}, ("dims", "sequence = 0")),
        ({"board": "kv261"}, ("did you mean kv260",)),
        ({"board": 7}, ("board", "string")),
        ({"bits": "median", "budget": "size=0.5x"}, ("bits", "hawq", "'median'")),
        ({"bits": 4, "budget": "size=0.5x"}, ("bits", "hawq", "4")),
        ({"bits": Path("none.json")}, ("--bits", "'none.json'")),
        ({"bits": "fit"}, ("--budget",)),
        ({"budget": "size=0.5x"}, ("bits='hawq'",)),
        ({"labels": [1, 2], "calibration": None}, ("labels", "calibration data")),
        ({"test_labels": [1, 2]}, ("test_labels", "test data")),
        ({"labels": "label"}, ("'label'", "tokens")),
        ({"config": 8}, ("quantization",)),
        ({"example_inputs": 1}, ("example_inputs", "torch module")),
    ],
)
def test_a_wrong_option_is_one_line(tiny: Tiny, tmp_path: Path, options: dict[str, Any], parts: tuple[str, ...]) -> None:
    with pytest.raises(edgeflow.InputError) as caught:
        edgeflow.compile(tiny.model, **{"calibration": tiny.calibration, "output": tmp_path / "b", **options})
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.exit_status == 2
    assert all(part in message for part in parts), message
    assert not (tmp_path / "b").exists()


def test_a_wrong_option_of_quantization_is_one_line() -> None:
    with pytest.raises(edgeflow.InputError, match=r"option weight_bit: there is no 'weight_bit'; did you mean 'weight_bits'"):
        edgeflow.quantization(weight_bit=4)  # type: ignore[call-arg]
    with pytest.raises(edgeflow.InputError, match=r"layers.fc1.wieght: there is no 'wieght'; did you mean 'weight'"):
        edgeflow.quantization(layers={"fc1": {"wieght": 4}})
    with pytest.raises(edgeflow.InputError, match=r"option weight_bits: .*less than or equal to 8"):
        edgeflow.quantization(weight_bits=9)


def test_options_of_an_exploration_are_checked(tiny: Tiny, tmp_path: Path) -> None:
    for options, part in (
        ({"sizes": {"pie": [3]}}, "no size 'pie'"),
        ({"clocks_mhz": [0]}, "clock 0 MHz"),
        ({"jobs": 1, "scheduler": "tcp://x:1"}, "--jobs"),
        ({"jobs": 0}, "jobs"),
    ):
        with pytest.raises(edgeflow.InputError, match=part):
            edgeflow.explore(tiny.model, output=tmp_path / "e", **options)
    assert not (tmp_path / "e").exists()


def test_one_seed_unless_there_are_two() -> None:
    def seed(**options: Any) -> int:
        return edgeflow.CompileOptions.model_validate(options).quantization.seed

    assert seed(seed=3) == 3
    assert seed(seed=3, quantization={"seed": 5}) == 5
    assert seed(seed=3, quantization=edgeflow.quantization()) == 3
    assert seed(seed=3, quantization=edgeflow.quantization(seed=5)) == 5


def test_an_engine_that_is_none(tiny_build: Path) -> None:
    x = np.zeros((1, 5, 16), np.float32)
    with pytest.raises(edgeflow.InputError, match="option engine: Input should be 'numpy', 'csim' or 'float'"):
        edgeflow.simulate(tiny_build, x, engine="verilog")  # type: ignore[arg-type]
    with pytest.raises(edgeflow.InputError, match=r"exact.*engine='csim'"):
        edgeflow.simulate(tiny_build, x, exact=True)


# Data


def test_every_form_of_data_sets_the_same_numbers(tiny: Tiny, tiny_build: Path, overlay: Path, tmp_path: Path) -> None:
    x = tokens(tiny)
    parts = np.split(x, [3, 10])
    forms: dict[str, Callable[[], Any]] = {
        "path": lambda: tiny.calibration,
        "mapping": lambda: {"tokens": x},
        "array": lambda: x,
        "mappings": lambda: [{"tokens": part} for part in parts],
        "tuples": lambda: [(part,) for part in parts],
        "arrays": lambda: list(parts),
        "generator": lambda: (part for part in parts),
    }
    expected = program(edgeflow.open_build(tiny_build))
    for name, form in forms.items():
        build = edgeflow.compile(tiny.model, calibration=form(), overlay=overlay, output=tmp_path / "b")
        assert program(build) == expected, name


def test_batches_are_not_held_in_memory() -> None:
    alive: list[int] = []

    class Counted(np.ndarray[Any, Any]):
        def __del__(self) -> None:
            alive.remove(id(self))

    def batches() -> Iterator[np.ndarray]:
        for i in range(5):
            assert len(alive) <= 2  # the batch before may still be in the loop's hands
            part = np.full((4, 3), i, np.float32).view(Counted)
            alive.append(id(part))
            yield part

    array = read_data(batches(), lambda: ("x",))["x"]
    assert isinstance(array, np.memmap)
    assert np.array_equal(array, np.repeat(np.arange(5), 4)[:, None] * np.ones(3))


def test_a_torch_data_loader_of_pairs_gives_the_inputs(tiny: Tiny) -> None:
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(tokens(tiny))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, torch.zeros(len(x), dtype=torch.int64)), batch_size=5)
    with pytest.warns(UserWarning, match="of the 2 arrays of a batch the first are tokens; the other one is not used"):
        arrays = read_data(loader, lambda: ("tokens",))
    assert list(arrays) == ["tokens"]
    assert np.array_equal(arrays["tokens"], x.numpy())


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        (7, ("int", ".npz")),
        (b"tokens", ("bytes", ".npz")),
        ([], ("no batches",)),
        ([{"tokens": np.zeros((2, 5, 16))}, {"token": np.zeros((2, 5, 16))}], ("batch 1", "token")),
        ([np.zeros((2, 5, 16)), np.zeros((2, 5, 15))], ("'tokens'", "(2, 5, 15)", "(samples, 5, 16)")),
        ([{"tokens": 1.0}], ("batch 0", "single number")),
        ({"tokens": [[1], [1, 2]]}, ("'tokens'", "no array")),
        ({"tokens": ["a"]}, ("'tokens'", "<U1")),
        ([()], ("batch 0", "0 array", "tokens")),
    ],
)
def test_data_that_is_none(tiny: Tiny, overlay: Path, tmp_path: Path, data: Any, parts: tuple[str, ...]) -> None:
    with pytest.raises(edgeflow.CalibrationError) as caught:
        edgeflow.compile(tiny.model, calibration=data, overlay=overlay, output=tmp_path / "b")
    assert all(part in str(caught.value) for part in parts), caught.value
    assert "\n" not in str(caught.value)


def test_one_array_is_refused_where_a_model_has_several_inputs() -> None:
    with pytest.raises(edgeflow.CalibrationError, match="1 array for the 2 inputs ids, mask: give arrays by input name"):
        read_data(np.zeros((2, 3)), lambda: ("ids", "mask"), "input data")


def test_labels_may_be_named(tiny: Tiny, overlay: Path, tmp_path: Path) -> None:
    x = tokens(tiny)
    labels = np.arange(len(x)) % CLASSES
    np.savez(tmp_path / "test.npz", tokens=x + 0.1, label=labels)
    by_name = edgeflow.compile(
        tiny.model, calibration=x, test=tmp_path / "test.npz", test_labels="label", overlay=overlay, output=tmp_path / "b"
    ).report["accuracy"]
    by_position = edgeflow.compile(
        tiny.model, calibration=x, test=x + np.float32(0.1), test_labels=labels, overlay=overlay, output=tmp_path / "b"
    ).report["accuracy"]
    assert by_name["top1_accuracy"] == by_position["top1_accuracy"] is not None


def test_simulate_takes_the_array_of_a_model_with_one_input(tiny: Tiny, tiny_build: Path) -> None:
    x = tokens(tiny)[:3]
    expected = edgeflow.simulate(tiny_build, {"tokens": x})["logits"]
    assert np.array_equal(edgeflow.simulate(tiny_build, x)["logits"], expected)
    assert np.array_equal(edgeflow.simulate(edgeflow.open_build(tiny_build), [x[:1], x[1:]])["logits"], expected)


# Models


def test_every_form_of_a_model_makes_the_same_program(tiny: Tiny, tiny_build: Path, overlay: Path, tmp_path: Path) -> None:
    expected = program(edgeflow.open_build(tiny_build))
    for model in (str(tiny.model), onnx.load(tiny.model), edgeflow.load(tiny.model)):
        build = edgeflow.compile(model, calibration=tiny.calibration, overlay=overlay, output=tmp_path / "b")
        assert program(build) == expected, type(model)
        assert build.manifest["reference"]["kind"] == "original"
        assert edgeflow.simulate(build, tokens(tiny), engine="float")["logits"].shape == (16, CLASSES)


@pytest.mark.parametrize("model", [7, None, b"", {"graph": 1}])
def test_a_model_that_is_none(tmp_path: Path, model: Any) -> None:
    with pytest.raises(edgeflow.InputError, match="give the path of an ONNX file"):
        edgeflow.compile(model, output=tmp_path / "b")


def test_messages_name_the_model_and_no_temporary_file(tiny: Tiny, tmp_path: Path) -> None:
    proto = onnx.load(tiny.model)
    proto.graph.node[3].op_type = "Frobnicate"
    with pytest.raises(edgeflow.UnsupportedError, match=r"^model tiny: .*Frobnicate"):
        edgeflow.compile(proto, output=tmp_path / "b")
    external = onnx.load(tiny.model)
    external.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    with pytest.raises(edgeflow.ModelError, match=r"onnx.load\(path\)"):
        edgeflow.compile(external, output=tmp_path / "b")


def test_a_torch_module_is_exported(overlay: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.LayerNorm(16), torch.nn.Linear(16, 32), torch.nn.GELU(), torch.nn.Dropout(0.5), torch.nn.Linear(32, CLASSES)
    )
    x = torch.randn(16, 16)
    build = edgeflow.compile(module, example_inputs=x[:1], calibration=x, overlay=overlay, output=tmp_path / "b")
    assert module.training
    with torch.no_grad():
        expected = module.eval()(x).numpy()
    assert np.abs(edgeflow.simulate(build, x, engine="float")["output"] - expected).max() < 1e-5
    assert np.abs(edgeflow.simulate(build, x)["output"] - expected).max() < 0.1
    assert build.report["model"] == "Sequential"
    proto = onnx.load(build.folder / "model.original.onnx")
    assert proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    assert build.manifest["reference"] == {"kind": "original", "note": None, "file": "model.original.onnx", "files": []}


def test_example_inputs_by_name_and_by_position(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    import torch

    from edgeflow.sw.importer.torch_export import export_module

    class Two(torch.nn.Module):
        def forward(self, left: Any, right: Any) -> dict[str, Any]:
            return {"sum": left + right, "difference": left - right}

    x = np.ones((1, 3), np.float32)
    for examples in ((x, torch.ones(1, 3)), {"right": x, "left": x}):
        export_module(Two(), examples, tmp_path / "m.onnx")
        graph = onnx.load(tmp_path / "m.onnx").graph
        assert [value.name for value in graph.input] == ["left", "right"]
        assert [value.name for value in graph.output] == ["sum", "difference"]
        assert all(value.type.tensor_type.shape.dim[0].dim_param for value in graph.input)


def test_a_torch_module_that_cannot_be_exported(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    import torch

    class Odd(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x if x.sum() > 0 else -x

    for module, options, message in (
        (torch.nn.Linear(4, 4), {}, "give example_inputs="),
        (torch.nn.Linear(4, 4), {"example_inputs": (torch.ones(2, 4), 1)}, r"do not fit Linear.forward"),
        (torch.nn.Linear(4, 4), {"example_inputs": torch.ones(2, 5)}, "torch module Linear cannot be exported"),
        (Odd(), {"example_inputs": torch.ones(2, 4)}, "torch module Odd cannot be exported"),
    ):
        with pytest.raises(edgeflow.InputError, match=message) as caught:
            edgeflow.compile(module, output=tmp_path / "b", **options)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["torch", "onnxscript"])
def test_without_an_exporter_the_message_says_so(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from edgeflow.sw.importer.torch_export import export_module

    module, x = torch.nn.Linear(4, 4), torch.ones(2, 4)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(edgeflow.ToolchainError, match="pip install torch onnxscript"):
        export_module(module, x, tmp_path / "m.onnx")


# Quantized models


@pytest.fixture(scope="module")
def quantized(tiny: Tiny) -> edgeflow.Quantized:
    """The tiny transformer, quantized from Python, with the same numbers as in the good build."""
    return edgeflow.quantize(edgeflow.load(tiny.model), tiny.calibration)


def test_a_quantized_model_is_compiled_as_it_is(
    quantized: edgeflow.Quantized, tiny: Tiny, tiny_build: Path, overlay: Path, tmp_path: Path
) -> None:
    x = tokens(tiny)
    build = edgeflow.compile(quantized, overlay=overlay, output=tmp_path / "b", test=x + np.float32(0.1))
    assert program(build) == program(edgeflow.open_build(tiny_build))
    assert build.report["accuracy"]["data"] == "test"
    assert build.manifest["golden_origin"] == "test"
    assert np.array_equal(edgeflow.simulate(quantized, x)["logits"], edgeflow.simulate(build, x)["logits"])
    assert edgeflow.verify(build).passed
    without = edgeflow.compile(quantized, overlay=overlay, output=tmp_path / "b")
    assert without.report["accuracy"]["meaningful"] is False
    assert without.manifest["golden_samples"] == 8


def test_what_is_asked_of_a_build_is_asked_of_a_quantized_model(
    quantized: edgeflow.Quantized, tiny: Tiny, tiny_build: Path, tmp_path: Path
) -> None:
    x, build = tokens(tiny), edgeflow.open_build(tiny_build)
    assert (
        np.abs(
            edgeflow.simulate(quantized, x, engine="float")["logits"] - edgeflow.simulate(build, x, engine="float")["logits"]
        ).max()
        < 1e-5
    )
    assert edgeflow.cycles(quantized, board="kv260").cycles == edgeflow.cycles(build).cycles
    assert edgeflow.cycles(quantized, board="kv260", clock_mhz=100).latency_ms > edgeflow.cycles(build).latency_ms
    verification = edgeflow.verify(quantized, x, samples=2, board="kv260")
    assert verification.passed
    assert (verification.samples, verification.origin) == (2, "given")
    forms: tuple[Literal["qdq", "qonnx"], ...] = ("qdq", "qonnx")
    for form in forms:
        first = onnx.load(edgeflow.export(quantized, tmp_path / "0.onnx", format=form))
        second = onnx.load(edgeflow.export(build, tmp_path / "1.onnx", format=form))
        one, other = ({entry.key: entry.value for entry in proto.metadata_props} for proto in (first, second))
        assert {**one, "edgeflow.model": "tiny.onnx", "edgeflow.board": "kv260"} == other
        for proto in (first, second):
            proto.ClearField("metadata_props")
        assert first == second


def test_what_a_quantized_model_has_not_is_said_in_one_line(
    quantized: edgeflow.Quantized, tiny: Tiny, tiny_build: Path, tmp_path: Path
) -> None:
    x = tokens(tiny)
    for call, part in (
        (lambda: edgeflow.cycles(quantized), "add board="),
        (lambda: edgeflow.verify(quantized), "add board="),
        (lambda: edgeflow.cycles(tiny_build, board="kv260"), "leave it out"),
        (lambda: edgeflow.verify(tiny_build, board="kv260"), "leave it out"),
        (lambda: edgeflow.simulate(quantized, x, engine="csim"), "compile the quantized model"),
        (lambda: edgeflow.simulate(7, x), "a int is no build"),  # type: ignore[arg-type]
        (lambda: edgeflow.compile(quantized, calibration=x, output=tmp_path / "b"), "quantized already, which calibration"),
        (lambda: edgeflow.compile(quantized, config=edgeflow.quantization(weight_bits=4), output=tmp_path / "b"), "which config"),
        (lambda: edgeflow.compile(quantized, bits="fit", budget="size=0.5x", output=tmp_path / "b"), "which bits"),
    ):
        with pytest.raises(edgeflow.InputError, match=part) as caught:
            call()
        assert "\n" not in str(caught.value)


# Notebooks


def test_a_build_shows_itself_in_a_notebook(tiny_build: Path, tmp_path: Path) -> None:
    build = edgeflow.open_build(tiny_build)
    card = build._repr_html_()
    for part in ("tiny.onnx", "kv260", f"{build.report['latency_ms']:.3f} ms", "dsp", "not measured", "report.html"):
        assert part in card
    from edgeflow.sw.files.notebook_card import card as draw

    odd = {**build.report, "model": "<script>alert(1)</script>.onnx"}
    assert "<script>" not in draw(tmp_path / "<b>", odd)
    assert "&lt;script&gt;" in draw(tmp_path / "<b>", odd)
    measured = {
        "meaningful": True, "outputs": [{"name": "y<0>", "sqnr_db": 41.25}], "samples": 1000, "top1_agreement": 0.5,
        "top1_accuracy": 0.25, "float_top1_accuracy": 0.75,
    }  # fmt: skip
    text = draw(tmp_path, {**build.report, "accuracy": measured})
    assert "y&lt;0&gt; 41.2 dB, top-1 agreement 50.00%, top-1 25.00% (float 75.00%) on 1,000 samples" in text
