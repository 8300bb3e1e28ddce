"""The arm of a URDF in Pinocchio, held against the same chain in numpy, and the distances that coal measures."""

from __future__ import annotations

import math
import sys
import time

import arm_parts
import numpy as np
import pytest
from arm_parts import NAMES, NEIGHBOURS, READY, ArmUnderTest, config, robot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fosp_core.clock import Received
from fosp_core.decisions import Reason
from fosp_core.errors import UserError
from fosp_safety_monitor.arm.model import ArmModel, disabled_pairs, pinocchio, require_model
from fosp_safety_monitor.arm.touching_pairs import shares_of_touching
from fosp_safety_monitor.arm.view import ArmObserver

common = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
positions = st.tuples(*[st.floats(low, high) for low, high in zip(arm_parts.LOWER, arm_parts.UPPER, strict=True)])
needs_pin = pytest.mark.skipif(
    not __import__("importlib").util.find_spec("pinocchio"), reason="Pinocchio is not installed: requirements/arm.txt"
)
TABLE = {"name": "table", "size": [1.0, 1.0, 0.1], "position": [0.6, 0.0, -0.05]}
SELF = {"ignored_pairs": NEIGHBOURS}


def made(urdf=None, **joints) -> ArmModel:
    return ArmModel(urdf or arm_parts.urdf(), config(**joints), "link0", "seven.urdf")


def at(q) -> dict[str, float]:
    return dict(zip(NAMES, q, strict=True))


def test_without_pinocchio_there_is_one_line_that_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pinocchio", None)
    with pytest.raises(UserError, match=r"needs Pinocchio .*pip install .*requirements/arm.txt"):
        pinocchio()


@needs_pin
@common
@given(positions)
def test_pinocchio_and_the_chain_in_numpy_agree(q):
    found, expected = made().place(at(q)), arm_parts.kinematics(q)
    assert found.position == pytest.approx(expected.position, abs=1e-9)
    assert abs(np.dot(found.orientation, expected.orientation)) == pytest.approx(1.0, abs=1e-6)
    assert found.jacobian == pytest.approx(expected.jacobian, abs=1e-9)


@needs_pin
def test_limits_and_names_are_those_of_the_description():
    model = made()
    assert model.names == model.needed == NAMES
    assert model.lower == pytest.approx(arm_parts.LOWER)
    assert model.upper == pytest.approx(arm_parts.UPPER)
    assert model.speed == pytest.approx(arm_parts.SPEED)


@needs_pin
def test_a_tool_and_a_turned_frame_move_the_commanded_point():
    offset = (0.0, 0.02, 0.15)
    plain, tooled = made().place(at(READY)), made(tip_offset=offset, tip_rotation=(0.0, 0.0, 0.5)).place(at(READY))
    assert math.dist(plain.position, tooled.position) == pytest.approx(math.hypot(*offset))
    step = 1e-6
    for joint in range(7):
        q = np.array(READY)
        q[joint] += step
        moved = made(tip_offset=offset).place(at(q)).position - tooled.position
        assert tooled.jacobian[:3, joint] == pytest.approx(moved / step, abs=1e-5)


@needs_pin
def test_joints_without_states_are_held_and_followers_follow():
    fingers = (
        '<link name="left"/><link name="right"/>'
        '<joint name="finger" type="prismatic"><parent link="hand"/><child link="left"/><axis xyz="0 1 0"/>'
        '<limit lower="0" upper="0.04" velocity="0.1" effort="1"/></joint>'
        '<joint name="other" type="prismatic"><parent link="hand"/><child link="right"/><axis xyz="0 -1 0"/>'
        '<limit lower="0" upper="0.04" velocity="0.1" effort="1"/><mimic joint="finger"/></joint></robot>'
    )
    urdf = arm_parts.urdf().replace("</robot>", fingers)
    assert made(urdf).needed == (*NAMES, "finger")
    held = made(urdf, held={"finger": 0.02})
    assert held.needed == NAMES
    assert held.place(at(READY)).jacobian.shape == (6, 7)
    with pytest.raises(UserError, match="no joint 'thumb'"):
        made(urdf, held={"thumb": 0.02})


@needs_pin
def test_an_endless_joint_has_no_limit():
    urdf = arm_parts.urdf().replace('<joint name="joint7" type="revolute">', '<joint name="joint7" type="continuous">')
    model = made(urdf)
    assert model.upper[6] == math.inf
    assert model.place(at(READY)).position == pytest.approx(arm_parts.kinematics(READY).position, abs=1e-9)
    observer = ArmObserver(robot(), model)
    observer.hear(NAMES, READY, [], Received(1.0, 1.0))
    assert len(observer.view(None).joints.values) == 12


@needs_pin
@pytest.mark.parametrize(
    ("joints", "frame", "why"),
    [
        ({"tip_link": "finger"}, "link0", "no link 'finger'"),
        ({}, "base", "no link 'base'"),
        ({}, "link3", "moves with the joints"),
        ({"tip_link": "link0"}, "link0", "no joint moves"),
        ({"joint_limit_margins": {"joint9": 0.1}}, "link0", "no joint 'joint9'"),
        ({"self_collision": {"ignored_pairs": [["link1", "arm"]]}}, "link0", "no link 'arm'"),
        ({"boxes": [{**TABLE, "ignored_links": ["foot"]}]}, "link0", "no link 'foot'"),
    ],
)
def test_a_description_that_does_not_fit_is_refused_in_one_line(joints, frame, why):
    with pytest.raises(UserError, match=why) as refused:
        ArmModel(arm_parts.urdf(), config(**joints), frame, "seven.urdf")
    assert "\n" not in str(refused.value)


def with_finger(joint: str) -> str:
    finger = '<link name="finger"/><joint name="slide" type="prismatic"><parent link="hand"/><child link="finger"/>'
    return arm_parts.urdf().replace("</robot>", f'{finger}<axis xyz="1 0 0"/>{joint}</joint></robot>')


@needs_pin
@pytest.mark.parametrize(
    ("urdf", "why"),
    [
        (arm_parts.urdf(lower=[-170.0] * 7, upper=[170.0] * 7), "joint 'joint1' is 170; it must be in rad, not in deg"),
        (arm_parts.urdf().replace("0.333", "333"), "an <origin> at '0.0 0.0 333': lengths are in m, not in mm"),
        (arm_parts.urdf().replace('xyz="0.0 0.0 0.1"', 'xyz="0.0 0.0 100"'), "an <origin> at '0.0 0.0 100'"),
        (with_finger('<limit lower="0" upper="1" velocity="1" effort="1"/><mimic joint="gone"/>'), "mimics 'gone'"),
        (with_finger('<limit lower="0" upper="1" velocity="1" effort="1"/><mimic joint="slide"/>'), "mimics 'slide'"),
        (with_finger('<limit lower="0" upper="1" velocity="1" effort="1"/><mimic joint="hand_mount"/>'), "hand_mount"),
    ],
)
def test_a_description_that_no_arm_has_is_refused_in_one_line(urdf, why):
    with pytest.raises(UserError, match=why) as refused:
        made(urdf)
    assert "\n" not in str(refused.value)


@needs_pin
def test_a_rail_in_mm_is_refused_and_wrists_that_turn_thrice_are_not():
    rail = arm_parts.urdf().replace('name="joint1" type="revolute"', 'name="joint1" type="prismatic"')
    assert made(rail).upper[0] == arm_parts.UPPER[0]
    limit = f'lower="{arm_parts.LOWER[0]}" upper="{arm_parts.UPPER[0]}"'
    with pytest.raises(UserError, match="it must be in m, not in mm"):
        made(rail.replace(limit, 'lower="0" upper="2500"'))
    assert made(arm_parts.urdf(lower=[-20.0] * 7, upper=[20.0] * 7)).upper.max() == 20.0


@needs_pin
def test_a_mesh_that_is_not_there_is_named():
    urdf = arm_parts.urdf().replace('<cylinder radius="0.09" length="0.2"/>', '<mesh filename="package://arm/a.stl"/>')
    made(urdf)
    with pytest.raises(UserError, match=r"collision meshes cannot be read.*a\.stl"):
        made(urdf, self_collision=SELF)


def _write_stl(path, size: float) -> None:
    """A cube of triangles with a notch, which its convex hull fills."""
    corners = [np.array([x, y, z]) * size for x in (0, 1) for y in (0, 1) for z in (0, 1)]
    corners.append(np.array([0.5, 0.5, 0.5]) * size)
    faces = [
        (0, 1, 3),
        (0, 3, 2),
        (4, 6, 7),
        (4, 7, 5),
        (0, 4, 5),
        (0, 5, 1),
        (2, 3, 7),
        (2, 7, 6),
        (0, 2, 6),
        (0, 6, 4),
    ]
    faces += [(1, 5, 8), (5, 7, 8), (7, 3, 8), (3, 1, 8)]
    vertices = "\n".join(
        "facet normal 0 0 0\nouter loop\n"
        + "\n".join("vertex " + " ".join(str(value) for value in corners[corner]) for corner in face)
        + "\nendloop\nendfacet"
        for face in faces
    )
    path.write_text(f"solid part\n{vertices}\nendsolid part\n")


@needs_pin
def test_a_mesh_counts_as_its_convex_hull_and_is_found_in_a_package_or_beside_the_file(tmp_path):
    (tmp_path / "arm").mkdir()
    _write_stl(tmp_path / "arm" / "a.stl", 0.2)
    mesh = '<mesh filename="package://arm/a.stl"/>'
    urdf = arm_parts.urdf().replace('<cylinder radius="0.045" length="0.1"/>', mesh)
    box = {"name": "wall", "size": [0.1, 2.0, 2.0], "position": [0.9, 0.0, 0.5], "distance": 0.0}
    settings = config(self_collision=SELF, boxes=[box])
    model = ArmModel(urdf, settings, "link0", "seven.urdf", [tmp_path])
    model.place(at(READY))
    distances = model.distances()
    told = dict(zip(distances.pairs, distances.values, strict=True))
    # The hand points down and is turned by a quarter: the cube's far corner is ahead of its origin.
    place = arm_parts.kinematics(READY)
    assert 0.85 - place.position[0] - 0.3 < told["link7 and box wall"] < 0.85 - place.position[0] + 0.01
    begin = time.process_time()
    for _ in range(100):
        model.place(at(READY))
        model.distances()
    assert time.process_time() - begin < 1.0, "10 ms for each of 100 views per second"


# -- distances ---------------------------------------------------------------------------------------
@needs_pin
def test_the_change_of_each_distance_is_that_of_the_joints_a_moment_later():
    model, off = made(self_collision=SELF, boxes=[TABLE]), []
    for q in np.random.default_rng(5).uniform(arm_parts.LOWER, arm_parts.UPPER, (12, 7)):
        model.place(at(q))
        here = model.distances()
        for joint, step in enumerate(1e-3 * np.eye(7)):
            ends = []
            for sign in (1, -1):
                model.place(at(q + sign * step))
                distances = model.distances()
                ends.append(dict(zip(distances.pairs, distances.values, strict=True)))
            for pair, gradient in zip(here.pairs, here.gradients[:, joint], strict=True):
                if pair in ends[0] and pair in ends[1]:
                    off.append(abs(gradient - (ends[0][pair] - ends[1][pair]) / 2e-3))
    assert len(off) > 500
    # Where the nearest points lie on an edge or a face, they jump from one to another.
    assert np.quantile(off, 0.95) < 0.01


@needs_pin
def test_links_that_a_joint_connects_are_not_compared_and_pairs_can_be_ignored():
    pairs = set(_pairs(made(self_collision={})))
    assert "link5 and link7" in pairs
    assert not {"link1 and link2", "link6 and link7", "link0 and link1"} & pairs
    assert "link5 and link7" not in _pairs(made(self_collision=SELF))


def _pairs(model: ArmModel) -> tuple[str, ...]:
    model.place(at(READY))
    return model.distances().pairs


@needs_pin
def test_an_arm_stops_in_front_of_a_box_and_of_itself_and_turns_back():
    wall = {"name": "wall", "size": [0.1, 1.0, 1.0], "position": [0.72, 0.0, 0.5]}
    for joints, wish, what in (
        ({"boxes": [wall]}, (1.0, 0, 0, 0, 0, 0), "and box wall"),
        ({"self_collision": SELF}, (-1.0, 0, -1.0, 0, 0, 0), "link0 and link6"),
    ):
        start = READY if "boxes" in joints else (0.0, 0.2, 0.0, -2.6, 0.0, 2.8, 0.785)
        arm_config = robot(joint_limit_margins=0.01, hard_stop_singularity_threshold=1e4, **joints)
        model = ArmModel(arm_parts.urdf(), arm_config.joints, "link0")
        arm = ArmUnderTest(arm_config, start, model)
        for _ in range(350):
            arm.step(wish)
            if arm.last.share == 0.0 and not arm.command.any():
                break
        assert (arm.last.share, arm.last.reason) == (0.0, Reason.COLLISION), arm.last
        assert what in arm.last.text
        model.place(at(arm.positions))
        distances = model.distances()
        left = distances.values + distances.kept
        assert 0.0 < left.min() < 0.05
        for _ in range(60):
            arm.step(tuple(-value for value in wish))
        assert arm.last.share == 1.0
        assert arm.command.any()


@needs_pin
def test_a_link_that_touches_already_may_only_leave():
    inside = {"name": "crate", "size": [0.2, 0.2, 0.2], "position": [0.35, 0.0, 0.55]}
    model = ArmModel(arm_parts.urdf(), config(boxes=[inside]), "link0")
    arm = ArmUnderTest(robot(boxes=[inside]), READY, model)
    arm.step((0.0, 0, -1.0, 0, 0, 0))
    into = arm.last
    assert into.reason is Reason.COLLISION or into.share == 1.0


@needs_pin
def test_pairs_that_always_touch_are_told_from_those_that_do_in_some_positions():
    large = arm_parts.urdf().replace('<cylinder radius="0.045" length="0.1"/>', '<cylinder radius="0.3" length="0.3"/>')
    shares = shares_of_touching(made(large, self_collision={}), 60)
    assert shares["link5 and link7"] == 1.0
    assert 0.0 < shares["link3 and link7"] < 1.0


@needs_pin
def test_a_robot_is_held_against_its_own_urdf_and_srdf_before_anything_starts(tmp_path):
    def require(**changes):
        joints = robot(**changes.pop("joints", {})).joints
        require_model(robot().model_copy(update={"joints": joints, **changes}), tmp_path)

    (tmp_path / "seven.urdf").write_text(arm_parts.urdf())
    (tmp_path / "seven.srdf").write_text('<robot name="seven"><disable_collisions link1="a" link2="b"/></robot>')
    (tmp_path / "seven.srdf.xacro").write_text("<robot/>")
    require(urdf="seven.urdf", joints={"self_collision": {"srdf": "seven.srdf"}})
    require()
    require_model(robot().model_copy(update={"joints": None}), tmp_path)
    for changes, why in (
        ({"urdf": "eight.urdf"}, "eight.urdf"),
        ({"urdf": "seven.urdf", "joints": {"tip_offset": [0, 0, 0], "self_collision": {"srdf": "no.srdf"}}}, "no.srdf"),
        ({"urdf": "seven.urdf", "joints": {"self_collision": {"srdf": "seven.srdf.xacro"}}}, "expand this first"),
    ):
        with pytest.raises(UserError, match=why):
            require(**changes)


def test_an_srdf_names_pairs_that_are_not_compared():
    text = '<robot name="seven"><disable_collisions link1="link5" link2="link7" reason="Adjacent"/></robot>'
    assert disabled_pairs(text, "seven.srdf") == [("link5", "link7")]
    for wrong in ("<robot", "<sdf/>"):
        with pytest.raises(UserError, match="not an SRDF"):
            disabled_pairs(wrong, "seven.srdf")
