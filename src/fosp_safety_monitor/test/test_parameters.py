"""Bounds of the parameters, and which changes are refused while the robot may move."""

from __future__ import annotations

import math

import pytest
from tiny_bundle import tiny_manifest

from fosp_core.errors import UserError
from fosp_safety_monitor.judge.thresholds import Thresholds
from fosp_safety_monitor.parameters import DESCRIPTIONS, MonitorParameters, loosened, paced


def test_every_parameter_has_a_default_inside_of_its_range_and_a_meaning():
    assert len(DESCRIPTIONS) == 34
    for description in DESCRIPTIONS:
        assert description.lower <= description.default <= description.upper
        assert description.meaning.endswith(".")


def test_zero_is_in_no_range():
    assert all(description.lower > 0 for description in DESCRIPTIONS)


@pytest.mark.parametrize("description", DESCRIPTIONS, ids=lambda description: description.name)
@pytest.mark.parametrize("side", ["below", "above"])
def test_a_value_out_of_range_is_refused_with_the_range_named(description, side):
    step = 1 if description.kind is int else 1e-6
    value = description.lower - step if side == "below" else description.upper + step
    with pytest.raises(UserError) as refusal:
        MonitorParameters.of({description.name: description.kind(value)})
    assert description.name in str(refusal.value)
    assert description.range in str(refusal.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, "fast", None, True])
def test_what_is_not_a_finite_number_is_refused(value):
    with pytest.raises(UserError, match="proposal_timeout_s"):
        MonitorParameters.of({"proposal_timeout_s": value})


def test_a_count_must_be_whole():
    with pytest.raises(UserError, match=r"whole number in \[2, 1000\] steps, got 2.5"):
        MonitorParameters.of({"veto_latch_count": 2.5})


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match=r"unknown parameter 'veto_count'; allowed: .*veto_latch_count"):
        MonitorParameters.of({"veto_count": 3})


@pytest.mark.parametrize("counts", [(7, 6, 20), (6, 21, 20)])
def test_surprise_counts_must_ascend_and_fit_their_window(counts):
    recover, stop, window = counts
    with pytest.raises(UserError, match="surprise_recover_count <= surprise_stop_count <= surprise_window"):
        MonitorParameters(surprise_recover_count=recover, surprise_stop_count=stop, surprise_window=window)


def test_loosened_names_exactly_the_parameters_that_stop_the_robot_later():
    before = MonitorParameters()
    assert loosened(before, before) == []
    assert loosened(before, MonitorParameters(proposal_timeout_s=0.2)) == ["proposal_timeout_s"]
    assert loosened(before, MonitorParameters(proposal_timeout_s=0.08)) == []
    assert loosened(before, MonitorParameters(surprise_window=19)) == ["surprise_window"]
    assert loosened(before, MonitorParameters(surprise_window=21)) == []
    assert loosened(before, MonitorParameters(recover_scale=0.5)) == ["recover_scale"]


def test_a_proposal_timeout_of_no_more_than_a_decision_period_is_refused(arm):
    with pytest.raises(UserError, match=r"proposal_timeout_s.*longer than the decision period"):
        Thresholds.of(tiny_manifest(arm, decision_period_s=0.1), arm, MonitorParameters())


@pytest.mark.parametrize("period_s", [0.02, 0.05, 0.08, 0.16, 0.3, 0.6])
def test_timeouts_of_a_simulation_grow_with_a_longer_period_and_are_never_shorter(arm, period_s):
    usual, grown = MonitorParameters(), MonitorParameters.of(paced(period_s))
    assert Thresholds.of(tiny_manifest(arm, decision_period_s=period_s), arm, grown)
    for name in ("proposal_timeout_s", "latent_timeout_s", "image_timeout_s"):
        assert getattr(grown, name) >= max(getattr(usual, name), min(2 * period_s, 1.0))
    assert (grown == usual) == (period_s <= 0.05)


def test_a_bundle_without_the_range_of_a_critic_is_refused(arm):
    manifest = tiny_manifest(arm)
    calibration = manifest.calibration.model_copy(update={"ranges": {"q_r": (0.0, 1.0)}})
    with pytest.raises(UserError, match="no range of q_c"):
        Thresholds.of(manifest.model_copy(update={"calibration": calibration}), arm, MonitorParameters())


def test_a_workspace_without_a_pose_topic_is_refused(arm, base):
    walled = base.model_copy(update={"workspace": arm.workspace})
    with pytest.raises(UserError, match="needs a pose_topic"):
        Thresholds.of(tiny_manifest(base), walled, MonitorParameters())
