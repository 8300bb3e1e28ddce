"""Robot files that extend others."""

from __future__ import annotations

from pathlib import Path

import pytest

from fosp_core.errors import UserError
from fosp_core.robot.config import read_robot

ARM = """
name: arm
kind: arm
action: {frame_id: base, axes: [{name: linear.x, scale: 0.1}, {name: linear.y, scale: 0.1}]}
limits:
  linear.x: {speed: 0.2, acceleration: 1.0, deceleration: 2.0}
  linear.y: {speed: 0.2, acceleration: 1.0, deceleration: 2.0}
workspace: {lower: [0, 0, 0], upper: [1, 1, 1]}
command_topic: command
state_topic: state
state_type: JointState
pose_topic: pose
estop_topics: [button]
"""


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_variant_writes_what_differs_and_inherits_the_rest(tmp_path: Path) -> None:
    written(tmp_path, "arm.yaml", ARM)
    text = "extends: arm.yaml\nname: long_arm\nlimits: {linear.x: {speed: 0.4}}\nestop_topics: []\n"
    longer, arm = read_robot(written(tmp_path, "long.yaml", text)), read_robot(tmp_path / "arm.yaml")
    assert (longer.name, longer.limits["linear.x"].speed, longer.estop_topics) == ("long_arm", 0.4, ())
    assert longer.limits["linear.x"].deceleration == arm.limits["linear.x"].deceleration
    assert longer.limits["linear.y"] == arm.limits["linear.y"]
    same = {"name", "limits", "estop_topics"}
    assert longer.model_dump(exclude=same) == arm.model_dump(exclude=same)


def test_a_list_is_replaced_as_a_whole(tmp_path: Path) -> None:
    written(tmp_path, "arm.yaml", ARM)
    text = "extends: arm.yaml\nname: x_arm\naction: {axes: [{name: linear.x, scale: 0.05}]}\n"
    action = read_robot(written(tmp_path, "x.yaml", text)).action
    assert [(axis.name, axis.scale) for axis in action.axes] == [("linear.x", 0.05)]
    assert action.frame_id == "base"


def test_a_variant_of_a_variant_and_a_variant_in_another_folder(tmp_path: Path) -> None:
    written(tmp_path, "shared/arm.yaml", ARM)
    written(tmp_path, "shared/second.yaml", "extends: arm.yaml\nname: second\nresponse_s: 0.2\n")
    third = read_robot(written(tmp_path, "cells/3.yaml", "extends: ../shared/second.yaml\nname: third\n"))
    assert (third.name, third.response_s, third.command_topic) == ("third", 0.2, "command")


def test_a_name_alone_is_that_of_a_shipped_robot(tmp_path: Path) -> None:
    mine = read_robot(written(tmp_path, "mine.yaml", "extends: ur5e\nname: mine\ncommand_timeout_s: 0.2\n"))
    assert (mine.name, mine.action.frame_id, mine.command_timeout_s) == ("mine", "base", 0.2)


def test_a_self_filter_lies_beside_the_file_that_names_it(tmp_path: Path) -> None:
    written(tmp_path, "shared/filter.yaml", "- {kind: box, lower: [0, 0, 0], upper: [1, 1, 1], frame: pose}\n")
    written(tmp_path, "shared/arm.yaml", ARM + "self_filter: filter.yaml\n")
    child = written(tmp_path, "child.yaml", "extends: shared/arm.yaml\nname: child\n")
    with pytest.raises(UserError) as parent_fault:
        read_robot(tmp_path / "shared/arm.yaml")
    with pytest.raises(UserError) as child_fault:
        read_robot(child)
    assert "no such" not in str(child_fault.value).lower()
    assert str(child_fault.value).split(": ", 1)[1] == str(parent_fault.value).split(": ", 1)[1]


def test_an_inherited_urdf_lies_beside_the_file_that_names_it(tmp_path: Path) -> None:
    written(tmp_path, "shared/arm.yaml", ARM + "urdf: models/arm.urdf\n")
    written(tmp_path, "shared/second.yaml", "extends: arm.yaml\nname: second\n")
    third = read_robot(written(tmp_path, "cells/3.yaml", "extends: ../shared/second.yaml\nname: third\n"))
    assert third.urdf == str(tmp_path / "shared/models/arm.urdf")
    own = written(tmp_path, "cells/4.yaml", "extends: ../shared/arm.yaml\nname: fourth\nurdf: own.urdf\n")
    assert read_robot(own).urdf == "own.urdf", "relative to the file itself"
    written(tmp_path, "shared/packed.yaml", ARM + "urdf: package://my_robot/arm.urdf\n")
    child = written(tmp_path, "cells/5.yaml", "extends: ../shared/packed.yaml\nname: fifth\n")
    assert read_robot(child).urdf == "package://my_robot/arm.urdf"
    without = written(tmp_path, "cells/6.yaml", "extends: ../shared/arm.yaml\nname: sixth\nurdf: ''\n")
    assert read_robot(without).urdf == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extends: arm.yaml\n", "name is missing: a robot that extends another one needs a name of its own"),
        ("extends: nothing.yaml\nname: x\n", "extends: nothing.yaml: no such robot file beside it"),
        ("extends: ur6e\nname: x\n", r"no robot 'ur6e' is shipped; known: .*ur5e.*; for a file write its path"),
        ("extends: [arm.yaml]\nname: x\n", "extends must be the name of a shipped robot, or a path"),
        ("extends: x.yaml\nname: x\n", "goes round in a circle: x.yaml extends x.yaml"),
        ("extends: b.yaml\nname: x\n", "goes round in a circle: x.yaml extends b.yaml extends x.yaml"),
        ("extends: list.yaml\nname: x\n", "list.yaml: expected a mapping of keys, found list"),
        ("extends: arm.yaml\nname: x\nspeed: 1\n", "x.yaml: unknown key 'speed'"),
        ("extends: arm.yaml\nname: x\nlimits: {linear.x: {speed: 0.05}}\n", "speed limit of linear.x is below"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    written(tmp_path, "arm.yaml", ARM)
    written(tmp_path, "b.yaml", "extends: x.yaml\nname: b\n")
    written(tmp_path, "list.yaml", "- 1\n")
    with pytest.raises(UserError, match=said) as error:
        read_robot(written(tmp_path, "x.yaml", text))
    assert "\n" not in str(error.value)
    assert "x.yaml" in str(error.value)
