"""The arm of a URDF in Pinocchio: its chain, the limits of its joints, and how near its links are to what they must not
touch.

Pinocchio (`pin`) and coal are imported when a model is made, so that a robot without `joints` needs neither.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fosp_core.errors import UserError
from fosp_core.robot.arm_limits import JointsConfig, SceneBox
from fosp_core.robot.config import RobotConfig
from fosp_core.robot.quantities import FARTHEST_M
from fosp_core.robot.urdf import KinematicTree, UrdfJoint, located, parse_urdf, quaternion_of, read_urdf, robot_element
from fosp_safety_monitor.arm.kinematics import Kinematics, Vector, cross

INSTALL = "pip install -c requirements/constraints.txt -r requirements/arm.txt"
HORIZON_M = 0.5
"""Distances beyond this do not count: no arm covers it within the time that it takes to stop."""
_WORLD = "the action frame"
_MOST_TURNS = 50.0
"""Position, rad, that no joint with an end reaches: some wrists turn three times, and 50 rad are eight."""


@dataclass(frozen=True, eq=False)
class Distances:
    """Distances between links, and between links and boxes, beyond the distance that is to be kept."""

    values: Vector
    """(m,) m; negative where less is left than is to be kept."""
    kept: Vector
    """(m,) m: the distance that is to be kept, so that the parts touch at -kept."""
    gradients: Vector
    """(m, n) change of each distance per unit of each joint of the chain."""
    pairs: tuple[str, ...]
    """(m,) what is compared, in words."""

    def tell(self, index: int) -> str:
        """Return what is compared and how far apart it is, in words."""
        apart = 1e3 * (self.values[index] + self.kept[index])
        return f"{self.pairs[index]}: {apart:.0f} mm apart, at least {1e3 * self.kept[index]:.0f}"


@dataclass(frozen=True, eq=False)
class _Pair:
    name: str
    kept: float
    first: int
    second: int
    """Numbers of the joints that move the two parts; 0: none does."""


def pinocchio() -> Any:
    """Return the module pinocchio; raise UserError with one line where it is not installed."""
    try:
        return importlib.import_module("pinocchio")
    except ImportError as error:
        raise UserError(f"`joints` of the robot file needs Pinocchio ({error}): {INSTALL}") from None


class ArmModel:
    """One arm. Not thread-safe: its methods share their memory.

    Raise UserError with one line when the URDF, or its meshes, and the robot file do not fit together.
    """

    def __init__(
        self,
        urdf: str,
        config: JointsConfig,
        frame_id: str,
        source: str = "urdf",
        folders: Sequence[Path] = (),
        ignored_pairs: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._pin, self._config, self._source = pinocchio(), config, source
        tree = parse_urdf(urdf, source)
        _require_plausible(urdf, tree, source)
        self._slides = {joint.name for joint in tree.joints if joint.kind == "prismatic"}
        self._mimics = {joint.name: joint for joint in tree.joints if joint.mimics}
        try:
            self._model = self._pin.buildModelFromXML(urdf)
        except Exception as error:  # Pinocchio raises whatever its parser does
            raise UserError(f"{source}: Pinocchio cannot read it: {_line(error)}") from None
        self._data = self._model.createData()
        self._tip, base = self._frame(config.tip_link, "tip_link"), self._frame(frame_id, "frame_id of the action")
        if self._model.frames[base].parentJoint != 0:
            raise UserError(f"{source}: '{frame_id}', the frame of the action, moves with the joints of the arm")
        self._base = self._model.frames[base].placement
        self._offset = np.array(config.tip_offset)
        self._turn = self._pin.Quaternion(*_wxyz(config.tip_rotation)).toRotationMatrix()
        self._chain = self._chain_to(self._model.frames[self._tip].parentJoint)
        if not self._chain:
            raise UserError(f"{source}: no joint moves the link '{config.tip_link}' (tip_link)")
        self.names = tuple(str(self._model.names[joint]) for joint in self._chain)
        """Joints that move the commanded point, from base to tip."""
        self._columns = [self._model.joints[joint].idx_v for joint in self._chain]
        self.lower, self.upper, self.speed = self._limits()
        """(n,) rad or m, and rad/s or m/s; infinite where the URDF gives none."""
        moving = [str(name) for name in self._model.names[1:]]
        self._sources = {name: self._mimics[name].mimics if name in self._mimics else name for name in moving}
        unknown = sorted(set(config.held) - set(moving))
        margins = config.joint_limit_margins if isinstance(config.joint_limit_margins, dict) else {}
        unknown += sorted(set(margins) - set(self.names))
        if unknown:
            raise UserError(f"{source}: has no joint '{unknown[0]}' that moves; there are: {', '.join(moving)}")
        self.needed = tuple(dict.fromkeys(s for s in self._sources.values() if s not in config.held))
        """Joints whose positions are needed: all that move, but those that are held or follow another."""
        self._pairs: list[_Pair] = []
        self._geometry: Any = None
        self._geometry_data: Any = None
        if config.self_collision is not None or config.boxes:
            self._build_geometry(urdf, [str(folder) for folder in folders], ignored_pairs)

    # -- what it says --------------------------------------------------------------------------------
    def place(self, positions: Mapping[str, float]) -> Kinematics:
        """Return the chain at these positions, rad or m, of all joints that are `needed`; KeyError without."""
        pin, model, data = self._pin, self._model, self._data
        pin.computeJointJacobians(model, data, self._configuration(positions))
        placed = self._base.actInv(pin.updateFramePlacement(model, data, self._tip))
        jacobian = pin.getFrameJacobian(model, data, self._tip, pin.ReferenceFrame.LOCAL_WORLD_ALIGNED)
        jacobian = jacobian[:, self._columns]
        turn, lever = self._base.rotation.T, placed.rotation @ self._offset
        linear, angular = turn @ jacobian[:3], turn @ jacobian[3:]
        linear = linear + cross(angular.T, lever).T
        x, y, z, w = pin.Quaternion(placed.rotation @ self._turn).coeffs().tolist()
        return Kinematics(placed.translation + lever, (x, y, z, w), np.vstack([linear, angular]))

    def distances(self) -> Distances:
        """Return the distances at the positions of the last `place`; none where nothing is compared."""
        if not self._pairs:
            return Distances(np.zeros(0), np.zeros(0), np.zeros((0, len(self.names))), ())
        pin, data, geometry = self._pin, self._data, self._geometry_data
        pin.updateGeometryPlacements(self._model, data, self._geometry, geometry)
        pin.computeDistances(self._geometry, geometry)
        results = list(geometry.distanceResults)
        values = np.array([result.min_distance for result in results])
        near = [i for i, pair in enumerate(self._pairs) if not values[i] - pair.kept > HORIZON_M]
        normals = np.array([results[i].normal for i in near]).reshape(-1, 3)
        first = np.array([results[i].getNearestPoint1() for i in near]).reshape(-1, 3)
        second = np.array([results[i].getNearestPoint2() for i in near]).reshape(-1, 3)
        pairs = [self._pairs[i] for i in near]
        gradients = self._rate(normals, second, [pair.second for pair in pairs])
        gradients -= self._rate(normals, first, [pair.first for pair in pairs])
        kept = np.array([pair.kept for pair in pairs])
        return Distances(values[near] - kept, kept, gradients, tuple(pair.name for pair in pairs))

    # -- making --------------------------------------------------------------------------------------
    def _frame(self, name: str, what: str) -> int:
        if not self._model.existFrame(name):
            frames = [str(frame.name) for frame in self._model.frames if frame.type == self._pin.FrameType.BODY]
            raise UserError(f"{self._source}: has no link '{name}' ({what}); there are: {', '.join(frames)}")
        return int(self._model.getFrameId(name))

    def _chain_to(self, joint: int) -> list[int]:
        chain = []
        while joint:
            chain.append(int(joint))
            joint = self._model.parents[joint]
        return chain[::-1]

    def _limits(self) -> tuple[Vector, Vector, Vector]:
        model, lower, upper, speed = self._model, [], [], []
        for number in self._chain:
            joint, name = model.joints[number], model.names[number]
            if joint.nv != 1 or name in self._mimics:
                raise UserError(f"{self._source}: joint '{name}' on the way to the tip turns or slides in no plain way")
            endless = joint.nq == 2  # continuous: its position is a cosine and a sine
            lower.append(-np.inf if endless else float(model.lowerPositionLimit[joint.idx_q]))
            upper.append(np.inf if endless else float(model.upperPositionLimit[joint.idx_q]))
            speed.append(float(model.velocityLimit[joint.idx_v]))
            if not lower[-1] < upper[-1] or not speed[-1] > 0.0:
                raise UserError(f"{self._source}: joint '{name}' has no room or no speed by its <limit>")
            furthest, most = max(abs(lower[-1]), abs(upper[-1])), FARTHEST_M if name in self._slides else _MOST_TURNS
            if not endless and furthest > most:
                units = "m, not in mm" if name in self._slides else "rad, not in degrees"
                raise UserError(f"{self._source}: <limit> of joint '{name}' is {furthest:g}; it must be in {units}")
        return np.array(lower), np.array(upper), np.array(speed)

    def _configuration(self, positions: Mapping[str, float]) -> Vector:
        """Return Pinocchio's vector of all joints."""
        q: Vector = self._pin.neutral(self._model)
        for number in range(1, self._model.njoints):
            joint, name = self._model.joints[number], str(self._model.names[number])
            source = self._sources[name]
            held = self._config.held
            at = held[name] if name in held else held[source] if source in held else positions[source]
            if name in self._mimics and name not in held:
                mimic: UrdfJoint = self._mimics[name]
                at = mimic.multiplier * at + mimic.offset
            q[joint.idx_q : joint.idx_q + joint.nq] = (np.cos(at), np.sin(at)) if joint.nq == 2 else at
        return q

    def _build_geometry(self, urdf: str, folders: list[str], ignored_pairs: Sequence[tuple[str, str]]) -> None:
        pin, model = self._pin, self._model
        try:
            geometry = pin.buildGeomFromUrdfString(model, urdf, pin.GeometryType.COLLISION, package_dirs=folders)
        except Exception as error:
            raise UserError(f"{self._source}: its collision meshes cannot be read: {_line(error)}") from None
        for part in geometry.geometryObjects:
            _make_convex(part)
        links = [str(model.frames[part.parentFrame].name) for part in geometry.geometryObjects]
        joints = [int(part.parentJoint) for part in geometry.geometryObjects]
        own = len(links)
        if self._config.self_collision is not None:
            ignored = {frozenset(pair) for pair in (*self._config.self_collision.ignored_pairs, *ignored_pairs)}
            self._require_links(
                {link for pair in self._config.self_collision.ignored_pairs for link in pair}, "ignored_pairs"
            )
            kept = self._config.self_collision.distance
            for i in range(own):
                for j in range(i + 1, own):
                    if self._are_compared(joints[i], joints[j]) and frozenset((links[i], links[j])) not in ignored:
                        geometry.addCollisionPair(pin.CollisionPair(i, j))
                        self._pairs.append(_Pair(f"{links[i]} and {links[j]}", kept, joints[i], joints[j]))
        for box in self._config.boxes:
            self._require_links(set(box.ignored_links), f"ignored_links of box {box.name}")
            number = geometry.addGeometryObject(self._box(box))
            for i in range(own):
                if joints[i] and links[i] not in box.ignored_links:
                    geometry.addCollisionPair(pin.CollisionPair(i, number))
                    self._pairs.append(_Pair(f"{links[i]} and box {box.name}", box.distance, joints[i], 0))
        if not self._pairs:
            raise UserError(f"{self._source}: has no collision shapes to compare for self_collision or boxes")
        self._geometry, self._geometry_data = geometry, pin.GeometryData(geometry)

    def _require_links(self, names: set[str], what: str) -> None:
        for name in sorted(names):
            self._frame(name, what)

    def _are_compared(self, first: int, second: int) -> bool:
        """Return True unless the two parts are one body, or bodies that a joint connects."""
        parents = self._model.parents
        return first != second and parents[first] != second and parents[second] != first

    def _box(self, box: SceneBox) -> Any:
        pin, coal = self._pin, importlib.import_module("coal")
        place = pin.SE3(pin.Quaternion(*_wxyz(box.rotation)), np.array(box.position))
        return pin.GeometryObject(f"box {box.name}", 0, self._base * place, coal.Box(*box.size))

    def _rate(self, normals: Vector, points: Vector, joints: list[int]) -> Vector:
        """Return the rate (m, n) along `normals` (m, 3) of `points` (m, 3) on the bodies that these joints move."""
        linear, angular = self._data.J[:3, self._columns], self._data.J[3:, self._columns]
        rate = normals @ linear + cross(points, normals) @ angular
        support = {joint: set(self._chain_to(joint)) for joint in set(joints)}
        moves = np.array([[number in support[joint] for number in self._chain] for joint in joints])
        return np.where(moves.reshape(rate.shape), rate, 0.0)


def _require_plausible(urdf: str, tree: KinematicTree, source: str) -> None:
    """Raise UserError where parts lie as far apart as in mm, or a joint follows one that is not there, or itself."""
    for origin in robot_element(urdf, "a URDF", source).iter("origin"):
        for text in origin.get("xyz", "").split():
            try:
                near = abs(float(text)) <= FARTHEST_M
            except ValueError:
                near = False
            if not near:
                raise UserError(f"{source}: an <origin> at '{origin.get('xyz')}': lengths are in m, not in mm")
    joints = {joint.name: joint for joint in tree.joints}
    for joint in tree.joints:
        leader = joints.get(joint.mimics)
        if joint.mimics and (leader is None or leader.kind == "fixed" or leader.mimics):
            raise UserError(
                f"{source}: joint '{joint.name}' mimics '{joint.mimics}', which is no joint that moves freely"
            )


def model_of(robot: RobotConfig, urdf: str, source: str, folder: Path) -> ArmModel:
    """Return the model of a robot with `joints`; `folder` is that of its file. UserError when they do not fit."""
    config = robot.joints
    assert config is not None
    ignored: list[tuple[str, str]] = []
    if config.self_collision is not None and config.self_collision.srdf:
        path = located(config.self_collision.srdf, folder)
        if path.suffix == ".xacro":
            raise UserError(f"{path}: srdf takes an SRDF; expand this first: xacro {path.name} > {path.stem}")
        try:
            ignored = disabled_pairs(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: {_line(error)} (srdf of self_collision)") from None
    folders = [folder, *_package_folders()]
    return ArmModel(urdf, config, robot.action.frame_id, source, folders, ignored)


def require_model(robot: RobotConfig, folder: Path) -> None:
    """Raise UserError with one line when a robot has `joints`, and Pinocchio is missing or its URDF does not fit."""
    if robot.joints is None:
        return
    pinocchio()
    if robot.urdf:
        model_of(robot, read_urdf(robot.urdf, folder), robot.urdf, folder)


def disabled_pairs(srdf: str, source: str) -> list[tuple[str, str]]:
    """Return the pairs of links that an SRDF excludes from collision checking; UserError when it is none."""
    pairs = robot_element(srdf, "an SRDF", source).findall("disable_collisions")
    return [(pair.get("link1", ""), pair.get("link2", "")) for pair in pairs]


def _package_folders() -> list[Path]:
    """Return the folders in which package:// of a URDF is looked up: those of the ROS packages that are installed."""
    prefixes = [
        Path(prefix) / "share" for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix
    ]
    others = [Path(path) for path in os.environ.get("ROS_PACKAGE_PATH", "").split(os.pathsep) if path]
    return [folder for folder in (*prefixes, *others) if folder.is_dir()]


def _make_convex(part: Any) -> None:
    """Put the convex hull in the place of a mesh: it holds the mesh, and its distances take microseconds."""
    if hasattr(part.geometry, "buildConvexHull"):
        part.geometry.buildConvexHull(True, "Qt")
        part.geometry = part.geometry.convex


def _wxyz(angles: tuple[float, float, float]) -> tuple[float, float, float, float]:
    x, y, z, w = quaternion_of(*angles)
    return w, x, y, z


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
