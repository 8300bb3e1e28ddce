"""Runs episodes on a live simulated graph: resets the scene, listens, and times image -> command."""

from __future__ import annotations

import time
from collections.abc import Callable

from geometry_msgs.msg import TwistStamped
from std_srvs.srv import Trigger

from fosp_cli.evaluation.episode_log import EpisodeLog, FeedbackEvent, Step, VerdictEvent
from fosp_cli.evaluation.metrics import EpisodeResult
from fosp_cli.graph_client import GraphClient
from fosp_core import topics
from fosp_core.ros import qos
from fosp_core.ros.stamps import seconds
from fosp_core.specs import RobotConfig
from fosp_msgs.msg import SafetyVerdict, StepFeedback
from fosp_msgs.srv import ResetEpisode

EPISODE_GRACE_S = 10.0
"""How much longer than its steps an episode may take before the run is called failed."""

RESET_PATIENCE_S = 1.0
"""How long a new episode waits for the monitor to leave the latch of the last one."""


class RunFailed(RuntimeError):
    """The graph did not do its part; the command line exits 1 with this line."""


class EpisodeDriver(GraphClient):
    """What the simulated graph does when it is given episodes."""

    def __init__(self, robot: RobotConfig, decision_period_s: float) -> None:
        super().__init__("episode_driver")
        self._period_s = decision_period_s
        self._log: EpisodeLog | None = None
        self._on_step: Callable[[Step], None] = lambda step: None
        self.latencies_s: list[float] = []
        self.command_stamps_s: list[float] = []
        self.node.create_subscription(StepFeedback, topics.FEEDBACK, self._feedback, qos.STEP)
        self.node.create_subscription(SafetyVerdict, topics.VERDICT, self._verdict, qos.STEP)
        self.node.create_subscription(TwistStamped, robot.command_topic, self._command, qos.COMMAND_HISTORY)

    def require_active(self, timeout_s: float, alive: Callable[[], bool], recorder: str = "") -> None:
        """RunFailed when not every node is active by then, or one that is not managed is not there.

        Those are the simulator and, when given, the node `recorder`, which records.
        """
        until = time.monotonic() + timeout_s
        failure = self.wait_active(timeout_s, alive)
        if failure:
            raise RunFailed(f"the graph is not active: {failure}; its log says why")
        simulator = self.node.create_client(ResetEpisode, topics.RESET_EPISODE)
        if not simulator.wait_for_service(timeout_sec=max(0.0, until - time.monotonic())):
            raise RunFailed(f"the simulator is not there after {timeout_s:g} s; its log says why")
        if recorder:
            self._require_recording(recorder, until, alive)

    def _require_recording(self, recorder: str, until: float, alive: Callable[[], bool]) -> None:
        """Wait until it hears the feedback, without which no episode is recorded."""
        while time.monotonic() < until and alive():
            listeners = self.node.get_subscriptions_info_by_topic(self.node.resolve_topic_name(topics.FEEDBACK))
            if any(listener.node_name == recorder for listener in listeners):
                return
            self.spin(0.1)
        raise RunFailed(f"{recorder} does not record; its log says why")

    def run_episode(
        self,
        episode: int,
        max_steps: int,
        on_step: Callable[[Step], None] = lambda step: None,
        alive: Callable[[], bool] = lambda: True,
    ) -> EpisodeResult:
        """Reset to the scene of `episode`, let the graph drive, and return what came of it."""
        self._log = EpisodeLog(episode, self._period_s)
        self._on_step = on_step
        answer = self.call(ResetEpisode, topics.RESET_EPISODE, ResetEpisode.Request(episode=episode))
        if answer is None or not answer.success:
            raise RunFailed(f"episode {episode} could not be started: {answer.message if answer else 'no answer'}")
        self._end_latch()
        deadline = time.monotonic() + max_steps * self._period_s + EPISODE_GRACE_S
        while not self._log.done:
            if not alive():
                raise RunFailed("a node of the graph died")
            if time.monotonic() > deadline:
                raise RunFailed(f"episode {episode} did not end in time; is the simulator running?")
            self.spin_once(0.1)
        self.latencies_s += [step.latency_s for step in self._log.steps]
        return self._log.result()

    def _end_latch(self) -> None:
        """A latch of the last episode would hold the robot, but its scene is gone: reset as a person would.

        Refused while the newest proposal is of the old scene; if it stays refused, the episode shows why.
        """
        deadline = time.monotonic() + RESET_PATIENCE_S
        while time.monotonic() < deadline:
            answer = self.call(Trigger, "safety_monitor_node/reset", Trigger.Request(), 2.0)
            if answer is not None and answer.success:
                return
            self.spin_once(0.02)

    def _feedback(self, message: StepFeedback) -> None:
        if self._log is not None:
            self._log.on_feedback(
                FeedbackEvent(
                    seconds(message.header.stamp),
                    message.episode,
                    message.is_first,
                    message.is_last,
                    message.reward,
                    message.cost,
                    message.success,
                )
            )

    def _verdict(self, message: SafetyVerdict) -> None:
        if self._log is not None:
            self._log.on_verdict(
                VerdictEvent(
                    seconds(message.header.stamp),
                    seconds(message.decided),
                    message.step,
                    message.decision,
                    message.reason_text,
                    message.q_h,
                    message.eps,
                )
            )

    def _command(self, message: TwistStamped) -> None:
        stamp_s = seconds(message.header.stamp)
        self.command_stamps_s.append(stamp_s)
        if self._log is not None:
            step = self._log.on_command(stamp_s)
            if step is not None:
                self._on_step(step)
