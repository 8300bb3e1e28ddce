"""A simulated episode as a bag, with the topics, types and rates of a robot's recorder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fosp_core import topics
from fosp_core.bag_types import BagWriter, typestore
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.topics import resolve
from fosp_sim.env import Frame
from fosp_sim.task.arm_kinematics import JOINTS
from fosp_sim.task.render import CAMERA_FRAME, Intrinsics, image_topics, optical_frame
from fosp_sim.task.world import Picture, RobotState, Vector

_PARTIAL = ".partial"


class SimulatedBag:
    """The bag of one episode of an Env, which it listens to; `folder` appears when the bag is complete."""

    def __init__(
        self,
        folder: Path,
        episode: int,
        robot: RobotConfig,
        cameras: Mapping[str, Intrinsics],
        start_ns: int,
        latency_s: float,
    ) -> None:
        """Open the bag; UserError when `folder` exists or cannot be written.

        `cameras` are the lenses by name, in the world's order, `start_ns` is the stamp of the first frame, and
        `latency_s` the delay of images.
        """
        if folder.exists():
            raise UserError(f"{folder} exists already; choose another --out or remove it")
        self._folder, self._episode, self._robot = folder, episode, robot
        self._partial = folder.parent / f"{_PARTIAL}_{os.getpid()}_{folder.name}" / folder.name
        self._start_ns, self._latency_ns = start_ns, round(latency_s * 1e9)
        self._types = typestore().types
        try:
            self._bag = BagWriter(self._partial)
        except OSError as error:
            raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from None
        self._infos = {name: self._camera_info(lens, optical_frame(name)) for name, lens in cameras.items()}
        self._first = next(iter(cameras))

    def close(self, notes: Mapping[str, str]) -> None:
        """Complete the bag with `notes` in its metadata (`custom_data`), and move it to its folder.

        UserError when the disk refuses, or when the folder has come into being meanwhile.
        """
        self._bag.note(notes)
        try:
            self._bag.finish(self._folder)
        except OSError as error:
            raise UserError(f"{self._folder}: cannot be written: {error.strerror or error}") from None
        self._remove_partial()

    def abort(self) -> None:
        """Remove what has been written."""
        self._bag.abort()
        self._remove_partial()

    def frame(self, frame: Frame) -> None:
        """Write the image, unless it was lost, its camera_info, and the feedback of a camera frame."""
        header = self._header(frame.time, CAMERA_FRAME)
        if frame.image is not None:
            self._picture(self._first, frame.image, frame.time)
        for name, picture in frame.others.items():
            self._picture(name, picture, frame.time)
        message = self._make(
            "fosp_msgs/msg/StepFeedback",
            header=header,
            episode=self._episode,
            **asdict(frame.feedback),
        )
        self._write(topics.FEEDBACK, message, frame.time)

    def _picture(self, camera: str, picture: Picture, time: float) -> None:
        height, width, _ = picture.shape
        info, (topic, info_topic) = self._infos[camera], image_topics(camera)
        header = self._header(time, optical_frame(camera))
        image = self._make(
            "sensor_msgs/msg/Image",
            header=header,
            height=height,
            width=width,
            encoding="rgb8",
            is_bigendian=0,
            step=3 * width,
            data=picture.reshape(-1),
        )
        self._write(topic, image, time, self._latency_ns)
        info.header = header
        self._write(info_topic, info, time, self._latency_ns)

    def command(self, time: float, twist: Vector) -> None:
        """Write the command that the robot obeys at `time`, s since the first frame; m/s and rad/s, one per axis."""
        vectors = {"linear": [0.0, 0.0, 0.0], "angular": [0.0, 0.0, 0.0]}
        for axis, value in zip(self._robot.action.axes, twist, strict=True):
            vector, component = axis.name.split(".")
            vectors[vector]["xyz".index(component)] = float(value)
        message = self._make(
            "geometry_msgs/msg/TwistStamped",
            header=self._header(time, self._robot.action.frame_id),
            twist=self._twist(vectors["linear"], vectors["angular"]),
        )
        self._write(self._robot.command_topic, message, time)

    def gripper(self, time: float, position: float) -> None:
        """Write what the gripper is told at `time`, in its unit."""
        self._write(topics.GRIPPER, self._gripper_state(time, position), time)

    def _gripper_state(self, time: float, position: float) -> Any:
        joint = "" if self._robot.gripper is None else self._robot.gripper.joint
        return self._make(
            "sensor_msgs/msg/JointState",
            header=self._header(time, ""),
            name=[joint],
            position=np.array([position]),
            velocity=np.zeros(0),
            effort=np.zeros(0),
        )

    def state(self, time: float, state: RobotState) -> None:
        """Write the robot's state at `time`: odometry of a base, joint states and tool pose of an arm."""
        if self._robot.kind == "base":
            self._write(self._robot.state_topic, self._odometry(time, state), time)
            return
        joints = self._make(
            "sensor_msgs/msg/JointState",
            header=self._header(time, ""),
            name=list(JOINTS),
            position=np.array(state.joint_positions),
            velocity=np.array(state.joint_velocities),
            effort=np.zeros(0),
        )
        self._write(self._robot.state_topic, joints, time)
        if self._robot.gripper is not None and state.gripper is not None:
            self._write(self._robot.gripper.feedback_topic, self._gripper_state(time, state.gripper), time)
        pose = self._make(
            "geometry_msgs/msg/PoseStamped",
            header=self._header(time, self._robot.action.frame_id),
            pose=self._pose(state.position, (0.0, 1.0, 0.0, 0.0)),
        )
        self._write(self._robot.pose_topic, pose, time)

    def _odometry(self, time: float, state: RobotState) -> Any:
        half = state.heading / 2
        pose = self._pose(state.position, (0.0, 0.0, float(np.sin(half)), float(np.cos(half))))
        x, y, z, turn = state.twist
        return self._make(
            "nav_msgs/msg/Odometry",
            header=self._header(time, "odom"),
            child_frame_id=self._robot.action.frame_id,
            pose=self._make("geometry_msgs/msg/PoseWithCovariance", pose=pose, covariance=np.zeros(36)),
            twist=self._make(
                "geometry_msgs/msg/TwistWithCovariance",
                twist=self._twist([x, y, z], [0.0, 0.0, turn]),
                covariance=np.zeros(36),
            ),
        )

    def _camera_info(self, camera: Intrinsics, frame_id: str) -> Any:
        f, cx, cy = camera.focal, camera.centre_x, camera.centre_y
        return self._make(
            "sensor_msgs/msg/CameraInfo",
            header=self._header(0.0, frame_id),
            height=camera.height,
            width=camera.width,
            distortion_model="plumb_bob",
            d=np.zeros(5),
            k=np.array([f, 0, cx, 0, f, cy, 0, 0, 1.0]),
            r=np.eye(3).reshape(-1),
            p=np.array([f, 0, cx, 0, 0, f, cy, 0, 0, 0, 1.0, 0]),
            binning_x=0,
            binning_y=0,
            roi=self._make(
                "sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
            ),
        )

    def _pose(self, position: tuple[float, float, float], orientation: tuple[float, float, float, float]) -> Any:
        return self._make(
            "geometry_msgs/msg/Pose",
            position=self._make("geometry_msgs/msg/Point", **dict(zip("xyz", position, strict=True))),
            orientation=self._make("geometry_msgs/msg/Quaternion", **dict(zip("xyzw", orientation, strict=True))),
        )

    def _twist(self, linear: list[float], angular: list[float]) -> Any:
        vector = "geometry_msgs/msg/Vector3"
        return self._make(
            "geometry_msgs/msg/Twist",
            linear=self._make(vector, **dict(zip("xyz", linear, strict=True))),
            angular=self._make(vector, **dict(zip("xyz", angular, strict=True))),
        )

    def _header(self, time: float, frame_id: str) -> Any:
        seconds, nanoseconds = divmod(self._stamp(time), 1_000_000_000)
        stamp = self._make("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)
        return self._make("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)

    def _stamp(self, time: float) -> int:
        return self._start_ns + round(time * 1e6) * 1000

    def _make(self, name: str, /, **fields: Any) -> Any:
        return self._types[name](**fields)

    def _write(self, topic: str, message: Any, time: float, delay_ns: int = 0) -> None:
        topic, kind = resolve(topic), message.__msgtype__
        try:
            if topic not in self._bag.topics:
                self._bag.add_topic(topic, kind)
            self._bag.write(topic, self._stamp(time) + delay_ns, typestore().serialize_cdr(message, kind))
        except OSError as error:
            raise UserError(f"{self._folder}: cannot be written: {error.strerror or error}") from None

    def _remove_partial(self) -> None:
        shutil.rmtree(self._partial.parent, ignore_errors=True)
