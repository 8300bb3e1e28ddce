"""The cost of the safety monitor: of one decision in its pure core, and of the node from proposal to command.

The node is compared with one that judges nothing (bare_chain.BareNode), whose time is that of DDS and rclpy alone.
"""

from __future__ import annotations

import array
import math
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from geometry_msgs.msg import PoseStamped, TwistStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from sensor_msgs.msg import JointState

from fosp_bringup.environment import environment
from fosp_bringup.paths import robot_path, scenario_path
from fosp_bringup.stack import MONITOR
from fosp_cli.bench.weight import ProcessCost, cpu_percent, process_cost
from fosp_cli.evaluation.live_graph import RunFailed
from fosp_cli.evaluation.simulated_scans import SimulatedJoints
from fosp_cli.graph_client import GraphClient
from fosp_core import topics
from fosp_core.bundle.bundle import load_bundle
from fosp_core.clock import Now, Received
from fosp_core.decisions import Decision
from fosp_core.processes import CONTROL_PRIORITY, claim_realtime_priority
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.ros import qos
from fosp_core.ros.lifecycle import events_executor
from fosp_core.ros.stamps import seconds
from fosp_core.specs import CameraCalibration
from fosp_msgs.msg import ActionCandidate, ActionProposal, Latent, SafetyVerdict
from fosp_perception.encoder import Encoder
from fosp_policy.expansion import DEPLOYED_CANDIDATES, SafePolicy
from fosp_safety_monitor.arm.guard import ArmGuard, ArmInputs, ArmMeasured
from fosp_safety_monitor.judge import decision
from fosp_safety_monitor.judge.consent_inputs import NOTHING_NEEDED
from fosp_safety_monitor.judge.inputs import CriticValues, LatentInput, ProposalInput, RobotStateInput
from fosp_safety_monitor.judge.state import initial_state
from fosp_safety_monitor.judge.thresholds import Thresholds
from fosp_safety_monitor.judge.verdict import FrameStamp
from fosp_safety_monitor.parameters import MonitorParameters
from fosp_sim.env import Env
from fosp_sim.task.arm_kinematics import TOOL_ORIENTATION
from fosp_sim.task.scenario import read_scenario

_SETTLING = 100
"""Number of first proposals that are not counted, while the nodes warm up."""
_TRANSITION_S = 30.0
_FAR_M = 0.05
_JOINTS = 7
_RULES = """time_limit_s: 60
rules:
  - {kind: goal, topic: TOPIC, goal: [9.0, 0.0, 0.0], within_m: 0.1, success: true}
  - {kind: effort, topic: STATES, above: 100.0, cost: 1.0}
"""
"""Rules that read every pose and every state, and of which none ever applies."""

_AXES, _CANDIDATES, _DETER, _STOCH, _PERIOD_S = 3, 10, 128, 256, 0.05


def decision_seconds(decisions: int) -> list[float]:
    """Return the wall time of each decision on a latent and a proposal of ten candidates that passes, s."""
    thresholds = Thresholds(
        model_id="bench",
        deter_size=_DETER,
        stoch_size=_STOCH,
        action_size=_AXES,
        decision_period_s=_PERIOD_S,
        eps=0.5,
        kappa=0.1,
        surprise_limit=5.0,
        ranges=dict.fromkeys(("q_r", "q_c", "q_h", "v_h"), (-1.0, 1.0)),
        camera=CameraCalibration(
            novelty_limit=1.0,
            novelty_count=3,
            novelty_window=5,
            inconsistency_limit=1.0,
            inconsistency_count=2,
            inconsistency_window=3,
            episodes=0,
            false_alarm_bound=1.0,
            supported=False,
        ),
        needs_pose=True,
        needs_estop=True,
        action_scale=(0.25,) * _AXES,
        linear_axes=tuple(range(_AXES)),
        target_lead=None,
        command_timeout_s=0.1,
        parameters=MonitorParameters(known_frames=1),
        consent=NOTHING_NEEDED,
    )
    stoch = np.zeros(_STOCH, np.float32)
    actions = np.full((_CANDIDATES, _AXES), 0.2, np.float32)
    same = (0.1,) * _CANDIDATES
    values = CriticValues(same, same, same, 0.1)
    state, seconds = initial_state(_AXES), []
    for step in range(decisions):
        s = (step + 1) * _PERIOD_S
        now, received, frame = Now(s, s), Received(s, s), FrameStamp(round(s * 1e9))
        robot = RobotStateInput(received, received, (0.5, 0.0, 0.2), estop_receipt_s=s)
        deter = np.full(_DETER, s, np.float32)
        latent = LatentInput(step, "bench", frame, s, deter, stoch, 0.1, False, 0.2, 0.0, 0.0)
        proposal = ProposalInput(step, "bench", frame, s, actions, 0)
        started = time.perf_counter()
        checked_latent = decision.checked_latent(latent, thresholds)
        state, _ = decision.judge_latent(state, checked_latent, robot, thresholds, now)
        checked = decision.checked_proposal(proposal, checked_latent, thresholds)
        decision.critic_actions(checked)
        state, verdict = decision.judge_proposal(state, checked, values, robot, thresholds, now)
        seconds.append(time.perf_counter() - started)
        assert verdict.decision is Decision.PASS
    return seconds


@dataclass(frozen=True)
class Rhythm:
    """How often a played robot publishes; a proposal comes one step after its latent."""

    step_s: float
    steps_per_state: int
    steps_per_decision: int


COMMON = Rhythm(0.005, 2, 10)
"""Robot states at 100 Hz, decisions at 20 Hz."""
KILOHERTZ = Rhythm(0.001, 1, 50)
"""Robot states and poses at 1 kHz, as a Franka has them, decisions at 20 Hz."""


@dataclass
class Timing:
    """The times at which proposals were sent, verdicts made and commands sent, on the ROS clock, s."""

    sent_s: dict[int, float] = field(default_factory=dict)
    decided_s: dict[int, float] = field(default_factory=dict)
    commands_s: list[float] = field(default_factory=list)

    def latencies_s(self) -> list[float]:
        """Return the time of every answered proposal from its sending to the first command after its verdict, s."""
        following = {step: bisect_left(self.commands_s, decided_s) for step, decided_s in self.decided_s.items()}
        return [self.commands_s[at] - self.sent_s[step] for step, at in following.items() if at < len(self.commands_s)]


def arm_seconds(count: int) -> tuple[list[float], list[float]]:
    """Return the processor times, s, of `count` views of joint states and of as many judgements of a command.

    The arm is the simulated one in motion: seven joints, capsules, self-collision and a table (sim_arm.joints.yaml).
    """
    robot = read_robot(robot_path("sim_arm").with_name("sim_arm.joints.yaml"))
    env = Env(read_scenario(scenario_path("safe_reach")), robot)
    env.reset(0)
    joints, guard = SimulatedJoints(robot, env.world), ArmGuard(robot)
    view_s, judged_s = [], []
    wish, command = (0.5, -0.3, 0.2), (0.1, -0.05, 0.05)
    for number in range(count):
        env.world.advance(np.array([0.0, 0.1 * (-1.0) ** (number // 50), 0.0]))
        time_s = 0.01 * number
        begin = time.thread_time()
        view = joints.view(time_s)
        judged = time.thread_time()
        measured = ArmMeasured(Received(time_s, time_s), TOOL_ORIENTATION, ArmInputs(TOOL_ORIENTATION, view))
        guard.judge(measured, wish, command, Now(time_s, time_s))
        judged_s.append(time.thread_time() - judged)
        view_s.append(judged - begin)
    return view_s, judged_s


def proposal_to_command_s(bundle: Path, proposals: int, bare: bool = False) -> list[float]:
    """Return the latency of each proposal, s, with the way to the node through DDS.

    `bare` measures the node that answers each proposal at once. Raise RunFailed when the node does not come up or lets
    no proposal pass.
    """
    scenario = read_scenario(scenario_path("safe_reach"))
    robot_file = robot_path(scenario.robot)
    robot = read_robot(robot_file)
    latent, proposal = first_decision(bundle, robot)
    command = ["fosp_cli.bench.bare_chain", "at_once", str(robot_file)] if bare else monitor_command(bundle, robot_file)
    with running(command) as process, PlayedGraph(robot, latent, proposal, bare) as client:
        client.bring_up(process)
        with ThreadPoolExecutor(1) as thread:  # a thread of its own, for its priority
            return thread.submit(client.run, proposals).result()


def nodes_cpu_percent(bundle: Path, rhythm: Rhythm, decisions: int) -> dict[str, float]:
    """Return the share of one core, in percent, that the safety monitor and the feedback node take at a rhythm.

    The monitor judges proposals that pass, at 20 Hz, and commands at the robot's rate. Raise RunFailed as above, and
    where most of the proposals do not pass.
    """
    scenario = read_scenario(scenario_path("safe_reach"))
    robot_file = robot_path(scenario.robot)
    robot = read_robot(robot_file)
    latent, proposal = first_decision(bundle, robot)
    with tempfile.TemporaryDirectory() as folder:
        rules = Path(folder, "rules.yaml")
        rules.write_text(_RULES.replace("TOPIC", robot.pose_topic).replace("STATES", robot.state_topic))
        feedback = ["fosp_recording.feedback_node", "--ros-args", "--log-level", "warn", "-p", f"rules:={rules}"]
        with (
            running(monitor_command(bundle, robot_file)) as monitor,
            running([*feedback, "-p", f"robot:={robot_file.resolve()}"]) as judge,
            PlayedGraph(robot, latent, proposal, False, rhythm) as client,
        ):
            processes = {"safety_monitor_node": monitor, "feedback_node": judge}
            for name, process in processes.items():
                client.bring_up(process, name)
            with ThreadPoolExecutor(1) as thread:
                thread.submit(client.run, 1).result()  # until they are warm

                def costs() -> dict[str, ProcessCost]:
                    return {name: process_cost(process.pid) for name, process in processes.items()}

                warm, before, begin_s = len(client.timing.decided_s), costs(), time.monotonic()
                thread.submit(client.run, decisions).result()
                shares = cpu_percent(before, costs(), time.monotonic() - begin_s)
            if len(client.timing.decided_s) - warm < decisions / 2:
                raise RunFailed("the safety monitor let too few proposals pass: this machine is too busy to measure it")
            return shares


def first_decision(bundle: Path, robot: RobotConfig) -> tuple[Latent, ActionProposal]:
    """Return the latent and the proposal that the bundle makes at the start of an episode."""
    loaded = load_bundle(bundle, robot, provider="cpu")
    env = Env(read_scenario(scenario_path("safe_reach")), robot, observation=loaded.manifest.observation)
    images = env.reset(0).images
    state = Encoder(loaded).step(images, np.zeros(robot.action.size, np.float32), True)
    made = SafePolicy(loaded, DEPLOYED_CANDIDATES).propose(state.deter, state.stoch, False, np.random.default_rng(0))
    latent = Latent(
        model_id=loaded.manifest.id,
        deter=array.array("f", state.deter.tobytes()),
        stoch=array.array("f", state.stoch.tobytes()),
        contrast=float(state.contrast),
    )
    candidates = [ActionCandidate(action=array.array("f", c.action.tobytes())) for c in made.candidates]
    return latent, ActionProposal(model_id=latent.model_id, candidates=candidates, chosen=made.chosen)


def monitor_command(bundle: Path, robot_file: Path) -> list[str]:
    parameters = ["-p", f"bundle:={bundle.resolve()}", "-p", f"robot:={robot_file.resolve()}", "-p", "provider:=cpu"]
    parameters += ["-p", "engage:=by_itself", "-p", "episodes:=not_used"]  # the bench plays the robot
    return ["fosp_safety_monitor.safety_monitor_node", "--ros-args", "--log-level", "warn", *parameters]


@contextmanager
def running(module: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Python module with its arguments as a process."""
    command = [sys.executable, "-m", *module]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment())
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class PlayedGraph(GraphClient):
    """A node that stands in for the robot, the encoder and the policy."""

    def __init__(
        self, robot: RobotConfig, latent: Latent, proposal: ActionProposal, bare: bool, rhythm: Rhythm = COMMON
    ) -> None:
        super().__init__("monitor_latency", make_executor=events_executor)
        self._latent, self._proposal, self._bare, self._rhythm = latent, proposal, bare, rhythm
        self._decision = 0
        self.timing = Timing()
        create = self.node.create_publisher
        self._states = create(JointState, robot.state_topic, qos.STEP)
        self._poses = create(PoseStamped, robot.pose_topic, qos.STEP)
        self._latents = create(Latent, topics.LATENT, qos.STEP)
        self._proposals = create(ActionProposal, topics.PROPOSAL, qos.STEP)
        still, joints = [0.0] * _JOINTS, [f"joint{number}" for number in range(1, _JOINTS + 1)]
        self._state = JointState(name=joints, position=still, velocity=still, effort=still)
        self._pose = PoseStamped()
        self._pose.header.frame_id = robot.action.frame_id
        assert robot.workspace is not None
        self._middle = [
            (low + high) / 2 for low, high in zip(robot.workspace.lower, robot.workspace.upper, strict=True)
        ]
        point = self._pose.pose.position
        point.x, point.y, point.z = self._middle
        self._heard = TwistStamped()
        self.node.create_subscription(SafetyVerdict, topics.VERDICT, self._verdict, qos.STEP)
        self.node.create_subscription(TwistStamped, robot.command_topic, self._command, qos.COMMAND_HISTORY)

    def bring_up(self, process: subprocess.Popen[bytes], name: str = MONITOR) -> None:
        """Activate the node; a bare one has only to be discovered. Raise RunFailed when that fails."""
        if self._bare:
            deadline = time.monotonic() + _TRANSITION_S
            while self._proposals.get_subscription_count() == 0:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RunFailed("the bare node did not come up; its output above says why")
                self.spin_once(0.05)
            return
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            request = ChangeState.Request(transition=Transition(id=transition))
            answer = self.call(ChangeState, f"{name}/change_state", request, _TRANSITION_S)
            if process.poll() is not None or answer is None or not answer.success:
                raise RunFailed(f"{name} did not become active; its output above says why")

    def run(self, proposals: int) -> list[float]:
        """Send `proposals` proposals after those that warm the nodes up, and return their latencies, s."""
        claim_realtime_priority(CONTROL_PRIORITY)
        deadline, first = time.monotonic(), self._decision
        for number in range(self._rhythm.steps_per_decision * (_SETTLING + proposals)):
            decision, phase = divmod(number, self._rhythm.steps_per_decision)
            self._decision = first + decision
            self._publish(self._decision, phase)
            deadline += self._rhythm.step_s
            while (left := deadline - time.monotonic()) > 0:
                self.spin_once(left)
        latencies = self.timing.latencies_s()
        if not latencies:
            raise RunFailed("the safety monitor let no proposal pass")
        return latencies

    def _publish(self, decision: int, phase: int) -> None:
        stamp = self.node.get_clock().now().to_msg()
        if phase % self._rhythm.steps_per_state == 0:
            self._state.header.stamp = self._pose.header.stamp = stamp
            self._move(self._rhythm.steps_per_state * self._rhythm.step_s)
            self._states.publish(self._state)
            self._poses.publish(self._pose)
        if phase == 0:
            self._latent.step = self._proposal.step = decision
            self._latent.header.stamp = self._proposal.header.stamp = stamp
            self._latent.deter[0] += 1e-6  # the latents of a moving robot are never the same
            self._latents.publish(self._latent)
        if phase == 1:
            sent_s = self.timing.sent_s[decision] = self._now_s()
            if self._bare and decision >= _SETTLING:
                self.timing.decided_s[decision] = sent_s
            self._proposals.publish(self._proposal)

    def _verdict(self, message: SafetyVerdict) -> None:
        if message.decision == SafetyVerdict.PASS and message.action_in and message.step >= _SETTLING:
            self.timing.decided_s[message.step] = seconds(message.decided)

    def _move(self, seconds: float) -> None:
        """Go where the last command leads, and back to the middle when that is far, as a simulated robot may."""
        point, linear = self._pose.pose.position, self._heard.twist.linear
        point.x += seconds * linear.x + 1e-9  # no two measured poses are the same to the last bit
        point.y += seconds * linear.y
        point.z += seconds * linear.z
        if math.dist((point.x, point.y, point.z), self._middle) > _FAR_M:
            point.x, point.y, point.z = self._middle

    def _command(self, message: TwistStamped) -> None:
        self._heard = message
        self.timing.commands_s.append(seconds(message.header.stamp))

    def _now_s(self) -> float:
        return float(self.node.get_clock().now().nanoseconds * 1e-9)
