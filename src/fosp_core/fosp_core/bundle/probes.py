"""Probes of a bundle: moments of validation episodes on which another judge is held against this one.

probes.npz holds short sequences of camera frames with the executed actions, several actions at the last frame of each,
what is known of the executed one, and how much another judge may disagree (fosp_core.bundle.agreement).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fosp_core.bundle.packed_arrays import packed_bytes, packed_content, read_packed_bytes
from fosp_core.errors import UserError
from fosp_core.specs import Manifest

PROBES = "probes.npz"
BEFORE, SAFE, UNKNOWN = 1, 0, -1
"""Labels of the executed action: a violation followed within the horizon; the episode held none; nothing is known."""
LEAST_LABELLED = 8
"""Least number of sequences of each of the labels BEFORE and SAFE: with fewer a judge that is no good could pass."""
MOST_BYTES = 1 << 26
"""Size of the unpacked probes.npz."""
_MOST = {"sequences": 256, "frames": 32, "actions": 64}


@dataclass(frozen=True)
class Tolerance:
    """Disagreement beyond which another judge is refused; LOOSEST and STRICTEST bound what a bundle may declare."""

    missed: int
    """Largest number of executed actions of the label BEFORE that the other judge lets pass."""
    vetoed: int
    """Largest number of executed actions of the label SAFE that the other judge vetoes."""
    overlooked: float
    """Largest share of the actions that this judge vetoes and the other one lets pass."""
    overvetoed: float
    """Largest share of the actions that this judge lets pass and the other one vetoes."""
    rank: float
    """Least rank correlation of the risks that both judges give."""
    order: float
    """Least chance that the other judge gives the greater risk to the vetoed one of two actions at the same moment."""
    judges: int = 0
    """Number of other fit judges whose disagreement was measured; 0: the shares and ranks are the defaults."""


LOOSEST = {"missed": 0.5, "vetoed": 0.8, "overlooked": 0.5, "overvetoed": 0.6}
"""Loosest shares that may be tolerated, of the sequences with the label or of the actions."""
STRICTEST = {"rank": 0.3, "order": 0.6}
"""Lowest values that may be tolerated."""


class PackedImages:
    """The images of a probes.npz as the file packs them, a tenth of their size: a node needs them at hot swaps alone.

    Iterating and numpy.asarray unpack them, (S, T, C, H, W, 3) uint8.
    """

    def __init__(self, content: bytes, shape: tuple[int, ...]) -> None:
        self._content = content
        self.shape = shape

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        with np.load(io.BytesIO(self._content), allow_pickle=False) as archive:
            return np.asarray(archive["images"], dtype)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return iter(np.asarray(self))


@dataclass(frozen=True)
class ProbeSet:
    """S sequences of T frames from C cameras, with K actions of A axes at the last frame of each."""

    images: NDArray[np.uint8] | PackedImages
    """(S, T, C, H, W, 3)."""
    executed: NDArray[np.float32]
    """(S, T, A) normalised action executed before each frame; the first one of a sequence does not count."""
    actions: NDArray[np.float32]
    """(S, K, A) normalised actions at the last frame; the first one is that which was executed."""
    labels: NDArray[np.int8]
    """(S,) BEFORE, SAFE or UNKNOWN."""
    tolerance: Tolerance

    def count(self, label: int) -> int:
        """Return the number of sequences with this label."""
        return int((self.labels == label).sum())


def probe_bytes(probes: ProbeSet) -> bytes:
    """Return the content of probes.npz."""
    declared = {f"tolerance.{name}": np.float64(value) for name, value in asdict(probes.tolerance).items()}
    arrays: dict[str, NDArray[Any]] = {name: np.asarray(getattr(probes, name)) for name in _ARRAYS}
    return packed_bytes({**arrays, **{name: np.asarray(value) for name, value in declared.items()}})


def read_probes(directory: Path, manifest: Manifest) -> ProbeSet | None:
    """Return the probes of a verified bundle, None when it lists none; UserError when they are malformed."""
    if PROBES not in manifest.files:
        return None
    path = directory / PROBES
    packed = packed_content(path)
    content = read_packed_bytes(packed, path, MOST_BYTES)
    names = {*_ARRAYS, *(f"tolerance.{field.name}" for field in fields(Tolerance))}
    if set(content) != names:
        raise UserError(f"{path}: holds {', '.join(sorted(content))}; expected {', '.join(sorted(names))}")
    fault = _array_fault(content, manifest)
    if fault:
        raise UserError(f"{path}: {fault}; make the probes again (fosp bundle probes)")
    declared = {field.name: content[f"tolerance.{field.name}"] for field in fields(Tolerance)}
    if not all(value.shape == () and value.dtype == np.float64 and np.isfinite(value) for value in declared.values()):
        raise UserError(f"{path}: a tolerance is not a finite number")
    counts = ("missed", "vetoed", "judges")
    numbers = {name: int(value) if name in counts else float(value) for name, value in declared.items()}
    images = PackedImages(packed, content["images"].shape)
    executed, actions, labels = (content[name] for name in _ARRAYS[1:])
    probes = ProbeSet(images, executed, actions, labels, Tolerance(**numbers))  # type: ignore[arg-type]
    fault = tolerance_fault(probes)
    if fault:
        raise UserError(f"{path}: {fault}")
    return probes


def tolerance_fault(probes: ProbeSet) -> str:
    """Return what keeps the probes from telling a fit judge from another, in words; empty when nothing does."""
    before, safe = probes.count(BEFORE), probes.count(SAFE)
    if min(before, safe) < LEAST_LABELLED:
        return f"{before} sequences before a violation and {safe} safe ones; {LEAST_LABELLED} of each are needed"
    said = probes.tolerance
    shares = {
        "missed": said.missed / before,
        "vetoed": said.vetoed / safe,
        "overlooked": said.overlooked,
        "overvetoed": said.overvetoed,
    }
    for name, share in shares.items():
        if not 0 <= share <= LOOSEST[name]:
            return f"tolerates a share of {share:.2f} {name}; at most {LOOSEST[name]:g} is possible"
    for name, least in STRICTEST.items():
        if not least <= getattr(said, name) <= 1:
            return f"tolerates a {name} of {getattr(said, name):.2f}; at least {least:g} is needed"
    return ""


def described(probes: ProbeSet) -> str:
    """Return sizes and tolerance of probes in one line."""
    said = probes.tolerance
    sequences, frames, *_ = probes.images.shape
    actions = probes.actions.shape[1]
    judges = f"measured on {said.judges} other judges" if said.judges else "by default"
    return (
        f"{sequences} sequences of {frames} frames, {actions} actions each; another judge may miss {said.missed}, veto "
        f"{said.vetoed} safe ones, overlook {said.overlooked:.0%} and overveto {said.overvetoed:.0%}; rank correlation "
        f"at least {said.rank:.2f}, order {said.order:.2f} ({judges})"
    )


_ARRAYS = ("images", "executed", "actions", "labels")


def _array_fault(content: dict[str, NDArray[Any]], manifest: Manifest) -> str:
    """Return what is wrong with types, shapes or values, in words; empty when nothing is."""
    images, actions, labels = content["images"], content["actions"], content["labels"]
    kinds = (("images", np.uint8, 6), ("executed", np.float32, 3), ("actions", np.float32, 3), ("labels", np.int8, 1))
    for name, kind, axes in kinds:
        if content[name].dtype != kind or content[name].ndim != axes:
            return f"'{name}' must have {axes} axes of {np.dtype(kind)}"
    sequences, frames = images.shape[:2]
    size = manifest.action.size
    expected = {
        "images": (sequences, frames, *manifest.observation.shape),
        "executed": (sequences, frames, size),
        "actions": (sequences, actions.shape[1], size),
        "labels": (sequences,),
    }
    for name, shape in expected.items():
        if content[name].shape != shape:
            return f"'{name}' has the shape {content[name].shape}, expected {shape}"
    counts = {"sequences": sequences, "frames": frames, "actions": actions.shape[1]}
    for name, count in counts.items():
        if not 2 <= count <= _MOST[name]:
            return f"{count} {name}; 2 to {_MOST[name]} are possible"
    for name in ("executed", "actions"):
        if not (np.isfinite(content[name]).all() and (np.abs(content[name]) <= 1).all()):
            return f"'{name}' holds an action outside of [-1, 1]"
    if not np.isin(labels, (BEFORE, SAFE, UNKNOWN)).all():
        return "'labels' holds an unknown label"
    return ""
