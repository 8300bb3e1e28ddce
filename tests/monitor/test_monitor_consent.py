"""safety_monitor_node as a process of its own, over real DDS: nothing moves before everybody has consented."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from geometry_msgs.msg import WrenchStamped
from monitored_chain import MODULE, NODE, ROBOT_FILE, Chain, components, decided, moves, reset, stands
from sensor_msgs.msg import Joy
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from fosp_cli.cli import run
from fosp_core import topics
from fosp_core.robot.config import RobotConfig
from fosp_core.ros import qos
from fosp_msgs.msg import SafetyEvent, SafetyVerdict, StepFeedback

STOP = SafetyVerdict.STOP


class Consenting(Chain):
    """The chain with a person at an enabling switch, a controller that is ready or not, a force, and episodes."""

    def __init__(self, graph: Any, robot: RobotConfig, model_id: str) -> None:
        super().__init__(graph, robot, model_id)
        self.graph = graph
        self.held = self.running = False
        self.count = 0
        create = self.node.create_publisher
        self.joy = create(Joy, "joy", qos.STEP)
        self.wrench = create(WrenchStamped, "wrench", qos.STEP)
        self.feedback = create(StepFeedback, topics.FEEDBACK, qos.STEP)
        self.program = create(Bool, "program_running", qos.LATCHED)
        self.events = graph.listen(SafetyEvent, topics.SAFETY_EVENT, qos.LATCHED_EVENTS)
        self.node.create_timer(0.02, self.say)

    def say(self) -> None:
        self.count += 1
        stamp = self.node.get_clock().now().to_msg()
        joy = Joy(axes=[0.1 * (self.count // 25 % 2)], buttons=[0, int(self.held)])
        wrench, step = WrenchStamped(), StepFeedback()
        joy.header.stamp = wrench.header.stamp = step.header.stamp = stamp
        wrench.wrench.force.z = -9.0 + 0.01 * (self.count % 5)
        wrench.wrench.force.x = wrench.wrench.force.y = 0.01 * (self.count % 3)
        self.joy.publish(joy)
        self.wrench.publish(wrench)
        if self.running:
            self.feedback.publish(step)

    def begin(self) -> None:
        step = StepFeedback(is_first=True)
        step.header.stamp = self.node.get_clock().now().to_msg()
        self.feedback.publish(step)
        self.running = True

    def end(self, cost: float) -> None:
        self.running = False
        step = StepFeedback(is_last=True, cost=cost)
        step.header.stamp = self.node.get_clock().now().to_msg()
        self.feedback.publish(step)

    def ask(self, service: str) -> Any:
        return self.graph.call(Trigger, f"{NODE}/{service}", Trigger.Request())


@pytest.fixture
def asked(graph: Any, robot: RobotConfig, bring_up: Any, node_arguments: Any, tmp_path: Path) -> Iterator[Consenting]:
    """An arm whose robot file asks for every consent; nobody has given any yet."""
    content = yaml.safe_load(ROBOT_FILE.read_text())
    content |= {
        "enabling": {"topic": "joy", "type": "Joy", "button": 1},
        "ready": [{"kind": "bool", "topic": "program_running", "transient_local": True}],
        "protective_force_n": 20.0,
        "wrench_topic": "wrench",
        "home": {"position": [0.53, 0.02, 0.2]},
    }
    file = tmp_path / "asking.yaml"
    file.write_text(yaml.safe_dump(content))
    model_id, arguments = node_arguments
    bring_up([*arguments[:2], "-p", f"robot:={file}", "-p", "ramp_in_s:=0.2"])
    chain = Consenting(graph, robot, model_id)
    yield chain
    chain.policy_lives = chain.encoder_lives = chain.robot_lives = False


def test_the_robot_moves_once_everybody_has_consented_and_not_before(asked: Consenting, wait_until: Any) -> None:
    def refused(because: str) -> bool:
        answer = asked.ask("engage")
        return not answer.success and because in answer.message

    wait_until(lambda: refused("program_running has sent nothing yet"), 20.0, "a robot that is not known to be ready")
    asked.program.publish(Bool(data=True))
    wait_until(lambda: refused("enabling switch is released"), 5.0, "a switch that is not held")
    asked.held = True
    wait_until(decided(asked, STOP, SafetyVerdict.REASON_NOT_ENGAGED), 5.0, "a policy that nobody has engaged")
    wait_until(lambda: asked.ask("engage").success, 5.0, "engaging")
    wait_until(decided(asked, STOP, SafetyVerdict.REASON_NO_EPISODE), 5.0, "no episode")
    assert not any(any(components(command)) for command in asked.commands), "nothing moved so far"
    asked.begin()
    wait_until(lambda: moves(asked), 5.0, "motion")
    asked.end(cost=1.0)
    verdict = wait_until(decided(asked, STOP, SafetyVerdict.REASON_NO_EPISODE), 5.0, "a stop")
    assert "violation" in verdict.reason_text
    wait_until(lambda: stands(asked), 2.0, "a standstill")
    asked.begin()
    wait_until(lambda: moves(asked), 5.0, "motion in the next episode, without engaging anew")
    kinds = [event.kind for event in asked.events]
    assert {SafetyEvent.ENGAGED, SafetyEvent.ENGAGE_REFUSED} <= set(kinds)


def test_what_was_taken_back_is_given_by_an_operator_only(asked: Consenting, wait_until: Any) -> None:
    def engaged() -> None:
        wait_until(lambda: asked.ask("engage").success, 20.0, "engaging")
        wait_until(lambda: moves(asked), 5.0, "motion")

    def stopped(reason: int) -> None:
        wait_until(decided(asked, STOP, reason), 5.0, "a stop")
        wait_until(lambda: stands(asked), 2.0, "a standstill")

    asked.program.publish(Bool(data=True))
    wait_until(lambda: "is released" in asked.ask("engage").message, 20.0, "a switch that is seen to be released")
    asked.held = True
    asked.begin()
    engaged()
    assert asked.ask("disengage").success
    stopped(SafetyVerdict.REASON_NOT_ENGAGED)
    engaged()
    asked.held = False
    stopped(SafetyVerdict.REASON_NOT_ENGAGED)
    asked.held = True
    engaged()
    asked.node.destroy_publisher(asked.program)
    stopped(SafetyVerdict.REASON_ROBOT_NOT_READY)
    asked.program = asked.node.create_publisher(Bool, "program_running", qos.LATCHED)
    asked.program.publish(Bool(data=True))
    stopped(SafetyVerdict.REASON_NOT_ENGAGED)
    engaged()
    asked.ask("estop")
    wait_until(lambda: stands(asked), 2.0, "a standstill")
    assert not asked.ask("engage").success
    reset(asked.graph, wait_until)
    stopped(SafetyVerdict.REASON_NOT_ENGAGED)
    engaged()


def test_an_engaged_operator_sends_the_robot_home_between_episodes(
    asked: Consenting, wait_until: Any, capsys: Any
) -> None:
    asked.program.publish(Bool(data=True))
    wait_until(lambda: "enabling switch" in asked.ask("engage").message, 20.0, "a robot that is ready")
    assert run(["home"]) == 1
    assert "not engaged" in capsys.readouterr().out
    asked.held = True
    wait_until(lambda: asked.ask("engage").success, 20.0, "engaging")
    asked.begin()
    wait_until(lambda: moves(asked), 5.0, "motion in an episode")
    assert "an episode runs" in asked.ask("home").message
    asked.end(cost=0.0)
    wait_until(lambda: stands(asked), 5.0, "a standstill between two episodes")
    before = len(asked.commands)
    assert run(["home"]) == 0
    assert "at home" in capsys.readouterr().out
    speeds = [max(map(abs, components(command))) for command in asked.commands[before:]]
    assert 0.0 < max(speeds) <= 0.2 * 0.25 + 1e-6
    assert math.dist((asked.pose.position.x, asked.pose.position.y, asked.pose.position.z), (0.53, 0.02, 0.2)) < 0.011
    assert asked.ask("home").success, "at home already"
    wait_until(lambda: asked.ask("home_status").success, 5.0, "the end of no way at all")


@pytest.mark.parametrize(
    ("changes", "arguments", "said"),
    [
        ({"ready": [{"kind": "ur_robot_mode", "topic": "mode"}]}, [], "install the package ur_dashboard_msgs"),
        ({}, ["-p", "engage:=always"], "parameter 'engage' must be one of operator, by_itself, got 'always'"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(
    start_node: Any,
    graph: Any,
    node_arguments: Any,
    tmp_path: Path,
    wait_until: Any,
    changes: dict[str, Any],
    arguments: list[str],
    said: str,
) -> None:
    from lifecycle_msgs.msg import Transition

    file = tmp_path / "asking.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(ROBOT_FILE.read_text()), **changes}))
    process = start_node(MODULE, *node_arguments[1][:2], "-p", f"robot:={file}", *arguments)
    if changes:
        assert not graph.transition(NODE, Transition.TRANSITION_CONFIGURE)
    wait_until(lambda: said in process.log, 20.0, "the reason")
