"""The model bundle: a content-addressed folder that holds all that the runtime needs, and nothing executable.

    manifest.json  encoder.onnx  policy.onnx  critic.onnx  golden.npz  reference.npz
    [probes.npz]  [training/*.safetensors]  [signature.json]

A bundle is written in one rename and never changed. Its id is the sha256 over the manifest, which holds the sha256 of
every other file. Loading refuses whatever it cannot vouch for, and says why in one line.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from numpy.typing import NDArray

from fosp_core.bundle.acceptance import calibration_faults
from fosp_core.bundle.onnx_session import OnnxModel, Provider, expect_signature, largest_difference
from fosp_core.bundle.packed_arrays import packed_bytes, read_packed
from fosp_core.bundle.probes import ProbeSet, read_probes
from fosp_core.bundle.reference import REFERENCE, Reference, read_reference
from fosp_core.bundle.signature import SIGNATURE, read_private_key, require_signature, sign_id
from fosp_core.errors import UserError
from fosp_core.processes import give_way
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import FORMAT_VERSION, ActionSpec, Manifest, parse_spec
from fosp_core.topics import COLOR_IMAGE, are_one, of_camera

MANIFEST = "manifest.json"
GOLDEN = "golden.npz"
MODELS = ("encoder", "policy", "critic")
REQUIRED = (*(f"{model}.onnx" for model in MODELS), GOLDEN)
GOLDEN_TOLERANCE = 2e-3
"""Largest allowed relative difference from the golden outputs: processors round differently, but by less than this."""
MAX_MANIFEST_BYTES = 1 << 20
_MAX_GOLDEN_BYTES = 1 << 28
"""Size of the unpacked golden.npz."""


@dataclass(frozen=True)
class SelfTestVectors:
    """Inputs of a network, and the outputs that it gave when it was exported."""

    inputs: Mapping[str, NDArray[Any]]
    outputs: Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Bundle:
    """A verified bundle with its sessions loaded."""

    directory: Path
    manifest: Manifest
    encoder: OnnxModel
    policy: OnnxModel
    critic: OnnxModel
    reference: Reference
    """The looks of the frames of the training, by which the encoder judges live frames."""
    golden: Mapping[str, SelfTestVectors] = field(default_factory=dict)
    """Golden inputs and outputs by network, for the self-test of the running sessions."""
    probes: ProbeSet | None = None
    """None: the bundle holds none, so that no other judge can be held against its own."""

    @property
    def provider(self) -> str:
        """Execution provider of the sessions: CUDA or CPU."""
        return self.encoder.provider


def content_id(manifest: Manifest) -> str:
    """Return the id of a bundle: sha256, in hex, over the canonical JSON of the manifest without its id."""
    content = manifest.model_dump(mode="json", exclude={"id"})
    if content["calibration"]["camera"] is None:  # a bundle of an earlier release keeps its id
        del content["calibration"]["camera"]
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_bundle(directory: Path, manifest: Manifest, files: Mapping[str, Path | bytes]) -> Manifest:
    """Write a bundle in one rename, and return its manifest with hashes and id filled in.

    `files` maps a relative path to the content, or to the file to copy, and must hold every required file. Raise
    UserError when `directory` exists and is not empty. A crash half way leaves no bundle.
    """
    missing = [name for name in REQUIRED if name not in files]
    if missing:
        raise UserError(f"a bundle needs {', '.join(missing)}")
    directory = directory.absolute()
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UserError(f"{directory}: exists already; choose another --out or remove it")
    staging: Path | None = None
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
        for name, content in files.items():
            target = staging / safe_name(name, "bundle file")
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                target.write_bytes(content)
            else:
                shutil.copyfile(content, target)
        hashes = {name: file_hash(staging / name) for name in sorted(files)}
        complete = manifest.model_copy(update={"format_version": FORMAT_VERSION, "id": "", "files": hashes})
        complete = complete.model_copy(update={"id": content_id(complete)})
        (staging / MANIFEST).write_text(json.dumps(complete.model_dump(mode="json"), indent=2, sort_keys=True) + "\n")
        for path in staging.rglob("*"):
            _sync(path)
        staging.chmod(0o755)
        if directory.exists():
            directory.rmdir()
        staging.rename(directory)
        _sync(directory.parent)
    except OSError as error:
        raise UserError(f"{directory}: cannot write the bundle: {error.strerror or error}") from None
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
    return complete


def verify_bundle(directory: Path, robot: RobotConfig | None = None, needs_reference: bool = True) -> Manifest:
    """Check format version, files, hashes, id and, if given, the robot's specs; raise UserError with the first fault.

    A robot with `bundle_keys` refuses a bundle that was signed with none of them. A bundle without a reference of its
    cameras is refused, unless one is about to be made (`needs_reference` false).
    """
    manifest = read_manifest(directory)
    for name in REQUIRED:
        if name not in manifest.files:
            raise UserError(f"{directory}: manifest lists no {name}")
    if needs_reference and (REFERENCE not in manifest.files or manifest.calibration.camera is None):
        raise UserError(
            f"{directory}: holds no reference of its cameras ({REFERENCE}), so no frame can be judged; make one: "
            f"fosp bundle reference --bundle {directory} --data EPISODES --out NEW"
        )
    for name, expected in manifest.files.items():
        path = directory / safe_name(name, str(directory / MANIFEST))
        if not path.is_file():
            raise UserError(f"{directory}: {name} is missing; copy the whole bundle again")
        if path.resolve() != directory.resolve() / name:
            raise UserError(f"{directory}: {name} is a link; copy the whole bundle again, with what links point to")
        if file_hash(path) != expected:
            raise UserError(f"{directory}: {name} is damaged (sha256 differs); copy the bundle again")
    if content_id(manifest) != manifest.id:
        raise UserError(f"{directory}: {MANIFEST} is damaged (its content does not give its id); copy the bundle again")
    if robot is not None:
        _check_robot(directory, manifest, robot)
        if robot.bundle_keys:
            require_signature(directory, manifest.id, robot.bundle_keys)
    return manifest


def sign_bundle(directory: Path, private_key: Path) -> str:
    """Verify a bundle, sign it with the key in the file `private_key`, and return the public key as text."""
    key = read_private_key(private_key)
    return sign_id(directory, verify_bundle(directory).id, key).public_key


def load_bundle(directory: Path, robot: RobotConfig | None = None, provider: Provider = "auto") -> Bundle:
    """Verify a bundle, load its sessions, check their inputs and outputs, and run the golden check.

    The golden check also warms each session up. Raise UserError on any fault.
    """
    manifest = verify_bundle(directory, robot)
    encoder, policy, critic = (_session(directory / f"{name}.onnx", provider) for name in MODELS)
    reference = read_reference(directory / REFERENCE, len(manifest.observation.cameras), manifest.action.size)
    bundle = Bundle(directory, manifest, encoder, policy, critic, reference)
    _check_signatures(bundle)
    return replace(bundle, golden=_check_golden(bundle), probes=read_probes(directory, manifest))


def _session(path: Path, provider: Provider) -> OnnxModel:
    give_way()
    return OnnxModel(path, provider)


def read_manifest(directory: Path) -> Manifest:
    """Return the manifest, parsed but not verified; raise UserError when it cannot be read."""
    if not directory.is_dir():
        raise UserError(f"{directory}: no such bundle folder")
    path = directory / MANIFEST
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: not a file; is this a bundle?")
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise UserError(f"{path}: larger than a manifest may be")
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}; is this a bundle?") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path}: not valid JSON; copy the bundle again") from None
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != FORMAT_VERSION:
        raise UserError(f"{path}: format version {version!r}, this release reads {FORMAT_VERSION}")
    return parse_spec(Manifest, content, str(path))


def golden_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the content of golden.npz: arrays named '<model>.in.<name>' and '<model>.out.<name>'."""
    return packed_bytes(arrays)


def signatures(manifest: Manifest) -> dict[str, tuple[dict[str, tuple[tuple[int | None, ...], str]], dict[str, Any]]]:
    """Return the inputs {name: (shape, type)} and outputs {name: shape} of each network; None is a dynamic axis."""
    deter, stoch, action = manifest.latent.deter, manifest.latent.stoch, manifest.action.size
    latent: dict[str, tuple[tuple[int | None, ...], str]] = {
        "deter": ((1, deter), "float"),
        "stoch": ((1, stoch), "float"),
    }
    encoder = {
        "image": ((1, *manifest.observation.shape), "uint8"),
        **latent,
        "action": ((1, action), "float"),
        "is_first": ((1,), "float"),
    }
    per_action: tuple[int | None, ...] = (1, None)
    return {
        "encoder": (encoder, {"next_deter": (1, deter), "next_stoch": (1, stoch), "kl": (1,)}),  # type: ignore[dict-item]
        "policy": (latent, {"mean": (1, 2, action), "std": (1, 2, action)}),
        "critic": (
            {**latent, "action": ((1, None, action), "float")},
            {
                **dict.fromkeys(("q_r", "q_c", "q_h", *manifest.critic_outputs), per_action),
                "v_h": (1,),
            },
        ),
    }


def _check_signatures(bundle: Bundle) -> None:
    expected = signatures(bundle.manifest)
    for name in MODELS:
        inputs, outputs = expected[name]
        expect_signature(getattr(bundle, name), inputs, outputs)


def _check_golden(bundle: Bundle) -> dict[str, SelfTestVectors]:
    """Return the golden inputs and outputs of each network, after it was seen to give them."""
    path = bundle.directory / GOLDEN
    golden = read_packed(path, _MAX_GOLDEN_BYTES)
    vectors = {}
    for name in MODELS:
        model: OnnxModel = getattr(bundle, name)
        inputs = {key: golden.get(f"{name}.in.{key}") for key in model.inputs}
        expected = {key: golden.get(f"{name}.out.{key}") for key in model.outputs}
        absent = [key for key, value in {**inputs, **expected}.items() if value is None]
        if absent:
            raise UserError(f"{path}: holds no {absent[0]} of {name}")
        try:
            got = model.run(**inputs)  # type: ignore[arg-type]
        except Exception as error:  # onnxruntime raises its own, undocumented types
            raise UserError(f"{model.path}: fails its self-test ({str(error).splitlines()[0][:160]})") from None
        difference, where = largest_difference(got, expected)  # type: ignore[arg-type]
        if not difference <= GOLDEN_TOLERANCE:
            raise UserError(
                f"{bundle.directory}: {name} fails its self-test: output '{where}' is off by {difference:.2g} "
                f"(tolerance {GOLDEN_TOLERANCE:g}) with ONNX Runtime on {model.provider}"
            )
        vectors[name] = SelfTestVectors(inputs, expected)  # type: ignore[arg-type]
        give_way()
    return vectors


def _check_robot(directory: Path, manifest: Manifest, robot: RobotConfig) -> None:
    found = differences(manifest, robot)
    if found:
        raise UserError(f"{directory}: {'; '.join(found)}")


def safe_name(name: str, source: str) -> PurePosixPath:
    """Return `name` as a relative path that stays inside the folder; raise UserError when it does not."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or name in ("", ".", MANIFEST, SIGNATURE):
        raise UserError(f"{source}: illegal file name {name!r}")
    return path


def file_hash(path: Path) -> str:
    """Return the sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def differences(manifest: Manifest, robot: RobotConfig) -> list[str]:
    """Return every difference that keeps the robot from running the bundle, in words; empty when it may run it."""
    found = []
    if manifest.robot != robot.name:
        found.append(f"bundle is for robot '{manifest.robot}', not '{robot.name}'")
    found += _action_differences(manifest.action, robot.action)
    published = {of_camera(COLOR_IMAGE, camera.name) for camera in robot.cameras} | set(robot.camera_topics)
    found += [
        f"camera '{camera.name}': the bundle expects {camera.topic}; the robot has {', '.join(sorted(published))}"
        for camera in manifest.observation.cameras
        if not any(are_one(camera.topic, topic) for topic in published)
    ]
    decisions_hz, frames_hz = 1.0 / manifest.decision_period_s, robot.camera_frame_rate_hz
    if frames_hz < 0.99 * decisions_hz:
        found.append(f"the bundle decides {decisions_hz:g} times per second, the camera gives {frames_hz:g} frames")
    return found + calibration_faults(manifest.calibration, robot.eps_ceiling)


def _action_differences(theirs: ActionSpec, ours: ActionSpec) -> list[str]:
    found = []
    names = [axis.name for axis in theirs.axes], [axis.name for axis in ours.axes]
    if names[0] != names[1]:
        found.append(f"action axes: bundle {', '.join(names[0])}; robot {', '.join(names[1])}")
    else:
        found += [
            f"scale of {their.name}: bundle {their.scale:g} {their.unit}, robot {our.scale:g} {our.unit}"
            for their, our in zip(theirs.axes, ours.axes, strict=True)
            if their.scale != our.scale
        ]
    if theirs.gripper != ours.gripper:
        found.append(f"gripper: bundle {_gripper(theirs)}; robot {_gripper(ours)}")
    if theirs.frame_id != ours.frame_id:
        found.append(f"action frame: bundle '{theirs.frame_id}', robot '{ours.frame_id}'")
    return found


def _gripper(action: ActionSpec) -> str:
    axis = action.gripper
    return "none" if axis is None else f"{axis.kind}, closed at {axis.closed:g}, open at {axis.open:g} {axis.unit}"


def uneven_decisions(period_s: float, frame_rate_hz: float) -> str:
    """Return a warning when a decision period is no whole number of camera frames, else an empty string."""
    frames = period_s * frame_rate_hz
    if abs(frames - round(frames)) <= 0.1 and round(frames) > 0:
        return ""
    return (
        f"a decision every {period_s:g} s is {frames:g} frames of a {frame_rate_hz:g} Hz camera, so steps differ in "
        f"length: run it at a multiple of {1 / period_s:g} Hz (camera_frame_rate_hz), or train with a "
        "decision_period_s of whole frames"
    )
