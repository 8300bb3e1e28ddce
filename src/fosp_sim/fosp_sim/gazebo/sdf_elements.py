"""Elements of SDF that describe parts of a compiled MuJoCo model: poses, shapes, inertia, sensors and controllers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element, SubElement

import numpy as np
from numpy.typing import NDArray

from fosp_core.robot.config import RobotConfig
from fosp_sim.gazebo import topics as gazebo_topics
from fosp_sim.task.gl import mujoco
from fosp_sim.task.mjcf import TRACK, WHEEL_RADIUS

Matrix = NDArray[np.float64]

JOINT_SPEED = 2.5
"""Highest speed of the arm's joint controllers, rad/s."""
_SPEED_MARGIN = 1.2
"""The physics engine's limit of a joint's speed lies above what its controller asks for, so the two never fight."""


@dataclass(frozen=True)
class Placement:
    """A pose: position (3,) m and rotation matrix (3, 3)."""

    position: Matrix
    rotation: Matrix

    def within(self, parent: Placement) -> Placement:
        """Return this pose relative to `parent`, both given in the world."""
        return Placement(parent.rotation.T @ (self.position - parent.position), parent.rotation.T @ self.rotation)

    def text(self) -> str:
        """Return x y z roll pitch yaw as SDF writes them."""
        return numbers([*self.position, *_roll_pitch_yaw(self.rotation)])


def add_geometry(parent: Element, model: Any, geom: int, margin: float) -> None:
    """Add shape and size of a geom, `margin` m larger on every side."""
    kind, size = int(model.geom_type[geom]), model.geom_size[geom]
    geometry = SubElement(parent, "geometry")
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        add_text(SubElement(geometry, "box"), "size", numbers(2 * (size + margin)))
    elif kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        add_text(SubElement(geometry, "sphere"), "radius", float(size[0]) + margin)
    elif kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        _round(SubElement(geometry, "capsule"), float(size[0]) + margin, 2 * float(size[1]))
    elif kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        _round(SubElement(geometry, "cylinder"), float(size[0]) + margin, 2 * (float(size[1]) + margin))
    elif kind == mujoco.mjtGeom.mjGEOM_PLANE:
        plane = SubElement(geometry, "plane")
        add_text(plane, "normal", "0 0 1")
        add_text(plane, "size", numbers(2 * size[:2]))
    else:
        raise NotImplementedError(f"geom {geom} is of a type that is not written as SDF")


def _round(shape: Element, radius: float, length: float) -> None:
    add_text(shape, "radius", radius)
    add_text(shape, "length", length)


def add_friction(collision: Element, model: Any, geom: int) -> None:
    """Add the friction of a geom; one of condim 1 slides without friction."""
    mu = 0.0 if model.geom_condim[geom] == 1 else float(model.geom_friction[geom, 0])
    ode = SubElement(SubElement(SubElement(collision, "surface"), "friction"), "ode")
    add_text(ode, "mu", mu)
    add_text(ode, "mu2", mu)


def add_inertial(link: Element, model: Any, body: int) -> None:
    """Add mass and principal inertia of a body."""
    inertial = SubElement(link, "inertial")
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, model.body_iquat[body])
    add_text(inertial, "pose", Placement(model.body_ipos[body], rotation.reshape(3, 3)).text())
    add_text(inertial, "mass", float(model.body_mass[body]))
    inertia = SubElement(inertial, "inertia")
    for name, value in zip(("ixx", "iyy", "izz"), model.body_inertia[body], strict=True):
        add_text(inertia, name, float(value))
    for name in ("ixy", "ixz", "iyz"):
        add_text(inertia, name, 0)


def highest_joint_speed(robot: RobotConfig) -> float:
    """Return the speed, rad/s, that no joint of the robot exceeds."""
    if robot.kind == "arm":
        return _SPEED_MARGIN * JOINT_SPEED
    forward, turn = robot.limits["linear.x"].speed, robot.limits["angular.z"].speed
    return _SPEED_MARGIN * (forward + turn * TRACK / 2) / WHEEL_RADIUS


def add_limits(axis: Element, model: Any, joint: int, speed: float) -> None:
    """Add the range of a joint, `speed` rad/s, and the force of its actuator, N m.

    Gazebo's velocity control is as strong as it has to be, and ignores the range, where the force has no limit.
    """
    limit = SubElement(axis, "limit")
    low, high = model.jnt_range[joint] if model.jnt_limited[joint] else (-1e16, 1e16)
    add_text(limit, "lower", float(low))
    add_text(limit, "upper", float(high))
    (actuator,) = np.flatnonzero(model.actuator_trnid[:, 0] == joint)
    add_text(limit, "effort", float(model.actuator_forcerange[actuator, 1]))
    add_text(limit, "velocity", speed)


def add_light(parent: Element, name: str, pose: Placement, direction: Iterable[float], strength: float) -> None:
    """Add a white, directional light that shines along `direction` (3,) of its frame.

    Its strength is the intensity, because Gazebo takes a component of a colour above 1 for one of 255.
    """
    light = SubElement(parent, "light", name=name, type="directional")
    add_text(light, "pose", pose.text())
    add_text(light, "cast_shadows", "false")
    add_text(light, "intensity", strength)
    add_text(light, "diffuse", "1 1 1 1")
    add_text(light, "specular", "0 0 0 1")
    add_text(light, "direction", numbers(direction))


def add_contact_sensor(link: Element, name: str, collisions: Iterable[str]) -> None:
    """Add a sensor that reports what the named collisions of a link touch, at every physics step while they do.

    Gazebo ignores the update_rate of contact sensors.
    """
    sensor = SubElement(link, "sensor", name=f"{name}_contact", type="contact")
    add_text(sensor, "always_on", "true")
    contact = SubElement(sensor, "contact")
    for collision in collisions:
        add_text(contact, "collision", f"{collision}_collision")
    add_text(contact, "topic", gazebo_topics.CONTACTS)


def add_arm_plugins(element: Element, model: Any, start: Matrix) -> None:
    """Add a position controller for each joint, which begins at `start` (n,) rad, and the publisher of joint states."""
    for number in range(model.njnt):
        name = str(model.joint(number).name)
        plugin = add_plugin(element, "gz-sim-joint-position-controller-system", "JointPositionController")
        add_text(plugin, "joint_name", name)
        add_text(plugin, "topic", gazebo_topics.joint_command(name))
        add_text(plugin, "use_velocity_commands", "true")
        add_text(plugin, "cmd_max", JOINT_SPEED)
        add_text(plugin, "cmd_min", -JOINT_SPEED)
        add_text(plugin, "initial_position", float(start[number]))
    plugin = add_plugin(element, "gz-sim-joint-state-publisher-system", "JointStatePublisher")
    add_text(plugin, "topic", gazebo_topics.JOINT_STATES)


def add_base_plugins(element: Element, robot: RobotConfig) -> None:
    """Add the differential drive and the publisher of odometry."""
    plugin = add_plugin(element, "gz-sim-diff-drive-system", "DiffDrive")
    add_text(plugin, "left_joint", "left_wheel")
    add_text(plugin, "right_joint", "right_wheel")
    add_text(plugin, "wheel_separation", TRACK)
    add_text(plugin, "wheel_radius", WHEEL_RADIUS)
    add_text(plugin, "topic", gazebo_topics.WHEEL_COMMAND)
    add_text(plugin, "odom_topic", f"{gazebo_topics.ODOMETRY}_of_wheels")
    plugin = add_plugin(element, "gz-sim-odometry-publisher-system", "OdometryPublisher")
    add_text(plugin, "odom_frame", "odom")
    add_text(plugin, "robot_base_frame", robot.action.frame_id)
    add_text(plugin, "odom_publish_frequency", 100)
    add_text(plugin, "odom_topic", gazebo_topics.ODOMETRY)


def add_plugin(parent: Element, filename: str, name: str) -> Element:
    """Add a system of Gazebo, and return its element."""
    return SubElement(parent, "plugin", filename=filename, name=f"gz::sim::systems::{name}")


def add_text(parent: Element, name: str, value: object) -> None:
    """Add an element that contains one value."""
    SubElement(parent, name).text = f"{value:.9g}" if isinstance(value, float) else str(value)


def numbers(values: Iterable[float]) -> str:
    """Return numbers as SDF lists them, rounded to 1e-9."""
    return " ".join(f"{round(float(value), 9) + 0.0:.9g}" for value in values)


def _roll_pitch_yaw(rotation: Matrix) -> Sequence[float]:
    """Return the fixed-axis angles, rad, with R = Rz(yaw) Ry(pitch) Rx(roll)."""
    pitch = math.asin(max(-1.0, min(1.0, -float(rotation[2, 0]))))
    if abs(rotation[2, 0]) > 1 - 1e-9:
        return 0.0, pitch, math.atan2(-float(rotation[0, 1]), float(rotation[1, 1]))
    roll = math.atan2(float(rotation[2, 1]), float(rotation[2, 2]))
    return roll, pitch, math.atan2(float(rotation[1, 0]), float(rotation[0, 0]))
