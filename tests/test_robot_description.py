"""robot_description_node over real DDS: what it shows of a robot whose file names a URDF."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fosp_bringup.paths import robot_path

URDF = """<robot name="arm"><link name="base_link"/><link name="link1"/><link name="flange"/>
<joint name="joint1" type="revolute"><parent link="base_link"/><child link="link1"/><axis xyz="0 0 1"/></joint>
<joint name="mount" type="fixed"><parent link="link1"/><child link="flange"/><origin xyz="0 0 0.2"/></joint></robot>"""


@pytest.fixture
def robot_file(tmp_path: Path) -> Path:
    (tmp_path / "robot.urdf").write_text(URDF)
    (tmp_path / "robot.yaml").write_text(f"{robot_path('sim_arm').read_text()}urdf: robot.urdf\n")
    return tmp_path / "robot.yaml"


def test_the_urdf_of_the_robot_file_and_its_frames_reach_a_viewer(
    robot_file: Path, start_node: Callable[..., Any], graph: Any, wait_until: Callable[..., Any]
) -> None:
    from sensor_msgs.msg import JointState
    from std_msgs.msg import String
    from tf2_msgs.msg import TFMessage

    from fosp_core.ros import qos

    node = start_node("fosp_perception.robot_description_node", "-p", f"robot:={robot_file}")
    description = graph.listen(String, "/robot_description", qos.LATCHED)
    fixed, moving = graph.listen(TFMessage, "/tf_static", qos.LATCHED), graph.listen(TFMessage, "/tf", qos.STEP)
    joints = graph.node.create_publisher(JointState, "joint_states", qos.STEP)
    state = JointState(name=["gripper", "joint1"], position=[0.0, 3.141592653589793])
    state.header.stamp.sec = 12

    def is_shown() -> bool:
        joints.publish(state)
        return bool(moving)

    wait_until(is_shown, 60.0, "a frame")
    (turned,) = moving[0].transforms
    assert (turned.header.frame_id, turned.child_frame_id, turned.header.stamp.sec) == ("base_link", "link1", 12)
    assert turned.transform.rotation.z == pytest.approx(1.0)
    wait_until(lambda: fixed and description, what="what is latched")
    assert description[0].data == URDF
    assert [(one.child_frame_id, one.transform.translation.z) for one in fixed[0].transforms] == [("flange", 0.2)]
    joints.publish(JointState(name=["joint1"], position=[]))
    joints.publish(JointState(name=["joint1"], position=[float("nan")]))
    before = len(moving)
    wait_until(lambda: is_shown() and len(moving) > before, what="frames after joint states without values")
    assert node.running, node.log


def test_a_robot_file_that_names_none_ends_the_node_with_one_line(
    start_node: Callable[..., Any], wait_until: Callable[..., Any]
) -> None:
    node = start_node("fosp_perception.robot_description_node", "-p", f"robot:={robot_path('sim_arm')}")
    wait_until(lambda: not node.running, 30.0, "its end")
    assert node.process.returncode == 2
    (line,) = node.log.splitlines()
    assert "sim_arm.yaml: no urdf is named, so there is nothing to publish" in line
