"""Writes the robot of a MuJoCo world as URDF, which viewers draw: links, joints, shapes, camera and sensors.

Everything is read from the compiled model and the robot file. Links are called as the bodies are. Besides, there are
the action frame, which is the root, `tool` at the point of an arm that is commanded, the camera's optical frame, and
the frames of the sensors in the robot file.
"""

from __future__ import annotations

import math
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from fosp_core.robot.config import RobotConfig
from fosp_core.robot.urdf import FramePose
from fosp_sim.gazebo.sdf_elements import Matrix, Placement, highest_joint_speed, numbers
from fosp_sim.task.gl import mujoco
from fosp_sim.task.render import CAMERA, CAMERA_FRAME

TOOL_FRAME, ODOMETRY_FRAME = "tool", "odom"
_COMMANDED_SITE = "tip"
_FURNITURE_OF_THE_ROBOT = ("pedestal",)
"""Geoms of the world that belong to the robot."""
_TO_OPTICAL = np.diag([1.0, -1.0, -1.0])
"""The columns are the axes of ROS's optical frames (right, down, forward) in MuJoCo's camera (right, up, backward)."""


def robot_urdf(model: Any, robot: RobotConfig) -> str:
    """Return the URDF of the robot in a compiled model (MjModel)."""
    bodies = [body for body in range(1, model.nbody) if model.body_mocapid[body] < 0]
    root = Element("robot", name=robot.name)
    SubElement(root, "link", name=robot.action.frame_id)
    for geom in range(int(model.body_geomnum[0])):
        if model.geom(geom).name in _FURNITURE_OF_THE_ROBOT:
            _shape(root[0], model, geom)
    for body in bodies:
        link = SubElement(root, "link", name=_name(model, body))
        _inertial(link, model, body)
        for geom in range(int(model.body_geomadr[body]), int(model.body_geomadr[body] + model.body_geomnum[body])):
            _shape(link, model, geom)
        _joint(root, model, body, robot)
    if robot.kind == "arm":
        site = model.site(_COMMANDED_SITE)
        pose = Placement(site.pos, _matrix(site.quat))
        _attach(root, _parent(model, int(site.bodyid[0]), robot), TOOL_FRAME, pose)
    camera = model.camera(CAMERA)
    pose = Placement(camera.pos, _matrix(camera.quat) @ _TO_OPTICAL)
    _attach(root, _parent(model, int(camera.bodyid[0]), robot), CAMERA_FRAME, pose)
    for source in robot.sources:
        if source.frame_id not in {link.get("name") for link in root.findall("link")}:
            angles = numbers(source.rotation)
            pose = Placement(np.array(source.position), np.eye(3))
            _attach(root, robot.action.frame_id, source.frame_id, pose, angles)
    ElementTree.indent(root)
    return f'<?xml version="1.0"?>\n{ElementTree.tostring(root, "unicode")}\n'


def joint_names(model: Any) -> tuple[str, ...]:
    """Return the names of the robot's joints in the order of RobotState.joint_positions."""
    hinges = (joint for joint in range(model.njnt) if model.jnt_type[joint] != mujoco.mjtJoint.mjJNT_FREE)
    return tuple(str(model.joint(joint).name) for joint in hinges)


def base_pose(robot: RobotConfig, x: float, y: float, heading: float) -> FramePose | None:
    """Return where a base stands in `odom`, m and rad; None for an arm, which stands still."""
    if robot.kind != "base":
        return None
    turned = (0.0, 0.0, math.sin(heading / 2), math.cos(heading / 2))
    return FramePose(ODOMETRY_FRAME, robot.action.frame_id, (x, y, 0.0), turned)


def _joint(root: Element, model: Any, body: int, robot: RobotConfig) -> None:
    """Add the joint by which a body hangs on its parent. A body that moves freely is fixed to the action frame."""
    pose = Placement(model.body_pos[body], _matrix(model.body_quat[body]))
    parent, child = _parent(model, int(model.body_parentid[body]), robot), _name(model, body)
    number = int(model.body_jntadr[body])
    if model.body_jntnum[body] == 0 or model.jnt_type[number] == mujoco.mjtJoint.mjJNT_FREE:
        _connect(root, f"{child}_mount", "fixed", parent, child, pose)
        return
    limited = bool(model.jnt_limited[number])
    kind = "revolute" if limited else "continuous"
    element = _connect(root, str(model.joint(number).name), kind, parent, child, pose)
    SubElement(element, "axis", xyz=numbers(model.jnt_axis[number]))
    (actuator,) = np.flatnonzero(model.actuator_trnid[:, 0] == number)
    limits = {"effort": float(model.actuator_forcerange[actuator, 1]), "velocity": highest_joint_speed(robot)}
    if limited:
        limits |= dict(zip(("lower", "upper"), model.jnt_range[number].tolist(), strict=True))
    SubElement(element, "limit", {name: numbers([value]) for name, value in limits.items()})


def _attach(root: Element, parent: str, name: str, pose: Placement, angles: str = "") -> None:
    """Add a link without a body, and fix it to `parent`."""
    SubElement(root, "link", name=name)
    _connect(root, f"{name}_mount", "fixed", parent, name, pose, angles)


def _connect(
    root: Element, name: str, kind: str, parent: str, child: str, pose: Placement, angles: str = ""
) -> Element:
    element = SubElement(root, "joint", name=name, type=kind)
    SubElement(element, "parent", link=parent)
    SubElement(element, "child", link=child)
    _origin(element, pose, angles)
    return element


def _origin(parent: Element, pose: Placement, angles: str = "") -> None:
    place = pose.text().split()
    SubElement(parent, "origin", xyz=" ".join(place[:3]), rpy=angles or " ".join(place[3:]))


def _shape(link: Element, model: Any, geom: int) -> None:
    """Add what is seen of a geom, and, where it touches things, its collision shape.

    URDF has no capsules: one is written as a cylinder and two spheres.
    """
    here = Placement(model.geom_pos[geom], _matrix(model.geom_quat[geom]))
    kind, size = int(model.geom_type[geom]), model.geom_size[geom]
    parts: list[tuple[Placement, str, dict[str, str]]] = []
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        parts.append((here, "box", {"size": numbers(2 * size)}))
    elif kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        parts.append((here, "sphere", {"radius": numbers(size[:1])}))
    elif kind in (mujoco.mjtGeom.mjGEOM_CYLINDER, mujoco.mjtGeom.mjGEOM_CAPSULE):
        radius = numbers(size[:1])
        parts.append((here, "cylinder", {"radius": radius, "length": numbers([2 * size[1]])}))
        if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
            ends = (here.position + sign * size[1] * here.rotation[:, 2] for sign in (1, -1))
            parts += [(Placement(end, here.rotation), "sphere", {"radius": radius}) for end in ends]
    else:
        raise NotImplementedError(f"geom {geom} is of a type that is not written as URDF")
    touches = bool(model.geom_contype[geom] or model.geom_conaffinity[geom])
    colour = numbers(np.round(model.geom_rgba[geom].astype(float), 3))
    for pose, shape, attributes in parts:
        for purpose in ("visual", "collision") if touches else ("visual",):
            element = SubElement(link, purpose)
            _origin(element, pose)
            SubElement(SubElement(element, "geometry"), shape, attributes)
            if purpose == "visual":
                material = SubElement(element, "material", name=f"colour_{colour.replace(' ', '_')}")
                SubElement(material, "color", rgba=colour)


def _inertial(link: Element, model: Any, body: int) -> None:
    inertial = SubElement(link, "inertial")
    _origin(inertial, Placement(model.body_ipos[body], _matrix(model.body_iquat[body])))
    SubElement(inertial, "mass", value=f"{float(model.body_mass[body]):.9g}")
    diagonal = {
        name: f"{float(v):.9g}" for name, v in zip(("ixx", "iyy", "izz"), model.body_inertia[body], strict=True)
    }
    SubElement(inertial, "inertia", {**diagonal, "ixy": "0", "ixz": "0", "iyz": "0"})


def _matrix(quaternion: Any) -> Matrix:
    """Return the rotation matrix (3, 3) of a quaternion w, x, y, z."""
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, np.asarray(quaternion, np.float64))
    return matrix.reshape(3, 3)


def _name(model: Any, body: int) -> str:
    return str(model.body(body).name)


def _parent(model: Any, body: int, robot: RobotConfig) -> str:
    return _name(model, body) if body else robot.action.frame_id
