"""A stop zone fed by depth images of 640x480 at 30 Hz: from the sensor's stamp to the first braking command.

The monitor's node is real; this process plays camera, robot, encoder and policy. The baseline is a node that looks at
the same pixels, judges nothing, and answers each image at once: `python -m fosp_cli.bench.zone_stop ROBOT_FILE`.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rclpy
import yaml
from geometry_msgs.msg import TwistStamped
from rclpy.executors import ExternalShutdownException
from sensor_msgs.msg import CameraInfo, Image

from fosp_bringup.paths import robot_path
from fosp_cli.bench.monitor import PlayedGraph, first_decision, monitor_command, running
from fosp_cli.bench.weight import process_cost
from fosp_cli.evaluation.live_graph import RunFailed
from fosp_cli.evaluation.metrics import percentiles_ms
from fosp_core.processes import CONTROL_PRIORITY, claim_realtime_priority
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.ros import qos
from fosp_core.ros.image_message import fill_depth
from fosp_core.ros.lifecycle import events_executor
from fosp_core.ros.stamps import seconds

Node = Literal["monitor with the zone", "monitor without", "bare node"]
RATE_HZ = 30.0
HEIGHT, WIDTH, FOCAL = 480, 640, 600.0
CAMERA_M, HAND_M = 1.2, 1.0
"""Distance of the table below the camera, and of the hand, m."""
MIN_POINTS = 8
MOVES_S, HAND_S, AGAIN_S = 0.3, 0.3, 0.05
"""Time for which the robot moves before a hand comes, a random part of AGAIN_S longer; time for which it stays, s."""
_DECISIONS_PER_HAND = 22
_FRAME = "depth_camera"
_NOISE_M, _UNKNOWN = 0.003, 0.05
"""Standard deviation of a depth, m, and share of the pixels without one."""
_SLOWEST = 0.02
_BARE_SPEED = 0.1
SOURCE = {
    "name": "cell",
    "topic": "camera/aligned_depth_to_color/image_raw",
    "info_topic": "camera/aligned_depth_to_color/camera_info",
    "type": "Depth",
    "frame_id": _FRAME,
    "position": [0.5, 0.0, CAMERA_M],
    "rotation": [math.pi, 0.0, 0.0],
}
ZONE = {
    "name": "cell",
    "action": "stop",
    "lower": [0.2, -0.5, 0.05],
    "upper": [0.8, 0.5, 0.5],
    "sources": ["cell"],
    "min_points": MIN_POINTS,
    "unknown": "ignore",
}
"""Keys of a robot file: a camera that looks straight down at the table, and a zone above all of it."""


def zone_stop(bundle: Path, hands: int) -> dict[str, Any]:
    """Measure `hands` stops by the zone, and by the bare node, and the processor time of the nodes, percent of a core.

    Raise RunFailed when a node does not come up or the robot does not move.
    """
    stops: dict[str, dict[str, float]] = {}
    shares: dict[str, float] = {}
    nodes: tuple[Node, ...] = ("monitor with the zone", "monitor without", "bare node")
    for node in nodes:
        latencies_s, shares[node] = _measured(bundle, node, hands)
        if node != "monitor without":
            if len(latencies_s) < max(1, hands // 2):
                raise RunFailed(f"{node}: stopped {len(latencies_s)} of {hands} times: this machine is too busy")
            stops[node] = percentiles_ms(latencies_s)
    return {
        "zone_stop_ms": stops["monitor with the zone"],
        "zone_stop_bare_node_ms": stops["bare node"],
        "zone_cpu_percent": shares,
    }


def _measured(bundle: Path, node: Node, hands: int) -> tuple[list[float], float]:
    plain = read_robot(robot_path("sim_arm"))
    latent, proposal = first_decision(bundle, plain)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "robot.yaml")
        zones = {} if node == "monitor without" else {"sources": [SOURCE], "zones": [ZONE]}
        file.write_text(yaml.safe_dump({**yaml.safe_load(robot_path("sim_arm").read_text()), **zones}))
        bare = node == "bare node"
        quiet = ["error" if word == "warn" else word for word in monitor_command(bundle, file)]
        command = ["fosp_cli.bench.zone_stop", str(file)] if bare else quiet
        with running(command) as process, _Cell(plain, latent, proposal, bare) as cell:
            cell.bring_up(process)
            with ThreadPoolExecutor(1) as thread:
                thread.submit(cell.play, _DECISIONS_PER_HAND).result()  # until it is warm
                cell.hands_s.clear()
                before, begin_s = _cpu_s(process), time.monotonic()
                thread.submit(cell.play, _DECISIONS_PER_HAND * hands).result()
                share = 100.0 * (_cpu_s(process) - before) / (time.monotonic() - begin_s)
            found = [first_braking_s(cell.speeds, hand_s) for hand_s in cell.hands_s[:-1]]
    return [at - hand_s for at, hand_s in zip(found, cell.hands_s, strict=False) if at is not None], round(share, 1)


def first_braking_s(commands: Sequence[tuple[float, float]], since_s: float) -> float | None:
    """Return the stamp, s, of the first of the commands that brake down to the first standstill after `since_s`.

    `commands` are stamps and speeds in their order. None: nothing moved at that moment, or it never stood.
    """
    rest = next((at for at, (stamp_s, speed) in enumerate(commands) if stamp_s >= since_s and speed == 0.0), None)
    if rest is None:
        return None
    first = rest
    while first > 0 and commands[first - 1][1] > commands[first][1] and commands[first][0] >= since_s:
        first -= 1
    return None if first == rest else commands[first + 1][0]


def _cpu_s(process: subprocess.Popen[bytes]) -> float:
    return process_cost(process.pid).cpu_s


def depth_image(hand: bool) -> Image:
    """Return the table from above as a depth camera sees it, with noise and holes, and a hand above it or none."""
    rng = np.random.default_rng(0)
    depth = rng.normal(1e3 * CAMERA_M, 1e3 * _NOISE_M, (HEIGHT, WIDTH))
    if hand:
        depth[200:280, 280:360] -= 1e3 * (CAMERA_M - HAND_M)
    depth[rng.random(depth.shape) < _UNKNOWN] = 0.0
    image = Image()
    fill_depth(image, np.rint(depth).astype(np.uint16))
    image.header.frame_id = _FRAME
    return image


class _Cell(PlayedGraph):
    """The played graph with a depth camera, under which a hand comes and goes."""

    def __init__(self, robot: RobotConfig, latent: Any, proposal: Any, bare: bool) -> None:
        super().__init__(robot, latent, proposal, bare)
        create = self.node.create_publisher
        self._images = create(Image, SOURCE["topic"], qos.IMAGE_SOURCE)
        self._infos = create(CameraInfo, SOURCE["info_topic"], qos.IMAGE_SOURCE)
        self._info = CameraInfo(height=HEIGHT, width=WIDTH, distortion_model="plumb_bob", d=[0.0] * 5)
        self._info.header.frame_id = _FRAME
        self._info.k = [FOCAL, 0.0, WIDTH / 2, 0.0, FOCAL, HEIGHT / 2, 0.0, 0.0, 1.0]
        self._seen = {hand: depth_image(hand) for hand in (False, True)}
        self._due_s = self._changes_s = 0.0
        self._hand = False
        self._rng = np.random.default_rng(0)
        self.hands_s: list[float] = []
        """Stamps of the first images that show a hand, s."""
        self.speeds: list[tuple[float, float]] = []
        """Stamps of the commands, s, and their speeds, m/s."""

    def bring_up(self, process: subprocess.Popen[bytes], name: str = "safety_monitor_node") -> None:
        """Activate the node and wait until it is subscribed; raise RunFailed when that fails."""
        if not self._bare:
            super().bring_up(process, name)
            return
        deadline = time.monotonic() + 30.0
        while self._images.get_subscription_count() == 0:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RunFailed("the bare node did not come up; its output above says why")
            self.spin_once(0.05)

    def play(self, decisions: int) -> None:
        """Play for so many decisions, with a hand now and then."""
        claim_realtime_priority(CONTROL_PRIORITY)
        deadline, first = time.monotonic(), self._decision + 1
        for number in range(self._rhythm.steps_per_decision * decisions):
            decision, phase = divmod(number, self._rhythm.steps_per_decision)
            self._decision = first + decision
            self._publish(self._decision, phase)
            self._film(time.monotonic())
            deadline += self._rhythm.step_s
            while (left := deadline - time.monotonic()) > 0:
                self.spin_once(left)

    def _film(self, now_s: float) -> None:
        if now_s < self._due_s:
            return
        self._due_s = max(self._due_s + 1.0 / RATE_HZ, now_s - 1.0 / RATE_HZ)
        moves = bool(self.speeds) and self.speeds[-1][1] > _SLOWEST
        if not self._hand and not moves:
            self._changes_s = now_s + MOVES_S + AGAIN_S * self._rng.random()
        comes = now_s >= self._changes_s
        if comes:
            self._hand = not self._hand
            self._changes_s = now_s + (HAND_S if self._hand else MOVES_S + AGAIN_S * self._rng.random())
        image = self._seen[self._hand]
        time.sleep(self._rhythm.step_s * self._rng.random())  # no phase of the command stream is preferred
        stamp = self.node.get_clock().now().to_msg()
        image.header.stamp = self._info.header.stamp = stamp
        if comes and self._hand:
            self.hands_s.append(seconds(stamp))
        self._infos.publish(self._info)
        self._images.publish(image)

    def _command(self, message: TwistStamped) -> None:
        super()._command(message)
        linear = message.twist.linear
        self.speeds.append((seconds(message.header.stamp), math.hypot(linear.x, linear.y, linear.z)))


def _answer_at_once(robot: RobotConfig) -> None:
    """Move while no pixel of the newest image is as near as a hand, and stop when enough of them are."""
    claim_realtime_priority(CONTROL_PRIORITY)
    rclpy.init()
    node = rclpy.create_node("bare_node")
    commands = node.create_publisher(TwistStamped, robot.command_topic, qos.COMMAND)
    stride = robot.sources[0].stride

    def seen(image: Image) -> None:
        depth = np.frombuffer(image.data, np.uint16).reshape(image.height, image.width)[::stride, ::stride]
        hand = int(((depth > 0) & (depth < 500.0 * (CAMERA_M + HAND_M))).sum()) >= MIN_POINTS
        command = TwistStamped()
        command.header.stamp = node.get_clock().now().to_msg()
        command.twist.linear.x = 0.0 if hand else _BARE_SPEED
        commands.publish(command)

    node.create_subscription(Image, SOURCE["topic"], seen, qos.IMAGE)
    executor = events_executor()
    executor.add_node(node)
    with suppress(ExternalShutdownException):
        while rclpy.ok():
            executor.spin_once(timeout_sec=0.1)
    os._exit(0)  # nothing is left to tidy up


if __name__ == "__main__":
    _answer_at_once(read_robot(Path(sys.argv[1])))
