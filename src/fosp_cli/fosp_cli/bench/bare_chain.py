"""The floor of image to command: nodes that do nothing but receive, run the networks of a bundle, and send.

Three processes stand in for encoder, policy and safety monitor. They check nothing, follow nothing and know no
lifecycle: what is left is one hop of an image, three hops of messages, and the inference. Nothing checks their
commands: never run them next to a robot.
"""

from __future__ import annotations

import array
import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from geometry_msgs.msg import TwistStamped
from rclpy.node import Node
from sensor_msgs.msg import Image

from fosp_cli.bench.monitor import running
from fosp_cli.evaluation.live_graph import RunFailed
from fosp_cli.graph_client import GraphClient
from fosp_core import topics
from fosp_core.bundle.bundle import load_bundle
from fosp_core.processes import CONTROL_PRIORITY, MONITOR_PRIORITY, claim_realtime_priority, end_process
from fosp_core.robot.config import read_robot
from fosp_core.ros import qos
from fosp_core.ros.fields import float_field
from fosp_core.ros.image_message import fill_image
from fosp_core.ros.lifecycle import events_executor, run_node
from fosp_core.ros.stamps import seconds
from fosp_msgs.msg import ActionCandidate, ActionProposal, Latent
from fosp_policy.expansion import DEPLOYED_CANDIDATES

_COMMANDS = "bare/command"
_CANDIDATES = 2 * DEPLOYED_CANDIDATES - 1
_HEIGHT, _WIDTH = 240, 320
_SETTLING = 40
"""Number of first frames that are not counted."""
_PERIOD_S = 0.05
_DISCOVERY_S = 30.0


class BareChainNode(Node):  # type: ignore[misc]
    """One of the three nodes, which answers each message with the networks that its original runs for it."""

    def __init__(self, role: str, bundle: Path) -> None:
        super().__init__(f"bare_{role}")
        self._bundle = load_bundle(bundle, provider="cpu")
        manifest, create = self._bundle.manifest, self.create_publisher
        self._frame = np.zeros((1, *manifest.observation.shape), np.uint8)
        self._executed = np.zeros((1, manifest.action.size), np.float32)
        self._actions = np.zeros((1, _CANDIDATES, manifest.action.size), np.float32)
        self._state: dict[str, Any] = {
            "deter": np.zeros((1, manifest.latent.deter), np.float32),
            "stoch": np.zeros((1, manifest.latent.stoch), np.float32),
        }
        if role == "encoder":
            self._out = create(Latent, topics.LATENT, qos.STEP)
            self.create_subscription(Image, topics.COLOR_IMAGE, self._encode, qos.IMAGE)
        elif role == "policy":
            self._out = create(ActionProposal, topics.PROPOSAL, qos.STEP)
            self.create_subscription(Latent, topics.LATENT, self._propose, qos.STEP)
        else:
            self._out = create(TwistStamped, _COMMANDS, qos.COMMAND)
            self.create_subscription(ActionProposal, topics.PROPOSAL, self._command, qos.STEP)

    def _encode(self, message: Image) -> None:
        first = np.zeros(1, np.float32)
        output = self._bundle.encoder.run(image=self._frame, action=self._executed, is_first=first, **self._state)
        deter, stoch = float_field(output["next_deter"][0]), float_field(output["next_stoch"][0])
        self._out.publish(Latent(header=message.header, deter=deter, stoch=stoch))

    def _propose(self, message: Latent) -> None:
        self._bundle.policy.run(**self._state)
        self._bundle.critic.run(action=self._actions, **self._state)
        candidates = [ActionCandidate(action=array.array("f", action)) for action in self._actions[0].tolist()]
        self._out.publish(ActionProposal(header=message.header, candidates=candidates))

    def _command(self, message: ActionProposal) -> None:
        self._bundle.critic.run(action=self._actions, **self._state)
        command = TwistStamped()
        command.header.stamp = self.get_clock().now().to_msg()
        self._out.publish(command)


class BareNode(Node):  # type: ignore[misc]
    """Answers each proposal at once with a zero command: what the safety monitor's node is compared with."""

    def __init__(self, command_topic: str) -> None:
        super().__init__("bare_node")
        self._commands = self.create_publisher(TwistStamped, command_topic, qos.COMMAND)
        self.create_subscription(ActionProposal, topics.PROPOSAL, self._answer, qos.STEP)

    def _answer(self, message: ActionProposal) -> None:
        command = TwistStamped()
        command.header.stamp = self.get_clock().now().to_msg()
        self._commands.publish(command)


class _Camera(GraphClient):
    """Sends frames, and receives what comes back as commands."""

    def __init__(self) -> None:
        super().__init__("bare_camera", make_executor=events_executor)
        self._images = self.node.create_publisher(Image, topics.COLOR_IMAGE, qos.IMAGE_SOURCE)
        self.node.create_subscription(TwistStamped, _COMMANDS, self._command, qos.COMMAND_HISTORY)
        self._commands_s: list[float] = []

    def run(self, frames: int, alive: Callable[[], bool]) -> list[float]:
        """Return the time from the stamp of each frame to the stamp of its command, s."""
        claim_realtime_priority(CONTROL_PRIORITY)
        image = Image()
        sent_s: list[float] = []
        fill_image(image, np.zeros((_HEIGHT, _WIDTH, 3), np.uint8))
        until, deadline = time.monotonic() + _DISCOVERY_S, time.monotonic()
        while len(sent_s) < _SETTLING + frames:
            image.header.stamp = self.node.get_clock().now().to_msg()
            self._images.publish(image)
            if self._commands_s:
                sent_s.append(seconds(image.header.stamp))
            elif not alive() or time.monotonic() > until:
                raise RunFailed("the bare nodes did not answer; their output above says why")
            deadline += _PERIOD_S
            while (left := deadline - time.monotonic()) > 0:
                self.spin_once(left)
        following = [(at_s, bisect_left(self._commands_s, at_s)) for at_s in sent_s[_SETTLING:]]
        return [self._commands_s[index] - at_s for at_s, index in following if index < len(self._commands_s)]

    def _command(self, message: TwistStamped) -> None:
        self._commands_s.append(seconds(message.header.stamp))


def image_to_command_s(bundle: Path, frames: int) -> Sequence[float]:
    """Return the time from image to command of each frame through the three bare nodes, s; RunFailed when they fail."""
    with ExitStack() as stack:
        processes = [
            stack.enter_context(running(["fosp_cli.bench.bare_chain", role, str(bundle.resolve())]))
            for role in ("encoder", "policy", "monitor")
        ]
        camera = stack.enter_context(_Camera())

        def alive() -> bool:
            return all(process.poll() is None for process in processes)

        with ThreadPoolExecutor(1) as thread:  # a thread of its own, for its priority
            return thread.submit(camera.run, frames, alive).result()


def main(role: str, file: Path) -> None:
    """Run a node of the chain with the bundle `file`, or as `at_once` the one that answers the robot of that file."""
    if role == "at_once":
        topic = read_robot(file).command_topic
        end_process(run_node(lambda: BareNode(topic), [], priority=MONITOR_PRIORITY))
        return
    priority = MONITOR_PRIORITY if role == "monitor" else CONTROL_PRIORITY
    end_process(run_node(lambda: BareChainNode(role, file), [], priority=priority))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
