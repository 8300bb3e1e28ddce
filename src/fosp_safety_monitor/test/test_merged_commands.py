"""The commands of the stream and those of verdicts, as the one sequence that the robot receives."""

from __future__ import annotations

import random
import threading
import time

import numpy as np
import pytest
from tiny_bundle import DETER, STOCH, tiny_manifest

from fosp_core.clock import Now, Received
from fosp_core.decisions import Decision, Reason
from fosp_core.robot.limits import CommandLimits
from fosp_safety_monitor.command.command_stream import CommandStream
from fosp_safety_monitor.judge.consent_inputs import NOTHING_NEEDED
from fosp_safety_monitor.judge.inputs import LatentInput, ProposalInput
from fosp_safety_monitor.judge.monitor import CriticModel, SafetyMonitor
from fosp_safety_monitor.judge.verdict import Finding, FrameStamp
from fosp_safety_monitor.parameters import MonitorParameters

CENTRE = (0.5, 0.0, 0.2)
MODEL = "model-under-test"
PERIOD_S = 0.002
SECONDS = 0.6
PRESSED = Finding(Decision.LATCH, Reason.ESTOP, "pressed")


class SafeCritic:
    """A critic to which everything is safe."""

    def run(self, **inputs):
        ones = np.full((1, inputs["action"].shape[1]), 0.1, np.float32)
        return {"q_r": ones, "q_c": ones, "q_h": ones, "v_h": np.full(1, 0.1, np.float32)}


class Robot:
    """A real monitor and a real stream in real time, and each command with the moment that it was computed for.

    Between computing and sending the thread is held up at random, as by the operating system.
    """

    def __init__(self, arm):
        self._moment, self._held_up = threading.local(), random.Random(0)
        manifest = tiny_manifest(arm).model_copy(update={"id": MODEL})
        model = CriticModel(manifest, SafeCritic())
        self.monitor = SafetyMonitor(model, arm, MonitorParameters(known_frames=1), self._now, consent=NOTHING_NEEDED)
        self._place, self._moved_s = np.array(CENTRE), time.monotonic()
        self.limits = CommandLimits(arm)
        self.sent: list[tuple[float, tuple[float, ...]]] = []
        self.failures: list[BaseException] = []
        self._step = 0
        self.stream = CommandStream(PERIOD_S, self._tick, self.failures.append)

    def _now(self):
        self._moment.s = time.monotonic()
        return Now(self._moment.s, self._moment.s)

    def _tick(self):
        command = self.monitor.tick().command
        at_s = self._moment.s
        self._place, self._moved_s = self._place + (at_s - self._moved_s) * np.array(command), at_s
        if self._held_up.random() < 0.3:
            time.sleep(0.0003)
        self.sent.append((at_s, command))
        return time.monotonic() < self.until_s

    def decide(self, action):
        """One decision, of which the command goes out at once."""
        at_s = time.monotonic()
        received = Received(at_s, at_s)
        self.monitor.receive_robot_state(received)
        self.monitor.receive_pose(received, (float(self._place[0]) + at_s * 1e-9, *self._place[1:].tolist()))
        self._step += 1
        frame = FrameStamp(round(at_s * 1e9), "camera")
        parts = np.full(DETER, self._step, np.float32), np.zeros(STOCH, np.float32)
        self.monitor.receive_latent(LatentInput(self._step, MODEL, frame, at_s, *parts, 0.1, False, 0.2, 0.0, 0.0))
        verdict = self.monitor.receive_proposal(
            ProposalInput(self._step, MODEL, frame, at_s, np.array([action], np.float32), 0)
        )
        self.stream.tick_now()
        return verdict

    def run(self, seconds=SECONDS):
        """Decide in this thread every few milliseconds, beside the stream's own thread."""
        self.until_s = time.monotonic() + seconds
        self.stream.start()
        actions = np.random.default_rng(0).uniform(-1.0, 1.0, (10**4, 3))
        while not self.stream.join(0.0005 + 0.004 * self._held_up.random()):
            self.decide(actions[self._step])
        assert not self.failures


@pytest.fixture
def robot(arm):
    return Robot(arm)


def test_the_merged_commands_keep_the_acceleration_limit_for_the_time_that_passed_between_them(robot):
    robot.run()
    at_s, commands = np.array([s for s, _ in robot.sent]), np.array([command for _, command in robot.sent])
    elapsed = np.diff(at_s)
    assert robot.stream.statistics.between > 20
    assert (elapsed > 0.0).all(), "commands leave in the order in which they were computed"
    assert np.abs(commands).max() > 0.05
    most = np.minimum(elapsed, 0.1)[:, None] * robot.limits.deceleration
    assert (np.abs(np.diff(commands, axis=0)) <= most + 1e-9).all()


def test_a_command_of_a_verdict_is_on_its_way_before_the_next_tick_of_the_grid(robot):
    """The command that follows at once leads to the new target, as far as the time since the last one allows."""
    robot.until_s = time.monotonic() + 10.0
    robot.stream.start()
    for _ in range(100):
        robot.decide([1.0, 0.0, 0.0])
        time.sleep(0.3 * PERIOD_S)
    before = robot.sent[-1][1][0]
    while True:  # a decision that finds the place between two ticks free
        between = robot.stream.statistics.between
        verdict = robot.decide([-1.0, 0.0, 0.0])
        if robot.stream.statistics.between > between:
            break
    robot.until_s = 0.0
    assert robot.stream.join(10.0)
    following = next(command for at_s, command in robot.sent if at_s >= verdict.decided_s)
    assert before > 0.1
    assert following[0] < before


def test_a_latch_of_any_moment_wins_over_a_verdict_that_passed(robot):
    latched_s = []

    def press():
        time.sleep(0.5 * SECONDS)
        robot.monitor.latch(PRESSED)
        latched_s.append(time.monotonic())

    presser = threading.Thread(target=press)
    presser.start()
    robot.run()
    presser.join()
    speeds = np.abs([command for at_s, command in robot.sent if at_s >= latched_s[0]])
    assert len(speeds) > 50
    assert (np.diff(speeds, axis=0) <= 1e-12).all(), "never faster again"
    assert not speeds[-1].any()
