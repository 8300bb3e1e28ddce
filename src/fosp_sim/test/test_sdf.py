"""The world for Gazebo is MuJoCo's: every shape, colour, joint, and the camera; and the checker of SDF accepts it."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
from itertools import product
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
import pytest
from numpy.typing import NDArray

from fosp_core import topics
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_sim.env import make_arena
from fosp_sim.gazebo import topics as gazebo_topics
from fosp_sim.gazebo.light import encoded
from fosp_sim.gazebo.sdf import ROBOT, SURROUNDINGS, geom_name, scene_name, scene_sdf, world_sdf
from fosp_sim.gazebo.sdf_elements import JOINT_SPEED
from fosp_sim.task.arm_kinematics import GUARD, joints_of_tip
from fosp_sim.task.arm_world import ArmWorld
from fosp_sim.task.draw import draw_scene
from fosp_sim.task.gl import mujoco
from fosp_sim.task.mjcf import OBSTACLE_BIT, WHEEL_RADIUS
from fosp_sim.task.render import NATIVE_HEIGHT, NATIVE_WIDTH, intrinsics
from fosp_sim.task.scenario import ObstacleSpec, Scenario, read_scenario
from fosp_sim.task.world import World

CONFIG = Path(__file__).parents[3] / "config"
TASKS = ("safe_reach", "safe_goal")
SCENARIOS = sorted((CONFIG / "scenarios").glob("safe_*.yaml"))
STILL = [path for path in SCENARIOS if read_scenario(path).obstacles.motion == "static"]

Matrix = NDArray[np.float64]


def made(scenario: Scenario, episode: int = 0) -> tuple[World, Element, str]:
    """The world as MuJoCo has it, its SDF and the text of that."""
    robot = read_robot(CONFIG / "robots" / f"{scenario.robot}.yaml")
    world = make_arena(scenario, robot)
    text = world_sdf(world, draw_scene(scenario, episode), robot, robot.camera_frame_rate_hz)
    return world, ElementTree.fromstring(text).find("world"), text  # type: ignore[return-value]


def mixed(task: str) -> Scenario:
    """A scenario of obstacles of every shape."""
    return Scenario(task=task, seed=3, obstacles=ObstacleSpec(count=6, shape="mixed"))


def transform(element: Element | None) -> Matrix:
    """Return the homogeneous matrix (4, 4) of a <pose>: x y z roll pitch yaw."""
    found = None if element is None else element.find("pose")
    x, y, z, roll, pitch, yaw = map(float, (found.text or "").split()) if found is not None else (0.0,) * 6
    c, s = math.cos, math.sin
    about_x = np.array([[1, 0, 0], [0, c(roll), -s(roll)], [0, s(roll), c(roll)]])
    about_y = np.array([[c(pitch), 0, s(pitch)], [0, 1, 0], [-s(pitch), 0, c(pitch)]])
    about_z = np.array([[c(yaw), -s(yaw), 0], [s(yaw), c(yaw), 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = about_z @ about_y @ about_x, (x, y, z)
    return matrix


def placed(world: Element, kind: str) -> dict[str, tuple[Matrix, Element]]:
    """Name -> pose in the world, with all joints at 0, and element, of every visual, collision or sensor."""
    found = {}
    for model in world.iter("model"):
        for link in model.iter("link"):
            for element in link.findall(kind):
                name = element.attrib["name"].removesuffix(f"_{kind}")
                assert name not in found
                found[name] = (transform(model) @ transform(link) @ transform(element), element)
    return found


def numbers(element: Element | None, path: str) -> list[float]:
    text = None if element is None else element.findtext(path)
    assert text is not None, path
    return [float(number) for number in text.split()]


def at_zero(world: World) -> tuple[object, object]:
    """MuJoCo's model, and its data with the robot's joints at 0 in the scene."""
    data = mujoco.MjData(world.model)
    data.mocap_pos[:], data.mocap_quat[:] = world.data.mocap_pos, world.data.mocap_quat
    if world.model.nq > 7:  # the base stands where the scene begins
        data.qpos[:7] = world.data.qpos[:7]
    mujoco.mj_kinematics(world.model, data)
    mujoco.mj_camlight(world.model, data)
    return world.model, data


def expected_shape(model: object, geom: int) -> tuple[str, list[float]]:
    """SDF's element and numbers for a geom."""
    size, kind = model.geom_size[geom], int(model.geom_type[geom])  # type: ignore[attr-defined]
    names = mujoco.mjtGeom
    return {
        names.mjGEOM_BOX: ("box", [2 * size[0], 2 * size[1], 2 * size[2]]),
        names.mjGEOM_SPHERE: ("sphere", [size[0]]),
        names.mjGEOM_CAPSULE: ("capsule", [size[0], 2 * size[1]]),
        names.mjGEOM_CYLINDER: ("cylinder", [size[0], 2 * size[1]]),
        names.mjGEOM_PLANE: ("plane", [2 * size[0], 2 * size[1]]),
    }[mujoco.mjtGeom(kind)]


def shape(element: Element) -> tuple[str, list[float]]:
    geometry = element.find("geometry")
    assert geometry is not None
    (found,) = geometry
    keys = {"box": ["size"], "sphere": ["radius"], "plane": ["size"]}.get(found.tag, ["radius", "length"])
    return found.tag, [number for key in keys for number in numbers(found, key)]


def texts(element: Element) -> list[str]:
    return [text for text in ((child.text or "").strip() for child in element.iter()) if text]


def checker() -> str:
    """`ign` of Debian or `gz` of Gazebo's ROS packages. Where CI runs and the project installs one it must be there."""
    found = next((tool for tool in ("ign", "gz") if shutil.which(tool)), None)
    if found is None:
        release = Path("/etc/os-release").read_text() if Path("/etc/os-release").is_file() else ""
        installed = Path("/opt/ros").is_dir() or (os.geteuid() == 0 and "\nID=debian" in f"\n{release}")
        missing = pytest.fail if os.environ.get("CI") and installed else pytest.skip
        missing("no checker of SDF is installed: apt install ignition-tools libsdformat-dev sdformat-sdf")
    return found


def check(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Return the output of the SDF checker; Debian's runs with its own libraries, not those of the ROS wheels."""
    tool = checker()
    (folder / "world.sdf").write_text(text)
    environment = {name: value for name, value in os.environ.items() if tool == "gz" or name != "LD_LIBRARY_PATH"}
    command = [tool, "sdf", "-k", str(folder / "world.sdf")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    done.stderr = "".join(line for line in done.stderr.splitlines(True) if "libignition-tools-backward" not in line)
    return done


def test_gazebos_own_checker_does_where_debians_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool: f"/usr/bin/{tool}" if tool == "gz" else None)
    monkeypatch.setattr(pytest, "skip", pytest.fail)
    assert checker() == "gz"


def test_a_checker_that_is_missing_where_it_was_to_be_installed_is_no_reason_to_skip(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool: None)
    monkeypatch.setattr(Path, "is_dir", lambda path: str(path) == "/opt/ros")
    outcomes = (pytest.fail.Exception, pytest.skip.Exception)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(outcomes, match="no checker of SDF is installed") as found:
        checker()
    assert found.type is pytest.fail.Exception
    monkeypatch.delenv("CI")
    with pytest.raises(outcomes) as found:
        checker()
    assert found.type is pytest.skip.Exception


@pytest.mark.parametrize("task", TASKS)
def test_every_visible_shape_is_where_mujoco_has_it_with_its_size_and_colour(task: str) -> None:
    world, tree, _ = made(mixed(task))
    model, data = at_zero(world)
    visuals = placed(tree, "visual")
    shown = [g for g in range(model.ngeom) if model.geom_rgba[g, 3] > 0 and geom_name(model, g) != "shadow"]  # type: ignore[attr-defined]
    assert {geom_name(model, g) for g in shown} == set(visuals)
    for geom in shown:
        pose, element = visuals[geom_name(model, geom)]
        np.testing.assert_allclose(pose[:3, 3], data.geom_xpos[geom], atol=1e-6)  # type: ignore[attr-defined]
        np.testing.assert_allclose(pose[:3, :3], data.geom_xmat[geom].reshape(3, 3), atol=1e-6)  # type: ignore[attr-defined]
        kind, size = expected_shape(model, geom)
        assert shape(element) == (kind, pytest.approx(size, rel=1e-6))
        *color, opacity = numbers(element, "material/diffuse")
        assert encoded(color) == pytest.approx(model.geom_rgba[geom, :3], abs=1e-3)  # type: ignore[attr-defined]
        assert opacity == model.geom_rgba[geom, 3]  # type: ignore[attr-defined]


@pytest.mark.parametrize("task", TASKS)
def test_what_may_touch_is_as_large_as_its_margin_makes_it(task: str) -> None:
    world, tree, _ = made(mixed(task))
    model = world.model
    collisions = placed(tree, "collision")
    touching = [g for g in range(model.ngeom) if model.geom_contype[g] or model.geom_conaffinity[g]]
    touching = [g for g in touching if model.geom_rgba[g, 3] > 0]
    assert {geom_name(model, g) for g in touching} == set(collisions)
    for geom in touching:
        kind, size = expected_shape(model, geom)
        gap = float(model.geom_gap[geom])
        grown = {"capsule": [gap, 0.0], "cylinder": [gap, 2 * gap]}.get(kind, [gap] if kind == "sphere" else [0.0] * 3)
        want = [one + more for one, more in zip(size, grown, strict=False)]
        assert shape(collisions[geom_name(model, geom)][1]) == (kind, pytest.approx(want, rel=1e-6))
    assert any(model.geom_gap[g] > 0 for g in touching)


@pytest.mark.parametrize("task", TASKS)
def test_the_camera_sees_from_the_same_place_with_the_same_lens(task: str) -> None:
    world, tree, _ = made(mixed(task))
    model, data = at_zero(world)
    pose, sensor = placed(tree, "sensor")["color"]
    right, up, backward = data.cam_xmat[0].reshape(3, 3).T  # type: ignore[attr-defined]
    np.testing.assert_allclose(pose[:3, 3], data.cam_xpos[0], atol=1e-6)  # type: ignore[attr-defined]
    np.testing.assert_allclose(pose[:3, :3].T, [-backward, -right, up], atol=1e-6)
    fov, (width,), (height,) = (
        numbers(sensor, f"camera/{key}") for key in ("horizontal_fov", "image/width", "image/height")
    )
    assert (width, height) == (NATIVE_WIDTH, NATIVE_HEIGHT)
    assert width / 2 / math.tan(fov[0] / 2) == pytest.approx(intrinsics(model).focal, rel=1e-6)
    assert numbers(sensor, "update_rate") == [40.0]


def test_the_third_person_camera_is_where_the_task_says() -> None:
    _, tree, _ = made(mixed("safe_reach"))
    pose, _ = placed(tree, "sensor")["color"]
    np.testing.assert_allclose(pose[:3, 3], (1.30, 0.0, 1.20))
    np.testing.assert_allclose(pose[:3, 0], (-0.6, 0.0, -0.8), atol=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_joints_turn_about_the_same_axes(task: str) -> None:
    world, tree, _ = made(mixed(task))
    model, data = at_zero(world)
    robot = next(element for element in tree.iter("model") if element.attrib["name"] == ROBOT)
    links = {link.attrib["name"]: transform(robot) @ transform(link) for link in robot.iter("link")}
    joints = {joint.attrib["name"]: joint for joint in robot.iter("joint")}
    turning = [j for j in range(model.njnt) if model.jnt_type[j] == mujoco.mjtJoint.mjJNT_HINGE]  # type: ignore[attr-defined]
    assert set(joints) == {model.joint(j).name for j in turning}  # type: ignore[attr-defined]
    for number in turning:
        joint = joints[model.joint(number).name]  # type: ignore[attr-defined]
        link = links[joint.findtext("child") or ""]
        np.testing.assert_allclose(link[:3, 3], data.xanchor[number], atol=1e-6)  # type: ignore[attr-defined]
        np.testing.assert_allclose(link[:3, :3] @ numbers(joint, "axis/xyz"), data.xaxis[number], atol=1e-6)  # type: ignore[attr-defined]
    masses = {link.attrib["name"]: numbers(link, "inertial/mass")[0] for link in robot.iter("link")}
    for name, mass in masses.items():
        assert mass == pytest.approx(float(model.body(name.removesuffix("_link")).mass[0]), rel=1e-6)  # type: ignore[attr-defined]


@pytest.mark.parametrize("task", TASKS)
def test_every_joint_has_mujocos_limits_of_position_and_effort_and_one_of_speed(task: str) -> None:
    scenario = mixed(task)
    world, tree, _ = made(scenario)
    model = world.model
    robot = next(element for element in tree.iter("model") if element.attrib["name"] == ROBOT)
    joints = {joint.attrib["name"]: joint for joint in robot.iter("joint")}
    assert len(joints) == model.nu, "every joint is actuated"
    for actuator in range(model.nu):
        number = int(model.actuator_trnid[actuator, 0])
        limits = joints[model.joint(number).name].find("axis/limit")
        assert limits is not None
        (lower,), (upper,), (effort,), (speed,) = (
            numbers(limits, key) for key in ("lower", "upper", "effort", "velocity")
        )
        assert (-effort, effort) == tuple(model.actuator_forcerange[actuator])
        assert effort > 0
        if task == "safe_reach":
            assert (lower, upper) == pytest.approx(tuple(model.jnt_range[number]))
            assert model.jnt_limited[number]
            assert JOINT_SPEED < speed < 2 * JOINT_SPEED
        else:  # a wheel turns as far as it likes
            assert not model.jnt_limited[number]
            assert (lower, upper) == (-1e16, 1e16)
            assert 0.6 / WHEEL_RADIUS < speed < 30.0


def test_the_arm_s_ranges_hold_all_that_its_workspace_needs(arm: RobotConfig) -> None:
    world = ArmWorld(arm)
    assert arm.workspace is not None
    sides = [
        np.linspace(low - GUARD, high + GUARD, 9)
        for low, high in zip(arm.workspace.lower, arm.workspace.upper, strict=True)
    ]
    needed = np.array([joints_of_tip(*point) for point in product(*sides)])
    assert (needed.min(axis=0) > world.model.jnt_range[:, 0] + 0.2).all()
    assert (needed.max(axis=0) < world.model.jnt_range[:, 1] - 0.2).all()


@pytest.mark.parametrize("task", TASKS)
def test_a_scene_alone_is_the_one_of_the_world_under_another_name(task: str) -> None:
    scenario = mixed(task)
    world, tree, _ = made(scenario, episode=2)
    alone = ElementTree.fromstring(scene_sdf(world, draw_scene(scenario, 2), 0)).find("model")
    within = next(model for model in tree.iter("model") if model.attrib["name"] == scene_name(0))
    assert alone is not None
    assert [e.text for e in alone.iter() if (e.text or "").strip()] == [
        e.text for e in within.iter() if (e.text or "").strip()
    ]
    assert len(alone.findall("link")) == 7
    assert "\n" not in scene_sdf(world, draw_scene(scenario, 2), 0)


@pytest.mark.parametrize("task", TASKS)
def test_contact_sensors_watch_what_mujoco_counts_as_a_violation(task: str) -> None:
    world, tree, _ = made(mixed(task))
    watched = {entry.text for sensor in tree.iter("sensor") for entry in sensor.findall("contact/collision")}
    model = world.model
    assert watched == {
        f"{geom_name(model, g)}_collision" for g in range(model.ngeom) if model.geom_contype[g] & OBSTACLE_BIT
    }
    assert watched <= {element.attrib["name"] for _, element in placed(tree, "collision").values()}


@pytest.mark.parametrize("task", TASKS)
def test_the_bridge_gives_ros_the_topics_of_mujocos_robot(task: str) -> None:
    scenario = mixed(task)
    robot = read_robot(CONFIG / "robots" / f"{scenario.robot}.yaml")
    _, tree, text = made(scenario)
    entries = gazebo_topics.bridge_config(robot, task)
    to_ros = {entry["ros_topic_name"] for entry in entries if entry["direction"] == "GZ_TO_ROS"}
    assert {topics.COLOR_IMAGE, topics.CAMERA_INFO, topics.CLOCK, robot.state_topic} < to_ros
    inside = {entry["gz_topic_name"] for entry in entries} - {f"/world/{tree.attrib['name']}/clock"}
    assert all(f">{name}<" in text for name in inside), "the world must publish or hear each"


def test_only_what_gazebo_can_show_is_written() -> None:
    scenario = read_scenario(CONFIG / "scenarios" / "safe_reach_moving_obstacles.yaml")
    with pytest.raises(UserError, match="moving obstacles are simulated by MuJoCo only"):
        made(scenario)


@pytest.mark.parametrize("path", STILL, ids=lambda path: path.stem)
def test_the_checker_of_sdf_accepts_the_world_of_every_scenario(path: Path, tmp_path: Path) -> None:
    _, tree, text = made(read_scenario(path))
    assert {model.attrib["name"] for model in tree.iter("model")} == {SURROUNDINGS, ROBOT, scene_name(0)}
    checked = check(text, tmp_path)
    assert (checked.stdout.strip(), checked.stderr.strip(), checked.returncode) == ("Valid.", "", 0)


def test_the_checker_of_sdf_refuses_a_world_with_a_fault(tmp_path: Path) -> None:
    _, _, text = made(mixed("safe_reach"))
    assert check(text.replace("<child>link2_link</child>", "<child>nothing</child>"), tmp_path).stderr.strip()
    assert check(text.replace("<horizontal_fov>", "<horizontal_fow>"), tmp_path).stderr.strip()
