"""Writes a MuJoCo world as SDF for Gazebo Harmonic, with the same bodies, joints, geoms, colours and camera.

Everything is read from the compiled MuJoCo model with a scene in it, so that a task is described once. Three things
differ:
- The margin of a geom (`gap`) is part of its collision shape. The same contacts are violations, but the margin pushes.
- The spot below the arm's tip (`shadow`) is not drawn.
- Obstacles stand still (`gazebo_scene`).

Colours and lights are those with which Gazebo's renderer answers as MuJoCo's does (`light`).
"""

from __future__ import annotations

import math
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_sim.gazebo import topics as gazebo_topics
from fosp_sim.gazebo.light import BLACK, Lighting, decoded, fitted_lighting
from fosp_sim.gazebo.sdf_elements import (
    Placement,
    add_arm_plugins,
    add_base_plugins,
    add_contact_sensor,
    add_friction,
    add_geometry,
    add_inertial,
    add_light,
    add_limits,
    add_plugin,
    add_text,
    highest_joint_speed,
    numbers,
)
from fosp_sim.task.gl import mujoco
from fosp_sim.task.mjcf import OBSTACLE_BIT, TIMESTEP
from fosp_sim.task.render import CAMERA, CAMERA_FRAME, NATIVE_HEIGHT, NATIVE_WIDTH, intrinsics
from fosp_sim.task.scene import MAX_OBSTACLES, Scene
from fosp_sim.task.world import World

VERSION = "1.9"
"""Version of SDF: the newest that Debian's checker reads. Harmonic reads it, too."""
ROBOT, SCENE, SURROUNDINGS = "robot", "scene", "surroundings"
"""Names of the world's models; a number follows the name of the scene."""

_SYSTEMS = {
    "gz-sim-physics-system": "Physics",
    "gz-sim-user-commands-system": "UserCommands",
    "gz-sim-scene-broadcaster-system": "SceneBroadcaster",
    "gz-sim-contact-system": "Contact",
    "gz-sim-sensors-system": "Sensors",
}


_ORIGIN = Placement(np.zeros(3), np.eye(3))
_FROM_MUJOCO_CAMERA = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]])
"""The columns are SDF's camera axes (forward, left, up) in those of MuJoCo (right, up, backward)."""


def gazebo_scene(scene: Scene) -> Scene:
    """Return the scene unchanged. Raise UserError when Gazebo cannot show it."""
    if any(obstacle.motion != "static" for obstacle in scene.obstacles):
        raise UserError("moving obstacles are simulated by MuJoCo only; use simulator:=mujoco or another scenario")
    return scene


def world_sdf(world: World, scene: Scene, robot: RobotConfig, camera_rate_hz: float) -> str:
    """Return the SDF of the whole world, with `scene` as number 0. Reset `world`.

    Raise UserError when Gazebo cannot show the scene.
    """
    world.reset(gazebo_scene(scene))
    model = world.model
    root = Element("sdf", version=VERSION)
    tree = SubElement(root, "world", name=scene.task)
    physics = SubElement(tree, "physics", name="fosp", type="ignored")
    add_text(physics, "max_step_size", TIMESTEP)
    add_text(physics, "real_time_factor", 1)
    for filename, name in _SYSTEMS.items():
        plugin = add_plugin(tree, filename, name)
        if name == "Sensors":
            add_text(plugin, "render_engine", "ogre2")
    add_text(tree, "gravity", numbers(model.opt.gravity))
    reference = _reference(world)
    forward = -reference.cam_xmat[0].reshape(3, 3)[:, 2]
    lighting = fitted_lighting(model, forward)
    _scenery(tree, model, lighting)
    writer = _Writer(model, reference, lighting)
    tree.append(writer.surroundings(camera_rate_hz))
    tree.append(writer.robot(world, robot, camera_rate_hz))
    tree.append(_scene_model(writer, scene, 0))
    ElementTree.indent(root)
    return f'<?xml version="1.0"?>\n{ElementTree.tostring(root, "unicode")}\n'


def scene_sdf(world: World, scene: Scene, number: int) -> str:
    """Return the model `scene_name(number)`, goal and obstacles of `scene`, as SDF on one line. Reset `world`."""
    world.reset(gazebo_scene(scene))
    root = Element("sdf", version=VERSION)
    root.append(_scene_model(_Writer(world.model, world.data), scene, number))
    return ElementTree.tostring(root, "unicode")


def scene_name(number: int) -> str:
    """Return the name of the model of goal and obstacles; every reset needs a new one, because Gazebo removes late."""
    return f"{SCENE}_{number}"


def geom_name(model: Any, geom: int) -> str:
    """Return the name of a geom, or that of its body with a number when it has none."""
    named = mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_GEOM, geom)
    if named:
        return str(named)
    body = int(model.geom_bodyid[geom])
    return f"{_body_name(model, body)}_{geom - int(model.body_geomadr[body])}"


def link_name(model: Any, body: int) -> str:
    """Return the name of a robot body's link, which SDF requires to differ from that of its joint."""
    return f"{_body_name(model, body)}_link"


class _Writer:
    """Writes SDF models of a compiled MuJoCo model, with everything at its place in `data`."""

    def __init__(self, model: Any, data: Any, lighting: Lighting | None = None) -> None:
        """A robot and its surroundings have a camera, and with it a light, whose strength is that of `lighting`."""
        self._model, self._data, self._lighting = model, data, lighting

    def surroundings(self, camera_rate_hz: float) -> Element:
        """Return the fixed things: table or ground, walls, and a camera that no robot carries."""
        element = Element("model", name=SURROUNDINGS)
        add_text(element, "static", "true")
        self.link(element, 0, SURROUNDINGS, _ORIGIN, camera_rate_hz)
        return element

    def robot(self, world: World, robot: RobotConfig, camera_rate_hz: float) -> Element:
        """Return the robot with its joints, controllers and contact sensors."""
        model = self._model
        element = Element("model", name=ROBOT)
        bodies = [body for body in range(1, model.nbody) if model.body_mocapid[body] < 0]
        free = model.jnt_type[model.body_jntadr[bodies[0]]] == mujoco.mjtJoint.mjJNT_FREE
        origin = self._body(bodies[0]) if free else _ORIGIN
        add_text(element, "pose", origin.text())
        add_text(element, "self_collide", "false")
        for body in bodies:
            self.link(element, body, link_name(model, body), origin, camera_rate_hz)
        for body in bodies[1 if free else 0 :]:
            self._joint(element, body, highest_joint_speed(robot))
        if robot.kind == "arm":
            add_arm_plugins(element, model, world.data.qpos)
        else:
            add_base_plugins(element, robot)
        return element

    def link(self, parent: Element, body: int, name: str, origin: Placement, camera_rate_hz: float = 0.0) -> None:
        """Add one body as a link to `parent`, whose pose in the world is `origin`."""
        model = self._model
        link = SubElement(parent, "link", name=name)
        here = self._body(body)
        add_text(link, "pose", here.within(origin).text())
        if model.body_mocapid[body] < 0 and body > 0:
            add_inertial(link, model, body)
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
            add_contact_sensor(link, name, touching)

    def _body(self, body: int) -> Placement:
        return Placement(self._data.xpos[body].copy(), self._data.xmat[body].reshape(3, 3).copy())

    def _geom(self, link: Element, geom: int, here: Placement) -> None:
        model, data = self._model, self._data
        pose = Placement(data.geom_xpos[geom].copy(), data.geom_xmat[geom].reshape(3, 3).copy()).within(here).text()
        name = geom_name(model, geom)
        if model.geom_contype[geom] or model.geom_conaffinity[geom]:
            collision = SubElement(link, "collision", name=f"{name}_collision")
            add_text(collision, "pose", pose)
            add_geometry(collision, model, geom, float(model.geom_gap[geom]))
            add_friction(collision, model, geom)
        visual = SubElement(link, "visual", name=f"{name}_visual")
        add_text(visual, "pose", pose)
        add_geometry(visual, model, geom, 0.0)
        add_text(visual, "cast_shadows", "false")
        material = SubElement(visual, "material")
        red, green, blue, opacity = model.geom_rgba[geom]
        for kind in ("ambient", "diffuse"):
            add_text(material, kind, numbers([*decoded([red, green, blue]), opacity]))
        add_text(material, "specular", "0 0 0 1")

    def _camera(self, link: Element, camera: int, here: Placement, rate_hz: float) -> None:
        data = self._data
        rotation = data.cam_xmat[camera].reshape(3, 3) @ _FROM_MUJOCO_CAMERA
        sensor = SubElement(link, "sensor", name=CAMERA, type="camera")
        add_text(sensor, "pose", Placement(data.cam_xpos[camera].copy(), rotation).within(here).text())
        add_text(sensor, "topic", gazebo_topics.IMAGE)
        add_text(sensor, "update_rate", rate_hz)
        add_text(sensor, "always_on", "true")
        described = SubElement(sensor, "camera")
        add_text(described, "camera_info_topic", gazebo_topics.CAMERA_INFO)
        add_text(described, "optical_frame_id", CAMERA_FRAME)
        add_text(described, "horizontal_fov", 2 * math.atan(NATIVE_WIDTH / 2 / intrinsics(self._model).focal))
        image = SubElement(described, "image")
        add_text(image, "width", NATIVE_WIDTH)
        add_text(image, "height", NATIVE_HEIGHT)
        add_text(image, "format", "R8G8B8")
        add_text(image, "anti_aliasing", 0)  # MuJoCo's picture has none, and 4 halve the speed of the simulation
        clip = SubElement(described, "clip")
        extent = float(self._model.stat.extent)
        add_text(clip, "near", float(self._model.vis.map.znear) * extent)
        add_text(clip, "far", float(self._model.vis.map.zfar) * extent)
        if self._lighting is not None:  # MuJoCo's headlight, which moves with the camera
            forward = -data.cam_xmat[camera].reshape(3, 3)[:, 2]
            pose = Placement(data.cam_xpos[camera].copy(), here.rotation).within(here)
            add_light(link, "headlight", pose, here.rotation.T @ forward, self._lighting.headlight)

    def _joint(self, element: Element, body: int, speed: float) -> None:
        model = self._model
        (number,) = range(model.body_jntadr[body], model.body_jntadr[body] + model.body_jntnum[body])
        joint = SubElement(element, "joint", name=str(model.joint(number).name), type="revolute")
        parent = int(model.body_parentid[body])
        add_text(joint, "parent", link_name(model, parent) if parent else "world")
        add_text(joint, "child", link_name(model, body))
        axis = SubElement(joint, "axis")
        add_text(axis, "xyz", numbers(model.jnt_axis[number]))
        add_limits(axis, model, number, speed)
        dynamics = SubElement(axis, "dynamics")
        add_text(dynamics, "damping", float(model.dof_damping[model.jnt_dofadr[number]]))


def _reference(world: World) -> Any:
    """Return the state for which SDF gives the poses of links: all joints at 0, everything else as in the world."""
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
    add_text(element, "static", "true")
    model = writer._model
    shown = ["goal", *(f"obstacle{i}" for i in range(min(len(scene.obstacles), MAX_OBSTACLES)))]
    for name in shown:
        writer.link(element, int(mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, name)), name, _ORIGIN)
    return element


def _scenery(tree: Element, model: Any, lighting: Lighting) -> None:
    """Add background, ambient light and the lamps of the MuJoCo picture."""
    scene = SubElement(tree, "scene")
    add_text(scene, "ambient", numbers([lighting.ambient] * 3 + [1.0]))
    add_text(scene, "background", BLACK)
    add_text(scene, "shadows", "false")
    for number, strength in enumerate(lighting.lamps):
        pose = Placement(model.light_pos[number], np.eye(3))
        add_light(tree, f"light{number}", pose, model.light_dir[number], strength)


def _body_name(model: Any, body: int) -> str:
    return str(mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_BODY, body))
