"""The monitor obeys its protective zones: stops, shares of the speed, and sources that say nothing."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from zone_parts import APPROACH, STOP, base, readings, scan

from fosp_core.clock import Now, Received
from fosp_core.decisions import Decision, Reason
from fosp_safety_monitor.judge import decision
from fosp_safety_monitor.judge.inputs import ProposalInput
from fosp_safety_monitor.judge.verdict import FrameStamp
from fosp_safety_monitor.operator.operator_guard import OperatorGuard
from fosp_safety_monitor.zones.decoding import SourceDecoder
from fosp_safety_monitor.zones.field import ToolState

SLOW = {**STOP, "name": "warn", "action": "slow", "to": 0.4}


def see(scene, *points, received=None, **others):
    """The scanner sees these points from now on, in messages as fresh as the robot's state."""
    field = scene.thresholds.zones
    received = received or Received(scene.ros_s, scene.monotonic_s)
    view = field.view("scan", readings(*points, **others), received, ToolState())
    scene.robot = replace(scene.robot, zones={"scan": view})


def drive(scene, seconds, *points, action=(1.0, 0.0), **others):
    """Decisions, ticks and scans for so long; the last tick."""
    ticks = []
    for _ in range(round(seconds / 0.05)):
        see(scene, *points, **others)
        ticks += scene.drive(0.05, proposal=lambda: scene.proposal([list(action)]))
    return ticks[-1]


@pytest.fixture
def make(make_scene):
    """A base with these zones that has driven straight on, alone, for a second."""

    def scene(*zones, shadow=False, **parameters):
        config = base(*zones)
        fields = {name: getattr(config, name) for name in ("zones", "sources")}
        made = make_scene("base", shadow, fields, **parameters)
        assert drive(made, 1.0, (2.0, 0.0)).command == pytest.approx((0.5, 0.0))
        return made

    return scene


def test_something_in_a_stop_zone_stops_at_the_next_tick_and_motion_resumes_once_it_is_away(make):
    scene = make(STOP)
    see(scene, (0.1, 0.1))
    scene.wait(0.01)
    tick = scene.tick()
    assert (tick.finding.decision, tick.finding.reason) == (Decision.STOP, Reason.PROTECTIVE_ZONE)
    assert "zone stop (stop): something is inside, seen by scan" in tick.finding.text
    assert tick.command[0] < 0.5
    assert drive(scene, 0.3, (0.1, 0.1)).command == (0.0, 0.0)
    scene.wait(0.01)
    verdict = scene.judge(scene.proposal([[1.0, 0.0]]))
    assert (verdict.decision, verdict.reason) == (Decision.STOP, Reason.PROTECTIVE_ZONE)
    assert verdict.action_out == (0.0, 0.0)
    assert drive(scene, 0.1, (2.0, 0.0)).command == (0.0, 0.0), "every check has to hold for release_s"
    assert drive(scene, 1.0, (2.0, 0.0)).command == pytest.approx((0.5, 0.0))
    assert scene.state.latched is None


def test_a_slow_zone_slows_between_two_proposals_and_the_verdict_says_by_how_much(make):
    scene = make(SLOW)
    see(scene, (0.1, 0.1))
    for _ in range(4):
        scene.wait(0.01)
        scene.hear_from_robot(scene.move(0.01))
        tick = scene.tick()
    assert tick.command[0] < 0.4
    assert drive(scene, 0.5, (0.1, 0.1)).command == pytest.approx((0.2, 0.0))
    scene.wait(0.01)
    verdict = scene.judge(scene.proposal([[1.0, 0.0]]))
    assert (verdict.decision, verdict.reason) == (Decision.PASS, Reason.PROTECTIVE_ZONE)
    assert verdict.speed_scale == pytest.approx(0.4)
    assert verdict.action_out == pytest.approx((0.4, 0.0))
    assert "scaled by 0.40: zone warn (slow)" in verdict.reason_text


def test_an_approach_zone_stops_in_front_and_lets_the_robot_turn_back(make):
    scene = make(APPROACH)
    place, travelled = 1.0, 0.0
    for _ in range(100):
        travelled += 0.05 * drive(scene, 0.05, (place - travelled, 0.0)).command[0]
    assert scene.state.command == (0.0, 0.0)
    assert 0.2 < place - travelled < 0.26
    assert drive(scene, 0.6, (place - travelled, 0.0), action=(-1.0, 0.0)).command == pytest.approx((-0.5, 0.0))


def test_a_silent_scanner_stops_within_its_time_out_and_latches_when_it_stays_away(make):
    scene = make(STOP, stale_latch_s=1.0)
    ticks = scene.drive(0.3, proposal=lambda: scene.proposal([[1.0, 0.0]]))
    stopped = [tick.finding.reason is Reason.PROTECTIVE_ZONE for tick in ticks]
    assert stopped.index(True) <= 22
    assert "source scan (scan) is 2" in ticks[stopped.index(True)].finding.text
    scene.drive(1.0, proposal=lambda: scene.proposal([[1.0, 0.0]]))
    assert scene.state.latched.reason is Reason.PROTECTIVE_ZONE
    assert "cause persists" in scene.reset()
    drive(scene, 0.3, (2.0, 0.0))
    assert scene.reset() == ""


def test_a_scanner_that_was_never_heard_stops_and_does_not_latch(make_scene):
    config = base(STOP)
    scene = make_scene("base", robot={"zones": config.zones, "sources": config.sources}, stale_latch_s=1.0)
    tick = scene.drive(2.0)[-1]
    assert tick.command == (0.0, 0.0)
    assert "never received" in tick.finding.text
    assert scene.state.latched is None


@pytest.mark.parametrize(
    ("others", "said"),
    [({"near": 1}, "zone stop"), ({"unknown": 9}, "is blind"), ({"unknown": 1}, "zone stop"), ({"count": 0}, "blind")],
)
def test_what_the_scanner_cannot_tell_stops(make, others, said):
    scene = make(STOP)
    see(scene, **others)
    scene.wait(0.01)
    finding = scene.tick().finding
    assert (finding.decision, finding.reason) == (Decision.STOP, Reason.PROTECTIVE_ZONE)
    assert said in finding.text


def test_zones_gate_in_shadow_mode_too(make):
    scene = make(STOP, SLOW, shadow=True)
    assert drive(scene, 0.5, (0.1, 0.1)).command == (0.0, 0.0)


def test_nobody_engages_while_something_is_in_a_stop_zone(make):
    scene = make(STOP)
    see(scene, (0.1, 0.1))
    latched = decision.latch(scene.state, decision.checks.ESTOP_PRESSED)
    _, refusal = decision.reset(latched, scene.robot, scene.thresholds, scene.now)
    assert "zone stop" in refusal


def test_a_robot_without_zones_moves_as_before(make_scene):
    scene = make_scene("base")
    assert scene.thresholds.zones is None
    assert scene.drive(1.0)[-1].command == pytest.approx((0.25, 0.75))


def test_a_person_who_drives_is_held_and_slowed_by_the_zones_too():
    at = {"s": 100.0, "x": 0.0}
    guard = OperatorGuard(
        base(STOP, {**SLOW, "polygon": [[1, 1], [-1, 1], [-1, -1], [1, -1]]}), lambda: Now(at["s"], at["s"])
    )
    field = guard._thresholds.zones

    def drive(seconds, action, *points):
        for step in range(round(seconds / 0.01)):
            at["s"] += 0.01
            received = Received(at["s"], at["s"])
            guard.receive_robot_state(received, (at["x"], 1e-9 * (step % 2), 0.0))
            guard.receive_zone_view("scan", field.view("scan", readings(*points), received, ToolState()))
            actions = np.array([action], np.float32)
            guard.receive_proposal(ProposalInput(step, "", FrameStamp(round(at["s"] * 1e9)), at["s"], actions, 0))
            tick = guard.tick()
            at["x"] += 0.01 * tick.command[0]
        return tick

    drive(0.1, [0.0, 0.0], (3.0, 0.0))
    assert drive(0.5, [1.0, 0.0], (3.0, 0.0)).command[0] == pytest.approx(0.5)
    assert drive(0.1, [1.0, 0.0], (0.9, 0.0)).command[0] == pytest.approx(0.2)
    held = drive(0.05, [1.0, 0.0], (0.1, 0.0))
    assert held.reason is Reason.PROTECTIVE_ZONE


def test_a_whole_scan_is_read_and_judged_within_the_time_of_a_command(make):
    scene = make(STOP, APPROACH)
    decoder = SourceDecoder(scene.thresholds.zones.sources[0])
    ranges = [0.5 + 0.2 * math.sin(i) for i in range(720)]
    view = scene.thresholds.zones.view("scan", decoder.read(scan(ranges)), Received(1000.0, 50.0), ToolState())
    found = scene.thresholds.zones.judge({"scan": view}, (1.0, 0.5), (0.3, 0.0), ToolState(), Now(1000.0, 50.0))
    assert 0.0 <= found.share < 1.0
