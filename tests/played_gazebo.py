"""A stand-in for a Gazebo server and its bridge: it queues, delays and stamps as gz-sim 8.14 was seen to.

- A service answers "true" once a request is queued, and the world changes later; NAME/blocking, which servers from
  8.10 on have, answers when the world has changed.
- Camera frames arrive up to 95 ms after the moment that they show.
- Odometry is a mean over displacements, so that it spikes when the base is put elsewhere.
"""

from __future__ import annotations

import json
import math
import re
import socketserver
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TICK_NS = 5_000_000
FRAME_NS = 25_000_000
LATE_NS = 75_000_000
"""Time from the exposure of a frame to its arrival, ns."""
CARRIED_OUT_NS = 150_000_000
"""Simulated time from a request to the change of the world, ns."""
AVERAGED = 10
"""Number of displacements in the mean of odometry."""

TOOL = """#!{python} -IS
import json, socket, sys
with socket.socket(socket.AF_UNIX) as asked:
    asked.connect({path!r})
    asked.sendall(json.dumps(sys.argv[1:]).encode() + b"\\n")
    sys.stdout.write(asked.makefile().read())
"""


@dataclass
class Change:
    """A change of the world that is queued until a simulated time."""

    due_ns: int
    make: Callable[[], bool]
    made: threading.Event = field(default_factory=threading.Event)
    outcome: bool = False


class PlayedGazebo:
    """A server with one world, whose clock and robot are published by `node`; `gz` in `folder` speaks to it."""

    def __init__(self, node: Any, folder: Path, world: str, kind: str, blocking: bool) -> None:
        self.factor = 1.0
        """Simulated seconds per second."""
        self.time_ns = 1_000_000_000
        self.asked: list[str] = []
        """Names of the services that were called, in order."""
        self.created_ns: dict[str, int] = {}
        """Name of a model -> simulated time at which it was in the world."""
        self.twists: list[tuple[int, float]] = []
        """Stamp, ns, and speed, m/s, of all odometry of a base."""
        self._world, self._blocking = world, blocking
        self._models = {"robot", "surroundings", "scene_0"}
        self._queue: deque[Change] = deque()
        self._lock = threading.Lock()
        self._serve(folder)
        self._publish(node, kind)

    # -- services ------------------------------------------------------------------------------------
    def _serve(self, folder: Path) -> None:
        answer = self._answer

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(answer(json.loads(self.rfile.readline())).encode())

        path = str(folder / "gz.sock")
        self._server = socketserver.ThreadingUnixStreamServer(path, Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        tool = folder / "gz"
        tool.write_text(TOOL.format(python=sys.executable, path=path))
        tool.chmod(0o755)

    def close(self) -> None:
        """End the services."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, arguments: list[str]) -> str:
        if arguments[:2] == ["service", "-l"]:
            names = [f"/world/{self._world}/{name}" for name in ("create", "remove", "set_pose")]
            return "\n".join([*names, *([f"{name}/blocking" for name in names] if self._blocking else [])])
        if arguments[:2] == ["topic", "-e"]:
            return self._poses()
        service = arguments[arguments.index("-s") + 1].removeprefix(f"/world/{self._world}/")
        request = arguments[arguments.index("--req") + 1]
        self.asked.append(service)
        name, _, waits = service.partition("/")
        if waits and not self._blocking:
            return "Service call timed out"
        make = {"create": self._create, "remove": self._remove, "set_pose": self._set_pose}[name]
        change = Change(self.time_ns + CARRIED_OUT_NS, lambda: make(request))
        with self._lock:
            self._queue.append(change)
        if waits and not change.made.wait(5.0):
            return "Service call failed"
        return f"data: {'true' if not waits or change.outcome else 'false'}\n"

    def _poses(self) -> str:
        time.sleep(0.016)  # the topic comes at 60 Hz
        x, y, _ = self.base
        here = {name: f"x: {x} y: {y}" if name == "robot" else "" for name in self._models}
        return "".join(f'pose {{\n  name: "{name}"\n  position {{ {at} }}\n}}\n' for name, at in here.items())

    def _create(self, request: str) -> bool:
        (name,) = re.findall(r'<model name=\\"([^"\\]+)', request)
        if name in self._models:
            return False
        self._models.add(name)
        self.created_ns[name] = self.time_ns
        return True

    def _remove(self, request: str) -> bool:
        (name,) = re.findall(r'name: "([^"]+)"', request)
        there = name in self._models
        self._models.discard(name)
        return there

    def _set_pose(self, request: str) -> bool:
        x, y = (float(re.findall(rf"\b{axis}: (\S+)", request)[0]) for axis in "xy")
        z, w = (float(re.findall(rf"orientation.*\b{axis}: (\S+)", request)[0]) for axis in "zw")
        self.base = (x, y, 2 * math.atan2(z, w))
        return True

    # -- topics --------------------------------------------------------------------------------------
    def _publish(self, node: Any, kind: str) -> None:
        from geometry_msgs.msg import Twist
        from nav_msgs.msg import Odometry
        from rosgraph_msgs.msg import Clock
        from sensor_msgs.msg import CameraInfo, JointState
        from std_msgs.msg import Float64

        from fosp_core import topics
        from fosp_core.ros import qos
        from fosp_sim.gazebo.topics import ROS_WHEEL_COMMAND, ros_joint_command
        from fosp_sim.task.arm_kinematics import JOINTS

        self.joints = [0.0] * len(JOINTS)
        self.base = (0.0, 0.0, 0.0)
        self._before = self.base
        self._wheels = (0.0, 0.0)
        self._speeds: deque[float] = deque([0.0] * AVERAGED, AVERAGED)
        self._arm = kind == "arm"
        self._clock = node.create_publisher(Clock, topics.CLOCK, qos.STEP)
        self._infos = node.create_publisher(CameraInfo, topics.CAMERA_INFO, qos.STEP)
        if self._arm:
            self._states = node.create_publisher(JointState, "joint_states", qos.STEP)
            for number, joint in enumerate(JOINTS):

                def obey(message: Float64, number: int = number) -> None:
                    self.joints[number] = message.data

                node.create_subscription(Float64, ros_joint_command(joint), obey, qos.STEP)
        else:
            self._odometry = node.create_publisher(Odometry, "odom", qos.STEP)

            def turn(message: Twist) -> None:
                self._wheels = (message.linear.x, message.angular.z)

            node.create_subscription(Twist, ROS_WHEEL_COMMAND, turn, qos.COMMAND)
        node.create_timer(TICK_NS * 1e-9, self._tick)

    def _tick(self) -> None:
        from rosgraph_msgs.msg import Clock
        from sensor_msgs.msg import CameraInfo

        from fosp_core.ros.stamps import time_message

        before, self.time_ns = self.time_ns, self.time_ns + round(TICK_NS * self.factor)
        while self._queue and self._queue[0].due_ns <= self.time_ns:
            with self._lock:
                change = self._queue.popleft()
            change.outcome = change.make()
            change.made.set()
        if self._arm:
            self._tell_joints()
        elif self.time_ns // (2 * TICK_NS) > before // (2 * TICK_NS):
            self._tell_odometry()
        self._clock.publish(Clock(clock=time_message(self.time_ns)))
        if self.time_ns // FRAME_NS > before // FRAME_NS:
            info = CameraInfo()
            info.header.stamp = time_message(self.time_ns // FRAME_NS * FRAME_NS - LATE_NS)
            self._infos.publish(info)

    def _tell_joints(self) -> None:
        from sensor_msgs.msg import JointState

        from fosp_core.ros.stamps import time_message
        from fosp_sim.task.arm_kinematics import JOINTS

        state = JointState(name=list(JOINTS), position=list(self.joints))
        state.header.stamp = time_message(self.time_ns)
        self._states.publish(state)

    def _tell_odometry(self) -> None:
        from nav_msgs.msg import Odometry

        from fosp_core.ros.stamps import time_message

        period_s = 2 * TICK_NS * 1e-9
        (x, y, heading), (forward, turning) = self.base, self._wheels
        step = forward * period_s
        self.base = (x + step * math.cos(heading), y + step * math.sin(heading), heading + turning * period_s)
        self._speeds.append(math.dist(self.base[:2], self._before[:2]) / period_s)
        self._before = self.base
        message = Odometry()
        message.header.stamp = time_message(self.time_ns)
        message.pose.pose.position.x, message.pose.pose.position.y = self.base[:2]
        half = self.base[2] / 2
        message.pose.pose.orientation.z, message.pose.pose.orientation.w = math.sin(half), math.cos(half)
        message.twist.twist.linear.x = sum(self._speeds) / AVERAGED
        self.twists.append((self.time_ns, message.twist.twist.linear.x))
        self._odometry.publish(message)
