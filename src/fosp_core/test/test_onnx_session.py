"""The device that was asked for is the device that runs the networks."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest

from fosp_core.bundle import onnx_session
from fosp_core.bundle.onnx_session import OnnxModel, expect_signature
from fosp_core.errors import UserError

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
NETWORKS = sorted((Path(__file__).parents[3] / "models/safe_reach").glob("*.onnx"))


@pytest.fixture
def broken_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime offers CUDA and falls back to the CPU: the package is installed, its libraries are not."""
    real = onnxruntime.InferenceSession

    def falls_back(path: str, options: object, providers: list[str]) -> object:
        return real(path, options, providers=[p for p in providers if p != CUDA])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", falls_back)
    onnx_session._say_once.cache_clear()


@pytest.mark.usefixtures("broken_cuda")
def test_cuda_that_was_asked_for_and_did_not_start_is_an_error_in_one_line() -> None:
    with pytest.raises(UserError, match="provider 'cuda' was asked for and did not start") as error:
        OnnxModel(NETWORKS[0], "cuda")
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("broken_cuda")
def test_auto_runs_on_the_cpu_then_and_says_so_once(capfd: pytest.CaptureFixture[str]) -> None:
    assert [OnnxModel(network).provider for network in NETWORKS] == ["CPU"] * len(NETWORKS)
    (line,) = capfd.readouterr().err.splitlines()
    assert "offers CUDA, but cannot start it" in line


def test_cuda_that_is_not_offered_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    with pytest.raises(UserError, match="is not offered by this ONNX Runtime"):
        OnnxModel(NETWORKS[0], "cuda")
    assert OnnxModel(NETWORKS[0], "auto").provider == "CPU"


@pytest.mark.parametrize("changed", [-1, 0, 1], ids=["a size less", "as it is", "a size more"])
def test_an_output_of_another_size_is_refused(changed: int) -> None:
    model = OnnxModel(Path(__file__).parents[3] / "models/safe_reach/policy.onnx", "cpu")
    inputs = {name: (tuple(shape), kind.removeprefix("tensor(")[:-1]) for name, (shape, kind) in model.inputs.items()}
    outputs = {name: tuple(shape) for name, (shape, _) in model.outputs.items()}
    expected = {**outputs, "mean": (*outputs["mean"][:-1], outputs["mean"][-1] + changed)}
    if not changed:
        expect_signature(model, inputs, expected)
        return
    with pytest.raises(UserError, match="output 'mean' must be"):
        expect_signature(model, inputs, expected)
