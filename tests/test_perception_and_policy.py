"""encoder_node, policy_node and camera_node over real DDS, on the tiny bundle of known functions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from geometry_msgs.msg import TwistStamped
from lifecycle_msgs.msg import Transition
from sensor_msgs.msg import CameraInfo, Image
from tiny_bundle import DETER, STOCH, write_tiny_bundle

from fosp_core import topics
from fosp_core.robot.config import read_robot
from fosp_core.ros import qos
from fosp_core.ros.fields import float_field
from fosp_core.ros.image_message import fill_image
from fosp_core.ros.stamps import seconds, time_message
from fosp_msgs.msg import ActionProposal, Latent, ModelStatus, StepFeedback

ROBOT = Path(__file__).parents[1] / "config" / "robots" / "sim_arm.yaml"
FRAME_S = 0.025
FRAME_NS = 25_000_000
GREY = 51
"""A frame of it has brightness 0.2."""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_tiny_bundle(tmp_path / "bundle", read_robot(ROBOT), policy_action=[0.1, 0.2, 0.3])
    return tmp_path / "bundle"


class Camera:
    """Publishes frames at 40 Hz from the test's node, and what belongs to them."""

    def __init__(self, graph: Any) -> None:
        self.node = graph.node
        self.frames = self.node.create_publisher(Image, topics.COLOR_IMAGE, qos.IMAGE_SOURCE)
        self.feedback = self.node.create_publisher(StepFeedback, topics.FEEDBACK, qos.STEP)
        self.commands = self.node.create_publisher(TwistStamped, "arm/twist_command", qos.COMMAND)
        self.image = Image()
        fill_image(self.image, np.full((240, 320, 3), GREY, np.uint8))
        self.ahead_ns = 0
        self.command = 0.0
        """m/s along x, published with every frame."""
        self.timer = self.node.create_timer(FRAME_S, self.publish)

    def now_ns(self) -> int:
        return int(self.node.get_clock().now().nanoseconds)

    def publish(self) -> None:
        stamp = time_message(self.now_ns() + self.ahead_ns)
        self.image.header.stamp = stamp
        command = TwistStamped()
        command.header.stamp = stamp
        command.twist.linear.x = self.command
        self.commands.publish(command)
        self.frames.publish(self.image)

    def begin_episode(self) -> None:
        message = StepFeedback(is_first=True)
        message.header.stamp = time_message(self.now_ns())
        self.feedback.publish(message)


@pytest.fixture
def camera(graph: Any) -> Camera:
    return Camera(graph)


@pytest.fixture
def activate(start_node: Callable[..., Any], graph: Any, bundle: Path) -> Callable[..., Any]:
    """`activate("fosp_policy.policy_node", "-p", ...)`: a node of the tiny bundle, active."""

    def start(module: str, *arguments: str) -> Any:
        node = start_node(module, "-p", f"bundle:={bundle}", "-p", f"robot:={ROBOT}", *arguments)
        name = module.rpartition(".")[2]
        assert graph.transition(name, Transition.TRANSITION_CONFIGURE), node.log
        assert graph.transition(name, Transition.TRANSITION_ACTIVATE), node.log
        return node

    return start


def test_the_encoder_makes_a_latent_of_every_second_frame_with_that_frames_stamp(
    activate: Callable[..., Any], graph: Any, camera: Camera, wait_until: Callable[..., Any]
) -> None:
    latents = graph.listen(Latent, topics.LATENT, qos.STEP)
    statuses = graph.listen(ModelStatus, topics.MODEL_STATUS, qos.LATCHED)
    node = activate("fosp_perception.encoder_node")
    wait_until(lambda: len(latents) >= 20, what="latents")
    first = latents[0]
    assert first.is_first
    assert first.step == 0
    assert first.deter[0] == pytest.approx(0.2, abs=1e-3), "brightness of the frame; no past, no action"
    assert first.surprise == pytest.approx(2.0, abs=1e-2)
    assert (len(first.deter), len(first.stoch)) == (DETER, STOCH)
    assert [latent.step for latent in latents[:20]] == list(range(20))
    assert not any(latent.is_first for latent in latents[1:20])
    periods = np.diff([seconds(latent.header.stamp) for latent in latents[:20]])
    assert np.median(periods) == pytest.approx(0.05, abs=0.013)
    wait_until(lambda: any(s.state == ModelStatus.STATE_ACTIVE for s in statuses), what="an active model status")
    assert statuses[-1].model_id == first.model_id
    assert node.stop() == 0


def test_the_encoder_feeds_back_what_was_sent_to_the_robot(
    activate: Callable[..., Any], graph: Any, camera: Camera, wait_until: Callable[..., Any]
) -> None:
    camera.command = 0.125  # half of the axis's scale of 0.25 m/s
    latents = graph.listen(Latent, topics.LATENT, qos.STEP)
    activate("fosp_perception.encoder_node")
    # deter[0] -> 0.5 * deter[0] + brightness + action[0]: 2 * (0.2 + 0.5) in the long run
    wait_until(lambda: latents and latents[-1].deter[0] == pytest.approx(1.4, abs=0.02), what="the fed-back action")
    assert latents[-1].deter[1] == pytest.approx(0.4, abs=0.02)


def test_an_episode_start_on_the_feedback_topic_resets_the_recurrent_state(
    activate: Callable[..., Any], graph: Any, camera: Camera, wait_until: Callable[..., Any]
) -> None:
    latents = graph.listen(Latent, topics.LATENT, qos.STEP)
    activate("fosp_perception.encoder_node")
    wait_until(lambda: len(latents) > 5, what="latents")
    camera.begin_episode()
    wait_until(lambda: sum(latent.is_first for latent in latents) == 2, what="a second first step")
    restarted = [latent for latent in latents if latent.is_first][1]
    assert restarted.deter[0] == pytest.approx(0.2, abs=1e-3)
    assert restarted.step > 5


def test_a_gap_in_the_frames_resets_the_recurrent_state(
    activate: Callable[..., Any], graph: Any, camera: Camera, wait_until: Callable[..., Any]
) -> None:
    latents = graph.listen(Latent, topics.LATENT, qos.STEP)
    activate("fosp_perception.encoder_node")
    wait_until(lambda: len(latents) > 5, what="latents")
    camera.timer.cancel()
    stopped_ns = camera.now_ns()
    wait_until(lambda: camera.now_ns() > stopped_ns + 8 * FRAME_NS, what="a gap")
    camera.timer.reset()
    wait_until(lambda: sum(latent.is_first for latent in latents) == 2, what="a second first step")


@pytest.mark.parametrize(
    ("fault", "line"),
    [("future", "stamped in the future"), ("encoding", "16UC1"), ("size", "changed from"), ("bytes", "should hold")],
)
def test_frames_that_cannot_be_used_give_a_line_and_no_latent(
    fault: str,
    line: str,
    activate: Callable[..., Any],
    graph: Any,
    camera: Camera,
    wait_until: Callable[..., Any],
) -> None:
    latents = graph.listen(Latent, topics.LATENT, qos.STEP)
    node = activate("fosp_perception.encoder_node")
    wait_until(lambda: latents, what="latents of good frames")
    if fault == "future":
        camera.ahead_ns = 500_000_000
    elif fault == "encoding":
        camera.image.encoding = "16UC1"
    elif fault == "size":
        fill_image(camera.image, np.zeros((120, 160, 3), np.uint8))
    else:
        camera.image.step += 1
    wait_until(lambda: line in node.log, what=f"'{line}' in the log")
    before = len(latents)
    stamp_ns = camera.now_ns()
    wait_until(lambda: camera.now_ns() > stamp_ns + 8 * FRAME_NS, what="some more frames")
    assert len(latents) == before
    assert node.running


def test_the_policy_answers_a_latent_with_scored_candidates_and_chooses_a_mean(
    activate: Callable[..., Any], graph: Any, wait_until: Callable[..., Any]
) -> None:
    proposals = graph.listen(ActionProposal, topics.PROPOSAL, qos.STEP)
    activate("fosp_policy.policy_node", "-p", "candidates:=3")
    send_until(graph, lambda: latent_message(graph), proposals, wait_until)
    proposal = proposals[0]
    chosen = proposal.candidates[proposal.chosen]
    assert len(proposal.candidates) == 5, "one mean, as both actors agree, and two samples of each"
    assert list(chosen.action) == pytest.approx([0.1, 0.2, 0.3])
    assert chosen.q_h == pytest.approx(0.1)
    assert chosen.feasible
    assert chosen.utility == pytest.approx(chosen.q_r - 0.1 * chosen.q_c)
    assert proposal.v_h == pytest.approx(0.5)
    assert (proposal.step, proposal.header.frame_id) == (7, "camera")


@pytest.mark.parametrize(
    ("fault", "line"), [("model", "which is not loaded"), ("nan", "not finite"), ("size", "must be of shapes")]
)
def test_latents_that_cannot_be_answered_give_a_line_and_no_proposal(
    fault: str, line: str, activate: Callable[..., Any], graph: Any, wait_until: Callable[..., Any]
) -> None:
    proposals = graph.listen(ActionProposal, topics.PROPOSAL, qos.STEP)
    node = activate("fosp_policy.policy_node")

    def faulty() -> Latent:
        message = latent_message(graph)
        if fault == "model":
            message.model_id = "another"
        elif fault == "nan":
            message.deter = float_field(np.full(DETER, np.nan))
        else:
            message.deter = float_field(np.zeros(DETER + 1))
        return message

    publisher = graph.node.create_publisher(Latent, topics.LATENT, qos.STEP)
    timer = graph.node.create_timer(0.05, lambda: publisher.publish(faulty()))
    wait_until(lambda: line in node.log, what=f"'{line}' in the log")
    timer.cancel()
    assert proposals == []
    send_until(graph, lambda: latent_message(graph), proposals, wait_until)


def latent_message(graph: Any) -> Latent:
    """A latent of the tiny bundle, of step 7, with v_h 0.5."""
    statuses = graph.received.get(topics.MODEL_STATUS) or graph.listen(ModelStatus, topics.MODEL_STATUS, qos.LATCHED)
    message = Latent(step=7, model_id=statuses[-1].model_id if statuses else "")
    message.header.frame_id = "camera"
    message.deter = float_field(np.full(DETER, 0.5))
    message.stoch = float_field(np.eye(STOCH)[0])
    return message


def send_until(graph: Any, make: Callable[[], Latent], answers: list[Any], wait_until: Callable[..., Any]) -> None:
    """Publish latents, also while discovery is under way, until one is answered."""
    publisher = graph.node.create_publisher(Latent, topics.LATENT, qos.STEP)
    timer = graph.node.create_timer(0.05, lambda: publisher.publish(make()))
    wait_until(lambda: answers, what="a proposal")
    timer.cancel()


def test_the_camera_replays_a_folder_with_stamps_of_now(
    start_node: Callable[..., Any], graph: Any, wait_until: Callable[..., Any], tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(3):
        cv2.imwrite(str(folder / f"{i}.png"), np.full((48, 64, 3), 10 * i, np.uint8))
    images = graph.listen(Image, topics.COLOR_IMAGE, qos.IMAGE)
    infos = graph.listen(CameraInfo, topics.CAMERA_INFO, qos.IMAGE)
    node = start_node(
        "fosp_perception.camera_node", "-p", "source:=folder", "-p", f"path:={folder}", "-p", "loop:=true"
    )
    assert graph.transition("camera_node", Transition.TRANSITION_CONFIGURE), node.log
    assert graph.transition("camera_node", Transition.TRANSITION_ACTIVATE), node.log
    wait_until(lambda: len(images) > 6 and infos, what="frames")
    assert {int(image.data[0]) for image in images} == {0, 10, 20}
    assert images[-1].encoding == "rgb8"
    assert (infos[-1].height, infos[-1].width) == (images[-1].height, images[-1].width) == (48, 64)
    age_s = graph.node.get_clock().now().nanoseconds * 1e-9 - seconds(images[-1].header.stamp)
    assert -0.01 < age_s < 2.0
    assert node.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("-p", "source:=folder", "-p", "path:=/nowhere"), "no such folder"),
        (("-p", "source:=bag", "-p", "path:=/nowhere"), "no such bag"),
        ((), "parameter 'path' of /camera_node is not set"),
    ],
)
def test_a_camera_without_images_does_not_configure_and_says_so_in_one_line(
    arguments: tuple[str, ...], line: str, start_node: Callable[..., Any], graph: Any
) -> None:
    node = start_node("fosp_perception.camera_node", *(arguments or ("-p", "loop:=true")))
    assert not graph.transition("camera_node", Transition.TRANSITION_CONFIGURE)
    assert line in node.log
    assert node.log.count("\n") == 1


@pytest.mark.parametrize(
    ("module", "topic"),
    [
        ("fosp_perception.encoder_node", topics.LATENT),
        ("fosp_policy.policy_node", topics.PROPOSAL),
        ("fosp_recording.feedback_node", topics.FEEDBACK),
    ],
)
def test_a_node_that_is_configured_again_has_one_publisher_of_its_topic(
    module: str,
    topic: str,
    start_node: Callable[..., Any],
    bundle: Path,
    graph: Any,
    wait_until: Callable[..., Any],
) -> None:
    """A second one would stop the robot, as that of a stranger does."""
    rules = ROBOT.parents[1] / "feedback" / "arm_reach.yaml"
    given = ("-p", f"rules:={rules}") if "feedback" in module else ("-p", f"bundle:={bundle}")
    node, name = start_node(module, "-p", f"robot:={ROBOT}", *given), module.rpartition(".")[2]
    for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP, Transition.TRANSITION_CONFIGURE):
        assert graph.transition(name, transition), node.log
    wait_until(lambda: graph.node.count_publishers(topic) == 1, what="one publisher")
    assert graph.transition(name, Transition.TRANSITION_ACTIVATE), node.log
    assert graph.node.count_publishers(topic) == 1
