"""Node around the filter of the world model: it turns camera frames and the command stream into latents.

A camera frame triggers the decision (decision_clock), and the executed action comes from the commands that really went
to the robot (fosp_core.executed). For a frame that cannot be used there is one log line and no latent; without a
latent, the safety monitor stops the robot.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from geometry_msgs.msg import PoseStamped, Twist, TwistStamped
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image, JointState

from fosp_core import topics
from fosp_core.errors import UserError
from fosp_core.executed import executed_action
from fosp_core.processes import CONTROL_PRIORITY, end_process
from fosp_core.ros import qos
from fosp_core.ros.command_message import CommandReader, command_message_type
from fosp_core.ros.fields import float_field
from fosp_core.ros.image_message import observation_view
from fosp_core.ros.lifecycle import ManagedNode, run_node
from fosp_core.ros.model_following import resolved_node
from fosp_core.ros.model_parameters import MODEL_PARAMETERS, create_status_publisher, load_model, publish_status
from fosp_core.ros.parameters import NodeParameter, declare
from fosp_core.ros.self_testing import NodeSelfTest
from fosp_core.ros.stamps import seconds
from fosp_core.swap.trial import TrialRules
from fosp_msgs.msg import Latent, ModelStatus, StepFeedback
from fosp_perception.command_memory import CommandMemory
from fosp_perception.decision_clock import DecisionClock, DecisionPeriod, FrameUse
from fosp_perception.encoder import EncoderInputError, EncoderOutputError
from fosp_perception.swap_leader import SwapLeader

_TRIAL: dict[str, tuple[str, str, float, float]] = {
    "steps": ("Number of decisions of a new model until it is committed.", "steps", 1, 1_000_000),
    "least_steps": ("Number of decisions before the shares below are compared.", "steps", 1, 1_000_000),
    "veto_margin": ("Allowed increase of the share of decisions that the monitor vetoes.", "", 1e-6, 1.0),
    "surprise_margin": ("Allowed increase of the share of decisions with too much surprise.", "", 1e-6, 1.0),
    "cost_margin": ("Allowed increase of the share of decision periods with cost.", "", 1e-6, 1.0),
    "ready_timeout_s": ("Time from the announcement until every node must have reported.", "s", 0.01, 3600.0),
}
"""Meaning, unit and bounds of each field of TrialRules."""
PARAMETERS = (
    *MODEL_PARAMETERS,
    NodeParameter(
        "swap_followers",
        ("policy_node", "safety_monitor_node"),
        "Names of the nodes that must be ready for a hot swap.",
    ),
    *(
        NodeParameter(f"swap_{name}", getattr(TrialRules(), name), meaning, unit, lower, upper)
        for name, (meaning, unit, lower, upper) in _TRIAL.items()
    ),
)


class EncoderNode(ManagedNode):
    """Publishes fosp/latent at the decision rate of its bundle, each with the stamp of its camera frame.

    It leads the hot swap to announced bundles (swap_leader). PARAMETERS lists its parameters.
    """

    def __init__(self) -> None:
        super().__init__("encoder_node")
        declare(self, PARAMETERS)
        self._swap: SwapLeader | None = None
        self._self_test: NodeSelfTest | None = None
        self._made: list[Any] = []
        self._outputs: list[Any] = []
        """Publishers that end with the configuration: a second one of the same topic would count as a stranger's."""
        self._status = create_status_publisher(self)

    # -- lifecycle -----------------------------------------------------------------------------------
    def configure(self) -> None:
        cv2.setNumThreads(1)  # a second thread takes longer to wake than a frame takes to resize
        self._robot, bundle = load_model(self)
        self._manifest = bundle.manifest
        followers = tuple(resolved_node(self, name) for name in self.get_parameter("swap_followers").value if name)
        self._swap = SwapLeader(self, self._robot, bundle, self._status, followers, self._trial_rules())
        self._self_test = NodeSelfTest(self, self._swap.tested_sessions)
        self._decisions = DecisionClock(
            DecisionPeriod(self._manifest.decision_period_s, 1.0 / self._robot.camera_frame_rate_hz)
        )
        self._commands = CommandMemory(self._robot.action.size)
        self._frames: dict[str, Image | CompressedImage] = {}
        self._frame_sizes: dict[str, tuple[int, ...]] = {}
        self._latents = self.create_publisher(Latent, topics.LATENT, qos.STEP)
        self._outputs = [self._latents]
        self._made = [*self._subscribe_commands(), self._subscribe_feedback(), *self._subscribe_cameras()]
        publish_status(self, self._status, self._manifest.id, ModelStatus.STATE_READY)

    def activate(self) -> None:
        self._decisions.reset()
        self._command_reader = CommandReader(self._robot)
        self._commands.clear()
        self._gripper: tuple[float, ...] = () if self._robot.action.gripper is None else (0.0,)
        self._frames.clear()
        self._frame_sizes.clear()
        self._step = 0
        self._leader.restart()

    def deactivate(self) -> None:
        publish_status(self, self._status, self._leader.model_id, ModelStatus.STATE_READY)

    def cleanup(self) -> None:
        for subscription in self._made:
            self.destroy_subscription(subscription)
        if self._self_test is not None:
            self._self_test.close()
            self._self_test = None
        for publisher in self._outputs:
            self.destroy_publisher(publisher)
        self._made, self._outputs = [], []
        if self._swap is not None:
            self._swap.close()
            self._swap = None

    @property
    def _leader(self) -> SwapLeader:
        assert self._swap is not None
        return self._swap

    def _trial_rules(self) -> TrialRules:
        """Return the rules in the parameters."""
        return TrialRules(**{name: self.get_parameter(f"swap_{name}").value for name in _TRIAL})

    def _subscribe_commands(self) -> list[Any]:
        """Subscribe to the commands first: the executor then handles commands before the frame that follows them."""
        create, robot = self.create_gated_subscription, self._robot
        gripper = [] if robot.gripper is None else [(JointState, topics.GRIPPER, self._on_gripper)]
        heard = [*gripper, (command_message_type(robot), robot.command_topic, self._on_command)]
        return [create(kind, topic, receive, qos.COMMAND_HISTORY) for kind, topic, receive in heard]

    def _subscribe_feedback(self) -> Any:
        return self.create_gated_subscription(StepFeedback, topics.FEEDBACK, self._on_feedback, qos.STEP)

    def _subscribe_cameras(self) -> list[Any]:
        """Let the first camera of the observation spec trigger decisions, and keep the newest frame of the others."""
        driver, *others = self._manifest.observation.cameras
        subscriptions = [self._subscribe_other(camera.topic) for camera in others]
        return [*subscriptions, self._subscribe_images(driver.topic, self._on_frame)]

    def _subscribe_images(self, topic: str, receive: Callable[[Any], None]) -> Any:
        """Subscribe to a camera of the observation spec, raw or compressed, where the robot's driver publishes it."""
        image_type = CompressedImage if self._robot.is_compressed(topic) else Image
        return self.create_gated_subscription(image_type, self._robot.image_topic(topic), receive, qos.IMAGE)

    def _subscribe_other(self, topic: str) -> Any:
        def remember(message: Image | CompressedImage) -> None:
            self._frames[topic] = message

        return self._subscribe_images(topic, remember)

    # -- inputs --------------------------------------------------------------------------------------
    def _on_command(self, message: TwistStamped | Twist | PoseStamped) -> None:
        stamp_s, command = self._command_reader.read(message, self.get_clock().now().nanoseconds * 1e-9)
        if stamp_s < self._commands.newest_s:
            text = "the command stream went back in time: its history is dropped"
            self.get_logger().warning(text, throttle_duration_sec=1.0)
            self._commands.clear()
        self._commands.append(stamp_s, np.append(command, self._gripper))

    def _on_gripper(self, message: JointState) -> None:
        """Take in what the gripper is told; the monitor says it before the command to which it belongs."""
        gripper = self._robot.action.gripper
        if gripper is None or len(message.position) != 1 or not np.isfinite(message.position[0]):
            raise UserError(f"{topics.GRIPPER} holds no position of this robot's gripper; message ignored")
        self._gripper = (gripper.normalised(message.position[0]),)

    def _on_feedback(self, message: StepFeedback) -> None:
        if message.is_first:
            self._decisions.start_episode(seconds(message.header.stamp))
        else:
            self._leader.cost(message.cost)

    def _on_frame(self, message: Image | CompressedImage) -> None:
        received = time.perf_counter()
        assert self._self_test is not None
        self._self_test.require()
        stamp_s = seconds(message.header.stamp)
        use = self._decisions.use(stamp_s, self.get_clock().now().nanoseconds * 1e-9)
        if use is FrameUse.SKIP:
            return
        if use is FrameUse.REFUSE:
            raise UserError(f"camera frame refused: {use.value}")
        first = use is FrameUse.FIRST
        self._frames[self._manifest.observation.cameras[0].topic] = message
        images, executed = self._observation(stamp_s), self._executed(first, stamp_s)
        encoder = self._leader.encoder()
        try:
            latent = encoder.step(images, executed, first)
        except (EncoderInputError, EncoderOutputError) as error:
            raise UserError(f"no latent: {error}") from None
        self._latents.publish(
            Latent(
                header=message.header,
                step=self._step,
                model_id=self._leader.model_id,
                is_first=first,
                deter=float_field(latent.deter),
                stoch=float_field(latent.stoch),
                surprise=latent.surprise,
                repeated_image=latent.repeated_image,
                contrast=latent.contrast,
                novelty=latent.frames.novelty,
                inconsistency=latent.frames.inconsistency,
                camera_cause=latent.frames.cause,
                inference_s=time.perf_counter() - received,
            )
        )
        # What can wait, waits until the latent is on its way.
        encoder.judge_frames()
        self._leader.stepped(images, executed, first)
        self._decisions.decided(stamp_s, use)
        self._step += 1

    # -- what the world model sees -------------------------------------------------------------------
    def _observation(self, stamp_s: float) -> NDArray[np.uint8]:
        """Return the newest frames (C, H, W, 3) uint8; raise UserError when one is missing, old or malformed."""
        views = []
        for camera in self._manifest.observation.cameras:
            frame = self._frames.get(camera.topic)
            if frame is None or abs(stamp_s - seconds(frame.header.stamp)) > 0.5 * self._manifest.decision_period_s:
                raise UserError(f"no frame of camera '{camera.name}' ({camera.topic}) belongs to this moment")
            view, size = observation_view(frame, camera.height, camera.width)
            self._check_size(camera.topic, size, (camera.height, camera.width))
            views.append(view)
        return np.stack(views)

    def _check_size(self, topic: str, size: tuple[int, ...], least: tuple[int, int]) -> None:
        """Raise UserError for frames that would be enlarged, which was never trained on, and for a change of size."""
        if size[0] < least[0] or size[1] < least[1]:
            raise UserError(f"frame of {topic} is {size[1]}x{size[0]}, smaller than the model's {least[1]}x{least[0]}")
        if self._frame_sizes.setdefault(topic, size) != size:
            was = self._frame_sizes[topic]
            raise UserError(f"{topic} changed from {was[1]}x{was[0]} to {size[1]}x{size[0]}: activate the node again")

    def _executed(self, first: bool, stamp_s: float) -> NDArray[np.float32]:
        """Return the executed action (A,) since the last decision, which is zero on a first step as in training."""
        since_s, hold_s = self._decisions.last_s, self._robot.command_timeout_s
        if first or since_s is None:
            return np.zeros(self._robot.action.size, np.float32)
        stamps, commands = self._commands.since(since_s - hold_s)
        if not len(stamps):
            rest = np.zeros(self._robot.action.twist_size, np.float32)
            return np.append(rest, np.array(self._gripper, np.float32))
        return executed_action(stamps, commands, since_s, stamp_s, hold_s, self._robot.action)


def main() -> None:
    end_process(run_node(EncoderNode, priority=CONTROL_PRIORITY))


if __name__ == "__main__":
    main()
