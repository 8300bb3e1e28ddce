"""The frames of a robot's description (URDF), and where each of them is for given positions of the joints.

A URDF is what viewers draw. Where a motion is judged by one (`joints` of the robot file), Pinocchio reads it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from fosp_core.errors import UserError

MAX_URDF_BYTES = 16 << 20
PACKAGE_SCHEME = "package://"
JointKind = Literal["fixed", "revolute", "continuous", "prismatic"]
Quaternion = tuple[float, float, float, float]
"""x, y, z, w."""
Vector = tuple[float, float, float]


@dataclass(frozen=True)
class FramePose:
    """The pose of a frame in its parent frame, m."""

    parent: str
    child: str
    position: Vector
    orientation: Quaternion


@dataclass(frozen=True)
class UrdfJoint:
    """A joint between two links, whose frames are called as the links are."""

    name: str
    kind: JointKind
    parent: str
    child: str
    position: Vector
    orientation: Quaternion
    """Pose of the child in the parent at position 0."""
    axis: Vector
    """Unit vector in the frame of the child."""
    mimics: str = ""
    """Name of the joint that this one follows; empty for none."""
    multiplier: float = 1.0
    offset: float = 0.0

    def pose(self, at: float = 0.0) -> FramePose:
        """Return the pose of the child where the joint is at `at`, rad or m."""
        position, orientation = self.position, self.orientation
        if self.kind == "prismatic":
            along = rotated(orientation, (self.axis[0] * at, self.axis[1] * at, self.axis[2] * at))
            position = (position[0] + along[0], position[1] + along[1], position[2] + along[2])
        elif self.kind != "fixed":
            s = math.sin(at / 2)
            turn = (self.axis[0] * s, self.axis[1] * s, self.axis[2] * s, math.cos(at / 2))
            orientation = product(orientation, turn)
        return FramePose(self.parent, self.child, position, orientation)


@dataclass(frozen=True)
class KinematicTree:
    """The links of a URDF, which are frames, and the joints between them."""

    name: str
    root: str
    joints: tuple[UrdfJoint, ...]

    @property
    def frames(self) -> tuple[str, ...]:
        """Return the names of all frames, the root first."""
        return (self.root, *(joint.child for joint in self.joints))

    def fixed(self) -> list[FramePose]:
        """Return the poses that do not depend on the joints."""
        return [joint.pose() for joint in self.joints if joint.kind == "fixed"]

    def moving(self, positions: Mapping[str, float]) -> list[FramePose]:
        """Return the poses at these joint positions, rad or m; a joint whose position is unknown or NaN is left out."""
        found = []
        for joint in self.joints:
            at = positions.get(joint.mimics or joint.name)
            if joint.kind != "fixed" and at is not None and math.isfinite(at):
                found.append(joint.pose(joint.multiplier * at + joint.offset))
        return found


def read_urdf(location: str, beside: Path) -> str:
    """Return the text of the URDF at a path, which may be relative to the folder `beside`, or at package://PACKAGE/PATH.

    Raise UserError when there is none, or when it is no URDF.
    """
    path = located(location, beside)
    if path.suffix == ".xacro":
        raise UserError(f"{path}: urdf takes a URDF; expand this first: xacro {path.name} > {path.stem}")
    try:
        if path.stat().st_size > MAX_URDF_BYTES:
            raise UserError(f"{path}: larger than a URDF may be ({MAX_URDF_BYTES} bytes)")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error} (urdf of the robot file)") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a URDF: not UTF-8") from None
    parse_urdf(text, str(path))
    return text


def located(location: str, beside: Path) -> Path:
    """Return the path of a location: relative to `beside`, or package://PACKAGE/PATH. UserError without the package."""
    if not location.startswith(PACKAGE_SCHEME):
        return beside / Path(location).expanduser()
    package, _, inside = location.removeprefix(PACKAGE_SCHEME).partition("/")
    from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

    try:
        return Path(get_package_share_directory(package)) / inside
    except (PackageNotFoundError, ValueError):
        raise UserError(f"urdf {location}: no package '{package}' is installed") from None


def robot_element(text: str, kind: str, source: str) -> Element:
    """Return the outermost element of a URDF or SRDF; UserError, naming `source`, when the text is not of that kind."""
    try:
        robot = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise UserError(f"{source}: not {kind}: {error}") from None
    if robot.tag != "robot":
        raise UserError(f"{source}: not {kind}: the outermost element is <{robot.tag}>, not <robot>")
    return robot


def parse_urdf(text: str, source: str) -> KinematicTree:
    """Return the kinematic tree of a URDF. Raise UserError, naming `source`, when it is no tree of known joints."""
    robot = robot_element(text, "a URDF", source)
    links = [link.get("name", "") for link in robot.findall("link")]
    try:
        joints = tuple(_joint(element) for element in robot.findall("joint"))
        return KinematicTree(robot.get("name", ""), _root(links, joints), joints)
    except ValueError as error:
        raise UserError(f"{source}: not a URDF: {error}") from None


def _root(links: list[str], joints: tuple[UrdfJoint, ...]) -> str:
    """Return the only link that is no joint's child. Raise ValueError where the links make no tree."""
    for kind, names in (("link", links), ("joint", [joint.name for joint in joints])):
        twice = sorted({name for name in names if names.count(name) > 1 or not name})
        if twice:
            raise ValueError(f"{kind} '{twice[0]}' stands twice, or has no name")
    children = [joint.child for joint in joints]
    unknown = sorted({*children, *(joint.parent for joint in joints)} - set(links))
    if unknown:
        raise ValueError(f"a joint names the link '{unknown[0]}', which is missing")
    twice = sorted({child for child in children if children.count(child) > 1})
    if twice:
        raise ValueError(f"link '{twice[0]}' is the child of two joints")
    roots = [link for link in links if link not in children]
    if len(roots) != 1:
        raise ValueError(f"{len(roots)} links have no parent, and one must have none: {', '.join(roots) or 'a circle'}")
    reached, rest = {roots[0]}, list(joints)
    while rest:
        found = [joint for joint in rest if joint.parent in reached]
        if not found:
            raise ValueError(f"link '{rest[0].child}' is not connected to '{roots[0]}': a circle of joints")
        reached |= {joint.child for joint in found}
        rest = [joint for joint in rest if joint not in found]
    return roots[0]


def _joint(element: Element) -> UrdfJoint:
    name, kind = element.get("name", ""), element.get("type", "")
    if kind not in get_args(JointKind):
        raise ValueError(f"joint '{name}' has the type '{kind}'; known are {', '.join(get_args(JointKind))}")
    ends = [element.find(end) for end in ("parent", "child")]
    parent, child = ("" if end is None else end.get("link", "") for end in ends)
    origin, axis, mimic = element.find("origin"), element.find("axis"), element.find("mimic")
    direction = _vector(axis, "xyz", (1.0, 0.0, 0.0), name)
    length = math.hypot(*direction)
    if kind != "fixed" and length < 1e-6:
        raise ValueError(f"the axis of joint '{name}' has no direction")
    roll_pitch_yaw = _vector(origin, "rpy", (0.0, 0.0, 0.0), name)
    return UrdfJoint(
        name=name,
        kind=kind,  # type: ignore[arg-type]  # it is one of them
        parent=parent,
        child=child,
        position=_vector(origin, "xyz", (0.0, 0.0, 0.0), name),
        orientation=quaternion_of(*roll_pitch_yaw),
        axis=direction if kind == "fixed" else tuple(value / length for value in direction),  # type: ignore[arg-type]
        mimics="" if mimic is None else mimic.get("joint", ""),
        multiplier=_number(mimic, "multiplier", 1.0, name),
        offset=_number(mimic, "offset", 0.0, name),
    )


def _number(mimic: Element | None, attribute: str, default: float, joint: str) -> float:
    text = None if mimic is None else mimic.get(attribute)
    if text is None:
        return default
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{attribute} by which joint '{joint}' mimics another must be finite, got '{text}'")
    return value


def _vector(element: Element | None, attribute: str, default: Vector, joint: str) -> Vector:
    text = None if element is None else element.get(attribute)
    if text is None:
        return default
    values = tuple(float(part) for part in text.split())
    if len(values) != 3 or not all(map(math.isfinite, values)):
        raise ValueError(f"{attribute} of joint '{joint}' must be three numbers, got '{text}'")
    return values[0], values[1], values[2]


# -- rotations ---------------------------------------------------------------------------------------
def quaternion_of(roll: float, pitch: float, yaw: float) -> Quaternion:
    """Return the rotation Rz(yaw) Ry(pitch) Rx(roll), rad, as URDF has it."""
    about_x = (math.sin(roll / 2), 0.0, 0.0, math.cos(roll / 2))
    about_y = (0.0, math.sin(pitch / 2), 0.0, math.cos(pitch / 2))
    about_z = (0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2))
    return product(product(about_z, about_y), about_x)


def product(first: Quaternion, second: Quaternion) -> Quaternion:
    """Return the rotation `second`, followed by `first`, both in one frame."""
    ax, ay, az, aw = first
    bx, by, bz, bw = second
    return (
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    )


def rotated(rotation: Quaternion, vector: Vector) -> Vector:
    """Return `vector` turned by `rotation`."""
    x, y, z, w = rotation
    turned = product(product(rotation, (*vector, 0.0)), (-x, -y, -z, w))
    return turned[0], turned[1], turned[2]
