"""The node that takes the place of safety_monitor_node while a person drives; no other node commands the robot then."""

from __future__ import annotations

import math
import time

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from visualization_msgs.msg import MarkerArray

from fosp_core import topics
from fosp_core.clock import Now
from fosp_core.decisions import MOVES_ANYWAY, Reason
from fosp_core.errors import UserError
from fosp_core.processes import MONITOR_PRIORITY, end_process
from fosp_core.robot.config import read_robot
from fosp_core.ros import qos
from fosp_core.ros.diagnostics import hardware_id, status_name
from fosp_core.ros.fields import float_field
from fosp_core.ros.lifecycle import ManagedNode, run_node
from fosp_core.ros.parameters import NodeParameter, declare
from fosp_core.ros.robot_parameter import ROBOT, path_parameter
from fosp_msgs.msg import ActionProposal, Heartbeat, SafetyVerdict
from fosp_safety_monitor.command.consent_side import ConsentSide
from fosp_safety_monitor.command.messages import proposal_input
from fosp_safety_monitor.command.robot_side import WATCH_PERIOD_S, RobotSide
from fosp_safety_monitor.node_parameters import SPEED_CAP_ROW, speed_cap, speed_cap_text
from fosp_safety_monitor.operator.change_log import ChangeLog
from fosp_safety_monitor.operator.home_order import serve_home
from fosp_safety_monitor.operator.operator_guard import GuardTick, OperatorGuard
from fosp_safety_monitor.operator.zone_view import MARKER_PERIOD_S, zone_markers

REPORT_PERIOD_S = 1.0
BY_PROGRAM = "by_program"
IN_EPISODES = "in_episodes"
PARAMETERS = (
    ROBOT,
    SPEED_CAP_ROW,
    NodeParameter(
        BY_PROGRAM,
        False,
        "A program proposes in the place of a person: the robot moves only while its enabling switch is held, if it "
        "has one.",
    ),
    NodeParameter(
        IN_EPISODES,
        False,
        "The robot moves only while an episode runs on fosp/feedback, as when a person shows hazards and each approach "
        "ends where a violation begins. After the end of one the operator has to let go of the controls.",
    ),
)
_NUMBERS = ("q_h", "q_h_out", "v_h", "eps", "surprise", "surprise_limit", "image_age_s", "image_age_limit_s")
"""Fields of a verdict that only a model can give."""


class OperatorGuardNode(ManagedNode):
    """Shapes the operator's fosp/proposal (one candidate, model_id empty) into the robot's command stream.

    Parameter `robot` names the file of the robot's configuration, `speed_cap` is that of the monitor, `by_program`
    asks for the enabling switch, and `in_episodes` for a running episode. The node answers each proposal on
    fosp/verdict: PASS, or STOP with the reason.
    """

    def __init__(self) -> None:
        super().__init__("safety_monitor_node")
        declare(self, PARAMETERS)
        self._speed_cap = speed_cap(self)
        self._by_program = bool(self.get_parameter(BY_PROGRAM).value)
        self._in_episodes = bool(self.get_parameter(IN_EPISODES).value)
        self._diagnostics = self.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, qos.STEP)
        self._markers = self.create_publisher(MarkerArray, topics.SAFETY_MARKERS, qos.STEP)
        self.create_timer(REPORT_PERIOD_S, self._report)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(WATCH_PERIOD_S, self._watch, clock=steady)
        self.create_timer(MARKER_PERIOD_S, self._mark, clock=steady)
        self._side: RobotSide | None = None
        self._consents: ConsentSide | None = None
        self._last = GuardTick((), "inactive", False, Reason.NOT_READY)
        self._hardware_id = ""
        serve_home(self, lambda: self._guard if self.is_active else None)

    # -- lifecycle -----------------------------------------------------------------------------------
    def configure(self) -> None:
        self._robot = robot = read_robot(path_parameter(self, "robot"))
        self._hardware_id = hardware_id(self, robot.name)
        self._side = RobotSide(self, robot, lambda: self._guard, inputs=[topics.PROPOSAL])
        self._consents = ConsentSide(
            self,
            robot,
            lambda: self._guard,
            self._side,
            policy=False,
            switch=self._by_program,
            feedback=self._in_episodes,
        )
        self._verdicts = self.create_publisher(SafetyVerdict, topics.VERDICT, qos.STEP)
        self._heartbeats = self.create_subscription(Heartbeat, topics.HEARTBEAT, self._side.heard_from, qos.STEP)
        self._proposals = self.create_gated_subscription(ActionProposal, topics.PROPOSAL, self._on_proposal, qos.STEP)

    def activate(self) -> None:
        self._told = ChangeLog()
        simulated_time = bool(self.get_parameter("use_sim_time").value)
        self._guard = OperatorGuard(
            self._robot, self._now, self._speed_cap, simulated_time, self._by_program, self._in_episodes
        )
        self._robot_side.look_around(anew=True)
        if self._consents is not None:
            self._consents.start()
        self._robot_side.start(self._tick)

    def deactivate(self) -> None:
        """Decelerate to zero, then fall silent."""
        if self._side is not None:
            self._side.stop()
        self._last = GuardTick((), "inactive", False, Reason.NOT_READY)

    def cleanup(self) -> None:
        if self._side is None:
            return
        self._side.close()
        self._side = None
        if self._consents is not None:
            self._consents.close()
            self._consents = None
        self.destroy_subscription(self._heartbeats)
        self.destroy_subscription(self._proposals)
        self.destroy_publisher(self._verdicts)

    # -- proposals -----------------------------------------------------------------------------------
    def _on_proposal(self, message: ActionProposal) -> None:
        if len(message.candidates) != 1 or message.model_id:
            raise UserError("ignored a proposal that is not the operator's: stop the policy_node that runs beside")
        self._robot_side.settle()
        self._guard.receive_proposal(proposal_input(message, time.monotonic()))
        self._robot_side.send_now()
        last = self._last
        scale, gripper = self._robot.action.scale, self._robot.action.gripper
        held = [] if gripper is None else [0.0 if last.gripper is None else last.gripper.position]
        verdict = SafetyVerdict(
            decision=SafetyVerdict.STOP if last.held else SafetyVerdict.PASS,
            reason=int(last.reason),
            reason_text=last.held or last.note or "the operator drives",
            source=SafetyVerdict.SOURCE_OPERATOR,
            header=message.header,
            step=message.step,
            action_in=message.candidates[0].action,
            action_out=float_field(np.append(np.array(last.command or [0.0] * len(scale)) / scale, held)),
            limited=last.limited,
            decided=self.get_clock().now().to_msg(),
            **dict.fromkeys(_NUMBERS, math.nan),
        )
        self._verdicts.publish(verdict)

    # -- outputs -------------------------------------------------------------------------------------
    def _tick(self) -> None:
        """Send one command: in the thread of the command stream at its rate, and with a proposal in the executor's."""
        tick = self._guard.tick()
        # The text holds numbers, such as an age, that differ from tick to tick.
        if self._told.is_news((bool(tick.held), tick.reason), time.monotonic()):
            self.get_logger().info(f"held: {tick.held}" if tick.held else "the operator drives")
        self._last = tick
        self._robot_side.send(tick.command, tick.gripper)

    def _watch(self) -> None:
        if self.is_active:
            self._robot_side.look_around()
        if self._consents is not None:
            self._consents.watch()

    def _mark(self) -> None:
        """Publish the outlines of the protective zones, which hold while a person drives, too."""
        if self.is_active and self._markers.get_subscription_count():
            stamp, position = self.get_clock().now().to_msg(), self._guard.robot_state.position
            if markers := zone_markers(self._robot, position, stamp):
                self._markers.publish(MarkerArray(markers=markers))

    def _report(self) -> None:
        held, cap = self._last.held, self._speed_cap
        capped = speed_cap_text(cap)
        values = {"limited": str(self._last.limited).lower(), "speed cap": f"{cap:g}"}
        message = DiagnosticArray(
            status=[
                DiagnosticStatus(
                    level=self._level(),
                    name=status_name(self, "operator guard"),
                    hardware_id=self._hardware_id,
                    message=": ".join(filter(None, (capped, held or "the operator drives"))),
                    values=[KeyValue(key=key, value=value) for key, value in values.items()],
                )
            ]
        )
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _level(self) -> bytes:
        """Return ERROR while the robot does not do as it is told, WARN while something else holds it or caps it."""
        if not self.is_active or not self._last.held:
            return DiagnosticStatus.WARN if self._speed_cap < 1.0 else DiagnosticStatus.OK
        return DiagnosticStatus.ERROR if self._last.reason in MOVES_ANYWAY else DiagnosticStatus.WARN

    @property
    def _robot_side(self) -> RobotSide:
        assert self._side is not None
        return self._side

    def _now(self) -> Now:
        return Now(self.get_clock().now().nanoseconds * 1e-9, time.monotonic())


def main() -> None:
    end_process(run_node(OperatorGuardNode, priority=MONITOR_PRIORITY))


if __name__ == "__main__":
    main()
