"""A tiny bundle for tests: real ONNX files whose outputs are simple known functions of their inputs.

Needs the `onnx` package, so only tests import this.

    encoder   deter' = 0.5 * deter + brightness + action     brightness in [0, 1] is the image's mean / 255;
                       the old deter and the action count as 0 on the first step; action i is added to deter' i
              stoch' = one-hot at 0,   kl = SURPRISE_GAIN * brightness
    policy    mean = `policy_action` of both actors,   std = 0.1
    critic    q_h = clip(action[0], 0, 1)     q_r = action[1]     q_c = 0.5 * |action[1]|     v_h = clip(deter[0], 0, 1)

So a test provokes an unsafe action by action[0] > eps (0.5), a critic out of its range by |action[1]| > 0.9, and a
surprise by an image brighter than half. On a robot with one axis action[1] is action[0].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

from fosp_core.bundle.agreement import Scores, declared_tolerance
from fosp_core.bundle.bundle import golden_bytes, signatures, write_bundle
from fosp_core.bundle.lens import lens_shapes
from fosp_core.bundle.probes import BEFORE, PROBES, SAFE, ProbeSet, probe_bytes
from fosp_core.bundle.reference import CAUSES, MOTION_FEATURES, REFERENCE, STILL_FEATURES, CameraReference, Reference
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import FORMAT_VERSION, Calibration, CameraCalibration, LatentSpec, Manifest, ObservationSpec

DETER = 8
STOCH = 6
SURPRISE_GAIN = 10.0
"""kl of a white image, nats; the calibrated limit of the tiny bundle is half of it."""
EPS = 0.5
Q_R_LIMIT = 0.9
FIT = (1.0, 0.0)
"""Judge whose risk is the first axis of the action."""

CAMERA_LIMITS = CameraCalibration(
    novelty_limit=1.0,
    novelty_count=3,
    novelty_window=5,
    inconsistency_limit=2000.0,
    inconsistency_count=2,
    inconsistency_window=3,
    episodes=400,
    false_alarm_bound=0.005,
    supported=True,
)
"""Even frames that repeat stay below its limit of inconsistency."""

_OPSET = 20
_IR_VERSION = 10
_Tensors = Mapping[str, tuple[int, tuple[int | str, ...]]]


def write_tiny_bundle(
    directory: Path,
    robot: RobotConfig,
    *,
    policy_action: Sequence[float] | None = None,
    decision_period_s: float = 0.05,
    seed: int = 0,
    observation: ObservationSpec | None = None,
    calibration: Mapping[str, Any] | None = None,
    judge: tuple[float, float] = FIT,
    probes: bool = True,
    reference: Reference | None = None,
    camera: CameraCalibration | None = None,
    task: str = "tiny",
) -> Manifest:
    """Write a bundle for `robot` into `directory` and return its manifest; another `seed` gives another id.

    `calibration`: what differs in it. `judge` (a, b): q_h = clip(a * action[0] + b, 0, 1), so that other judges than
    FIT are no good. `probes`: with them, or without.

    `policy_action` (A,) is what both actors want, by default 0 on every axis; `observation`: the cameras, by default
    one; `reference` and its limits `camera`, by default ones that know every frame. The nets are those of the module's
    docstring; brightness is that of all cameras together.
    """
    size = robot.action.size
    wanted = np.zeros(size, np.float32) if policy_action is None else np.asarray(policy_action, np.float32)
    if wanted.shape != (size,):
        raise ValueError(f"policy_action must be ({size},), got {wanted.shape}")
    manifest = tiny_manifest(robot, decision_period_s, {"seed": seed}, observation, camera)
    manifest = manifest.model_copy(
        update={"task": task, "calibration": manifest.calibration.model_copy(update=dict(calibration or {}))}
    )
    image = manifest.observation.shape
    models = {
        "encoder": _encoder(image, size, list(signatures(manifest)["encoder"][1])),
        "policy": _policy(wanted),
        "critic": _critic(size, judge),
    }
    files: dict[str, Path | bytes] = {f"{name}.onnx": model.SerializeToString() for name, model in models.items()}
    files["golden.npz"] = golden_bytes(_golden(models, image, size, seed))
    if probes:
        files[PROBES] = probe_bytes(tiny_probes(manifest))
    files[REFERENCE] = (reference or lenient_reference(image[0], size)).to_bytes()
    return write_bundle(directory, manifest, files)


def tiny_probes(manifest: Manifest) -> ProbeSet:
    """Probes of a tiny bundle: ten actions before a violation, of a risk above EPS, and ten safe ones."""
    rng = np.random.default_rng(0)
    size, sequences, frames, count = manifest.action.size, 20, 3, 8
    labels = np.array([BEFORE, SAFE] * (sequences // 2), np.int8)
    actions = rng.uniform(-0.5, 0.5, (sequences, count, size)).astype(np.float32)
    actions[:, 1:, 0] = rng.uniform(0, 1, (sequences, count - 1))
    actions[:, 0, 0] = np.where(labels == BEFORE, rng.uniform(0.6, 1, sequences), rng.uniform(0, 0.3, sequences))
    images = rng.integers(0, 128, (sequences, frames, *manifest.observation.shape), np.uint8)
    images[:] = images[..., :1, :1, :1]  # one colour each, which packs well
    own = Scores(np.clip(actions[..., 0], 0, 1), EPS)
    tolerance = declared_tolerance(own, labels, manifest.calibration.alpha, manifest.calibration.false_veto_rate)
    executed = np.zeros((sequences, frames, size), np.float32)
    return ProbeSet(images, executed, actions, labels, tolerance)


def tiny_manifest(
    robot: RobotConfig,
    decision_period_s: float = 0.05,
    training: Mapping[str, Any] | None = None,
    observation: ObservationSpec | None = None,
    camera: CameraCalibration | None = None,
) -> Manifest:
    """Manifest of a tiny bundle before it is written: `id` and `files` are empty."""
    calibration = Calibration(
        eps=EPS,
        alpha=0.05,
        horizon_steps=5,
        episodes=40,
        violating_episodes=40,
        miss_rate_bound=0.05,
        false_veto_rate=0.1,
        supported=True,
        surprise_limit=0.5 * SURPRISE_GAIN,
        ranges={"q_r": (-Q_R_LIMIT, Q_R_LIMIT), "q_c": (0.0, 1.0), "q_h": (0.0, 1.0), "v_h": (0.0, 1.0)},
        camera=camera or CAMERA_LIMITS,
    )
    return Manifest(
        format_version=FORMAT_VERSION,
        id="",
        task="tiny",
        robot=robot.name,
        size="nano",
        observation=observation or ObservationSpec(),
        action=robot.action,
        latent=LatentSpec(deter=DETER, stoch=STOCH),
        decision_period_s=decision_period_s,
        calibration=calibration,
        training=dict(training or {}),
    )


def lenient_reference(cameras: int, action_size: int) -> Reference:
    """A reference to which every frame is known and shows the motion that was executed."""

    def nothing(*shape: int) -> NDArray[np.float32]:
        return np.zeros(shape, np.float32)

    return Reference(
        (
            CameraReference(
                mean=nothing(STILL_FEATURES),
                scores=nothing(len(CAUSES), STILL_FEATURES),
                basis=nothing(1, STILL_FEATURES),
                spread=np.full(2, 1e6, np.float32),
                motion_scale=np.ones(MOTION_FEATURES, np.float32),
                motion=nothing(MOTION_FEATURES, action_size),
                motion_noise=np.full((2, action_size), 1e6, np.float32),
                step_noise=np.full(action_size, 1e12, np.float32),
                least_change=nothing(1),
                **{name: nothing(*shape) for name, shape in lens_shapes().items()},
                lens_scale=nothing(2),
            ),
        )
        * cameras
    )


def _encoder(image: tuple[int, int, int, int], size: int, names: Sequence[str]) -> ModelProto:
    """`names` of the outputs: next deter, next stoch, kl."""
    next_deter, next_stoch, kl = names
    action_to_deter = np.zeros((size, DETER), np.float32)
    action_to_deter[np.arange(size), np.arange(size) % DETER] = 1.0
    one_hot = np.zeros((1, STOCH), np.float32)
    one_hot[0, 0] = 1.0
    constants: dict[str, NDArray[Any]] = {
        "action_to_deter": action_to_deter,
        "one_hot": one_hot,
        "one": np.ones(1, np.float32),
        "zero": np.zeros(1, np.float32),
        "half": np.full(1, 0.5, np.float32),
        "white": np.full(1, 255.0, np.float32),
        "gain": np.full(1, SURPRISE_GAIN, np.float32),
        "image_axes": np.array([1, 2, 3, 4], np.int64),
        "flat": np.array([1, 1], np.int64),
        "single": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "image_axes"], ["mean_pixel"], keepdims=0),
        helper.make_node("Div", ["mean_pixel", "white"], ["brightness"]),
        helper.make_node("Sub", ["one", "is_first"], ["goes_on"]),
        helper.make_node("MatMul", ["action", "action_to_deter"], ["moved"]),
        helper.make_node("Mul", ["deter", "half"], ["faded"]),
        helper.make_node("Add", ["faded", "moved"], ["past"]),
        helper.make_node("Mul", ["past", "goes_on"], ["kept"]),
        helper.make_node("Reshape", ["brightness", "flat"], ["brightness_column"]),
        helper.make_node("Add", ["kept", "brightness_column"], [next_deter]),
        helper.make_node("Mul", ["stoch", "zero"], ["no_stoch"]),
        helper.make_node("Add", ["no_stoch", "one_hot"], [next_stoch]),
        helper.make_node("Mul", ["brightness", "gain"], ["surprise"]),
        helper.make_node("Reshape", ["surprise", "single"], [kl]),
    ]
    inputs: _Tensors = {
        "image": (TensorProto.UINT8, (1, *image)),
        "deter": (TensorProto.FLOAT, (1, DETER)),
        "stoch": (TensorProto.FLOAT, (1, STOCH)),
        "action": (TensorProto.FLOAT, (1, size)),
        "is_first": (TensorProto.FLOAT, (1,)),
    }
    outputs: _Tensors = {
        next_deter: (TensorProto.FLOAT, (1, DETER)),
        next_stoch: (TensorProto.FLOAT, (1, STOCH)),
        kl: (TensorProto.FLOAT, (1,)),
    }
    return _model(nodes, inputs, outputs, constants)


def _policy(wanted: NDArray[np.float32]) -> ModelProto:
    constants: dict[str, NDArray[Any]] = {
        "wanted": np.tile(wanted, (1, 2, 1)),
        "spread": np.full((1, 2, len(wanted)), 0.1, np.float32),
        "zero": np.zeros(1, np.float32),
        "latent_axis": np.array([1], np.int64),
        "scalar_shape": np.array([1, 1, 1], np.int64),
    }
    nodes = [
        helper.make_node("Concat", ["deter", "stoch"], ["latent"], axis=1),
        helper.make_node("ReduceSum", ["latent", "latent_axis"], ["total"], keepdims=0),
        helper.make_node("Mul", ["total", "zero"], ["nothing"]),
        helper.make_node("Reshape", ["nothing", "scalar_shape"], ["no_latent"]),
        helper.make_node("Add", ["wanted", "no_latent"], ["mean"]),
        helper.make_node("Add", ["spread", "no_latent"], ["std"]),
    ]
    per_actor = (TensorProto.FLOAT, (1, 2, len(wanted)))
    return _model(nodes, _LATENT, {"mean": per_actor, "std": per_actor}, constants)


def _critic(size: int, judge: tuple[float, float]) -> ModelProto:
    constants: dict[str, NDArray[Any]] = {
        "first": np.array(0, np.int64),
        "second": np.array(min(1, size - 1), np.int64),
        "low": np.array(0.0, np.float32),
        "high": np.array(1.0, np.float32),
        "half": np.array(0.5, np.float32),
        "zero": np.array(0.0, np.float32),
        "last_axis": np.array([1], np.int64),
        "slope": np.array(judge[0], np.float32),
        "offset": np.array(judge[1], np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["action", "first"], ["chosen"], axis=2),
        helper.make_node("Mul", ["chosen", "slope"], ["sloped"]),
        helper.make_node("Add", ["sloped", "offset"], ["risky"]),
        helper.make_node("Clip", ["risky", "low", "high"], ["q_h"]),
        helper.make_node("ReduceSum", ["stoch", "last_axis"], ["total"], keepdims=1),
        helper.make_node("Mul", ["total", "zero"], ["no_stoch"]),
        helper.make_node("Gather", ["action", "second"], ["rewarding"], axis=2),
        helper.make_node("Add", ["rewarding", "no_stoch"], ["q_r"]),
        helper.make_node("Abs", ["rewarding"], ["magnitude"]),
        helper.make_node("Mul", ["magnitude", "half"], ["q_c"]),
        helper.make_node("Gather", ["deter", "first"], ["state_risk"], axis=1),
        helper.make_node("Clip", ["state_risk", "low", "high"], ["v_h"]),
    ]
    per_action = (TensorProto.FLOAT, (1, "K"))
    outputs: _Tensors = {"q_r": per_action, "q_c": per_action, "q_h": per_action, "v_h": (TensorProto.FLOAT, (1,))}
    return _model(nodes, {**_LATENT, "action": (TensorProto.FLOAT, (1, "K", size))}, outputs, constants)


_LATENT: _Tensors = {"deter": (TensorProto.FLOAT, (1, DETER)), "stoch": (TensorProto.FLOAT, (1, STOCH))}


def _model(nodes: list[Any], inputs: _Tensors, outputs: _Tensors, constants: Mapping[str, NDArray[Any]]) -> ModelProto:
    def values(tensors: _Tensors) -> list[Any]:
        return [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in tensors.items()]

    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", values(inputs), values(outputs), initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    checker.check_model(model, full_check=True)
    return model


def _golden(
    models: Mapping[str, ModelProto], image: tuple[int, int, int, int], size: int, seed: int
) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    latent = {"deter": rng.random((1, DETER), np.float32), "stoch": rng.random((1, STOCH), np.float32)}
    inputs: dict[str, dict[str, NDArray[Any]]] = {
        "encoder": {
            "image": rng.integers(0, 256, (1, *image), np.uint8),
            **latent,
            "action": rng.random((1, size), np.float32),
            "is_first": np.zeros(1, np.float32),
        },
        "policy": latent,
        "critic": {**latent, "action": rng.random((1, 3, size), np.float32)},
    }
    golden: dict[str, NDArray[Any]] = {}
    for name, model in models.items():
        session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        golden.update({f"{name}.in.{key}": value for key, value in inputs[name].items()})
        golden.update(
            {f"{name}.out.{key}": value for key, value in zip(names, session.run(names, inputs[name]), strict=True)}
        )
    return golden
