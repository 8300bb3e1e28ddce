"""The robot in MuJoCo, with the interface of a real robot: camera, state, a command topic with a timeout, feedback.

Three threads keep one another from waiting. The physics thread runs at 200 Hz to absolute deadlines; it alone touches
the world and publishes state and feedback. The render thread alone owns the GL context. The executor thread takes
commands and service calls.

Physics runs one tick ahead: a command holds over a whole tick, so the state at the end of the tick is known at its
beginning. Meanwhile a frame is rendered, and it is published at the moment that it shows, as by a camera without
latency. The physics thread publishes it first in its tick, because a second thread would wake at the same moment and
wait for the physics thread.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState, LaserScan
from std_msgs.msg import Float64MultiArray

from fosp_core import topics
from fosp_core.errors import UserError
from fosp_core.processes import CONTROL_PRIORITY, end_process
from fosp_core.ros import qos
from fosp_core.ros.image_message import fill_image
from fosp_core.ros.lifecycle import run_node
from fosp_core.ros.parameters import NodeParameter
from fosp_core.ros.robot_description import RobotDescription
from fosp_core.ros.stamps import time_message
from fosp_msgs.msg import StepFeedback
from fosp_sim import simulator_node
from fosp_sim.depth_cameras import DepthCameras
from fosp_sim.description import base_pose, joint_names, robot_urdf
from fosp_sim.real_time import Exposure, RealTimeTask
from fosp_sim.robot_messages import (
    camera_info,
    feedback_message,
    gripper_state,
    joint_state,
    laser_scan,
    odometry,
    tool_pose,
)
from fosp_sim.simulator_node import SimulatorNode
from fosp_sim.task.draw import draw_scene
from fosp_sim.task.render import (
    CAMERA_FRAME,
    CameraFaults,
    MovedCameras,
    image_topics,
    lenses,
    optical_frame,
    painter_of,
)
from fosp_sim.task.scanner import LaserScanner
from fosp_sim.task.scene import Scene
from fosp_sim.task.world import MujocoWorld, World

_STATE_S = 0.01
"""Time between messages of the robot's state, s, unless a tick is longer."""
_SCAN_S = 0.05
"""Time between scans of a base, s."""
_FRAMES_S = 0.04
"""Time between messages of the robot's frames for viewers, s, while somebody looks."""
_LAG_LIMIT = 0.05
"""Lag behind the clock, s, beyond which the simulation lets time pass instead of catching up in a burst."""
_AUTO_RESET_PAUSE = 1.0
_SIMULATED_START_NS = 1_000_000_000
_RESET_TIMEOUT = 2.0


@dataclass(frozen=True)
class _Request:
    """A request to begin an episode."""

    scene: Scene
    begun: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class _Shot:
    """A frame on its way through the camera."""

    snapshot: Any
    stamp_ns: int
    time_s: float
    """Time since the first frame of the episode, s."""
    due_s: float
    """Monotonic time of arrival, s: exposure plus latency."""


@dataclass(frozen=True)
class _Picture:
    """A rendered frame of each camera."""

    images: tuple[tuple[Image, CameraInfo], ...]
    due_s: float


PARAMETERS = (
    *simulator_node.PARAMETERS,
    NodeParameter("camera_rate_hz", 40.0, "Rate of the camera, which divides 200.", "Hz", 1.0, 200.0),
    NodeParameter("publish_clock", False, "Publish /clock, and stamp everything in simulated time."),
)


class SimNode(SimulatorNode):
    """A simulator node whose robot is in MuJoCo; it publishes camera, robot state and fosp/feedback.

    Further parameters are `camera_rate_hz` and `publish_clock` (stamps and /clock in simulated time). With `auto_reset`
    the first episode begins at once, and each next one a second after the end of the last. Without it the world shows
    episode 0 at rest, without feedback, until the service is called.
    """

    def __init__(self) -> None:
        super().__init__("sim_node", PARAMETERS)
        rate = float(self.get_parameter("camera_rate_hz").value)
        self._simulation = RealTimeTask(self._scenario, self._robot, rate)
        self._tick_s = self._simulation.world.timing.tick_s
        self._state_ticks, self._scan_ticks, self._viewer_ticks = (
            max(1, round(time_s / self._tick_s)) for time_s in (_STATE_S, _SCAN_S, _FRAMES_S)
        )
        self._auto_reset = bool(self.get_parameter("auto_reset").value)
        self._simulated_time = bool(self.get_parameter("publish_clock").value)
        self._requests: queue.SimpleQueue[_Request] = queue.SimpleQueue()
        self._shots: deque[_Shot] = deque()
        self._shot_ready = threading.Condition()
        self._pictures: deque[_Picture] = deque()
        self._world_change = threading.Lock()
        """Held while the model changes (reset) and while it is rendered."""
        self._faults = CameraFaults(self._scenario.camera, self._scenario.seed, episode=0)
        self._moved_cameras = MovedCameras(self._simulation.world, self._scenario.camera)
        self._begun_ns: int | None = None
        """Stamp of the first frame of the episode."""
        self._failure: BaseException | None = None
        self._closing = threading.Event()
        self._make_interface()
        self._start_threads()

    def close(self) -> None:
        """End the threads; afterwards the node publishes nothing."""
        self._closing.set()
        with self._shot_ready:
            self._shot_ready.notify_all()
        for thread in self._threads:
            thread.join(5.0)

    # -- set-up --------------------------------------------------------------------------------------
    def _make_interface(self) -> None:
        robot = self._robot
        self._cameras = [
            (
                self.create_publisher(Image, image, qos.IMAGE_SOURCE),
                self.create_publisher(CameraInfo, info, qos.IMAGE_SOURCE),
            )
            for image, info in map(image_topics, self._simulation.world.cameras)
        ]
        self._feedback = self.create_publisher(StepFeedback, topics.FEEDBACK, qos.FEEDBACK_SOURCE)
        state_type = JointState if robot.state_type == "JointState" else Odometry
        self._states = self.create_publisher(state_type, robot.state_topic, qos.STEP)
        self._poses = self.create_publisher(PoseStamped, robot.pose_topic, qos.STEP) if robot.pose_topic else None
        self._gripper, self._told_gripper = None, math.nan
        if robot.gripper is not None:
            if robot.gripper.how != "array":
                raise UserError(f"robot '{robot.name}': only a gripper with how: array is simulated")
            self._gripper = self.create_publisher(JointState, robot.gripper.feedback_topic, qos.STEP)
            self.create_subscription(Float64MultiArray, robot.gripper.topic, self._on_gripper, qos.COMMAND)
        scans = [source for source in robot.sources if source.type == "LaserScan" and robot.kind == "base"]
        self._scans = [(self.create_publisher(LaserScan, one.topic, qos.STEP), one.frame_id) for one in scans]
        world = self._simulation.world
        if scans and not isinstance(world, World):
            raise UserError(f"robot '{robot.name}': task '{self._scenario.task}' simulates no LaserScan")
        self._scanner = LaserScanner(world) if scans and isinstance(world, World) else None
        self._depth = DepthCameras(self, robot, world)
        # Only these tasks have a model of the robot alone, which viewers can draw.
        drawn = isinstance(world, World)
        self._description = RobotDescription(self, robot_urdf(world.model, robot)) if drawn else None
        self._joint_names = joint_names(world.model) if drawn else ()
        self._clock_topic = self.create_publisher(Clock, topics.CLOCK, qos.STEP) if self._simulated_time else None
        self._listen_to_the_graph()
        self.create_timer(0.1, self._raise_failure)

    def _start_threads(self) -> None:
        rendering = threading.Event()
        self._threads = [
            threading.Thread(target=self._guarded, args=(self._render, rendering), name="render"),
            threading.Thread(target=self._guarded, args=(self._simulate,), name="physics"),
        ]
        self._threads[0].start()
        while not rendering.wait(0.05):
            if self._failure is not None:
                self._threads = self._threads[:1]
                self._raise_failure()
        self._threads[1].start()

    def _guarded(self, work: Any, *arguments: Any) -> None:
        try:
            work(*arguments)
        except BaseException as error:
            self._failure = error

    def _raise_failure(self) -> None:
        """End the process when a thread has died, because a robot with a frozen camera or state must not look alive."""
        if self._failure is not None:
            self.close()
            raise self._failure

    # -- executor thread -----------------------------------------------------------------------------
    def now_s(self) -> float:
        """Return the monotonic time, s."""
        return time.monotonic()

    def _on_gripper(self, message: Float64MultiArray) -> None:
        """Take in what the gripper is told; it keeps it, as a real one does."""
        if len(message.data) == 1 and math.isfinite(message.data[0]):
            self._told_gripper = float(message.data[0])

    def begin(self, episode: int) -> None:
        """Have the physics thread begin `episode`. Raise UserError when it does not do so in time."""
        request = _Request(draw_scene(self._scenario, episode))
        self._requests.put(request)
        if not request.begun.wait(_RESET_TIMEOUT):
            raise UserError("the simulation did not answer")

    # -- physics thread ------------------------------------------------------------------------------
    def _simulate(self) -> None:
        deadline = time.monotonic()
        tick, ended_at = 0, 0.0 if self._auto_reset else None
        exposure: Exposure | None = None
        stamp_ns = self._stamp_ns(tick, deadline)
        while not self._closing.is_set():
            if self._clock_topic is not None:  # comes first, or a frame would be from the future
                self._clock_topic.publish(Clock(clock=time_message(stamp_ns)))
            self._publish_pictures(deadline)
            if exposure is not None and exposure.feedback is not None:
                self._feedback.publish(feedback_message(exposure.feedback, self._episode, stamp_ns, CAMERA_FRAME))
                if self._auto_reset and exposure.feedback.is_last:
                    ended_at = deadline
            if tick % self._state_ticks == 0:
                self._publish_state(stamp_ns)
            if tick % self._viewer_ticks == 0:
                self._publish_frames(stamp_ns)
            if self._scanner is not None and tick % self._scan_ticks == 0:
                self._publish_scans(self._scanner, stamp_ns)
            exposure = self._begin_requested(ended_at is not None and deadline >= ended_at + _AUTO_RESET_PAUSE)
            if exposure is None:
                if math.isfinite(self._told_gripper):
                    self._simulation.world.grip(self._told_gripper)
                exposure = self._simulation.tick(self._intake.current(time.monotonic(), self._tick_s))
            else:
                ended_at = None
            tick += 1
            deadline += self._tick_s
            stamp_ns = self._stamp_ns(tick, deadline)
            if exposure is not None:
                self._expose(exposure.snapshot, stamp_ns, deadline)
            behind = time.monotonic() - deadline
            if behind > _LAG_LIMIT:
                deadline += behind
            elif behind < 0:
                time.sleep(-behind)

    def _stamp_ns(self, tick: int, deadline: float) -> int:
        """Return the stamp of the beginning of a tick: its deadline on the ROS clock, or simulated time."""
        if self._simulated_time:
            return _SIMULATED_START_NS + tick * round(self._tick_s * 1e9)
        return time.time_ns() - round((time.monotonic() - deadline) * 1e9)

    def _begin_requested(self, wants_next: bool) -> Exposure | None:
        """Begin the requested episode, or the next one if it is due; return None when nothing begins."""
        try:
            request = self._requests.get_nowait()
        except queue.Empty:
            if not wants_next:
                return None
            request = _Request(draw_scene(self._scenario, self._next_episode))
        scene = request.scene
        with self._world_change:
            with self._shot_ready:
                self._shots.clear()
            exposure = self._simulation.begin(scene)
            self._moved_cameras.move(self._scenario.seed + scene.episode)
            self._faults = CameraFaults(self._scenario.camera, self._scenario.seed + scene.episode, scene.episode)
            self._begun_ns = None
        self._intake.forget()
        self._episode, self._next_episode = scene.episode, scene.episode + 1
        request.begun.set()
        return exposure

    def _expose(self, snapshot: Any, stamp_ns: int, deadline: float) -> None:
        if self._begun_ns is None:
            self._begun_ns = stamp_ns
        time_s = (stamp_ns - self._begun_ns) * 1e-9
        with self._shot_ready:
            self._shots.append(_Shot(snapshot, stamp_ns, time_s, deadline + self._faults.latency))
            self._shot_ready.notify()

    def _publish_state(self, stamp_ns: int) -> None:
        state = self._simulation.world.state()
        action_frame = self._robot.action.frame_id
        if self._robot.state_type == "JointState":
            self._states.publish(joint_state(state, stamp_ns))
        else:
            self._states.publish(odometry(state, stamp_ns, action_frame))
        if self._gripper is not None and self._robot.gripper is not None:
            self._gripper.publish(gripper_state(state, self._robot.gripper.joint, stamp_ns))
        if self._poses is not None:
            self._poses.publish(tool_pose(state, stamp_ns, action_frame))

    def _publish_frames(self, stamp_ns: int) -> None:
        if self._description is not None and self._description.is_watched:
            state = self._simulation.world.state()
            base = base_pose(self._robot, state.position[0], state.position[1], state.heading)
            positions = dict(zip(self._joint_names, state.joint_positions, strict=True))
            self._description.show(positions, stamp_ns, base)

    def _publish_scans(self, scanner: LaserScanner, stamp_ns: int) -> None:
        world = self._simulation.world
        state = world.state()
        ranges = scanner.scan(world.data, state.position[0], state.position[1], state.heading)
        for publisher, frame_id in self._scans:
            publisher.publish(laser_scan(ranges, stamp_ns, frame_id))

    # -- render thread -------------------------------------------------------------------------------
    def _render(self, ready: threading.Event) -> None:
        world = self._simulation.world
        painter = painter_of(world)
        if isinstance(world, MujocoWorld):
            painter.paint(None, *world.picture)
        frames = list(zip(map(optical_frame, world.cameras), lenses(world).values(), strict=True))
        ready.set()
        while not self._closing.is_set():
            shot = self._next_shot()
            if shot is None:
                continue
            with self._world_change:
                if self._faults.lost():
                    continue
                pictures = painter.paint(shot.snapshot, *world.picture)
                pictures = [self._faults.expose(picture, shot.time_s) for picture in pictures]
                depths = self._depth.take(painter, shot.snapshot)
            self._depth.publish(depths, shot.stamp_ns)
            messages = []
            for picture, (frame_id, lens) in zip(pictures, frames, strict=True):
                image, info = Image(), camera_info(lens, frame_id)
                fill_image(image, picture)
                image.header.frame_id, image.header.stamp = frame_id, time_message(shot.stamp_ns)
                info.header.stamp = image.header.stamp
                messages.append((image, info))
            self._pictures.append(_Picture(tuple(messages), shot.due_s))
            now = time.monotonic()
            if now >= shot.due_s:
                self._publish_pictures(now)

    def _publish_pictures(self, now_s: float) -> None:
        """Publish the frames that are due. The render thread calls this only for frames that it finished too late."""
        while True:
            try:
                picture = self._pictures.popleft()
            except IndexError:
                return
            if picture.due_s > now_s:
                self._pictures.appendleft(picture)
                return
            # The first camera times the decisions, so that the others' frames of that moment come before it.
            for (images, infos), (image, info) in reversed(list(zip(self._cameras, picture.images, strict=True))):
                images.publish(image)
                infos.publish(info)

    def _next_shot(self) -> _Shot | None:
        """Return the next frame, or None after a short wait. A renderer that fell behind skips due frames."""
        with self._shot_ready:
            if not self._shots:
                self._shot_ready.wait(0.1)
            if not self._shots:
                return None
            shot = self._shots.popleft()
            late_s = time.monotonic() - self._simulation.frame_ticks * self._tick_s
            while self._shots and self._shots[0].due_s <= late_s:
                shot = self._shots.popleft()
            return shot


def main() -> None:
    end_process(run_node(SimNode, priority=CONTROL_PRIORITY))


if __name__ == "__main__":
    main()
