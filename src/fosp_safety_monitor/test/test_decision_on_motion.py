"""Decisions on a robot that does not do as it is told, and on latents that come slowly or repeat."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_bundle import DETER

from fosp_core.decisions import Decision, Reason
from fosp_safety_monitor.judge.verdict import Finding

PERIOD_S = 0.05


def outcome(finding):
    return finding.decision, finding.reason


def inverted(scene, seconds, stop_at_latch=True):
    """The robot goes the opposite way; the ticks."""
    ticks = []
    for index in range(round(seconds / 0.01)):
        scene.wait(0.01)
        x, y, z = scene.robot.position
        vx, vy, vz = scene.state.command
        scene.hear_from_robot((x - 0.01 * vx, y - 0.01 * vy, z - 0.01 * vz))
        if index % 5 == 4:
            scene.judge()
        ticks.append(scene.tick())
        if stop_at_latch and scene.state.latched:
            break
    return ticks


def drifting(scene, seconds, speed=0.05, judge=True):
    """The robot moves along y whatever it is told; the ticks and the verdicts on proposals."""
    ticks, verdicts = [], []
    for index in range(round(seconds / 0.01)):
        scene.wait(0.01)
        x, y, z = scene.robot.position
        scene.hear_from_robot((x, y + 0.01 * speed, z))
        if judge and index % 5 == 4:
            verdicts.append(scene.judge())
        ticks.append(scene.tick())
    return ticks, verdicts


def test_a_robot_that_goes_the_opposite_way_is_latched_within_0_4_s(moving):
    ticks = inverted(moving, 0.4)
    assert outcome(ticks[-1].finding) == (Decision.LATCH, Reason.MOTION)
    assert "the opposite way" in ticks[-1].finding.text
    assert ticks[-1].verdict is not None


@pytest.mark.parametrize("shadow", [False, True])
def test_wrong_motion_stops_the_robot_in_shadow_mode_too(make_scene, shadow):
    scene = make_scene(shadow=shadow)
    scene.drive(0.5)
    inverted(scene, 0.4)
    assert outcome(scene.state.latched) == (Decision.LATCH, Reason.MOTION)


@pytest.mark.parametrize("judge", [True, False], ids=["proposals go on", "no proposals"])
def test_a_robot_that_moves_although_it_is_latched_is_told_of_in_every_decision_period(moving, judge):
    moving.state = moving.state.__class__(
        **{**vars(moving.state), "latched": Finding(Decision.LATCH, Reason.ESTOP, "somebody pressed it")}
    )
    moving.drive(0.5)
    drifting(moving, 0.6, judge=judge)
    ticks, verdicts = drifting(moving, 2.0, judge=judge)
    told = [*verdicts, *(tick.verdict for tick in ticks if tick.verdict)]
    assert len(told) >= 2.0 / (PERIOD_S + 0.01) - 2
    for verdict in told:
        assert (verdict.decision, verdict.reason) == (Decision.LATCH, Reason.MOTION)
        assert verdict.reason_text.startswith("the robot moves although it is latched")
        assert verdict.reason_text.endswith("latched until reset: somebody pressed it")
    assert all(tick.finding.reason is Reason.MOTION for tick in ticks), "so events and diagnostics tell it, too"
    assert moving.reset().startswith("the cause persists: the robot moves although it is latched")


def test_a_latched_robot_that_stands_is_reset_at_once(moving):
    inverted(moving, 0.4)
    for _ in range(40):
        moving.drive(0.05)
    assert moving.state.latched is not None
    assert moving.reset() == ""
    assert moving.drive(1.0)[-1].finding.decision is Decision.PASS


def test_a_robot_that_drifts_before_anything_was_judged_is_latched(scene):
    scene.tick()
    ticks, _ = drifting(scene, 1.0, judge=False)
    assert outcome(ticks[-1].finding) == (Decision.LATCH, Reason.MOTION)


def test_a_pose_outside_of_the_workspace_latches_until_the_robot_is_back(moving):
    moving.wait(0.01)
    moving.hear_from_robot((0.5, 0.43, 0.2))
    assert outcome(moving.tick().finding) == (Decision.LATCH, Reason.OUTSIDE_WORKSPACE)
    assert moving.reset().startswith("the cause persists: the measured pose is 50 mm outside of the workspace")
    moving.hear_from_robot((0.5, 0.3, 0.2))
    moving.drive(1.5)
    assert moving.reset() == ""


def test_after_a_pause_of_the_stream_the_robot_is_not_blamed_for_where_it_stopped(moving):
    moving.wait(0.5)
    moving.hear_from_robot(moving.move(0.08))
    assert moving.tick().finding.reason is Reason.HELD_UP
    assert moving.drive(1.0)[-1].finding.decision is Decision.PASS


# -- the latents -----------------------------------------------------------------------------------------------
def paced(scene, period_s, decisions):
    """Decisions at another pace than the model's, and the last verdict."""
    verdict = None
    for _ in range(decisions):
        left_s = period_s
        while left_s > 1e-6:
            step_s = min(0.01, left_s)
            left_s -= step_s
            scene.wait(step_s)
            scene.hear_from_robot(scene.move(step_s))
            scene.tick()
        verdict = scene.judge()
    return verdict


def test_a_camera_of_13_hz_is_too_slow_for_a_model_of_20_hz(scene):
    verdict = paced(scene, 1 / 13, 30)
    assert outcome(verdict) == (Decision.STOP, Reason.DEADLINE)
    assert "decisions come at 13.0 Hz, but the model decides at 20.0 Hz" in verdict.reason_text


def test_a_camera_that_is_fast_again_moves_the_robot_again(scene):
    paced(scene, 1 / 13, 30)
    assert paced(scene, 0.05, 25).decision is Decision.PASS


@pytest.mark.parametrize("period_s", [0.05, 0.055, 0.0333])
def test_a_pace_close_to_the_models_passes(scene, period_s):
    assert paced(scene, period_s, 60).decision is Decision.PASS


def test_frames_of_30_hz_in_turn_at_33_and_67_ms_pass(scene):
    for index in range(60):
        verdict = paced(scene, 1 / 30 if index % 2 else 2 / 30, 1)
    assert verdict.decision is Decision.PASS


def test_a_short_pause_of_the_camera_is_no_slow_camera(scene):
    paced(scene, 0.05, 30)
    scene.drive(0.6, deciding=False)
    assert scene.drive(1.0)[-1].finding.decision is Decision.PASS


def test_a_latent_that_stays_the_same_under_new_steps_latches_while_the_robot_moves(moving):
    same = np.full(DETER, 0.5, np.float32)
    ticks = moving.drive(0.7, latent=lambda: moving.latent(deter=same))
    assert outcome(ticks[-1].finding) == (Decision.LATCH, Reason.STALE_LATENT)
    assert "the latent is frozen" in ticks[-1].finding.text
    assert moving.drive(0.3)[-1].finding.decision is Decision.LATCH
    assert moving.reset() == ""


def test_a_latent_may_stay_the_same_while_the_robot_stands(scene):
    same = np.full(DETER, 0.5, np.float32)
    for _ in range(40):
        scene.wait(0.05)
        scene.hear_from_robot()
        scene.judge(scene.proposal([[0.0, 0.0, 0.0]]), scene.latent(deter=same))
    assert scene.state.latched is None


def test_slow_motion_under_the_same_latent_adds_up(scene):
    same = np.full(DETER, 0.5, np.float32)
    scene.drive(3.0, latent=lambda: scene.latent(deter=same), proposal=lambda: scene.proposal([[0.1, 0.0, 0.0]]))
    assert outcome(scene.state.latched) == (Decision.LATCH, Reason.STALE_LATENT)
