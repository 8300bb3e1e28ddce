"""Whatever happens in whatever order: no command grows while one of the consents is missing."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fosp_core.decisions import Decision, Reason
from fosp_core.robot.consent_inputs import EnablingConfig, ReadyConfig
from fosp_safety_monitor.judge import decision
from fosp_safety_monitor.judge.verdict import Finding

EVENTS = st.sampled_from(
    [
        *("engage", "disengage", "press", "release", "switch silent", "first", "step", "last", "feedback silent"),
        *("ready", "not ready", "touch", "let go", "latch", "reset", "held up", "a moment", "a while"),
    ]
)
TICK_S = 0.01


class _Ledger:
    """Knows by the events alone, and not by the monitor's state, which consents are given."""

    def __init__(self) -> None:
        self.engaged = self.held = self.ready = self.latched = False
        self.heard = self.running = self.fed = False
        """Feedback has come; an episode runs by it; and it is not silent."""

    @property
    def may_move(self) -> bool:
        return self.engaged and self.held and self.running and self.fed and self.ready and not self.latched


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(EVENTS, max_size=30))
def test_no_sequence_of_events_moves_the_robot_without_every_consent(make_consent_scene, events):
    scene = make_consent_scene(
        None,
        {
            "enabling": EnablingConfig(topic="joy", type="Joy", button=0),
            "ready": (ReadyConfig(topic="running", kind="bool", transient_local=True),),
            "protective_force_n": 20.0,
            "wrench_topic": "wrench",
        },
    )
    ledger = _Ledger()
    scene.drive(0.3)
    # The same beginning twice: by chance alone the events would seldom complete a consent.
    start = ["ready", "release", "press", "a moment", "engage", "first", "a moment"]
    for number, event in enumerate([*start, *events, "reset", *start, *events]):
        suffer(scene, ledger, event)
        for _ in range(12):
            before = [abs(speed) for speed in scene.state.command]
            (tick,) = drive(scene)
            if tick.finding.decision is Decision.LATCH:
                ledger.latched, ledger.engaged = True, False
            grew = any(abs(now) > was + 1e-12 for now, was in zip(tick.command, before, strict=True))
            assert ledger.may_move or not grew, (event, tick.finding)
        if not ledger.may_move:
            assert tick.finding.decision >= Decision.STOP
        assert scene.moves or number != len(start) - 1, "with every consent it moves"


def drive(scene):
    """One tick, after a decision at every fifth."""
    scene.wait(TICK_S)
    scene.hear_from_robot()
    if scene.number % 5 == 0:
        scene.judge()
    return [scene.tick()]


def suffer(scene, ledger, event):
    """Let one thing happen, to the robot and in the ledger."""
    if event == "engage":
        granted = scene.engage() == ""
        assert not granted or (ledger.held and ledger.ready and not ledger.latched)
        ledger.engaged = ledger.engaged or granted
    elif event == "disengage":
        scene.state, ledger.engaged = decision.disengage(scene.state), False
    elif event in ("press", "release"):
        pressed = event == "press"
        if not pressed or not ledger.held:
            ledger.engaged = ledger.engaged and pressed
        scene.wait(0.001)
        scene.switch(pressed)
        ledger.held = pressed
    elif event == "switch silent":
        scene.held = None
        drive_on(scene, 0.3)
        ledger.held = ledger.engaged = False
    elif event in ("first", "step", "last"):
        scene.feedback = True
        scene.wait(0.001)
        scene.feed(is_first=event == "first", is_last=event == "last")
        if event != "step" or not ledger.heard:
            ledger.running = event != "last"
        ledger.heard = ledger.fed = True
    elif event == "feedback silent":
        scene.feedback = False
        drive_on(scene, 0.4)
        ledger.fed = False
    elif event in ("ready", "not ready"):
        ledger.ready = event == "ready"
        ledger.engaged = ledger.engaged and ledger.ready
        scene.say_ready(why_not="" if ledger.ready else "says no")
    elif event == "touch":
        scene.force = (30.0, 0.0, -9.0)
    elif event == "let go":
        scene.force = (0.0, 0.0, -9.0)
    elif event == "latch":
        scene.state = decision.latch(scene.state, Finding(Decision.LATCH, Reason.NODE_RESTARTED, "a node came back"))
        ledger.latched, ledger.engaged = True, False
    elif event == "reset":
        drive_on(scene, 0.3)
        if scene.reset() == "":
            ledger.latched = False
    elif event == "held up":
        scene.wait(0.3)
        ledger.engaged = False
        ledger.held = ledger.held and scene.held is not None
    else:
        drive_on(scene, 0.05 if event == "a moment" else 1.0)


def drive_on(scene, seconds):
    for _ in range(round(seconds / TICK_S)):
        drive(scene)
