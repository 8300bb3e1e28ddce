"""Orders of a person who records, by service and by button, and the proposals of a SpaceMouse, over real DDS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lifecycle_msgs.msg import Transition
from recording_rig import MARK, ROBOT, START, STOP, Arm, Command, Gamepad, contents, goal_rules
from sensor_msgs.msg import Joy
from std_srvs.srv import Trigger

from fosp_bringup.paths import teleop_path
from fosp_core import topics
from fosp_core.ros import qos
from fosp_msgs.msg import ActionProposal, StepFeedback

pytestmark = pytest.mark.timeout(180)


def order(graph: Any, name: str) -> Trigger.Response:
    """Answer of /teleop_node/NAME."""
    return graph.call(Trigger, f"/teleop_node/{name}", Trigger.Request(), 20.0)


@pytest.fixture
def feedback(graph: Any) -> list[StepFeedback]:
    messages: list[StepFeedback] = graph.listen(StepFeedback, topics.FEEDBACK, qos.STEP)
    return messages


@pytest.fixture
def session(
    record: Callable[..., Command], graph: Any, arm: Arm, wait_until: Callable[..., Any], tmp_path: Path
) -> tuple[Command, Gamepad, Path]:
    """`fosp record` on the arm, ready for the first of two episodes; its gamepad, and the folder of its bags."""
    gamepad, out = Gamepad(graph), tmp_path / "bags"
    rules = goal_rules(tmp_path / "rules.yaml")
    command = record("--robot", ROBOT, "--feedback", rules, "--teleop", "gamepad", "--episodes", 2, "--out", out)
    wait_until(lambda: "ready:" in command.log or command.ended, timeout_s=90, what="a passed check")
    assert "ready:" in command.log, command.log
    return command, gamepad, out


@pytest.mark.long
def test_services_start_mark_stop_and_discard_what_is_recorded(
    session: tuple[Command, Gamepad, Path], graph: Any, feedback: list[StepFeedback], wait_until: Callable[..., Any]
) -> None:
    command, _, out = session

    def begin(name: str) -> None:
        count = len(feedback)
        assert order(graph, "start").success
        wait_until(lambda: any(m.is_first for m in feedback[count:]), 20, f"the first frame of {name}")
        wait_until(lambda: len(feedback) > count + 10, 20, f"some frames of {name}")

    begin("an episode to discard")
    assert order(graph, "discard").success
    wait_until(lambda: list((out / ".discarded").glob("*")), 20, "the episode put aside")
    wait_until(lambda: feedback[-1].is_last, 20, "its end")
    assert not list(out.glob("episode_*"))

    for number, name in enumerate(("the first", "the second"), start=1):
        begin(name)
        assert order(graph, "mark").success
        wait_until(lambda n=number: command.log.count("marked") == n, 20, f"the mark in {name}")
        assert order(graph, "stop").success
        wait_until(lambda: feedback[-1].is_last, 20, f"the end of {name}")
        wait_until(lambda n=number: len(list(out.glob("episode_*"))) == n, 30, f"the bag of {name}")
    assert command.process.wait(60) == 0, command.log
    for bag in out.glob("episode_*"):
        told = contents(bag, "/fosp/feedback", "/fosp/mark")
        assert [message.data for message in told["/fosp/mark"]] == ["operator"]
        assert (told["/fosp/feedback"][0].is_first, told["/fosp/feedback"][-1].is_last) == (True, True)
        assert not told["/fosp/feedback"][-1].success


def test_buttons_start_mark_and_stop_an_episode(
    session: tuple[Command, Gamepad, Path], feedback: list[StepFeedback], wait_until: Callable[..., Any]
) -> None:
    command, gamepad, out = session
    gamepad.hold(START)
    wait_until(lambda: any(m.is_first for m in feedback), 20, "a first frame")
    gamepad.hold(MARK)
    wait_until(lambda: "marked" in command.log, 20, "a mark")
    assert not feedback[-1].is_last
    gamepad.hold(STOP)
    wait_until(lambda: feedback[-1].is_last, 20, "the end of the episode")
    wait_until(lambda: list(out.glob("episode_*")), 30, "its bag")
    assert "ends: stopped by the operator" in command.log
    gamepad.hold()
    assert [m.is_last for m in feedback].count(True) == 1, "a button that is held is pressed once"


def spacemouse(start_node: Callable[..., Any], graph: Any) -> Any:
    """teleop_node with the shipped mapping, active."""
    mapping = teleop_path("spacemouse")
    node = start_node("fosp_policy.teleop_node", "-p", f"robot:={ROBOT}", "-p", f"mapping:={mapping}")
    assert graph.transition("teleop_node", Transition.TRANSITION_CONFIGURE), node.log
    assert graph.transition("teleop_node", Transition.TRANSITION_ACTIVATE), node.log
    return node


def test_the_cap_of_a_spacemouse_is_a_proposal_and_its_silence_is_none(
    start_node: Callable[..., Any], graph: Any, wait_until: Callable[..., Any]
) -> None:
    proposals = graph.listen(ActionProposal, topics.PROPOSAL, qos.STEP)
    spacemouse(start_node, graph)
    cap = graph.node.create_publisher(Joy, "spacenav/joy", qos.STEP)
    message = Joy(axes=[1.0, -1.0, 0.02, 0.0, 0.0, 0.0], buttons=[0, 0])

    def say() -> None:
        message.header.stamp = graph.node.get_clock().now().to_msg()
        cap.publish(message)

    timer = graph.node.create_timer(0.02, say)

    def wanted() -> list[float]:
        return list(proposals[-1].candidates[0].action) if proposals else []

    wait_until(lambda: wanted() == [1.0, -1.0, 0.0], 20, "the cap's deflection, and nothing of a touch in its deadzone")
    timer.cancel()
    wait_until(lambda: wanted() == [0.0, 0.0, 0.0], 20, "standstill when the device is silent")


def test_an_order_that_nobody_serves_is_refused_by_name(start_node: Callable[..., Any], graph: Any) -> None:
    node = spacemouse(start_node, graph)
    for name, service in (
        ("start", "fosp/reset_episode"),
        ("stop", "feedback_node/stop"),
        ("discard", "recorder_node/discard"),
    ):
        answer = order(graph, name)
        assert not answer.success
        assert f"{name}: nobody serves {service}" in answer.message
    assert order(graph, "mark").success
    assert graph.transition("teleop_node", Transition.TRANSITION_DEACTIVATE), node.log
    assert order(graph, "mark").message == "the node is not active"
