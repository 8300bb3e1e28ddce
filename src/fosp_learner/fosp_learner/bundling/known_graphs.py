"""Graphs that were exported before, into which other weights of the same networks are put.

An export takes seconds of a processor, and between two candidates of a fine-tuning nothing changes but the weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from fosp_learner.model.networks import KeypointEncoder

Array = NDArray[Any]
_CHANGES: tuple[Callable[[Array], Array], ...] = (
    lambda x: x,
    lambda x: np.ascontiguousarray(x.T),
    lambda x: np.float32(KeypointEncoder.SHARPNESS) * x,
)
"""Changes that the exporter makes to a weight: none, turned over for a product, or times a constant."""
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class _Known:
    """A graph, and where each of its constants comes from."""

    content: bytes
    sources: Mapping[str, tuple[str, int]]
    """Name of the constant -> name of the weight, and the index of what `_CHANGES` makes of it; others stay."""


class KnownGraphs:
    """The graph of each network that was exported last.

    A graph is used again only if it was shown that it gives the outputs of torch with all weights changed at random: so
    none of its constants is a weight that nothing is known of, and no two weights are one because they were equal.
    """

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def learn(self, name: str, content: bytes, graph: nn.Module, example: Mapping[str, Tensor]) -> bool:
        """Keep the exported `content` of the network `name`, if it can be used again; return whether it can.

        `graph` is the network with the weights of the export, and `example` its inputs by name.
        """
        self._known.pop(name, None)
        weights = _weights(graph)
        sources = {}
        for constant in onnx.load_from_string(content).graph.initializer:
            value = numpy_helper.to_array(constant)
            if value.dtype != np.float32:
                continue
            found = [
                (weight, change)
                for weight, x in weights.items()
                for change, made in enumerate(_CHANGES)
                if x.size == value.size and (change == 0 or x.ndim == 2) and np.array_equal(made(x), value)
            ]
            if len(found) > 1:
                return False
            if found:
                sources[constant.name] = found[0]
        known = _Known(content, sources)
        if not _gives_same(known, _shaken(graph), example):
            return False
        self._known[name] = known
        return True

    def filled(self, name: str, graph: nn.Module) -> bytes | None:
        """Return the network `name` as ONNX with the weights of `graph`; None where no graph is known."""
        known = self._known.get(name)
        return None if known is None else _filled(known, graph)


def _weights(graph: nn.Module) -> dict[str, Array]:
    """Return all weights and buffers by name."""
    return {name: x.detach().cpu().numpy() for name, x in graph.state_dict().items() if x.dtype == torch.float32}


def _filled(known: _Known, graph: nn.Module) -> bytes:
    weights = _weights(graph)
    model = onnx.load_from_string(known.content)
    for constant in model.graph.initializer:
        if constant.name in known.sources:
            weight, change = known.sources[constant.name]
            value = np.ascontiguousarray(_CHANGES[change](weights[weight]))
            constant.CopyFrom(numpy_helper.from_array(value, constant.name))
    content: bytes = model.SerializeToString()
    return content


@torch.no_grad()
def _shaken(graph: nn.Module) -> nn.Module:
    """Return a copy with every weight changed at random, by about a tenth."""
    shaken = copy.deepcopy(graph)
    generator = torch.Generator().manual_seed(0)
    for weight in shaken.parameters():
        size = 0.1 * weight.square().mean().sqrt() + 0.01
        weight.add_(size.cpu() * torch.randn(weight.shape, generator=generator))
    return shaken


@torch.no_grad()
def _gives_same(known: _Known, graph: nn.Module, example: Mapping[str, Tensor]) -> bool:
    session = ort.InferenceSession(_filled(known, graph), providers=["CPUExecutionProvider"])
    given = session.run(None, {name: x.numpy() for name, x in example.items()})
    wanted = [x.numpy() for x in graph(*example.values())]
    return len(given) == len(wanted) and all(
        a.shape == b.shape and bool(np.all(np.abs(a - b) <= _TOLERANCE * np.maximum(1.0, np.abs(b))))
        for a, b in zip(given, wanted, strict=True)
    )
