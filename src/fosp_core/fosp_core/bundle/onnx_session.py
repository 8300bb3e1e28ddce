"""ONNX Runtime sessions set up for a control loop: one thread, no spinning, named arrays in and out.

ONNX Runtime itself is loaded with the first session: processes that only read bundles do without it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import UserError

Provider = Literal["auto", "cuda", "cpu"]
_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"


class OnnxModel:
    """One network of a bundle.

    It is loaded by path, because a session that is built from bytes holds the interpreter much longer. It has one
    intra-op thread, because several sessions of one process with more threads compete for cores and miss deadlines.
    """

    def __init__(self, path: Path, provider: Provider = "auto") -> None:
        import onnxruntime as ort

        ort.disable_telemetry_events()  # a robot does not report to anyone
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            wanted = _providers(provider)
            if _CUDA in wanted:
                ort.set_default_logger_severity(4)  # what it would say for each model is said below, once
            self._session = ort.InferenceSession(str(path), options, providers=wanted)
        except UserError:
            raise
        except Exception as error:  # onnxruntime raises its own, undocumented types
            if provider == "cuda" and "CUDA" in str(error):
                raise UserError(_not_started(str(error).splitlines()[0][:160])) from None
            first_line = str(error).splitlines()[0][:200]
            raise UserError(f"{path}: not a model that ONNX Runtime can load ({first_line})") from None
        finally:
            ort.set_default_logger_severity(3)
        if provider == "cuda" and self.provider != "CUDA":
            raise UserError(_not_started("its libraries, or a driver and GPU that fit, are missing"))
        if _CUDA in wanted and self.provider != "CUDA":
            _say_once(f"this ONNX Runtime offers CUDA, but cannot start it: {path.parent} runs on the CPU")
        self.path = path
        self.inputs: dict[str, tuple[list[Any], str]] = {
            i.name: (list(i.shape), i.type) for i in self._session.get_inputs()
        }
        """Inputs by name: (shape, ONNX type), where a string in a shape stands for a dynamic axis."""
        self.outputs: dict[str, tuple[list[Any], str]] = {
            o.name: (list(o.shape), o.type) for o in self._session.get_outputs()
        }
        self._names = list(self.outputs)

    @property
    def provider(self) -> str:
        """Execution provider that runs the network: CUDA or CPU."""
        return "CUDA" if self._session.get_providers()[0] == _CUDA else "CPU"

    def run(self, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return the outputs by name; raise what ONNX Runtime raises when a name, shape or dtype does not fit."""
        return dict(zip(self._names, self._session.run(self._names, inputs), strict=True))


def _providers(provider: Provider) -> list[str]:
    """Return CUDA, if it is asked for (cuda) or onnxruntime-gpu offers it (auto), and the CPU after it."""
    from onnxruntime import get_available_providers

    offered = get_available_providers()
    if provider == "cpu" or (provider == "auto" and _CUDA not in offered):
        return [_CPU]
    if _CUDA not in offered:
        raise UserError(
            "provider 'cuda' is not offered by this ONNX Runtime: install onnxruntime-gpu in place of onnxruntime, "
            "or set provider to 'auto' or 'cpu'"
        )
    return [_CUDA, _CPU]


def _not_started(because: str) -> str:
    return (
        f"provider 'cuda' was asked for and did not start ({because}): install the CUDA and cuDNN that this "
        "onnxruntime-gpu needs, or set provider to 'auto' or 'cpu'; fosp doctor says more"
    )


@cache
def _say_once(line: str) -> None:
    print(f"fosp: {line}", file=sys.stderr)


def expect_signature(
    model: OnnxModel,
    inputs: Mapping[str, tuple[tuple[int | None, ...], str]],
    outputs: Mapping[str, tuple[int | None, ...]],
) -> None:
    """Raise UserError when names, shapes or input types differ from those expected; None is a dynamic axis."""

    def describe(shape: tuple[int | None, ...] | list[Any]) -> str:
        return "(" + ", ".join("K" if not isinstance(d, int) else str(d) for d in shape) + ")"

    name = model.path.name
    if set(model.inputs) != set(inputs) or set(model.outputs) != set(outputs):
        raise UserError(
            f"{name}: expected inputs {sorted(inputs)} and outputs {sorted(outputs)}, "
            f"found {sorted(model.inputs)} and {sorted(model.outputs)}"
        )
    for key, (shape, kind) in inputs.items():
        found, found_kind = model.inputs[key]
        if describe(found) != describe(shape) or found_kind != f"tensor({kind})":
            raise UserError(
                f"{name}: input '{key}' must be {describe(shape)} {kind}, found {describe(found)} {found_kind}"
            )
    for key, shape in outputs.items():
        found, _ = model.outputs[key]
        sizes = zip(found, shape, strict=False)  # a graph may leave open what the bundle's specification names
        if len(found) != len(shape) or any(isinstance(a, int) and b is not None and a != b for a, b in sizes):
            raise UserError(f"{name}: output '{key}' must be {describe(shape)}, found {describe(found)}")


def largest_difference(a: Mapping[str, NDArray[Any]], b: Mapping[str, NDArray[Any]]) -> tuple[float, str]:
    """Return the largest |a - b| / (1 + |b|) over all names, and its name; NaN or another shape counts as infinity."""
    worst, where = 0.0, ""
    for name, expected in b.items():
        got = a[name]
        if got.shape != expected.shape or not np.isfinite(got).all():
            return float("inf"), name
        difference = float(np.max(np.abs(got - expected) / (1.0 + np.abs(expected)), initial=0.0))
        if not difference <= worst:
            worst, where = difference, name
    return worst, where
