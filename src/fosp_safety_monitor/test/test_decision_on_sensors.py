"""Sensors that say the same again and again, or nothing: frozen images, a covered lens, a frozen pose."""

from __future__ import annotations

import itertools
import math

import pytest

from fosp_core.decisions import Decision, Reason

STANDSTILL = (0.0, 0.0, 0.0)
HALF_SPEED = pytest.approx([0.125] * 3)


def outcome(finding):
    return finding.decision, finding.reason


# -- the camera ------------------------------------------------------------------------------------------------
def frozen(scene, seconds):
    return scene.drive(seconds, latent=lambda: scene.latent(repeated_image=True))


def test_an_image_that_stays_the_same_to_the_pixel_while_the_robot_moves_latches(moving):
    assert frozen(moving, 0.45)[-1].command == HALF_SPEED
    ticks = frozen(moving, 0.2)
    assert outcome(ticks[-1].finding) == (Decision.LATCH, Reason.IMAGE)
    assert "frozen" in ticks[-1].finding.text
    assert ticks[-1].command == STANDSTILL


def test_one_image_that_differs_begins_the_count_anew(moving):
    frozen(moving, 0.45)
    moving.drive(0.05)
    assert frozen(moving, 0.45)[-1].finding.decision is Decision.PASS


def test_while_the_robot_stands_still_or_trembles_the_image_may_stay_the_same(scene):
    tremble = itertools.cycle([0.1, -0.1])
    for action in (lambda: 0.0, lambda: next(tremble)):
        ticks = scene.drive(
            4.0,
            proposal=lambda action=action: scene.proposal([[action(), 0.0, 0.0]]),
            latent=lambda: scene.latent(repeated_image=True),
        )
        assert {tick.finding.decision for tick in ticks[5:]} == {Decision.PASS}


def test_a_robot_that_creeps_under_a_frozen_image_goes_no_further_than_a_faster_one(scene):
    ticks = scene.drive(
        4.0, proposal=lambda: scene.proposal([[0.1, 0.0, 0.0]]), latent=lambda: scene.latent(repeated_image=True)
    )
    assert outcome(ticks[-1].finding) == (Decision.LATCH, Reason.IMAGE)
    travelled = sum(tick.command[0] for tick in ticks) * 0.01
    fast = 0.2 * 0.25 * 0.05 * scene.thresholds.parameters.frozen_image_steps
    assert travelled == pytest.approx(fast, abs=2e-3)


def test_a_latch_for_a_frozen_image_is_not_reset_while_the_camera_is_still_frozen(moving):
    frozen(moving, 0.6)
    frozen(moving, 1.0)
    assert "frozen" in moving.reset()
    assert frozen(moving, 0.3)[-1].command == STANDSTILL
    moving.drive(0.3)
    assert moving.reset() == ""


# -- the pose --------------------------------------------------------------------------------------------------
def repeating(scene, seconds):
    """The position under new stamps, and no other to the last bit."""
    ticks, position = [], scene.robot.position
    for index in range(round(seconds / 0.01)):
        scene.wait(0.01)
        scene.hear_from_robot(position, noise_m=0.0)
        if index % 5 == 4:
            scene.judge()
        ticks.append(scene.tick())
    return ticks


def test_a_pose_that_stays_the_same_to_the_last_bit_while_the_robot_moves_latches(moving):
    """Or the workspace would be held against a place where the robot was."""
    ticks = repeating(moving, 0.6)
    assert outcome(ticks[-1].finding) == (Decision.LATCH, Reason.NOT_FOLLOWING)
    assert "pose of the commanded point is frozen" in ticks[-1].finding.text
    travelled = sum(tick.command[0] for tick in ticks) * 0.01
    assert travelled < 0.125 * (0.2 + 0.02) + 0.125**2 / (2 * 6.0), "0.2 s, two ticks, and the way to a standstill"
    assert moving.reset() == "", "at rest nobody can tell"
    ticks = repeating(moving, 1.0)
    assert outcome(ticks[-1].finding) == (Decision.LATCH, Reason.NOT_FOLLOWING)


def test_a_pose_that_does_not_come_any_more_is_stale_and_not_frozen(moving):
    ticks = moving.drive(0.6, robot=False)
    assert outcome(ticks[-1].finding) == (Decision.STOP, Reason.STALE_ROBOT_STATE)
    assert moving.drive(1.0)[-1].command == HALF_SPEED


def test_a_robot_that_stands_may_keep_its_pose(scene):
    for _ in range(100):
        scene.wait(0.01)
        scene.hear_from_robot(noise_m=0.0)
        scene.judge(scene.proposal([[0.0, 0.0, 0.0]]))
        assert scene.tick().finding.decision is Decision.PASS


def test_a_covered_lens_stops_and_is_left_when_the_camera_sees_again(moving):
    ticks = moving.drive(0.2, latent=lambda: moving.latent(contrast=0.009))
    assert outcome(ticks[-1].finding) == (Decision.STOP, Reason.IMAGE)
    assert ticks[-1].command == STANDSTILL
    assert moving.drive(1.0)[-1].command == HALF_SPEED


@pytest.mark.parametrize("contrast", [math.nan, math.inf])
def test_a_contrast_that_is_not_finite_latches(scene, contrast):
    assert outcome(scene.judge(latent=scene.latent(contrast=contrast))) == (Decision.LATCH, Reason.NOT_FINITE)
