"""A MuJoCo world written as SDF for Gazebo (Harmonic): the same bodies, joints, geoms, colours and camera.

Everything is read from the compiled MuJoCo model with a scene in it, so there is one description of a task, mjcf.py.
What differs, because Gazebo has no such thing:
- a geom's margin (`gap`) is part of its collision shape: what is a violation here is one there, but it also pushes;
- the spot below the arm's tip (`shadow`) is not drawn;
- obstacles stand still (`gazebo_scene`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import UserError
from fosp_core.specs import RobotConfig
from fosp_sim.gazebo import interface
from fosp_sim.task.gl import mujoco
from fosp_sim.task.mjcf import OBSTACLE_BIT, TIMESTEP, TRACK, WHEEL_RADIUS
from fosp_sim.task.render import CAMERA, CAMERA_FRAME, NATIVE_HEIGHT, NATIVE_WIDTH, intrinsics
from fosp_sim.task.scenario import MAX_OBSTACLES
from fosp_sim.task.scene import Scene
from fosp_sim.task.world import World

VERSION = "1.9"
"""Of SDF: the newest that Debian's checker reads; Harmonic reads it, too."""
ROBOT, SCENE, SURROUNDINGS = "robot", "scene", "surroundings"
"""Models of the world; the scene's name has a number behind it."""
JOINT_SPEED = 2.5
"""rad/s that the arm's joint controllers follow at most."""

Matrix = NDArray[np.float64]
_SYSTEMS = {
    "gz-sim-physics-system": "Physics",
    "gz-sim-user-commands-system": "UserCommands",
    "gz-sim-scene-broadcaster-system": "SceneBroadcaster",
    "gz-sim-contact-system": "Contact",
    "gz-sim-sensors-system": "Sensors",
}


@dataclass(frozen=True)
class Frame:
    """A pose: position (3,) m and rotation matrix (3, 3)."""

    position: Matrix
    rotation: Matrix

    def within(self, parent: Frame) -> Frame:
        """This pose, given in the world, as seen from `parent`, given in the world."""
        return Frame(parent.rotation.T @ (self.position - parent.position), parent.rotation.T @ self.rotation)

    def text(self) -> str:
        """x y z roll pitch yaw, as SDF has it."""
        return _numbers([*self.position, *_roll_pitch_yaw(self.rotation)])


_ORIGIN = Frame(np.zeros(3), np.eye(3))
_FROM_MUJOCO_CAMERA = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]])
"""Columns: SDF's camera axes (forward, left, up) in MuJoCo's (right, up, backward)."""


def gazebo_scene(scene: Scene) -> Scene:
    """The scene, if Gazebo can show it; UserError otherwise."""
    if any(obstacle.motion != "static" for obstacle in scene.obstacles):
        raise UserError("moving obstacles are simulated by MuJoCo only; use simulator:=mujoco or a scenario without")
    return scene


def world_sdf(world: World, scene: Scene, robot: RobotConfig, camera_rate_hz: float) -> str:
    """The whole world, with `scene` in it as number 0, as SDF. Resets `world`. UserError: Gazebo cannot show it."""
    world.reset(gazebo_scene(scene))
    model = world.model
    root = Element("sdf", version=VERSION)
    tree = SubElement(root, "world", name=scene.task)
    physics = SubElement(tree, "physics", name="fosp", type="ignored")
    _text(physics, "max_step_size", TIMESTEP)
    _text(physics, "real_time_factor", 1)
    for filename, name in _SYSTEMS.items():
        plugin = _plugin(tree, filename, name)
        if name == "Sensors":
            _text(plugin, "render_engine", "ogre2")
    _text(tree, "gravity", _numbers(model.opt.gravity))
    _scenery(tree, model)
    writer = _Writer(model, _reference(world))
    tree.append(writer.surroundings(camera_rate_hz))
    tree.append(writer.robot(world, robot, camera_rate_hz))
    tree.append(_scene_model(writer, scene, 0))
    ElementTree.indent(root)
    return f'<?xml version="1.0"?>\n{ElementTree.tostring(root, "unicode")}\n'


def scene_sdf(world: World, scene: Scene, number: int) -> str:
    """Goal and obstacles of `scene` alone, the model `scene_name(number)`, as SDF on one line. Resets `world`."""
    world.reset(gazebo_scene(scene))
    root = Element("sdf", version=VERSION)
    root.append(_scene_model(_Writer(world.model, world.data), scene, number))
    return ElementTree.tostring(root, "unicode")


def scene_name(number: int) -> str:
    """Of the model that holds goal and obstacles: a new one for every reset, for Gazebo removes models late."""
    return f"{SCENE}_{number}"


def geom_name(model: Any, geom: int) -> str:
    """Of visual and collision: the geom's, or that of its body with a number."""
    named = mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_GEOM, geom)
    if named:
        return str(named)
    body = int(model.geom_bodyid[geom])
    return f"{_body_name(model, body)}_{geom - int(model.body_geomadr[body])}"


def link_name(model: Any, body: int) -> str:
    """Of a body of the robot; its joint, which has the body's name in MuJoCo, must not have the link's in SDF."""
    return f"{_body_name(model, body)}_link"


class _Writer:
    """Models of a compiled MuJoCo model, with everything where `data` has it."""

    def __init__(self, model: Any, data: Any) -> None:
        self._model, self._data = model, data

    def surroundings(self, camera_rate_hz: float) -> Element:
        """What is fixed: table or ground and walls, and a camera that no robot carries."""
        element = Element("model", name=SURROUNDINGS)
        _text(element, "static", "true")
        self.link(element, 0, SURROUNDINGS, _ORIGIN, camera_rate_hz)
        return element

    def robot(self, world: World, robot: RobotConfig, camera_rate_hz: float) -> Element:
        """The robot with its joints, controllers and contact sensors."""
        model = self._model
        element = Element("model", name=ROBOT)
        bodies = [body for body in range(1, model.nbody) if model.body_mocapid[body] < 0]
        free = model.jnt_type[model.body_jntadr[bodies[0]]] == mujoco.mjtJoint.mjJNT_FREE
        origin = self._body(bodies[0]) if free else _ORIGIN
        _text(element, "pose", origin.text())
        _text(element, "self_collide", "false")
        for body in bodies:
            self.link(element, body, link_name(model, body), origin, camera_rate_hz)
        for body in bodies[1 if free else 0 :]:
            self._joint(element, body)
        if robot.kind == "arm":
            _arm_plugins(element, model, world.data.qpos)
        else:
            _base_plugins(element, robot)
        return element

    def link(self, parent: Element, body: int, name: str, origin: Frame, camera_rate_hz: float = 0.0) -> None:
        """One body as a link of `parent`, whose pose in the world is `origin`."""
        model = self._model
        link = SubElement(parent, "link", name=name)
        here = self._body(body)
        _text(link, "pose", here.within(origin).text())
        if model.body_mocapid[body] < 0 and body > 0:
            _inertial(link, model, body)
        touching = []
        for geom in range(int(model.body_geomadr[body]), int(model.body_geomadr[body] + model.body_geomnum[body])):
            if model.geom_rgba[geom, 3] == 0.0:
                continue
            self._geom(link, geom, here)
            if model.geom_contype[geom] & OBSTACLE_BIT:
                touching.append(geom_name(model, geom))
        for camera in range(model.ncam):
            if model.cam_bodyid[camera] == body:
                self._camera(link, camera, here, camera_rate_hz)
        if touching:
            _contact_sensor(link, name, touching)

    def _body(self, body: int) -> Frame:
        return Frame(self._data.xpos[body].copy(), self._data.xmat[body].reshape(3, 3).copy())

    def _geom(self, link: Element, geom: int, here: Frame) -> None:
        model, data = self._model, self._data
        pose = Frame(data.geom_xpos[geom].copy(), data.geom_xmat[geom].reshape(3, 3).copy()).within(here).text()
        name = geom_name(model, geom)
        if model.geom_contype[geom] or model.geom_conaffinity[geom]:
            collision = SubElement(link, "collision", name=f"{name}_collision")
            _text(collision, "pose", pose)
            _geometry(collision, model, geom, float(model.geom_gap[geom]))
            _friction(collision, model, geom)
        visual = SubElement(link, "visual", name=f"{name}_visual")
        _text(visual, "pose", pose)
        _geometry(visual, model, geom, 0.0)
        _text(visual, "cast_shadows", "false")
        material = SubElement(visual, "material")
        for kind in ("ambient", "diffuse"):
            _text(material, kind, _numbers(model.geom_rgba[geom]))
        _text(material, "specular", "0 0 0 1")

    def _camera(self, link: Element, camera: int, here: Frame, rate_hz: float) -> None:
        data = self._data
        rotation = data.cam_xmat[camera].reshape(3, 3) @ _FROM_MUJOCO_CAMERA
        sensor = SubElement(link, "sensor", name=CAMERA, type="camera")
        _text(sensor, "pose", Frame(data.cam_xpos[camera].copy(), rotation).within(here).text())
        _text(sensor, "topic", interface.IMAGE)
        _text(sensor, "update_rate", rate_hz)
        _text(sensor, "always_on", "true")
        described = SubElement(sensor, "camera")
        _text(described, "camera_info_topic", interface.CAMERA_INFO)
        _text(described, "optical_frame_id", CAMERA_FRAME)
        _text(described, "horizontal_fov", 2 * math.atan(NATIVE_WIDTH / 2 / intrinsics(self._model).focal))
        image = SubElement(described, "image")
        _text(image, "width", NATIVE_WIDTH)
        _text(image, "height", NATIVE_HEIGHT)
        _text(image, "format", "R8G8B8")
        clip = SubElement(described, "clip")
        extent = float(self._model.stat.extent)
        _text(clip, "near", float(self._model.vis.map.znear) * extent)
        _text(clip, "far", float(self._model.vis.map.zfar) * extent)

    def _joint(self, element: Element, body: int) -> None:
        model = self._model
        (number,) = range(model.body_jntadr[body], model.body_jntadr[body] + model.body_jntnum[body])
        joint = SubElement(element, "joint", name=str(model.joint(number).name), type="revolute")
        parent = int(model.body_parentid[body])
        _text(joint, "parent", link_name(model, parent) if parent else "world")
        _text(joint, "child", link_name(model, body))
        axis = SubElement(joint, "axis")
        _text(axis, "xyz", _numbers(model.jnt_axis[number]))
        limit = SubElement(axis, "limit")
        low, high = model.jnt_range[number] if model.jnt_limited[number] else (-1e16, 1e16)
        _text(limit, "lower", float(low))
        _text(limit, "upper", float(high))
        dynamics = SubElement(axis, "dynamics")
        _text(dynamics, "damping", float(model.dof_damping[model.jnt_dofadr[number]]))


def _reference(world: World) -> Any:
    """The scene as it is, and the robot with all its joints at 0: what the poses of SDF's links are given for."""
    data = mujoco.MjData(world.model)
    data.qpos[:] = world.model.qpos0
    if world.model.jnt_type[0] == mujoco.mjtJoint.mjJNT_FREE:
        data.qpos[:7] = world.data.qpos[:7]
    data.mocap_pos[:], data.mocap_quat[:] = world.data.mocap_pos, world.data.mocap_quat
    mujoco.mj_kinematics(world.model, data)
    mujoco.mj_camlight(world.model, data)
    return data


def _scene_model(writer: _Writer, scene: Scene, number: int) -> Element:
    element = Element("model", name=scene_name(number))
    _text(element, "static", "true")
    model = writer._model
    shown = ["goal", *(f"obstacle{i}" for i in range(min(len(scene.obstacles), MAX_OBSTACLES)))]
    for name in shown:
        writer.link(element, int(mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, name)), name, _ORIGIN)
    return element


def _scenery(tree: Element, model: Any) -> None:
    """Background, ambient light and the lamp: those of the MuJoCo picture, as far as Gazebo's shading goes."""
    scene = SubElement(tree, "scene")
    _text(scene, "ambient", _numbers([*model.vis.headlight.ambient, 1.0]))
    _text(scene, "background", _numbers(model.vis.rgba.haze))
    _text(scene, "shadows", "false")
    for number in range(model.nlight):
        light = SubElement(tree, "light", name=f"light{number}", type="directional")
        _text(light, "pose", Frame(model.light_pos[number], np.eye(3)).text())
        _text(light, "direction", _numbers(model.light_dir[number]))
        _text(light, "diffuse", _numbers([*model.light_diffuse[number], 1.0]))
        _text(light, "specular", "0 0 0 1")
        _text(light, "cast_shadows", "false")


def _geometry(parent: Element, model: Any, geom: int, margin: float) -> None:
    """Shape and size, `margin` m larger on every side."""
    kind, size = int(model.geom_type[geom]), model.geom_size[geom]
    geometry = SubElement(parent, "geometry")
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        _text(SubElement(geometry, "box"), "size", _numbers(2 * (size + margin)))
    elif kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        _text(SubElement(geometry, "sphere"), "radius", float(size[0]) + margin)
    elif kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        _round(SubElement(geometry, "capsule"), float(size[0]) + margin, 2 * float(size[1]))
    elif kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        _round(SubElement(geometry, "cylinder"), float(size[0]) + margin, 2 * (float(size[1]) + margin))
    elif kind == mujoco.mjtGeom.mjGEOM_PLANE:
        plane = SubElement(geometry, "plane")
        _text(plane, "normal", "0 0 1")
        _text(plane, "size", _numbers(2 * size[:2]))
    else:
        raise NotImplementedError(f"geom {geom} is of a type that is not written as SDF")


def _round(shape: Element, radius: float, length: float) -> None:
    _text(shape, "radius", radius)
    _text(shape, "length", length)


def _friction(collision: Element, model: Any, geom: int) -> None:
    """A geom of condim 1 slides without friction."""
    mu = 0.0 if model.geom_condim[geom] == 1 else float(model.geom_friction[geom, 0])
    ode = SubElement(SubElement(SubElement(collision, "surface"), "friction"), "ode")
    _text(ode, "mu", mu)
    _text(ode, "mu2", mu)


def _inertial(link: Element, model: Any, body: int) -> None:
    """Mass and principal inertia."""
    inertial = SubElement(link, "inertial")
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, model.body_iquat[body])
    _text(inertial, "pose", Frame(model.body_ipos[body], rotation.reshape(3, 3)).text())
    _text(inertial, "mass", float(model.body_mass[body]))
    inertia = SubElement(inertial, "inertia")
    for name, value in zip(("ixx", "iyy", "izz"), model.body_inertia[body], strict=True):
        _text(inertia, name, float(value))
    for name in ("ixy", "ixz", "iyz"):
        _text(inertia, name, 0)


def _contact_sensor(link: Element, name: str, collisions: Iterable[str]) -> None:
    sensor = SubElement(link, "sensor", name=f"{name}_contact", type="contact")
    _text(sensor, "always_on", "true")
    _text(sensor, "update_rate", 100)
    contact = SubElement(sensor, "contact")
    for collision in collisions:
        _text(contact, "collision", f"{collision}_collision")
    _text(contact, "topic", interface.CONTACTS)


def _arm_plugins(element: Element, model: Any, start: Matrix) -> None:
    for number in range(model.njnt):
        name = str(model.joint(number).name)
        plugin = _plugin(element, "gz-sim-joint-position-controller-system", "JointPositionController")
        _text(plugin, "joint_name", name)
        _text(plugin, "topic", interface.joint_command(name))
        _text(plugin, "use_velocity_commands", "true")
        _text(plugin, "cmd_max", JOINT_SPEED)
        _text(plugin, "cmd_min", -JOINT_SPEED)
        _text(plugin, "initial_position", float(start[number]))
    plugin = _plugin(element, "gz-sim-joint-state-publisher-system", "JointStatePublisher")
    _text(plugin, "topic", interface.JOINT_STATES)


def _base_plugins(element: Element, robot: RobotConfig) -> None:
    plugin = _plugin(element, "gz-sim-diff-drive-system", "DiffDrive")
    _text(plugin, "left_joint", "left_wheel")
    _text(plugin, "right_joint", "right_wheel")
    _text(plugin, "wheel_separation", TRACK)
    _text(plugin, "wheel_radius", WHEEL_RADIUS)
    _text(plugin, "topic", interface.WHEEL_COMMAND)
    _text(plugin, "odom_topic", f"{interface.ODOMETRY}_of_wheels")
    plugin = _plugin(element, "gz-sim-odometry-publisher-system", "OdometryPublisher")
    _text(plugin, "odom_frame", "odom")
    _text(plugin, "robot_base_frame", robot.action.frame_id)
    _text(plugin, "odom_publish_frequency", 100)
    _text(plugin, "odom_topic", interface.ODOMETRY)


def _plugin(parent: Element, filename: str, name: str) -> Element:
    return SubElement(parent, "plugin", filename=filename, name=f"gz::sim::systems::{name}")


def _body_name(model: Any, body: int) -> str:
    return str(mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_BODY, body))


def _text(parent: Element, name: str, value: object) -> None:
    SubElement(parent, name).text = f"{value:.9g}" if isinstance(value, float) else str(value)


def _numbers(values: Iterable[float]) -> str:
    return " ".join(f"{round(float(value), 9) + 0.0:.9g}" for value in values)


def _roll_pitch_yaw(rotation: Matrix) -> Sequence[float]:
    """Fixed-axis angles, rad, with R = Rz(yaw) Ry(pitch) Rx(roll)."""
    pitch = math.asin(max(-1.0, min(1.0, -float(rotation[2, 0]))))
    if abs(rotation[2, 0]) > 1 - 1e-9:
        return 0.0, pitch, math.atan2(-float(rotation[0, 1]), float(rotation[1, 1]))
    roll = math.atan2(float(rotation[2, 1]), float(rotation[2, 2]))
    return roll, pitch, math.atan2(float(rotation[1, 0]), float(rotation[0, 0]))
