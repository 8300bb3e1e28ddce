"""Export of trained networks as ONNX (encoder, policy, critic) with golden outputs, checked against torch.

In all of them `deter` (B, D) is the deterministic part of the latent, (m, h, e) concatenated, and `stoch` (B, S) is the
flattened one-hot z.
"""

from __future__ import annotations

import gc
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fosp_core.bundle.bundle import golden_bytes
from fosp_core.specs import CriticOutput
from fosp_learner.bundling.known_graphs import KnownGraphs
from fosp_learner.model.actor import Actor
from fosp_learner.model.critics import Critics
from fosp_learner.model.success import SuccessCritic
from fosp_learner.model.world_model import WorldModel

OPSET = 20
TOLERANCE = 1e-4
"""Largest allowed difference between ONNX and torch, relative for values above 1."""


class ExportError(RuntimeError):
    """An exported network does not give the outputs of torch."""


class EncoderGraph(nn.Module):
    """encoder.onnx: one filter step with the learned first state as a constant, see `WorldModel.filter_step`."""

    def __init__(self, model: WorldModel) -> None:
        super().__init__()
        self.model = model
        deter, stoch = model.rssm.initial_state()
        self.deter0: Tensor
        self.stoch0: Tensor
        self.register_buffer("deter0", deter.detach().clone())
        self.register_buffer("stoch0", stoch.detach().clone())

    def forward(
        self, image: Tensor, deter: Tensor, stoch: Tensor, action: Tensor, is_first: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        return self.model.filter_step(image, deter, stoch, action, is_first, (self.deter0, self.stoch0))


class PolicyGraph(nn.Module):
    """policy.onnx: mean and std (B, 2, A) of both actors, the offline one first."""

    def __init__(self, offline: Actor, online: Actor) -> None:
        super().__init__()
        self.offline, self.online = offline, online

    def forward(self, deter: Tensor, stoch: Tensor) -> tuple[Tensor, Tensor]:
        feature = torch.cat([deter, stoch], -1)
        means, stds = zip(self.offline(feature), self.online(feature), strict=True)
        return torch.stack(means, 1), torch.stack(stds, 1)


class CriticGraph(nn.Module):
    """critic.onnx: q_r, q_c and q_h (B, K) of K actions (B, K, A) and v_h (B,); Q from the moving-average targets.

    With a success critic there is q_s (B, K), too, and with several heads their disagreement q_h_spread (B, K).
    """

    def __init__(self, critics: Critics, success: SuccessCritic | None = None) -> None:
        super().__init__()
        self.q, self.v = critics.q_target, critics.v
        self.q_s = None if success is None else success.q_target

    def forward(self, deter: Tensor, stoch: Tensor, action: Tensor) -> tuple[Tensor, ...]:
        feature = torch.cat([deter, stoch], -1)
        repeated = feature.unsqueeze(1).expand(-1, action.shape[1], -1)
        further = [] if self.q_s is None else [torch.sigmoid(self.q_s(repeated, action))]
        if self.q.tells_spread:
            further.append(self.q.spread(repeated, action))
        return (*self.q.values(repeated, action), self.v.reachability(feature), *further)

    @property
    def further(self) -> tuple[CriticOutput, ...]:
        """Names of the further outputs in their order."""
        given: tuple[CriticOutput, ...] = () if self.q_s is None else ("q_s",)
        return (*given, "q_h_spread") if self.q.tells_spread else given


NAMES: dict[str, tuple[list[str], list[str]]] = {
    "encoder": (["image", "deter", "stoch", "action", "is_first"], ["next_deter", "next_stoch", "kl"]),
    "policy": (["deter", "stoch"], ["mean", "std"]),
    "critic": (["deter", "stoch", "action"], ["q_r", "q_c", "q_h", "v_h"]),
}
"""Names of the inputs and outputs of each network that every bundle has; `CriticGraph.further` names those of some."""


def names_of(name: str, graph: nn.Module) -> tuple[list[str], list[str]]:
    """Return the names of the inputs and outputs of the network `name`."""
    inputs, outputs = NAMES[name]
    return inputs, [*outputs, *(graph.further if isinstance(graph, CriticGraph) else ())]


def network_graphs(
    model: WorldModel, offline: Actor, online: Actor, critics: Critics, success: SuccessCritic | None = None
) -> dict[str, nn.Module]:
    """Return the networks of a bundle by name, as they are exported."""
    critic = CriticGraph(critics, success)
    return {"encoder": EncoderGraph(model), "policy": PolicyGraph(offline, online), "critic": critic}


def export_networks(
    model: WorldModel,
    offline: Actor,
    online: Actor,
    critics: Critics,
    known: KnownGraphs | None = None,
    success: SuccessCritic | None = None,
) -> dict[str, bytes]:
    """Return the bundle files encoder.onnx, policy.onnx, critic.onnx and golden.npz by name.

    Graphs that are `known` are filled with the weights instead of being exported anew; others are made known. Raises
    ExportError when a network does not give the outputs of torch.
    """
    device = next(model.parameters()).device
    examples = _example_inputs(model, device)
    files: dict[str, bytes] = {}
    golden: dict[str, NDArray[Any]] = {}
    for name, graph in network_graphs(model, offline, online, critics, success).items():
        files[f"{name}.onnx"], arrays = _exported(name, graph, examples[name], known)
        golden |= arrays
    files["golden.npz"] = golden_bytes(golden)
    return files


def learn_graphs(
    known: KnownGraphs,
    files: Mapping[str, bytes],
    model: WorldModel,
    offline: Actor,
    online: Actor,
    critics: Critics,
    success: SuccessCritic | None = None,
) -> None:
    """Make the graphs of a bundle known, of which `files` holds the networks by name; the other ones are its networks.

    A graph that cannot be used again is left out.
    """
    examples = _example_inputs(model, next(model.parameters()).device)
    for name, graph in network_graphs(model, offline, online, critics, success).items():
        known.learn(name, files[name], graph.eval(), examples[name])


def _exported(
    name: str, graph: nn.Module, example: dict[str, Tensor], known: KnownGraphs | None
) -> tuple[bytes, dict[str, NDArray[Any]]]:
    """Return one network as ONNX, and its golden inputs and outputs."""
    inputs, outputs = names_of(name, graph)
    arguments = tuple(example[key] for key in inputs)
    shapes = {key: {1: torch.export.Dim("K", min=1, max=1024)} if key == "action" else None for key in inputs}
    filled = None if known is None else known.filled(name, graph.eval())
    content = filled or _to_onnx(graph.eval(), arguments, name, shapes if name == "critic" else None)
    if known is not None and filled is None:
        known.learn(name, content, graph, dict(zip(inputs, arguments, strict=True)))
    with torch.no_grad():
        given = graph(*arguments)
    expected = dict(zip(outputs, (x.numpy() for x in given), strict=True))
    fed = {key: value.numpy() for key, value in zip(inputs, arguments, strict=True)}
    _require_equal(name, content, fed, expected)
    golden = {f"{name}.in.{key}": value for key, value in fed.items()}
    return content, golden | {f"{name}.out.{key}": value for key, value in expected.items()}


def _to_onnx(graph: nn.Module, arguments: tuple[Tensor, ...], name: str, shapes: dict[str, Any] | None) -> bytes:
    inputs, outputs = names_of(name, graph)
    with _quiet():
        program = torch.onnx.export(
            graph,
            arguments,
            dynamo=True,
            opset_version=OPSET,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=shapes,
            verbose=False,
        )
    assert program is not None
    content: bytes = program.model_proto.SerializeToString()
    return content


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter, which warns and logs about its own internals, and spare it the garbage collector's walks.

    It makes a million objects, nearly all of which live until it is done.
    """
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    collects = gc.isenabled()
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if collects:
            gc.enable()
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _example_inputs(model: WorldModel, device: torch.device) -> dict[str, dict[str, Tensor]]:
    """Return the inputs of the golden check: a plausible latent, and noise as the image."""
    rssm = model.rssm
    rng = np.random.default_rng(0)
    height, width, channels = model.mean_image.shape
    action_size = rssm.from_action.in_features
    deter = torch.from_numpy(rng.uniform(-0.5, 0.5, (1, model.carried)).astype(np.float32))
    classes = torch.from_numpy(rng.integers(0, rssm.classes, (1, rssm.variables)))
    stoch = torch.nn.functional.one_hot(classes, rssm.classes).float().flatten(-2)
    image = torch.from_numpy(rng.integers(0, 256, (1, channels // 3, height, width, 3), np.uint8))
    actions = torch.from_numpy(rng.uniform(-1, 1, (1, 3, action_size)).astype(np.float32))
    latent = {"deter": deter, "stoch": stoch}
    inputs = {
        "encoder": {"image": image, **latent, "action": actions[:, 0], "is_first": torch.zeros(1)},
        "policy": latent,
        "critic": {**latent, "action": actions},
    }
    return {name: {key: x.to(device) for key, x in part.items()} for name, part in inputs.items()}


def _require_equal(
    name: str, content: bytes, fed: dict[str, NDArray[Any]], expected: dict[str, NDArray[np.float32]]
) -> None:
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    found = session.run(list(expected), fed)
    for (output, wanted), got in zip(expected.items(), found, strict=True):
        if got.shape != wanted.shape:
            raise ExportError(f"{name}.onnx: {output} has shape {got.shape}, torch {wanted.shape}")
        difference = float(np.max(np.abs(got - wanted) / np.maximum(1.0, np.abs(wanted))))
        if not difference <= TOLERANCE:
            raise ExportError(f"{name}.onnx: {output} differs from torch by {difference:.2g}")
