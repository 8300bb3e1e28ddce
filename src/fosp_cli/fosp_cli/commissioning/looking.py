"""The steps of commissioning at which robot and operator look: checks before motion, emergency stops, cameras."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fosp_cli.commissioning.estimation import rest_after, settling_s
from fosp_cli.commissioning.moving import first_sign, go_to_middle, rows, slow_share
from fosp_cli.commissioning.step import Outcome, StepContext
from fosp_cli.demonstration.graph_watch import GraphWatch
from fosp_cli.demonstration.preflight import (
    Expected,
    Observed,
    check_commander,
    check_images,
    check_stream,
)
from fosp_cli.demonstration.session import ESTOP_HZ, STATE_HZ
from fosp_core import topics
from fosp_core.bundle.bundle import verify_bundle
from fosp_core.bundle.reference import REFERENCE, read_reference
from fosp_core.errors import UserError
from fosp_core.image import observation_image
from fosp_core.robot.config import RobotConfig
from fosp_core.ros import qos
from fosp_core.ros.image_message import rgb_view
from fosp_recording.recorded_topics import camera_topics, image_topics, info_beside, message_class, robot_topics

_OBSERVED_S = 2.0
_FRAME_S = 5.0
_FRAMES = 5
_SWING_S = 1.0
"""Time for which the robot moves one way while it waits for an emergency stop."""
_MEASURING_S = 0.15


def estops_of(robot: RobotConfig) -> tuple[str, ...]:
    """Return the topics of the robot's emergency stops."""
    return robot.estop_topics


# -- checks ------------------------------------------------------------------------------------------
def checks(context: StepContext) -> Outcome:
    """Look at the topics before anything moves: alive, in time, one publisher each, nobody else commands."""
    outcome, robot = Outcome(), context.robot
    wanted = {**robot_topics(robot), **camera_topics(robot)}
    wanted |= dict.fromkeys(estops_of(robot), "std_msgs/msg/Bool")
    with GraphWatch(wanted, context.namespace) as watch:
        watch.spin(1.0)  # for discovery
        observed = watch.observe(_OBSERVED_S)
    judge_topics(robot, observed, outcome)
    for topic in estops_of(robot):
        state = context.commander.estop(topic)
        if state is not None and state.pressed:
            outcome.fail(f"{topic}: the emergency stop is pressed: release it")
    if robot.teleports and not context.simulated:
        outcome.fail("teleports: true is for simulated robots, whose pose may jump: remove it from the robot file")
    position = context.commander.position
    if position is None:
        outcome.fail("no fresh pose comes")
    elif robot.workspace is not None:
        for i, name in enumerate("xyz"):
            if not robot.workspace.lower[i] < position[i] < robot.workspace.upper[i]:
                outcome.fail(f"{name} = {position[i]:.3f} m is outside of the workspace: bring the robot to its middle")
    refusal = "" if outcome.failures else context.commander.ready()
    if refusal:
        outcome.fail(refusal)
    return outcome


def judge_topics(robot: RobotConfig, observed: Mapping[str, Observed], outcome: Outcome) -> None:
    """Hold what was observed of each topic against what it has to be."""
    driver = "start the robot's driver, or correct the topic in the robot file"
    source = "its silence counts as pressed: start its source, or correct the topic in the robot file"
    rates = {robot.state_topic: (STATE_HZ, driver)} | dict.fromkeys(estops_of(robot), (ESTOP_HZ, source))
    if robot.pose_topic:
        rates[robot.pose_topic] = (STATE_HZ, driver)
    results = [check_stream(Expected(topic, rate, remedy), observed[topic]) for topic, (rate, remedy) in rates.items()]
    for topic in image_topics(robot):
        expected = Expected(
            topic, robot.camera_frame_rate_hz, "start the camera's driver, or choose --camera realsense"
        )
        results.append(check_images(expected, observed[topic], observed[info_beside(topic)]))
    results.append(check_commander(robot.command_topic, observed[robot.command_topic].publishers))
    for result in results:
        (outcome.notes if result.ok else outcome.failures).append(
            result.text if result.ok else f"{result.text}: {result.remedy}"
        )
    for topic in (*rates, *image_topics(robot)):
        if observed[topic].publishers > 1:
            outcome.fail(f"{topic}: {observed[topic].publishers} publishers: stop all but the robot's own")


# -- emergency stops ---------------------------------------------------------------------------------
def estops(context: StepContext) -> Outcome:
    """Have the operator press each emergency stop while the robot moves slowly, and release it."""
    outcome = Outcome()
    names = estops_of(context.robot)
    if not names:
        outcome.notes.append("the robot file names no emergency stop: only the robot's own can stop it")
        context.confirm("The robot file names no emergency stop topic. Keep a hand on the robot's own.")
        return outcome
    context.tell("An emergency stop that falls silent counts as pressed: a cut cable stops the robot, too.")
    for topic in names:
        _press(context, topic, outcome)
    return outcome


def _press(context: StepContext, topic: str, outcome: Outcome) -> None:
    robot, commander = context.robot, context.commander
    arrived = go_to_middle(context)
    position = commander.position
    if arrived or position is None:
        outcome.fail(f"{topic}: {arrived or 'no fresh pose comes'}")
        return
    axis, row = robot.action.axes[0], rows(robot)[0]
    share = slow_share(axis) * first_sign(robot, axis, position)
    context.confirm(f"{axis.name} moves slowly to and fro. Press the emergency stop of {topic} while it moves.")
    refusal = commander.ready()
    if refusal:
        outcome.fail(f"{topic}: {refusal}")
        return
    begin_s, until = commander.now_s(), time.monotonic() + context.patience_s
    context.tell(f"Press it now ({context.patience_s:.0f} s).")
    if not _swing(context, topic, share, until):
        outcome.fail(
            f"{topic}: no press arrived within {context.patience_s:.0f} s: is the emergency stop wired to this topic?"
        )
        commander.rest()
        return
    state = commander.estop(topic)
    assert state is not None
    pressed_s = commander.now_s() - (time.monotonic() - state.pressed_s)
    allowed_s = settling_s(robot, axis.name, abs(share) * axis.scale) + _MEASURING_S
    commander.rest()
    motion = commander.motion_since(begin_s)
    if commander.position is None:
        if not context.ask("The pose fell silent with the press. Did the robot stop at once?"):
            outcome.fail(f"{topic}: the robot did not stop at once")
    else:
        rest_s = rest_after(row, motion, pressed_s)
        outcome.figures[f"{topic} rest after press (s)"] = round(rest_s, 3)
        if rest_s > allowed_s:
            outcome.fail(f"{topic}: came to rest {rest_s:.2f} s after the press, allowed are {allowed_s:.2f} s")
    context.tell("Release it now.")
    if not commander.wait(lambda: _released(context, topic), context.patience_s):
        outcome.fail(f"{topic}: was not released within {context.patience_s:.0f} s")


def _swing(context: StepContext, topic: str, share: float, until: float) -> bool:
    """Move to and fro until the emergency stop is pressed; return False when it is not in time."""
    commander, begin = context.commander, time.monotonic()
    while time.monotonic() < until:
        if not _released(context, topic):
            commander.halt()
            return True
        there = int((time.monotonic() - begin) / _SWING_S) % 2 == 0
        action = [0.0] * context.robot.action.twist_size
        action[0] = share if there else -share
        commander.propose(tuple(action))
        time.sleep(0.02)
    commander.halt()
    return False


def _released(context: StepContext, topic: str) -> bool:
    state = context.commander.estop(topic)
    return state is not None and not state.pressed


# -- cameras -----------------------------------------------------------------------------------------
def cameras(context: StepContext) -> Outcome:
    """Take frames of each camera, save one, ask whether it is the picture of the training, and ask the bundle."""
    outcome, robot = Outcome(), context.robot
    depth = {topics.of_camera(topics.DEPTH_IMAGE, camera.name) for camera in robot.cameras}
    frames = _frames(context, {topic: kind for topic, kind in image_topics(robot).items() if topic not in depth})
    for topic, seen in frames.items():
        if isinstance(seen, str):
            outcome.fail(f"{topic}: {seen}")
    pictures = {topic: seen[-1] for topic, seen in frames.items() if not isinstance(seen, str)}
    if pictures:
        sheet = context.out / "cameras.png"
        draw_frames(pictures, sheet)
        outcome.figures["picture"] = str(sheet)
        context.tell(f"The pictures of {', '.join(pictures)} are in {sheet}.")
        if not context.ask("Is each the right camera, upright, sharp, its colours right, mounted as in training?"):
            outcome.fail("the operator does not agree with the picture")
    if context.bundle is not None:
        _ask_bundle(context, context.bundle, outcome)
    return outcome


def _ask_bundle(context: StepContext, bundle: Path, outcome: Outcome) -> None:
    """Hold frames of the bundle's cameras against the reference of its training."""
    manifest = verify_bundle(bundle, context.robot)
    limits, wanted = manifest.calibration.camera, manifest.observation.cameras
    reference = read_reference(bundle / REFERENCE, len(wanted), manifest.action.size)
    assert limits is not None, "verify_bundle asks for them"
    for camera, known in zip(wanted, reference.cameras, strict=True):
        topic = context.robot.image_topic(camera.topic)
        kind = "CompressedImage" if context.robot.is_compressed(camera.topic) else "Image"
        seen = _frames(context, {topic: f"sensor_msgs/msg/{kind}"})[topic]
        if isinstance(seen, str):
            outcome.fail(f"{topic}: {seen}")
            continue
        judged = sorted(known.novelty(observation_image(frame, camera.height, camera.width)) for frame in seen)
        novelty, cause = judged[len(judged) // 2]
        outcome.figures[f"{topic} novelty"] = round(novelty, 2)
        outcome.figures[f"{topic} novelty allowed"] = round(limits.novelty_limit, 2)
        if novelty > limits.novelty_limit:
            outcome.fail(f"{topic}: not the picture that the bundle was trained on: {cause}")


def _frames(context: StepContext, wanted: Mapping[str, str]) -> dict[str, list[NDArray[np.uint8]] | str]:
    """Return some frames (height, width, 3) of each topic of `wanted` (topic -> type), or why there are none."""
    commander, frames = context.commander, {}
    for topic, kind in wanted.items():
        found: list[object] = []
        subscription = commander.node.create_subscription(message_class(kind), topic, found.append, qos.IMAGE)
        came = commander.wait(partial(_has_frames, found), _FRAME_S)
        commander.node.destroy_subscription(subscription)
        try:
            shown = [np.array(rgb_view(image)) for image in found[-_FRAMES:]] if came else []
            frames[topic] = shown or f"no images within {_FRAME_S:g} s"
        except UserError as error:
            frames[topic] = str(error)
    return frames


def _has_frames(found: list[object]) -> bool:
    return len(found) >= _FRAMES


def draw_frames(frames: Mapping[str, NDArray[np.uint8]], out: Path) -> None:
    """Draw the frames (height, width, 3) of several cameras beside each other, each under its topic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    out.parent.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(1, len(frames), figsize=(5.0 * len(frames), 4.2), squeeze=False, layout="constrained")
    for axis, (topic, frame) in zip(axes[0], frames.items(), strict=True):
        axis.imshow(frame)
        axis.set_title(topic, fontsize=9)
        axis.axis("off")
    figure.savefig(out, dpi=110)
    plt.close(figure)
