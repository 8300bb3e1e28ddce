"""The whole simulated graph, as `fosp up sim` runs it, on the tiny bundle: a policy that drives along y at 0.15 m/s."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from geometry_msgs.msg import TwistStamped
from rosbags.highlevel import AnyReader
from std_srvs.srv import Trigger
from tiny_bundle import write_tiny_bundle

from fosp_bringup.neighbours import Neighbour, heard_graph
from fosp_bringup.stack import MANAGER, stack
from fosp_bringup.stack_options import StackOptions
from fosp_bringup.supervisor import Supervisor
from fosp_core import topics
from fosp_core.bag_types import typestore
from fosp_core.robot.config import read_robot
from fosp_core.ros import qos
from fosp_core.ros.stamps import seconds
from fosp_msgs.msg import ActionProposal, Latent, SafetyVerdict
from fosp_msgs.srv import ResetEpisode

ROBOT = Path(__file__).parents[1] / "config" / "robots" / "sim_arm.yaml"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_tiny_bundle(tmp_path / "bundle", read_robot(ROBOT), policy_action=[0.0, 0.6, 0.0])
    return tmp_path / "bundle"


@pytest.fixture
def run(ros_environment: Any, bundle: Path) -> Iterator[Callable[..., Supervisor]]:
    """`run(**options of StackOptions)`: the running stack, and its output in `.lines`."""
    started: list[Supervisor] = []

    def start(**options: Any) -> Supervisor:
        described = stack(
            StackOptions(bundle=bundle, simulator="mujoco", scenario="safe_reach", auto_reset=False, **options)
        )
        lines: list[str] = []
        supervisor = Supervisor(described, write=lines.append, colour=False)
        supervisor.lines = lines  # type: ignore[attr-defined]
        started.append(supervisor)
        supervisor.start()
        return supervisor

    yield start
    for supervisor in started:
        supervisor.stop()
        print("\n".join(supervisor.lines))  # type: ignore[attr-defined]


class Graph:
    """The running graph in a namespace, as the tests question it."""

    def __init__(self, graph: Any, wait_until: Callable[..., Any], namespace: str = "") -> None:
        self.graph, self.wait_until = graph, wait_until
        self.namespace = f"/{namespace}/" if namespace else "/"

    def listen(self, message_type: Any, topic: str) -> list[Any]:
        return list_of(self.graph.listen(message_type, self.namespace + topic, qos.COMMAND_HISTORY))

    def is_active(self) -> bool:
        name = f"{self.namespace}lifecycle_manager/is_active"
        return bool(self.graph.call(Trigger, name, Trigger.Request(), 30.0).success)

    def wait_active(self) -> None:
        self.wait_until(self.is_active, timeout_s=60.0, what="an active graph")

    def begin_episode(self) -> None:
        name = self.namespace + topics.RESET_EPISODE
        assert self.graph.call(ResetEpisode, name, ResetEpisode.Request(episode=0)).success

    def wait_latched(self, verdicts: list[Any]) -> None:
        """Until proposals are answered, and held by a latch because a node came back."""
        begin, latched = len(verdicts), (SafetyVerdict.LATCH, SafetyVerdict.REASON_NODE_RESTARTED)

        def held() -> bool:
            newest = [verdict for verdict in verdicts[begin:] if len(verdict.action_in)][-5:]
            return len(newest) == 5 and all((v.decision, v.reason) == latched for v in newest)

        self.wait_until(held, timeout_s=20.0, what="a latch that answers proposals")

    def reset(self) -> None:
        """As an operator does, until it is granted."""
        name = f"{self.namespace}safety_monitor_node/reset"
        self.wait_until(lambda: self.graph.call(Trigger, name, Trigger.Request()).success, 10.0, "a granted reset")

    def wait_moving(self, commands: list[Any]) -> None:
        """Until ten commands from now on have all been ones to move."""
        begin = len(commands)

        def moving() -> bool:
            newest = commands[begin:][-10:]
            return len(newest) == 10 and all(command.twist.linear.y > 0.05 for command in newest)

        self.wait_until(moving, timeout_s=20.0, what="commands to move")


def udp_of(pid: int) -> set[str]:
    """The addresses that the UDP sockets of a process are bound to."""
    links = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink()]
    inodes = {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}
    lines = [line.split() for line in Path(f"/proc/{pid}/net/udp").read_text().splitlines()[1:]]
    return {socket.inet_ntoa(bytes.fromhex(line[1].partition(":")[0])[::-1]) for line in lines if line[9] in inodes}


def list_of(messages: list[Any]) -> list[Any]:
    return messages


@pytest.fixture
def graph_of(graph: Any, wait_until: Callable[..., Any]) -> Callable[..., Graph]:
    return lambda namespace="": Graph(graph, wait_until, namespace)


def test_an_image_becomes_a_latent_a_proposal_a_verdict_and_a_command_and_all_of_it_a_bag(
    run: Callable[..., Supervisor], graph_of: Callable[..., Graph], wait_until: Callable[..., Any], tmp_path: Path
) -> None:
    live = graph_of()
    latents = live.listen(Latent, topics.LATENT)
    proposals = live.listen(ActionProposal, topics.PROPOSAL)
    verdicts = live.listen(SafetyVerdict, topics.VERDICT)
    commands = live.listen(TwistStamped, "arm/twist_command")
    supervisor = run(recorder=tmp_path / "bags")
    live.wait_active()
    assert heard_graph("") == Neighbour(socket.gethostname(), supervisor.pid(MANAGER)), "a second graph sees this one"
    addresses = {address for process in supervisor.stack.processes for address in udp_of(supervisor.pid(process.name))}
    assert addresses == {"127.0.0.1", "239.255.0.1"}, "a simulated robot is not heard outside of this machine"
    live.begin_episode()
    live.wait_moving(commands)
    passed = wait_until(lambda: [v for v in verdicts if v.decision == SafetyVerdict.PASS][5:], what="verdicts")[0]
    stamp = passed.header.stamp
    (proposal,) = (p for p in proposals if p.header.stamp == stamp)
    (latent,) = (m for m in latents if m.header.stamp == stamp)
    assert latent.step == proposal.step == passed.step
    assert latent.model_id == proposal.model_id == passed.model_id != ""
    assert list(passed.action_in) == list(proposal.candidates[proposal.chosen].action)
    assert list(passed.action_out) == list(passed.action_in)
    assert commands[-1].header.frame_id == "base_link"
    bag = tmp_path / "bags" / "episode_000000"
    wait_until(bag.is_dir, timeout_s=30.0, what="the end of the episode in a bag")
    with AnyReader([bag], default_typestore=typestore()) as reader:
        counts = {connection.topic: connection.msgcount for connection in reader.connections}
    assert 150 <= counts["/camera/color/image_raw"] <= 210, counts
    assert counts["/fosp/feedback"] == pytest.approx(201, abs=3), counts
    assert counts["/arm/twist_command"] == pytest.approx(500 + 100, abs=60), counts  # ticks, and one with each verdict
    for topic in ("latent", "proposal", "verdict"):
        assert counts[f"/fosp/{topic}"] == pytest.approx(100, abs=15), counts
    assert supervisor.stop() == 0
    assert supervisor.died == ""


def test_a_node_that_hangs_stops_the_robot_which_goes_on_by_a_reset_when_it_is_back(
    run: Callable[..., Supervisor], graph_of: Callable[..., Graph], wait_until: Callable[..., Any]
) -> None:
    live = graph_of()
    verdicts = live.listen(SafetyVerdict, topics.VERDICT)
    commands = live.listen(TwistStamped, "arm/twist_command")
    supervisor = run()
    live.wait_active()
    live.begin_episode()
    live.wait_moving(commands)
    os.kill(supervisor.pid("encoder_node"), signal.SIGSTOP)
    wait_until(lambda: not live.is_active(), what="a graph that is not active")
    assert commands[-1].twist.linear.y == 0.0
    os.kill(supervisor.pid("encoder_node"), signal.SIGCONT)
    live.wait_active()
    live.begin_episode()
    live.wait_latched(verdicts)
    assert commands[-1].twist.linear.y == 0.0
    live.reset()
    live.wait_moving(commands)
    assert supervisor.stop() == 0


@pytest.mark.long
def test_with_respawn_a_killed_node_is_brought_up_again_and_the_robot_waits_for_a_reset(
    run: Callable[..., Supervisor], graph_of: Callable[..., Graph], wait_until: Callable[..., Any]
) -> None:
    live = graph_of()
    verdicts = live.listen(SafetyVerdict, topics.VERDICT)
    commands = live.listen(TwistStamped, "arm/twist_command")
    supervisor = run(use_respawn=True)
    live.wait_active()
    live.begin_episode()
    live.wait_moving(commands)
    killed = supervisor.pid("policy_node")
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: not live.is_active(), what="a graph that is not active")
    assert commands[-1].twist.linear.y == 0.0
    live.wait_active()
    assert supervisor.pid("policy_node") != killed
    live.begin_episode()
    live.wait_latched(verdicts)
    assert commands[-1].twist.linear.y == 0.0
    live.reset()
    live.wait_moving(commands)
    assert supervisor.stop() == 0


def test_in_a_namespace_and_on_simulated_time_the_graph_runs_as_well(
    run: Callable[..., Supervisor], graph_of: Callable[..., Graph]
) -> None:
    live = graph_of("left")
    commands = live.listen(TwistStamped, "arm/twist_command")
    supervisor = run(namespace="left", use_sim_time=True)
    live.wait_active()
    live.begin_episode()
    live.wait_moving(commands)
    assert seconds(commands[-1].header.stamp) < 1e6, "seconds since the start of the simulation, not since 1970"
    assert supervisor.stop() == 0


def test_without_autostart_nothing_is_brought_up_before_it_is_asked_for(
    run: Callable[..., Supervisor], graph_of: Callable[..., Graph], graph: Any
) -> None:
    live = graph_of()
    supervisor = run(autostart=False)
    assert not live.is_active()
    assert graph.call(Trigger, "lifecycle_manager/startup", Trigger.Request()).success
    live.wait_active()
    assert supervisor.stop() == 0


def test_a_bundle_that_is_damaged_after_the_start_ends_the_stack_with_one_line(
    ros_environment: Any, bundle: Path
) -> None:
    lines: list[str] = []
    described = stack(StackOptions(bundle=bundle, simulator="mujoco", scenario="safe_reach"))
    network = bundle / "encoder.onnx"
    network.write_bytes(network.read_bytes()[:-1] + b"x")
    supervisor = Supervisor(described, write=lines.append, colour=False)
    assert supervisor.run() == 1
    output = "\n".join(lines)
    assert "encoder.onnx is damaged" in output
    assert "configure of encoder_node failed" in output
    assert supervisor.died == "lifecycle_manager ended with exit code 1"
