"""The gripper behind the monitor: it follows verdicts at a limited rate, and holds whatever stops the robot."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fosp_core.clock import Now, Received
from fosp_core.decisions import Decision, Reason, WhoDrives
from fosp_core.robot.config import RobotConfig
from fosp_core.robot.gripper import GripperInput
from fosp_safety_monitor.command.gripper_side import driver_fault
from fosp_safety_monitor.judge import decision
from fosp_safety_monitor.judge.inputs import ProposalInput
from fosp_safety_monitor.judge.verdict import FrameStamp
from fosp_safety_monitor.judge.watch.gripper import check_gripper
from fosp_safety_monitor.operator.operator_guard import OperatorGuard

if TYPE_CHECKING:
    from conftest import GripperScene, GripperTakeover, MonitorScene

OPEN, CLOSED = 1.0, -1.0
RATE = 4.0
"""Normalised, per second: 0.2 m/s over a stroke of 0.1 m."""


@pytest.fixture
def scene(gripper_scene: Callable[..., GripperScene]) -> GripperScene:
    return gripper_scene()


@pytest.fixture
def closing(scene: GripperScene) -> GripperScene:
    """In motion, with the gripper half closed."""
    scene.drive(0.35, **scene.wants(CLOSED))
    assert scene.told is not None
    assert -0.6 < scene.told < 0.6
    assert any(scene.state.command)
    return scene


def test_the_gripper_follows_verdicts_at_its_rate(scene: GripperScene) -> None:
    ticks = scene.drive(1.0, **scene.wants(CLOSED))
    told = [tick.gripper.position for tick in ticks if tick.gripper is not None]
    assert told[-1] == CLOSED
    assert np.abs(np.diff(told)).max() <= RATE * 0.01 + 1e-9


def test_a_jump_of_the_wish_is_limited_in_rate(scene: GripperScene) -> None:
    scene.drive(1.0, **scene.wants(CLOSED))
    ticks = scene.drive(0.2, **scene.wants(OPEN))
    assert ticks[-1].gripper is not None
    assert ticks[-1].gripper.position <= CLOSED + RATE * 0.2


def test_the_twist_is_what_it_is_without_a_gripper(
    scene: GripperScene, make_scene: Callable[..., MonitorScene]
) -> None:
    plain = make_scene("arm")
    with_gripper = scene.drive(0.5, **scene.wants(CLOSED))
    assert [t.command for t in with_gripper] == [t.command for t in plain.drive(0.5)]


STOPS = {
    "no proposal": lambda s: s.drive(0.6, deciding=False),
    "no robot state": lambda s: s.drive(0.6, robot=False, **s.wants(CLOSED)),
    "risk of every candidate": lambda s: s.drive(0.6, **s.wants(OPEN, scored=lambda: s.values((0.95,)))),
    "a malformed proposal": lambda s: s.drive(0.6, proposal=lambda: s.proposal([[0.5, 0.5, 0.5, math.nan]])),
    "an action without its last value": lambda s: s.drive(0.6, proposal=lambda: s.proposal([[0.5, 0.5, 0.5]])),
    "a held-up stream": lambda s: (s.wait(1.0), s.drive(0.1, deciding=False)),
}


@pytest.mark.parametrize("cause", STOPS)
def test_no_stop_moves_the_gripper(closing: GripperScene, cause: str) -> None:
    before = closing.told
    STOPS[cause](closing)
    late = closing.told
    assert late is not None
    assert before is not None
    # Until its deadline the last verdict, which closes, is followed; nothing ever opens.
    assert late <= before + 1e-9
    held = [tick.gripper for tick in closing.drive(0.5, deciding=False, robot=cause != "no robot state")]
    assert {order.position for order in held if order is not None} == {late}


def test_a_latch_and_its_reset_do_not_move_the_gripper(closing: GripperScene) -> None:
    closing.robot = replace(closing.robot, estop_pressed=True)
    closing.drive(0.3, **closing.wants(OPEN))
    held = closing.told
    assert closing.state.latched is not None
    closing.robot = replace(closing.robot, estop_pressed=False)
    closing.drive(0.5, **closing.wants(OPEN))
    assert closing.told == held
    closing.judge(closing.proposal([[0.0, 0.0, 0.0, OPEN]]))
    assert closing.reset() == ""
    for _ in range(3):
        closing.wait(0.01)
        closing.hear_from_robot()
        assert closing.tick().gripper is not None
        assert closing.told == held


def test_a_halt_for_deactivation_holds_the_gripper(closing: GripperScene) -> None:
    held = closing.told
    for _ in range(50):
        closing.wait(0.01)
        closing.state = decision.halt(closing.state, closing.limits, closing.now)
    assert closing.told == held
    assert not any(closing.state.command)


def test_what_is_held_is_held_by_what_was_told_not_by_what_is_measured(scene: GripperScene) -> None:
    scene.width = 0.2
    scene.drive(1.0, **scene.wants(CLOSED))
    ticks = scene.drive(0.6, deciding=False)
    assert scene.robot.gripper.position == 0.2
    assert ticks[-1].gripper is not None
    assert ticks[-1].gripper.position == CLOSED


def test_before_a_verdict_the_gripper_is_left_alone_and_where_it_is_is_told(scene: GripperScene) -> None:
    ticks = scene.drive(0.3, deciding=False)
    assert ticks[-1].gripper is not None
    assert (ticks[-1].gripper.position, ticks[-1].gripper.told) == (OPEN, False)


def test_the_lost_position_stops_the_robot_and_latches_when_it_lasts(closing: GripperScene) -> None:
    closing.silent = True
    ticks = closing.drive(0.6, **closing.wants(OPEN))
    held = closing.told
    assert ticks[-1].finding.reason is Reason.STALE_ROBOT_STATE
    assert "gripper" in ticks[-1].finding.text
    ticks = closing.drive(closing.thresholds.parameters.stale_latch_s, **closing.wants(OPEN))
    assert ticks[-1].finding.decision is Decision.LATCH
    assert closing.told == held


def test_a_position_that_cannot_be_the_grippers_stops_the_robot(closing: GripperScene) -> None:
    closing.silent, held = True, closing.told
    closing.feel_gripper(fault="is 80, far outside")
    ticks = closing.drive(0.1, **closing.wants(OPEN))
    assert ticks[-1].finding.reason is Reason.ROBOT_NOT_READY
    assert closing.told == held


def test_a_driver_that_does_not_take_what_it_is_told_stops_the_robot(closing: GripperScene) -> None:
    closing.silent, held = True, closing.told
    for fault in (
        driver_fault("has no driver", None, False),
        driver_fault("", 0.6, False),
        driver_fault("", 0.1, True),
    ):
        closing.feel_gripper(driver_fault=fault)
        ticks = closing.drive(0.1, **closing.wants(OPEN))
        assert ticks[-1].finding.reason is Reason.ROBOT_NOT_READY
        assert ticks[-1].finding.text.startswith("the gripper (gripper/commands) has")
        assert closing.told == held
    assert driver_fault("", 0.1, False) == driver_fault("", None, False) == ""


def test_the_gripper_of_a_recovery_holds(scene: GripperScene) -> None:
    scene.drive(1.0, **scene.wants(CLOSED))
    scene.wait(0.01)
    eps = scene.thresholds.eps
    verdict = scene.judge(scene.proposal([[0.5, 0.5, 0.5, OPEN]]), scored=scene.values((eps + 0.1,)))
    assert verdict.decision is Decision.RECOVER
    assert verdict.action_out[3] == CLOSED
    scene.drive(0.04, deciding=False)
    assert scene.told == CLOSED


def test_a_reduced_speed_does_not_change_where_the_gripper_goes(scene: GripperScene) -> None:
    eps = scene.thresholds.eps
    verdict = scene.judge(scene.proposal([[0.5, 0.5, 0.5, CLOSED]]), scored=scene.values((0.95 * eps,)))
    assert verdict.reason is Reason.SLOW_DOWN
    assert verdict.action_out[0] < 0.5
    assert verdict.action_out[3] == CLOSED


def test_verdicts_hold_every_value_of_the_action(closing: GripperScene) -> None:
    verdicts = [tick.verdict for tick in closing.drive(0.8, deciding=False) if tick.verdict is not None]
    assert verdicts
    assert {len(v.action_out) for v in verdicts} == {4}
    assert verdicts[-1].action_out == pytest.approx((0.0, 0.0, 0.0, closing.told))


def test_shadow_mode_passes_the_gripper_on_as_it_was_proposed(gripper_scene: Callable[..., GripperScene]) -> None:
    scene = gripper_scene(shadow=True)
    verdict = scene.judge(scene.proposal([[0.5, 0.5, 0.5, CLOSED]]), scored=scene.values((0.99,)))
    assert verdict.action_out[3] == CLOSED


# -- a person ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("gated", [False, True])
def test_a_person_who_presses_no_button_holds_the_gripper(
    gripper_takeover: Callable[..., GripperTakeover], gated: bool
) -> None:
    scene = gripper_takeover(gate_operator=gated)
    scene.go(0.25)
    scene.say(holds=True, action=(0.2, 0.0, 0.0))
    scene.go(0.1)
    held = scene.state.gripper.sent
    assert held is not None
    assert held > CLOSED
    scene.go(0.6)
    assert scene.driver is WhoDrives.OPERATOR
    assert scene.state.gripper.sent == held
    assert {len(v.action_out) for v in scene.verdicts} == {4}
    scene.say(action=(0.0, 0.0, 0.0, OPEN))
    scene.go(1.0)
    assert scene.state.gripper.sent == OPEN
    scene.say(holds=False, action=(0.0, 0.0, 0.0))
    ticks = scene.go(0.2)
    assert {tick.gripper.position for tick in ticks if tick.gripper is not None} == {OPEN}


def test_a_hand_back_moves_the_gripper_at_its_rate(gripper_takeover: Callable[..., GripperTakeover]) -> None:
    scene = gripper_takeover()
    scene.go(0.5)
    scene.say(holds=True, action=(0.0, 0.0, 0.0, OPEN))
    scene.go(1.0)
    scene.say(holds=False, action=(0.0, 0.0, 0.0))
    told = [tick.gripper.position for tick in scene.go(2.0) if tick.gripper is not None]
    assert told[-1] == CLOSED
    assert np.abs(np.diff(told)).max() <= RATE * 0.01 + 1e-9


class GuardScene:
    """An operator without a policy, at 100 Hz."""

    def __init__(self, robot: RobotConfig) -> None:
        self.now = Now(1000.0, 50.0)
        self.guard = OperatorGuard(robot, lambda: self.now)
        self.feels = True
        self.x = 0.5

    def go(self, seconds: float, *action: float) -> list[float | None]:
        told = []
        for _ in range(round(seconds / 0.01)):
            self.now = Now(self.now.ros_s + 0.01, self.now.monotonic_s + 0.01)
            received = Received(self.now.ros_s, self.now.monotonic_s)
            self.guard.receive_robot_state(received)
            self.x += 0.01 * self.guard._command[0]
            self.guard.receive_pose(received, (self.x, 0.0, 0.2))
            order = self.guard._last.gripper
            if self.feels:
                self.guard.receive_gripper(GripperInput(received, 1.0 if order is None else order.position))
            frame = FrameStamp(round(self.now.ros_s * 1e9))
            actions = np.array([action], np.float32)
            self.guard.receive_proposal(ProposalInput(0, "", frame, self.now.monotonic_s, actions, 0))
            tick = self.guard.tick()
            told.append(None if tick.gripper is None else tick.gripper.position)
        return told


def test_the_guard_holds_without_a_button_and_after_the_position_is_lost(pick: RobotConfig) -> None:
    scene = GuardScene(pick)
    scene.go(0.1, 0.0, 0.0, 0.0)
    assert scene.go(0.2, 0.0, 0.0, 0.0, CLOSED)[-1] == pytest.approx(1.0 - 0.2 * RATE, abs=0.05)
    held = scene.go(0.3, 0.2, 0.0, 0.0)
    assert len(set(held)) == 1
    assert any(scene.guard._command)
    scene.feels = False
    lost = scene.go(0.6, 0.2, 0.0, 0.0, OPEN)
    assert not any(scene.guard._command)
    assert "position of the gripper" in scene.guard._last.held
    assert len(set(scene.go(0.3, 0.0, 0.0, 0.0, OPEN))) == 1
    assert lost[-1] is not None


def test_the_guard_moves_nothing_while_a_gripper_button_is_held_from_the_start(pick: RobotConfig) -> None:
    scene = GuardScene(pick)
    assert set(scene.go(0.5, 0.0, 0.0, 0.0, CLOSED)) <= {None, OPEN}
    assert "let go" in scene.guard._last.held


def test_the_check_needs_a_gripper(pick: RobotConfig) -> None:
    now = Now(1000.0, 50.0)
    assert check_gripper(GripperInput(), None, now) is None
    found = check_gripper(GripperInput(), pick.gripper, now)
    assert found is not None
    assert found.decision is Decision.STOP
