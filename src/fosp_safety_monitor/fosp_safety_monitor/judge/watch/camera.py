"""Is the live picture one that the model knows? What the monitor remembers of the encoder's judgements, and its check.

The encoder judges each frame by the reference of its bundle; the limits here come from the manifest of the monitor's
own bundle, never from a message.
"""

from __future__ import annotations

from dataclasses import dataclass

from fosp_core.bundle.reference import OLD
from fosp_core.decisions import Decision, Reason
from fosp_safety_monitor.judge.inputs import LatentInput
from fosp_safety_monitor.judge.thresholds import Thresholds
from fosp_safety_monitor.judge.verdict import Finding

MAX_CAUSE = 80
"""Characters of a cause that are repeated: it comes from a message."""


@dataclass(frozen=True)
class CameraWatch:
    """The judgements of the encoder on the last frames, and what follows from them."""

    novel: tuple[bool, ...] = ()
    """For each of the last steps, newest last: the novelty was above its limit."""
    inconsistent: tuple[bool, ...] = ()
    """The same of the inconsistency."""
    known: int = 0
    """Frames in a row that were not novel, since activation or since the last alarm."""
    novelty: float = 0.0
    """The last novelty."""
    inconsistency: float = 0.0
    """The last inconsistency."""
    cause: str = ""
    """Likely cause that came with the last novel frame."""
    trusted: bool = False
    """Enough frames in a row were known, and no alarm of novelty came since."""
    alarm: str = ""
    """Text of the last alarm of novelty; empty before the first one, and once frames are known again."""

    def after(self, latent: LatentInput, thresholds: Thresholds) -> CameraWatch:
        """Return the value after one more latent, whose numbers are finite."""
        limits = thresholds.camera
        is_novel = latent.novelty > limits.novelty_limit
        novel = (*self.novel, is_novel)[-limits.novelty_window :]
        late = latent.inconsistency > limits.inconsistency_limit
        cause = latent.camera_cause[:MAX_CAUSE] if is_novel else self.cause
        known = 0 if is_novel else self.known + 1
        trusted = self.trusted or known >= thresholds.parameters.known_frames
        text = "" if trusted else self.alarm
        if sum(novel) >= limits.novelty_count:
            known, trusted = 0, False
            text = (
                f"the camera does not show what the model knows: novelty {latent.novelty:.3g}, limit "
                f"{limits.novelty_limit:.3g}, in {sum(novel)} of the last {len(novel)} frames; "
                f"likely cause: {cause or 'unknown'}"
            )
        return CameraWatch(
            novel,
            (*self.inconsistent, late)[-limits.inconsistency_window :],
            known,
            latent.novelty,
            latent.inconsistency,
            cause,
            trusted,
            text,
        )


def check_camera(watch: CameraWatch, thresholds: Thresholds) -> Finding | None:
    """STOP until enough frames in a row are known, at the start and after an alarm; LATCH on content that is old.

    Content is dated by the motion that it shows, so standing still does not show that it is new again.
    """
    limits = thresholds.camera
    if sum(watch.inconsistent) >= limits.inconsistency_count:
        return Finding(
            Decision.LATCH,
            Reason.CAMERA,
            f"the camera does not show the motion of the robot: inconsistency {watch.inconsistency:.3g}, limit "
            f"{limits.inconsistency_limit:.3g}; likely cause: the picture is {OLD}, or it is mirrored or turned, or "
            "the robot is blocked",
        )
    if watch.trusted:
        return None
    text = watch.alarm or "the robot waits for frames that show what the model knows" + (
        f"; likely cause: {watch.cause}" if watch.cause else ""
    )
    needed = thresholds.parameters.known_frames
    return Finding(Decision.STOP, Reason.CAMERA, f"{text} ({watch.known} known frames in a row, {needed} are needed)")
