"""The effects of the faults of consent: what people, the controller and the force sensor of a robot do."""

from __future__ import annotations

from effects import Begun, Effect, settle
from graph_under_fault import GraphUnderFault, wait
from people import ForceFault, SwitchFault
from relay import changed, wall_s
from std_srvs.srv import Trigger

from fosp_bringup.stack import MONITOR
from fosp_core import topics
from fosp_msgs.msg import StepFeedback

_PRESSED_S = 0.5


def disengaged() -> Effect:
    """Call ~/disengage."""

    def begin(graph: GraphUnderFault) -> Begun:
        since_s = wall_s()
        answer = graph.call(Trigger, f"{MONITOR}/disengage", Trigger.Request())
        assert answer is not None
        assert answer.success
        return Begun(since_s, lambda: None)

    return begin


def on_the_way_home(spoil: Effect) -> Effect:
    """End the episode, send the robot home, and let this happen once it is on its way."""

    def begin(graph: GraphUnderFault) -> Begun:
        def recent() -> list[tuple[float, float, float]]:
            return [c.value for c in graph.commands[-20:]]

        graph.relay.tamper(topics.FEEDBACK, changed(_ending))
        wait(lambda: not any(map(any, recent())), 5.0, "standstill between two episodes")
        graph.relay.mend()
        answer = graph.call(Trigger, f"{MONITOR}/home", Trigger.Request())
        assert answer is not None
        assert answer.success, answer.message
        wait(lambda: all(map(any, recent())), 5.0, "the way home")
        return spoil(graph)

    return begin


def _ending(message: StepFeedback) -> None:
    message.is_last = True


def switch(how: SwitchFault) -> Effect:
    """Let the enabling switch say something else, or nothing."""

    def begin(graph: GraphUnderFault) -> Begun:
        since_s = wall_s()
        graph.people.switch = how

        def end() -> None:
            graph.people.switch = ""

        return Begun(since_s, end)

    return begin


def force(how: ForceFault) -> Effect:
    """Let the force sensor say something else, or nothing."""

    def begin(graph: GraphUnderFault) -> Begun:
        since_s = wall_s()
        graph.people.force = how

        def end() -> None:
            graph.people.force = ""

        return Begun(since_s, end)

    return begin


def ready(how: str) -> Effect:
    """Let the controller say that it is not ready, fall silent, or go away."""

    def begin(graph: GraphUnderFault) -> Begun:
        since_s, people = wall_s(), graph.people
        if how == "silent":
            people.healthy = False
        elif how == "gone":
            people.end_program()
        else:
            people.say_program(False)

        def end() -> None:
            people.healthy = True
            people.start_program() if how == "gone" else people.say_program(True)

        return Begun(since_s, end)

    return begin


def engaged_while_pressed() -> Effect:
    """Press the emergency stop, and try to engage and to reset while it is pressed."""

    def begin(graph: GraphUnderFault) -> Begun:
        since_s = wall_s()
        graph.estop_pressed = True
        wait(graph.latched, 5.0, "a latch")
        assert not graph.engage(), "engaged under a pressed emergency stop"
        assert not graph.reset_latch(), "reset under a pressed emergency stop"

        def end() -> None:
            graph.estop_pressed = False

        return Begun(since_s, end)

    return begin


def reset_only() -> Effect:
    """Call ~/estop and then ~/reset: the latch is gone, and nobody has engaged."""

    def begin(graph: GraphUnderFault) -> Begun:
        since_s = wall_s()
        graph.call(Trigger, f"{MONITOR}/estop", Trigger.Request())

        def end() -> None:
            wait(graph.reset_latch, 5.0, "a granted reset")
            settle(_PRESSED_S)

        return Begun(since_s, end)

    return begin
