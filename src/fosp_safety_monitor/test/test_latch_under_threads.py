"""A latch while the command thread ticks: at most the command of the tick under way is older than it."""

from __future__ import annotations

import threading
import time
from itertools import pairwise

import numpy as np
import pytest
from tiny_bundle import DETER, STOCH, write_tiny_bundle

from fosp_core.bundle.bundle import load_bundle
from fosp_core.clock import Now, Received
from fosp_core.decisions import Decision, Reason
from fosp_safety_monitor.judge.consent_inputs import NOTHING_NEEDED
from fosp_safety_monitor.judge.inputs import LatentInput, ProposalInput
from fosp_safety_monitor.judge.monitor import CriticModel, SafetyMonitor
from fosp_safety_monitor.judge.verdict import Finding, FrameStamp
from fosp_safety_monitor.parameters import MonitorParameters

ROUNDS = 5
LATCH = Finding(Decision.LATCH, Reason.ESTOP, "the test latches")


def now() -> Now:
    return Now(time.monotonic(), time.monotonic())


class Rig:
    """A monitor that moves its arm: one thread gives it inputs, one ticks as fast as it can, and both race."""

    def __init__(self, monitor: SafetyMonitor, model_id: str) -> None:
        self.monitor, self._model_id = monitor, model_id
        self.ticks: list[tuple[float, float]] = []
        """The moment before each tick, monotonic clock, and the speed of its command, m/s."""
        self._ending = threading.Event()
        self._step = 0
        self._x, self._moved_s = 0.5, time.monotonic()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._feed, self._tick)]
        for thread in self._threads:
            thread.start()

    def _tick(self) -> None:
        while not self._ending.is_set():
            began_s = time.monotonic()
            command = self.monitor.tick().command
            moved_s = time.monotonic()
            self._x, self._moved_s = self._x + (moved_s - self._moved_s) * command[0], moved_s
            self.ticks.append((began_s, max(map(abs, command))))
            time.sleep(1e-4)

    def _feed(self) -> None:
        while not self._ending.wait(0.005):
            at = now()
            received = Received(at.ros_s, at.monotonic_s)
            noise = 1e-9 * (self._step % 7)
            self.monitor.receive_robot_state(received)
            self.monitor.receive_pose(received, (self._x + noise, 0.0, 0.2))
            frame = FrameStamp(round(at.ros_s * 1e9), "camera")
            parts = np.full(DETER, self._step, np.float32), np.zeros(STOCH, np.float32)
            latent = LatentInput(self._step, self._model_id, frame, at.monotonic_s, *parts, 0.1, False, 0.2, 0.0, 0.0)
            actions = np.array([[0.4 if self._x < 0.52 else -0.4, 0.0, 0.0]], np.float32)
            self.monitor.receive_latent(latent)
            proposal = ProposalInput(self._step, self._model_id, frame, at.monotonic_s, actions, 0)
            self.monitor.receive_proposal(proposal)
            self._step += 1

    def wait(self, condition, what: str) -> None:
        deadline = time.monotonic() + 20.0
        while not condition():
            assert time.monotonic() < deadline, what
            time.sleep(0.001)

    def end(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def rig(tmp_path, arm):
    manifest = write_tiny_bundle(tmp_path / "bundle", arm)
    bundle = load_bundle(tmp_path / "bundle", arm, "cpu")
    # A thread that does not get the processor in time must not be what stops the arm here.
    patient = MonitorParameters(proposal_timeout_s=1.0, latent_timeout_s=1.0, image_timeout_s=1.0, release_s=0.01)
    rig = Rig(SafetyMonitor(CriticModel.of(bundle), arm, patient, now, consent=NOTHING_NEEDED), manifest.id)
    yield rig
    rig.end()


def test_no_tick_that_begins_after_a_latch_moves_the_robot_again_before_a_reset(rig):
    braked_s = []
    for number in range(ROUNDS):
        rig.wait(lambda: rig.ticks and rig.ticks[-1][1] > 0.05, f"motion in round {number}")
        time.sleep(0.0007 * number)  # so that the latch falls between two other moments
        rig.monitor.latch(LATCH)
        latched_s, first = time.monotonic(), len(rig.ticks)
        rig.wait(lambda latched_s=latched_s: rig.ticks[-1][0] > latched_s + 0.3, "ticks after the latch")
        after = [(at_s, speed) for at_s, speed in rig.ticks[first:] if at_s >= latched_s]
        stood = next(i for i, (_, speed) in enumerate(after) if speed == 0.0)
        braked_s.append(after[stood][0] - latched_s)
        assert all(b <= a for (_, a), (_, b) in pairwise(after)), "it only brakes"
        assert not any(speed for _, speed in after[stood:]), f"moved after a latch in round {number}"
        rig.wait(lambda: rig.monitor.reset() == "", "a granted reset")
    assert max(braked_s) < 0.3
