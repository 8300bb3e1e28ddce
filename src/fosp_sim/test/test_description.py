"""The URDF of the simulated robots has MuJoCo's frames, wherever the joints are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.robot.urdf import FramePose, KinematicTree, Quaternion, parse_urdf, product, rotated
from fosp_sim.description import ODOMETRY_FRAME, TOOL_FRAME, base_pose, joint_names, robot_urdf
from fosp_sim.gazebo.topics import bridge_config
from fosp_sim.task.gl import mujoco
from fosp_sim.task.render import CAMERA_FRAME
from fosp_sim.task.tasks import TASKS
from fosp_sim.task.world import World

ROBOTS = Path(__file__).parents[3] / "config" / "robots"
CASES = [("safe_reach", "sim_arm"), ("safe_goal", "sim_base"), ("safe_goal", "sim_base.zones")]
EXTENSION = '<mujoco><compiler fusestatic="false" discardvisual="false" strippath="false"/></mujoco></robot>'
"""MuJoCo's URDF compiler keeps links without mass with this."""


@pytest.fixture(params=CASES, ids=lambda case: case[1])
def described(request: pytest.FixtureRequest) -> tuple[World, RobotConfig, str]:
    task, name = request.param
    robot = read_robot(ROBOTS / f"{name}.yaml")
    world = TASKS[task].world(robot)
    return world, robot, robot_urdf(world.model, robot)


def placed(tree: KinematicTree, positions: dict[str, float], root: FramePose) -> dict[str, FramePose]:
    """The pose of each frame in the frame in which `root` places the root."""
    found = {tree.root: root}
    poses = {pose.child: pose for pose in [*tree.fixed(), *tree.moving(positions)]}
    for frame in tree.frames[1:]:
        pose = poses[frame]
        above = found[pose.parent]
        x, y, z = rotated(above.orientation, pose.position)
        position = (above.position[0] + x, above.position[1] + y, above.position[2] + z)
        found[frame] = FramePose(root.parent, frame, position, product(above.orientation, pose.orientation))
    return found


def matrix(orientation: Quaternion) -> NDArray[np.float64]:
    return np.stack([rotated(orientation, axis) for axis in ((1, 0, 0), (0, 1, 0), (0, 0, 1))], axis=1)


def moved(world: World, robot: RobotConfig, rng: np.random.Generator) -> tuple[dict[str, float], FramePose, Any]:
    """Joint positions at random, where the root then is, and MuJoCo's own kinematics of that state."""
    data = mujoco.MjData(world.model)
    free = 7 if robot.kind == "base" else 0
    hinges = rng.uniform(-2.9, 2.9, world.model.nq - free)
    x, y, heading = rng.uniform(-1.0, 1.0, 3) if free else (0.0, 0.0, 0.0)
    if free:
        data.qpos[:7] = (x, y, world.model.qpos0[2], np.cos(heading / 2), 0.0, 0.0, np.sin(heading / 2))
    data.qpos[free:] = hinges
    mujoco.mj_kinematics(world.model, data)
    mujoco.mj_camlight(world.model, data)
    root = base_pose(robot, x, y, heading)
    assert (root is None) == (robot.kind == "arm")
    still = FramePose("world", robot.action.frame_id, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    return dict(zip(joint_names(world.model), hinges.tolist(), strict=True)), root or still, data


def test_every_frame_is_where_mujoco_has_it_for_random_joint_positions(
    described: tuple[World, RobotConfig, str],
) -> None:
    world, robot, urdf = described
    model, tree, rng = world.model, parse_urdf(urdf, "urdf"), np.random.default_rng(0)
    bodies = [body for body in range(1, model.nbody) if model.body_mocapid[body] < 0]
    for _ in range(20):
        positions, root, data = moved(world, robot, rng)
        found = placed(tree, positions, root)
        for body in bodies:
            pose = found[str(model.body(body).name)]
            assert pose.position == pytest.approx(data.xpos[body], abs=1e-7)
            assert matrix(pose.orientation) == pytest.approx(data.xmat[body].reshape(3, 3), abs=1e-7)
        if robot.kind == "arm":
            site = model.site("tip").id
            assert found[TOOL_FRAME].position == pytest.approx(data.site_xpos[site], abs=1e-7)
            assert matrix(found[TOOL_FRAME].orientation) == pytest.approx(data.site_xmat[site].reshape(3, 3), abs=1e-7)
        assert found[CAMERA_FRAME].position == pytest.approx(data.cam_xpos[0], abs=1e-7)
        seen = matrix(found[CAMERA_FRAME].orientation)
        camera = data.cam_xmat[0].reshape(3, 3)
        assert np.stack([seen[:, 0], -seen[:, 1], -seen[:, 2]], axis=1) == pytest.approx(camera, abs=1e-7)


def test_mujocos_own_compiler_of_urdf_reads_the_same_robot_of_it(described: tuple[World, RobotConfig, str]) -> None:
    world, robot, urdf = described
    compiled = mujoco.MjModel.from_xml_string(urdf.replace("</robot>", EXTENSION))
    data, rng = mujoco.MjData(compiled), np.random.default_rng(1)
    for _ in range(5):
        positions, root, truth = moved(world, robot, rng)
        for name, position in positions.items():
            data.qpos[compiled.joint(name).qposadr[0]] = position
        mujoco.mj_kinematics(compiled, data)
        for body in range(1, world.model.nbody):
            if world.model.body_mocapid[body] < 0:
                at = data.xpos[compiled.body(world.model.body(body).name).id]
                moved_at = np.array(rotated(root.orientation, tuple(at))) + root.position
                assert moved_at == pytest.approx(truth.xpos[body], abs=1e-6)
    movable = [body for body in range(1, world.model.nbody) if world.model.body_mocapid[body] < 0]
    assert compiled.body_mass.sum() == pytest.approx(world.model.body_mass[movable].sum(), rel=1e-5)
    hinges = [j for j in range(world.model.njnt) if world.model.jnt_type[j] == mujoco.mjtJoint.mjJNT_HINGE]
    for joint in hinges:
        name, limited = world.model.joint(joint).name, bool(world.model.jnt_limited[joint])
        assert bool(compiled.joint(name).limited[0]) == limited
        if limited:
            assert compiled.joint(name).range == pytest.approx(world.model.jnt_range[joint])


def test_the_root_is_the_frame_of_the_actions_and_each_sensor_has_its_frame(
    described: tuple[World, RobotConfig, str],
) -> None:
    _, robot, urdf = described
    tree = parse_urdf(urdf, "urdf")
    assert (tree.name, tree.root) == (robot.name, robot.action.frame_id)
    fixed = {pose.child: pose for pose in tree.fixed()}
    for source in robot.sources:
        assert fixed[source.frame_id].position == pytest.approx(source.position)
    assert (TOOL_FRAME in tree.frames) == (robot.kind == "arm")


def test_gazebos_bridge_publishes_no_frames_beside_those_of_the_node() -> None:
    for task, name in CASES[:2]:
        topics = {entry["ros_topic_name"] for entry in bridge_config(read_robot(ROBOTS / f"{name}.yaml"), task)}
        assert not topics & {"tf", "/tf", "tf_static", "/tf_static", "robot_description"}
    assert ODOMETRY_FRAME == "odom", "of the odometry's messages"
