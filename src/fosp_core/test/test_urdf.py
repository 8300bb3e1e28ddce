"""URDF: what is read of one, where its frames are, and which are refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from fosp_core.errors import UserError
from fosp_core.robot.urdf import parse_urdf, read_urdf

GRIPPER = """<robot name="gripper">
  <link name="hand"/><link name="left"/><link name="right"/><link name="camera"/><link name="wheel"/>
  <joint name="finger" type="prismatic">
    <parent link="hand"/><child link="left"/>
    <origin xyz="0 0 0.1" rpy="0 0 1.5707963267948966"/><axis xyz="2 0 0"/>
  </joint>
  <joint name="other_finger" type="prismatic">
    <parent link="hand"/><child link="right"/><axis xyz="1 0 0"/><mimic joint="finger" multiplier="-1" offset="0.01"/>
  </joint>
  <joint name="mount" type="fixed"><parent link="hand"/><child link="camera"/><origin rpy="0 0.5 0"/></joint>
  <joint name="turn" type="continuous"><parent link="left"/><child link="wheel"/><axis xyz="0 0 1"/></joint>
</robot>"""


def test_each_frame_is_where_the_joints_put_it() -> None:
    tree = parse_urdf(GRIPPER, "gripper")
    assert (tree.name, tree.root, set(tree.frames)) == ("gripper", "hand", {"hand", "left", "right", "camera", "wheel"})
    (fixed,) = tree.fixed()
    assert (fixed.parent, fixed.child) == ("hand", "camera")
    assert fixed.orientation == pytest.approx((0.0, math.sin(0.25), 0.0, math.cos(0.25)))
    left, right, wheel = tree.moving({"finger": 0.03, "turn": math.pi})
    assert left.position == pytest.approx((0.0, 0.03, 0.1)), "along its own axis, which is turned to the left"
    assert right.position == pytest.approx((-0.02, 0.0, 0.0)), "mirrored"
    assert wheel.orientation == pytest.approx((0.0, 0.0, 1.0, 0.0))


def test_a_joint_that_nobody_measures_has_no_frame_rather_than_a_wrong_one() -> None:
    tree = parse_urdf(GRIPPER, "gripper")
    assert [pose.child for pose in tree.moving({"turn": 0.0, "finger": math.nan})] == ["wheel"]
    assert tree.moving({}) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<robot", "not a URDF: "),
        ("<sdf/>", "the outermost element is <sdf>, not <robot>"),
        ('<robot><link name="a"/><link name="a"/></robot>', "link 'a' stands twice"),
        ('<robot><link name="a"/><link name="b"/></robot>', "2 links have no parent"),
        (GRIPPER.replace('<link name="camera"/>', "", 1), "the link 'camera', which is missing"),
        (GRIPPER.replace('"continuous"', '"floating"'), "joint 'turn' has the type 'floating'"),
        (GRIPPER.replace('"2 0 0"', '"0 0 0"'), "the axis of joint 'finger' has no direction"),
        (GRIPPER.replace('"2 0 0"', '"2 0"'), "xyz of joint 'finger' must be three numbers, got '2 0'"),
        (GRIPPER.replace('"2 0 0"', '"nan 0 0"'), "must be three numbers"),
        (GRIPPER.replace('multiplier="-1"', 'multiplier="nan"'), "mimics another must be finite, got 'nan'"),
        (GRIPPER.replace('offset="0.01"', 'offset="inf"'), "offset by which joint 'other_finger' mimics"),
        (
            GRIPPER.replace('<parent link="hand"/><child link="left"/>', '<parent link="wheel"/><child link="left"/>'),
            "circle",
        ),
    ],
)
def test_what_is_no_tree_of_known_joints_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        parse_urdf(text, "robot.urdf")
    assert str(error.value).startswith("robot.urdf: not a URDF")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_urdf_lies_beside_the_robot_file_or_in_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    share = tmp_path / "share" / "my_robot"
    (share / "urdf").mkdir(parents=True)
    index = tmp_path / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    (index / "my_robot").touch()
    for folder in (tmp_path, share / "urdf"):
        (folder / "gripper.urdf").write_text(GRIPPER)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    assert (
        read_urdf("gripper.urdf", tmp_path) == read_urdf("package://my_robot/urdf/gripper.urdf", Path("/")) == GRIPPER
    )
    for location, said in (
        ("absent.urdf", "No such file"),
        ("package://another/a.urdf", "no package 'another' is installed"),
        ("package:///a.urdf", "no package '' is installed"),
        ("gripper.urdf.xacro", "xacro gripper.urdf.xacro > gripper.urdf"),
    ):
        with pytest.raises(UserError, match=said):
            read_urdf(location, tmp_path)
