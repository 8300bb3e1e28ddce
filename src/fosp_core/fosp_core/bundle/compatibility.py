"""Whether a bundle was made for a robot: every difference that matters, in words that a person can act on."""

from __future__ import annotations

from fosp_core.specs import ActionSpec, Manifest, RobotConfig
from fosp_core.topics import COLOR_IMAGE, of_camera


def differences(manifest: Manifest, robot: RobotConfig) -> list[str]:
    """What the bundle says and the robot contradicts; empty when the robot may run it."""
    found = []
    if manifest.robot != robot.name:
        found.append(f"bundle is for robot '{manifest.robot}', not '{robot.name}'")
    found += _of_actions(manifest.action, robot.action)
    published = {of_camera(COLOR_IMAGE, camera.name) for camera in robot.cameras} | set(robot.camera_topics)
    found += [
        f"camera '{camera.name}': the bundle expects {camera.topic}; the robot has {', '.join(sorted(published))}"
        for camera in manifest.observation.cameras
        if camera.topic not in published
    ]
    decisions_hz, frames_hz = 1.0 / manifest.decision_period_s, robot.camera_frame_rate_hz
    if frames_hz < 0.99 * decisions_hz:
        found.append(f"the bundle decides {decisions_hz:g} times per second, the camera gives {frames_hz:g} frames")
    return found


def _of_actions(theirs: ActionSpec, ours: ActionSpec) -> list[str]:
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
    if theirs.frame_id != ours.frame_id:
        found.append(f"action frame: bundle '{theirs.frame_id}', robot '{ours.frame_id}'")
    return found


def uneven_decisions(period_s: float, frame_rate_hz: float) -> str:
    """What is wrong with a decision period that is no whole number of camera frames; empty when it is one."""
    frames = period_s * frame_rate_hz
    if abs(frames - round(frames)) <= 0.1 and round(frames) > 0:
        return ""
    return (
        f"a decision every {period_s:g} s is {frames:g} frames of a {frame_rate_hz:g} Hz camera, so steps differ in "
        f"length: run it at a multiple of {1 / period_s:g} Hz (camera_frame_rate_hz), or train with a "
        "decision_period_s of whole frames"
    )
