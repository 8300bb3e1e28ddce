"""Nothing moves before an operator engages, outside of an episode, or without the robot's own consent."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from fosp_core.clock import Received
from fosp_core.decisions import Decision, Reason
from fosp_core.errors import UserError
from fosp_core.robot.consent_inputs import EnablingConfig, ReadyConfig
from fosp_safety_monitor.judge import decision
from fosp_safety_monitor.judge.consent_inputs import ConsentSettings, EpisodeInput, FeedbackStep, WatchInput
from fosp_safety_monitor.judge.verdict import Finding

JOY = EnablingConfig(topic="joy", type="Joy", button=4, repeat_s=2.0)
PROGRAM = ReadyConfig(topic="program_running", kind="bool", transient_local=True)
SERVO = ReadyConfig(topic="servo/status", kind="servo_status")
PROTECTIVE_N = 20.0


TICK_S = 0.01


# -- engaging ----------------------------------------------------------------------------------------
def test_nothing_moves_before_an_operator_engages_even_inside_an_episode(make_consent_scene):
    scene = make_consent_scene()
    scene.feed(is_first=True)
    ticks = scene.drive(2.0)
    assert not any(any(tick.command) for tick in ticks)
    assert (ticks[-1].finding.decision, ticks[-1].finding.reason) == (Decision.STOP, Reason.NOT_ENGAGED)
    scene.wait(TICK_S)
    assert scene.judge().reason is Reason.NOT_ENGAGED


def test_after_engaging_a_new_proposal_moves_the_robot_and_its_speed_grows_from_a_fifth(make_consent_scene):
    scene = make_consent_scene()
    scene.consent()
    assert not any(scene.tick().command), "what was proposed before the consent moves nothing"
    scene.wait(TICK_S)
    first = scene.judge()
    assert (first.decision, first.reason) == (Decision.PASS, Reason.SLOW_DOWN)
    assert first.speed_scale == pytest.approx(0.2, abs=0.03)
    scene.drive(0.5)
    scene.wait(TICK_S)
    assert scene.judge().speed_scale == pytest.approx(0.6, abs=0.05)
    scene.drive(0.6)
    scene.wait(TICK_S)
    whole = scene.judge()
    assert (whole.reason, whole.speed_scale) == (Reason.OK, 1.0)


def test_the_ramp_begins_with_the_motion_and_not_while_the_robot_waits_for_its_episode(make_consent_scene):
    scene = make_consent_scene()
    scene.drive(0.5)
    assert scene.engage() == ""
    scene.drive(3.0)
    scene.feed(is_first=True)
    scene.drive(0.1)
    assert scene.judge().speed_scale < 0.35


def test_a_disengaged_robot_stops_without_a_latch_and_moves_only_when_engaged_anew(driven):
    scene = driven()
    scene.state = decision.disengage(scene.state)
    assert scene.engage() == "the robot is still being stopped"
    assert scene.stops().reason is Reason.NOT_ENGAGED
    assert scene.state.latched is None
    assert scene.stops(1.0).reason is Reason.NOT_ENGAGED
    assert scene.engage() == ""
    scene.drive(0.3)
    assert scene.moves


# -- a console as the operator's watch ---------------------------------------------------------------
def watched_scene(make_consent_scene):
    scene = make_consent_scene()
    scene.beats = 7
    scene.drive(0.5)
    assert scene.engage(watched=True) == ""
    scene.feed(is_first=True)
    scene.drive(0.5)
    assert scene.moves
    return scene


def test_the_consent_of_a_console_ends_with_its_beats(make_consent_scene):
    scene = watched_scene(make_consent_scene)
    scene.drive(2.0)
    assert scene.moves
    scene.beats = None
    scene.drive(0.4)
    assert scene.moves
    finding = scene.stops(0.6)
    assert (finding.decision, finding.reason) == (Decision.STOP, Reason.NOT_ENGAGED)
    assert "the console at which the operator engaged is silent" in finding.text
    assert scene.state.latched is None
    scene.beats = 7
    scene.drive(2.0)
    assert not scene.moves, "a console that is back has to engage anew"


def test_nobody_engages_at_a_console_that_is_not_heard(make_consent_scene):
    scene = make_consent_scene()
    scene.drive(0.5)
    assert scene.engage(watched=True) == "no console is heard at which an operator watches"
    scene.beat()
    scene.drive(0.7)
    assert "is silent" in scene.engage(watched=True)
    assert not scene.state.consent.engaged


@pytest.mark.parametrize("offset_s", [-10.0, 10.0], ids=["old", "of the future"])
def test_beats_with_wrong_stamps_are_no_watch(make_consent_scene, offset_s):
    scene = watched_scene(make_consent_scene)
    scene.beats = None

    def beat(number: int) -> None:
        received = Received(scene.received.stamp_s + offset_s, scene.monotonic_s)
        scene.change(watch=scene.robot.consent.watch.after(7, received))

    scene.also = beat
    assert scene.stops(1.2).reason is Reason.NOT_ENGAGED


def test_a_repeated_beat_and_that_of_another_console_do_not_count(make_consent_scene):
    scene = watched_scene(make_consent_scene)
    scene.beats = 8
    last = scene.robot.consent.watch.of(7)
    scene.also = lambda number: scene.change(
        watch=scene.robot.consent.watch.after(7, Received(last.stamp_s, scene.monotonic_s))
    )
    assert scene.stops(1.2).reason is Reason.NOT_ENGAGED


def test_an_operator_who_engaged_at_the_command_line_can_hand_over_to_a_console(driven):
    scene = driven()
    scene.beats = 7
    scene.drive(0.2)
    assert scene.engage(watched=True) == ""
    scene.drive(0.3)
    scene.beats = None
    assert scene.stops(1.2).reason is Reason.NOT_ENGAGED


def test_beats_of_many_processes_are_not_kept():
    watch = WatchInput()
    for pid in range(100):
        watch = watch.after(pid, Received(float(pid), float(pid)))
    assert [pid for pid, _ in watch.beats] == [96, 97, 98, 99]


def test_engaging_twice_changes_nothing(driven):
    scene = driven()
    before = scene.state
    assert scene.engage() == ""
    assert scene.state is before


@pytest.mark.parametrize("cause", ["estop", "latch", "nothing judged", "robot state"])
def test_engaging_is_refused_with_the_cause_while_something_else_stops_the_robot(make_consent_scene, cause):
    scene = make_consent_scene()
    if cause != "nothing judged":
        scene.drive(0.5)
    if cause == "estop":
        scene.robot = replace(scene.robot, estop_pressed=True)
    elif cause == "latch":
        scene.state = decision.latch(scene.state, Finding(Decision.LATCH, Reason.NODE_RESTARTED, "a node came back"))
    elif cause == "robot state":
        scene.robot = replace(scene.robot, state=None)
    said = {"estop": "is pressed", "latch": "a node came back", "nothing judged": "nothing was judged"}
    assert said.get(cause, "never received") in scene.engage()
    scene.feed(is_first=True)
    assert scene.stops(0.2).decision >= Decision.STOP


def test_a_reset_does_not_engage(driven):
    scene = driven()
    scene.state = decision.latch(scene.state, Finding(Decision.LATCH, Reason.ESTOP, "pressed"))
    assert scene.stops().decision is Decision.LATCH
    assert "pressed" in scene.engage()
    assert scene.reset() == ""
    finding = scene.stops(1.0)
    assert (finding.decision, finding.reason) == (Decision.STOP, Reason.NOT_ENGAGED)
    assert "pressed" in finding.text
    assert scene.engage() == ""
    scene.drive(0.3)
    assert scene.moves


def test_a_reset_within_the_tick_of_the_latch_does_not_engage_either(driven):
    scene = driven()
    scene.state = decision.latch(scene.state, Finding(Decision.LATCH, Reason.ESTOP, "pressed"))
    assert scene.reset() == ""
    assert scene.stops(1.0).reason is Reason.NOT_ENGAGED


def test_vetoes_are_not_counted_while_nobody_has_engaged(make_consent_scene):
    scene = make_consent_scene(veto_latch_count=5)
    scene.feed(is_first=True)
    scene.drive(1.0, scored=lambda: scene.values((0.9,)))
    assert scene.state.latched is None
    assert scene.tick().finding.reason is Reason.NOT_ENGAGED


@pytest.mark.parametrize("cause", ["held up", "robot state"])
def test_a_pause_of_the_robot_ends_the_consent(driven, cause):
    scene = driven()
    if cause == "held up":
        scene.wait(0.3)
        scene.hear_from_robot()
        scene.tick()
    else:
        for _ in range(round(1.3 / TICK_S)):
            scene.wait(TICK_S)
            scene.feed()
            scene.tick()
    finding = scene.stops(1.0)
    assert (finding.reason, "has paused" in finding.text) == (Reason.NOT_ENGAGED, True)


def test_a_short_gap_of_the_robot_state_does_not_end_it(driven):
    scene = driven()
    for _ in range(30):
        scene.wait(TICK_S)
        scene.feed()
        scene.tick()
    scene.drive(0.8)
    assert scene.moves


def test_a_robot_that_engages_by_itself_moves_at_once_and_without_a_ramp(make_consent_scene):
    scene = make_consent_scene(ConsentSettings("by_itself"))
    scene.feed(is_first=True)
    assert (scene.judge().decision, scene.judge().speed_scale) == (Decision.PASS, 1.0)
    scene.drive(0.3)
    assert scene.moves
    scene.state = decision.latch(scene.state, Finding(Decision.LATCH, Reason.NODE_RESTARTED, "a node came back"))
    scene.drive(0.5)
    assert scene.reset() == ""
    scene.drive(0.3)
    assert scene.moves


def test_another_word_is_refused():
    with pytest.raises(UserError, match="'engage' must be operator or by_itself, got 'yes'"):
        ConsentSettings("yes")


def test_no_consent_holds_in_shadow_mode_either(make_consent_scene):
    scene = make_consent_scene()
    scene.thresholds = replace(scene.thresholds, shadow=True)
    scene.feed(is_first=True)
    assert scene.stops(1.0).reason is Reason.NOT_ENGAGED


# -- episodes ----------------------------------------------------------------------------------------
def test_the_robot_moves_inside_of_an_episode_only(make_consent_scene):
    scene = make_consent_scene()
    scene.drive(0.5)
    assert scene.engage() == ""
    before = scene.stops(1.0)
    assert (before.decision, before.reason) == (Decision.STOP, Reason.NO_EPISODE)
    scene.feed(is_first=True)
    scene.drive(0.3)
    assert scene.moves
    scene.feed(is_last=True, cost=1.0)
    after = scene.stops()
    assert (after.reason, "violation" in after.text) == (Reason.NO_EPISODE, True)
    scene.feed()
    assert scene.stops(1.0).reason is Reason.NO_EPISODE, "a late message of an episode that is over begins none"
    scene.episode = 1
    scene.feed(is_first=True)
    scene.drive(0.2)
    assert scene.moves, "the consent outlives the episode"


@pytest.mark.parametrize("broken", [{"cost": math.nan}, {"reward": math.inf}, {"cost": -1.0}, None])
def test_feedback_that_falls_silent_or_is_broken_stops_the_robot(driven, broken):
    scene = driven()
    scene.feedback = False
    if broken is not None:
        scene.also = lambda number: scene.feed(**broken)
    tick = scene.drive(0.5)[-1]
    assert not any(tick.command)
    assert (tick.finding.reason, "silent" in tick.finding.text) == (Reason.NO_EPISODE, True)
    assert scene.state.latched is None


def test_an_end_counts_whatever_else_the_message_says():
    running = EpisodeInput().after(FeedbackStep(3, True, False, 0.0, 0.0, False, Received(1.0, 1.0)))
    assert running.running
    ended = running.after(FeedbackStep(9, False, True, math.nan, math.nan, False, Received(0.0, 2.0)))
    assert not ended.running


def test_an_episode_that_runs_already_is_joined_but_not_one_of_another_number():
    joined = EpisodeInput().after(FeedbackStep(3, False, False, 0.0, 0.0, False, Received(1.0, 1.0)))
    assert joined.running
    assert joined.after(FeedbackStep(4, False, False, 0.0, 0.0, False, Received(2.0, 2.0))) is joined
    assert joined.after(FeedbackStep(3, False, False, 0.0, 0.0, False, Received(1.0, 2.0))) is joined, "no new stamp"


def test_without_episodes_the_feedback_is_not_asked(make_consent_scene):
    scene = make_consent_scene(ConsentSettings(episodes="not_used"))
    scene.drive(0.5)
    assert scene.engage() == ""
    scene.drive(0.3)
    assert scene.moves


# -- the enabling switch -----------------------------------------------------------------------------
def test_a_release_of_the_enabling_switch_stops_at_once_and_needs_a_press_and_an_engagement(driven):
    scene = driven({"enabling": JOY})
    scene.switch(False)
    assert scene.tick().finding.reason is Reason.NOT_ENGAGED
    scene.stops()
    assert "released" in scene.engage()
    scene.switch(True)
    assert scene.stops(0.5).reason is Reason.NOT_ENGAGED, "a press alone does not move the robot"
    assert scene.engage() == ""
    scene.drive(0.3)
    assert scene.moves


def test_a_release_between_two_ticks_counts(driven):
    scene = driven({"enabling": JOY})
    scene.switch(False)
    scene.wait(0.001)
    scene.switch(True)
    assert scene.judge().reason is Reason.NOT_ENGAGED
    assert scene.stops(0.5).reason is Reason.NOT_ENGAGED


def test_a_silent_switch_is_released_and_has_to_be_let_go_of_first(driven):
    scene = driven({"enabling": JOY})
    scene.held = None
    finding = scene.stops(0.6)
    assert (finding.reason, "silent" in finding.text) == (Reason.NOT_ENGAGED, True)
    scene.switch(True, axis=0.5)
    scene.drive(0.1)
    assert "seen to be released" in scene.engage()
    scene.switch(False)
    scene.drive(0.1)
    scene.switch(True)
    scene.drive(0.1)
    assert scene.engage() == ""


def test_a_switch_that_repeats_one_message_for_ever_is_released(driven):
    scene = driven({"enabling": JOY})
    finding = scene.stops(2.5)
    assert (finding.reason, "repeated one message" in finding.text) == (Reason.NOT_ENGAGED, True)
    scene.switch(True, axis=0.5)
    scene.drive(0.1)
    assert "seen to be released" in scene.engage()


def test_a_stick_that_moves_now_and_then_keeps_a_held_switch_alive(driven):
    scene = driven({"enabling": JOY})
    for axis in (0.1, 0.0, 0.1):
        scene.switch(True, axis)
        scene.drive(1.5)
    assert scene.moves


def test_a_repeated_message_under_its_old_stamp_is_silence(driven):
    scene = driven({"enabling": JOY})
    old, scene.held = scene.received, None

    def repeat(number: int) -> None:
        again = replace(old, receipt_s=scene.monotonic_s)
        scene.change(enabling=scene.robot.consent.enabling.after(True, "any", again))

    scene.also = repeat
    assert "silent" in scene.stops(0.5).text


def test_a_device_with_other_controls_under_the_topic_of_the_switch_is_a_release(driven):
    scene = driven({"enabling": JOY})
    other = True

    def say(number: int) -> None:
        stick, controls = (0.1 * (number // 50 % 2),), (6, 17) if other else (8, 11)
        scene.change(enabling=scene.robot.consent.enabling.after(True, stick, scene.received, controls))

    scene.wait(0.001)
    scene.change(enabling=scene.robot.consent.enabling.after(True, (0.0,), scene.received, (8, 11)))
    scene.held, scene.also = None, say
    finding = scene.stops(0.6)
    assert (finding.reason, "has 6 axes and 17 buttons, and had 8 and 11" in finding.text) == (Reason.NOT_ENGAGED, True)
    other = False
    scene.drive(0.3)
    assert "seen to be released" in scene.engage(), "no message of another device is a release of this one"
    scene.wait(0.001)
    scene.change(enabling=scene.robot.consent.enabling.after(False, (0.0,), scene.received, (8, 11)))
    scene.drive(0.3)
    assert scene.engage() == ""


def test_a_switch_that_is_tied_down_never_enables(make_consent_scene):
    scene = make_consent_scene(None, {"enabling": JOY})
    scene.held = True
    scene.feed(is_first=True)
    scene.drive(0.5)
    assert "seen to be released" in scene.engage()


def test_a_switch_that_never_spoke_counts_as_released(make_consent_scene):
    scene = make_consent_scene(None, {"enabling": JOY})
    scene.held = None
    scene.drive(0.5)
    assert "has sent nothing yet" in scene.engage()


@pytest.mark.parametrize(
    ("given", "said"), [({"type": "Joy"}, "index of its button"), ({"type": "Bool", "button": 1}, "Bool has none")]
)
def test_a_joy_needs_a_button(given, said):
    with pytest.raises(ValueError, match=said):
        EnablingConfig(topic="t", **given)


# -- ready -------------------------------------------------------------------------------------------
def test_a_robot_that_is_not_ready_stops_and_has_to_be_engaged_anew(driven):
    scene = driven({"ready": (PROGRAM,)})
    scene.say_ready(why_not="program_running says false")
    tick = scene.tick()
    assert (tick.finding.decision, tick.finding.reason) == (Decision.STOP, Reason.ROBOT_NOT_READY)
    scene.stops()
    assert "says false" in scene.engage()
    scene.say_ready()
    assert scene.stops(1.0).reason is Reason.NOT_ENGAGED
    assert scene.engage() == ""
    scene.drive(0.3)
    assert scene.moves


def test_a_robot_that_was_not_ready_between_two_ticks_has_to_be_engaged_anew(driven):
    scene = driven({"ready": (PROGRAM,)})
    scene.say_ready(why_not="program_running says false")
    scene.say_ready()
    assert scene.stops(1.0).reason is Reason.NOT_ENGAGED


def test_a_ready_topic_that_never_spoke_or_falls_silent_stops_the_robot(make_consent_scene):
    scene = make_consent_scene(None, {"ready": (PROGRAM, SERVO)})
    scene.drive(0.5)
    assert "program_running has sent nothing yet" in scene.engage()
    scene.say_ready(0)
    scene.say_ready(1)
    scene.drive(0.25)
    assert scene.engage() == ""
    scene.feed(is_first=True)
    finding = scene.stops(1.0)
    assert (finding.reason, "servo/status was last heard" in finding.text) == (Reason.ROBOT_NOT_READY, True)


# -- the force ---------------------------------------------------------------------------------------
@pytest.fixture
def touching(driven):
    return driven({"protective_force_n": PROTECTIVE_N, "wrench_topic": "wrench"})


def test_a_force_beyond_the_limit_latches_until_it_is_gone_and_a_reset_does_not_engage(touching):
    scene = touching
    scene.force = (0.0, 15.0, -9.0)
    scene.drive(0.3)
    assert scene.moves, "the weight of the tool and less than the limit are no reason"
    scene.force = (0.0, 25.0, -9.0)
    finding = scene.stops()
    assert (finding.decision, finding.reason) == (Decision.LATCH, Reason.FORCE)
    assert "a force of 25.0 N" in scene.reset()
    scene.force = (0.0, 0.0, -9.0)
    scene.drive(0.5)
    assert scene.reset() == ""
    assert scene.stops(0.5).reason is Reason.NOT_ENGAGED
    assert scene.engage() == ""


def test_a_knock_between_two_ticks_latches(touching):
    touching.wait(0.001)
    touching.feel((40.0, 0.0, 0.0))
    touching.wait(0.001)
    touching.feel((0.0, 0.0, -9.0))
    assert touching.tick().finding.reason is Reason.FORCE


@pytest.mark.parametrize("how", ["silent", "nan", "frozen", "saturated", "old stamps"])
def test_a_force_that_is_not_known_stops_the_robot(touching, how):
    scene = touching
    scene.force, stuck = None, scene.received

    def feel(number: int) -> None:
        noise = 0.01 * (number % 2)
        if how == "nan":
            scene.feel((math.nan, noise, -9.0))
        elif how == "frozen":
            scene.feel((0.1, 0.2, -9.0))
        elif how == "saturated":
            scene.feel((noise, 18.0, -9.0 + noise))
        elif how == "old stamps":
            scene.change(wrench=scene.robot.consent.wrench.after((noise, noise, noise), stuck))

    scene.also = feel
    tick = scene.drive(1.3)[-1]
    assert not any(tick.command)
    assert (tick.finding.decision, tick.finding.reason) == (Decision.STOP, Reason.FORCE)


def test_an_axis_that_the_sensor_does_not_have_reads_zero_for_ever(touching):
    scene = touching
    scene.force = None
    scene.also = lambda number: scene.feel((0.0, 0.0, -9.0 + 0.01 * (number % 2)))
    scene.drive(1.5)
    assert scene.moves


@pytest.mark.parametrize("how", ["silent", "restless"])
def test_engaging_needs_a_fresh_force_at_rest(make_consent_scene, how):
    scene = make_consent_scene(None, {"protective_force_n": PROTECTIVE_N, "wrench_topic": "wrench"})
    scene.drive(0.5)
    scene.force = None
    if how == "restless":
        scene.also = lambda number: scene.feel((15.0 * (number % 2), 0.0, -9.0))
    scene.drive(0.5)
    assert ("not that of rest" if how == "restless" else "not known") in scene.engage()


def test_a_person_may_guide_a_robot_by_hand_that_nobody_engaged(touching):
    touching.state = decision.disengage(touching.state)
    touching.stops()
    touching.force = (60.0, 0.0, 0.0)
    assert touching.stops(0.5).reason is Reason.NOT_ENGAGED
