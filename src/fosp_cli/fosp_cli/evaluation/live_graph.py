"""The simulated graph for evaluation: brought up as a context, driven episode by episode, taken down cleanly."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from geometry_msgs.msg import Pose, PoseStamped, TwistStamped
from nav_msgs.msg import Odometry
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from std_srvs.srv import Trigger

from fosp_bringup.neighbours import sole_graph
from fosp_bringup.stack import stack
from fosp_bringup.stack_options import StackOptions
from fosp_bringup.supervisor import Supervisor
from fosp_cli.evaluation.episode_log import EpisodeLog, Step
from fosp_cli.evaluation.metrics import EpisodeResult
from fosp_cli.graph_client import GraphClient
from fosp_core import topics
from fosp_core.bundle.bundle import read_manifest
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.ros import qos
from fosp_core.ros.stamps import seconds
from fosp_core.specs import Manifest
from fosp_msgs.msg import SafetyVerdict, StepFeedback
from fosp_msgs.srv import ResetEpisode

ACTIVE_TIMEOUT_S = 60.0
_TAIL_LINES = 20
BAG_PATIENCE_S = 10.0
"""Longest wait for the recorder to close its last bag, s."""
FEEDBACK_SILENCE_S = 10.0
"""Silence of the simulator in an episode, s, after which the run has failed; it ends each episode by itself."""
COMMAND_SILENCE_S = 5.0
"""Silence of the command stream, s, after which a run has failed: an active monitor commands also while it stops."""
LAST_STEPS_S = 0.5
"""Time after the last feedback, s, for verdicts and commands of the episode that are still to be read."""
RESET_PATIENCE_S = 1.0
"""Time that a new episode waits for the monitor to leave the latch of the last one, s."""


class RunFailed(RuntimeError):
    """The graph failed. The command line prints this line and exits with 1."""


class EpisodeDriver(GraphClient):
    """A client that resets the scene, logs the episode that follows, and times image to command."""

    def __init__(self, robot: RobotConfig, manifest: Manifest) -> None:
        super().__init__("episode_driver")
        self._period_s, self._horizon_steps = manifest.decision_period_s, manifest.calibration.horizon_steps
        self._log: EpisodeLog | None = None
        self._on_step: Callable[[Step], None] = lambda step: None
        self.latencies_s: list[float] = []
        self.stops: list[str] = []
        """Causes that stopped or latched the robot in the last episode."""
        self.command_stamps_s: list[float] = []
        self._commanded_s = self._heard_s = time.monotonic()
        self.node.create_subscription(StepFeedback, topics.FEEDBACK, self._feedback, qos.RECORD)
        self.node.create_subscription(SafetyVerdict, topics.VERDICT, self._verdict, qos.RECORD)
        if robot.pose_topic:
            self.node.create_subscription(PoseStamped, robot.pose_topic, self._pose, qos.SENSOR)
        elif robot.state_type == "Odometry":
            self.node.create_subscription(Odometry, robot.state_topic, self._odometry, qos.SENSOR)
        self.node.create_subscription(TwistStamped, robot.command_topic, self._command, qos.COMMAND_HISTORY)

    def require_active(self, timeout_s: float, alive: Callable[[], bool], recorder: str = "") -> None:
        """Wait until every managed node is active and the simulator is there, and so is the node `recorder`, if named.

        Raise RunFailed when that takes longer than `timeout_s`.
        """
        until = time.monotonic() + timeout_s
        failure = self.wait_active(timeout_s, alive)
        if failure:
            raise RunFailed(f"the graph is not active: {failure}; its log says why")
        simulator = self.node.create_client(ResetEpisode, topics.RESET_EPISODE)
        if not simulator.wait_for_service(timeout_sec=max(0.0, until - time.monotonic())):
            raise RunFailed(f"the simulator did not come up within {timeout_s:g} s; its log says why")
        if recorder:
            self._require_recording(recorder, until, alive)

    def _require_recording(self, recorder: str, until: float, alive: Callable[[], bool]) -> None:
        """Wait until the recorder hears the feedback, without which it records no episode."""
        while time.monotonic() < until and alive():
            listeners = self.node.get_subscriptions_info_by_topic(self.node.resolve_topic_name(topics.FEEDBACK))
            if any(listener.node_name == recorder for listener in listeners):
                return
            self.spin(0.1)
        raise RunFailed(f"{recorder} is not active and records nothing; its log says why")

    def run_episode(
        self,
        episode: int,
        on_step: Callable[[Step], None] = lambda step: None,
        alive: Callable[[], bool] = lambda: True,
    ) -> EpisodeResult:
        """Reset to the scene of `episode`, let the graph drive, and return the record. Raise RunFailed on a failure.

        A simulator on a busy machine is slower than the clock, so its silence counts and not the time that it takes.
        """
        self._log = EpisodeLog(episode, self._period_s, self._horizon_steps)
        self._on_step = on_step
        answer = self.call(ResetEpisode, topics.RESET_EPISODE, ResetEpisode.Request(episode=episode))
        if answer is None or not answer.success:
            raise RunFailed(f"episode {episode} could not be started: {answer.message if answer else 'no answer'}")
        self._end_latch()
        self._heard_s = time.monotonic()
        # Silence from before counts: episodes may be shorter than the one that fails a run, and a graph that has gone
        # down would be driven from one to the next. What came meanwhile is still to be read.
        self._commanded_s = max(self._commanded_s, self._heard_s - COMMAND_SILENCE_S / 2)
        while not self._log.done:
            if not alive():
                raise RunFailed("a node of the graph died")
            if time.monotonic() - self._heard_s > FEEDBACK_SILENCE_S:
                silence = f"no feedback for {FEEDBACK_SILENCE_S:g} s"
                raise RunFailed(f"episode {episode} did not end: {silence}; is the simulator running?")
            if time.monotonic() - self._commanded_s > COMMAND_SILENCE_S:
                silence = f"nobody has commanded the robot for {COMMAND_SILENCE_S:g} s"
                raise RunFailed(f"episode {episode}: {silence}; the graph is not active, and its log says why")
            self.spin_once(0.1)
        if self._log.started_s is None:
            raise RunFailed(f"episode {episode}: the message with its beginning was lost; is the machine overloaded?")
        settled = time.monotonic() + LAST_STEPS_S
        while not self._log.settled and alive() and time.monotonic() < settled:
            self.spin_once(0.05)
        self.latencies_s += [step.latency_s for step in self._log.steps]
        self.stops = self._log.stops()
        return self._log.result()

    def set_policy(self, name: str, value: bool) -> None:
        """Set a parameter of the policy node; raise RunFailed when it does not take it."""
        parameter = Parameter(name=name, value=ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=value))
        answer = self.call(SetParameters, "policy_node/set_parameters", SetParameters.Request(parameters=[parameter]))
        if answer is None or not answer.results[0].successful:
            raise RunFailed(f"policy_node did not take {name}; its log says why")

    def _end_latch(self) -> None:
        """Reset a latch of the last episode, as an operator would, because the scene that caused it is gone.

        The monitor refuses while the newest proposal is of the old scene. If it keeps refusing, the episode shows why.
        """
        deadline = time.monotonic() + RESET_PATIENCE_S
        while time.monotonic() < deadline:
            answer = self.call(Trigger, "safety_monitor_node/reset", Trigger.Request(), 2.0)
            if answer is not None and answer.success:
                return
            self.spin_once(0.02)

    def _feedback(self, message: StepFeedback) -> None:
        self._heard_s = time.monotonic()
        if self._log is not None:
            self._log.on_feedback(message)

    def _pose(self, message: PoseStamped) -> None:
        self._stands(message, message.pose, 0.0)

    def _odometry(self, message: Odometry) -> None:
        turned = message.pose.pose.orientation
        self._stands(message, message.pose.pose, 2.0 * math.atan2(turned.z, turned.w))

    def _stands(self, message: PoseStamped | Odometry, pose: Pose, heading: float) -> None:
        if self._log is not None:
            point = pose.position
            self._log.on_pose(seconds(message.header.stamp), (point.x, point.y, point.z, heading))

    def _verdict(self, message: SafetyVerdict) -> None:
        if self._log is not None:
            self._completed(self._log.on_verdict(message))

    def _command(self, message: TwistStamped) -> None:
        stamp_s = seconds(message.header.stamp)
        self._commanded_s = time.monotonic()
        self.command_stamps_s.append(stamp_s)
        if self._log is not None:
            self._completed(self._log.on_command(stamp_s))

    def _completed(self, step: Step | None) -> None:
        if step is not None:
            self._on_step(step)


class LiveGraph:
    """The simulated graph, each node in a process of its own, as a context that runs episodes.

    `options` go to stack(). `recorder` is a folder for one bag per episode, `log` a file for the output of all
    processes. Entering raises UserError when another graph has its names, and RunFailed when the graph does not come
    up; `say` then gets the end of that output.
    """

    def __init__(
        self,
        bundle: Path,
        scenario: Path,
        recorder: Path | None = None,
        log: Path | None = None,
        say: Callable[[str], None] = print,
        **options: Any,
    ) -> None:
        self.stack = stack(
            StackOptions(
                simulator="mujoco",
                scenario=str(scenario),
                bundle=bundle,
                recorder=recorder,
                auto_reset=False,
                **options,
            )
        )
        self._say = say
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._log_path = log
        self._log: IO[str] | None = None
        self._held = ExitStack()
        self._supervisor = Supervisor(self.stack, write=self._write, colour=False)
        self._manifest = read_manifest(bundle)

    def __enter__(self) -> Self:
        robot = read_robot(Path(str(self.stack.processes[0].parameters["robot"])))
        self._held.enter_context(sole_graph(self.stack.namespace, self.stack.stays_here))
        self._log = self._log_path.open("w") if self._log_path is not None else None
        try:
            self._supervisor.start()
            self._driver = EpisodeDriver(robot, self._manifest)
            learner = "learner_node" if any(p.name == "learner_node" for p in self.stack.processes) else ""
            self._driver.require_active(ACTIVE_TIMEOUT_S, lambda: self._supervisor.alive, learner)
        except BaseException as error:
            self._supervisor.stop()
            self._held.close()
            if isinstance(error, RunFailed):
                self._say("\n".join(self._tail))
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._driver.__exit__(kind, error, trace)
        finally:
            self._supervisor.stop()
            self._held.close()
        if kind is not None and issubclass(kind, RunFailed):
            self._say("\n".join(self._tail))
        if self._log is not None:
            self._log.close()

    def run_episode(self, episode: int, on_step: Callable[[Step], None] = lambda step: None) -> EpisodeResult:
        """Run an episode of the scenario and return its record. Raise RunFailed when it does not end."""
        return self._driver.run_episode(episode, on_step, alive=lambda: self._supervisor.alive)

    def heed_risk(self, heed: bool) -> None:
        """Let the policy heed the risk of what it proposes, or leave safety to the monitor."""
        self._driver.set_policy("heed_risk", heed)

    @property
    def stops(self) -> list[str]:
        """Causes that stopped or latched the robot in the last episode, one line each."""
        return self._driver.stops

    def await_bags(self, folder: Path, episodes: int) -> None:
        """Wait until `folder` holds a bag per episode: a recorder closes one a moment after the last feedback."""
        deadline = time.monotonic() + BAG_PATIENCE_S
        while len(list(folder.glob("episode_*"))) < episodes and time.monotonic() < deadline:
            time.sleep(0.05)

    @property
    def latencies_s(self) -> list[float]:
        """Latency of every step so far, from image stamp to the first command after its verdict, s."""
        return self._driver.latencies_s

    @property
    def command_stamps_s(self) -> list[float]:
        """Stamps of the command stream so far, s."""
        return self._driver.command_stamps_s

    def _write(self, line: str) -> None:
        self._tail.append(line)
        if self._log is not None:
            self._log.write(line + "\n")
            self._log.flush()
