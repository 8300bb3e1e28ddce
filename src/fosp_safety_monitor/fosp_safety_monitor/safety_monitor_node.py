"""The last node before the robot: judge/monitor.py judges every proposal, command/robot_side.py alone commands."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Any

from lifecycle_msgs.msg import State
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from fosp_core import topics
from fosp_core.bundle.acceptance import require_supported, unsupported_because
from fosp_core.bundle.bundle import Bundle
from fosp_core.bundle.self_testing import LiveSession, SelfTest
from fosp_core.clock import Now
from fosp_core.decisions import Decision, Reason
from fosp_core.errors import UserError
from fosp_core.processes import MONITOR_PRIORITY, end_process, has_realtime_priority
from fosp_core.robot.horizon import short_horizon
from fosp_core.ros import qos
from fosp_core.ros.lifecycle import ManagedNode, run_node
from fosp_core.ros.model_following import ModelFollower
from fosp_core.ros.model_parameters import create_status_publisher, load_model, publish_status
from fosp_core.ros.stamps import seconds
from fosp_msgs.msg import ActionProposal, Heartbeat, Latent, ModelStatus, OperatorAction, SafetyVerdict
from fosp_safety_monitor.command.consent_side import ConsentSide
from fosp_safety_monitor.command.messages import latent_input, operator_message, proposal_input, verdict_message
from fosp_safety_monitor.command.robot_side import WATCH_PERIOD_S, RobotSide
from fosp_safety_monitor.judge.monitor import Beat, CriticModel, HeartbeatWatch, SafetyMonitor, sent_at
from fosp_safety_monitor.judge.thresholds import Thresholds
from fosp_safety_monitor.judge.verdict import Finding, Verdict
from fosp_safety_monitor.node_parameters import (
    consent_settings,
    declare_monitor_parameters,
    monitor_parameters,
    parameter_values,
    shadow_asked_for,
    speed_cap,
    unsupported_accepted,
)
from fosp_safety_monitor.operator.diagnostics import Activity
from fosp_safety_monitor.operator.home_order import serve_home
from fosp_safety_monitor.operator.operator_view import EventKind, EventLog, OperatorEvent, OperatorView
from fosp_safety_monitor.operator.zone_view import MARKER_PERIOD_S
from fosp_safety_monitor.parameters import DESCRIPTIONS, UNSUPPORTED_PHRASE, MonitorParameters

DIAGNOSTICS_PERIOD_S = 1.0
_INACTIVE = Finding(Decision.STOP, Reason.NOT_READY, "inactive")


class SafetyMonitorNode(ManagedNode):
    """Answers fosp/proposal with fosp/verdict and publishes on the robot's command topic at its command rate.

    The parameters are those of parameters.SETTINGS and MonitorParameters. The services (std_srvs/Trigger) ~/reset and
    ~/estop end a latch and make one; ~/engage and ~/disengage give the operator's consent to motion and take it back;
    that of ~/engage_watched lasts as long as the beats on fosp/operator_watch. Events go to fosp/safety_event.
    """

    def __init__(self) -> None:
        super().__init__("safety_monitor_node")
        declare_monitor_parameters(self, self._on_parameters)
        self._status = create_status_publisher(self)
        self._shadow = shadow_asked_for(self)
        self._consent = consent_settings(self)
        self._unsupported = unsupported_accepted(self)
        self._speed_cap = speed_cap(self)
        self._view = OperatorView(self, self._shadow, self._speed_cap)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.create_service(Trigger, "~/estop", self._on_estop_service)
        self.create_service(Trigger, "~/engage", self._on_engage)
        self.create_service(Trigger, "~/engage_watched", lambda q, a: self._on_engage(q, a, watched=True))
        self.create_service(Trigger, "~/disengage", self._on_disengage)
        serve_home(self, lambda: self._monitor if self.is_active else None)
        self._heartbeats = HeartbeatWatch(self.get_fully_qualified_name())
        self.create_subscription(Heartbeat, topics.HEARTBEAT, self._on_heartbeat, qos.STEP)
        self._event_log = EventLog()
        self._changing = threading.Lock()
        """Held from a change until its event is noted, so that events keep the order of the changes."""
        self._verdict: Verdict | None = None
        self._made: list[Any] = []
        self._monitor: SafetyMonitor | None = None
        self._models: ModelFollower[CriticModel] | None = None
        self._self_test: SelfTest | None = None
        self._side: RobotSide | None = None
        self._consents: ConsentSide | None = None
        self._latched: Finding | None = None
        self._latch_told: Reason | None = None
        self._finding = _INACTIVE
        self._stream_failure: Finding | None = None
        self._activity = Activity()

    # -- lifecycle -----------------------------------------------------------------------------------
    def configure(self) -> None:
        self._robot, self._bundle = load_model(self)
        self._model_id = self._view.model_id = self._bundle.manifest.id
        warning = short_horizon(self._bundle.manifest.calibration, self._robot, self._bundle.manifest.decision_period_s)
        if warning:
            self.get_logger().warning(warning)
        self._models = ModelFollower(self, self._robot, self._bundle, self._status, self._critic_of, judges=True)
        self._self_test = SelfTest(self._tested_sessions)
        self._make_monitor()
        cameras = [self._robot.image_topic(camera.topic) for camera in self._bundle.manifest.observation.cameras]
        device = [topics.OPERATOR] if self.get_parameter("take_over").value else []
        inputs = [topics.LATENT, topics.PROPOSAL, topics.FEEDBACK, *cameras, *device]
        self._side = RobotSide(self, self._robot, lambda: self._active_monitor, self._count, inputs)
        self._consents = ConsentSide(self, self._robot, lambda: self._active_monitor, self._side)
        self._verdicts = self.create_publisher(SafetyVerdict, topics.VERDICT, qos.STEP)
        self._made = [
            self.create_gated_subscription(Latent, topics.LATENT, self._on_latent, qos.STEP),
            self.create_gated_subscription(ActionProposal, topics.PROPOSAL, self._on_proposal, qos.STEP),
            *(self.create_gated_subscription(OperatorAction, t, self._on_operator, qos.STEP) for t in device),
        ]
        # Real time, even where the graph runs on simulated time, which may stand still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._view_timers = [
            self.create_timer(DIAGNOSTICS_PERIOD_S, self._report, clock=steady),
            self.create_timer(WATCH_PERIOD_S, self._watch, clock=steady),
            self.create_timer(MARKER_PERIOD_S, self._mark, clock=steady),
        ]
        publish_status(self, self._status, self._model_id, ModelStatus.STATE_READY)

    def activate(self) -> None:
        if not has_realtime_priority():
            self.get_logger().info("no real-time priority; to have it, grant rtprio 20 in /etc/security/limits.d")
        if self._shadow:
            self.get_logger().warning("SHADOW MODE: proposals are judged and not gated")
        if self._consent.engage == "by_itself":
            self.get_logger().warning("engages by itself: the robot moves without an operator's consent (simulation)")
        self._make_monitor()
        if self._consents is not None:
            self._consents.start()
        self._heartbeats.arm()
        self._event_log, self._activity = EventLog(), Activity(reported_at_s=time.monotonic())
        self._view.note(OperatorEvent(EventKind.ACTIVATED, Reason.OK, f"active with model {self._model_id[:12]}"))
        self._robot_side.look_around(anew=True)
        self._robot_side.start(self._tick, self._on_stream_failure, int(self.get_parameter("command_cpu").value))
        publish_status(self, self._status, self._model_id, ModelStatus.STATE_ACTIVE)

    def deactivate(self) -> None:
        """Decelerate to zero, then fall silent."""
        if self._side is not None:
            self._side.stop()
        self._keep_latch()
        self._finding = _INACTIVE
        self._view.note(OperatorEvent(EventKind.DEACTIVATED, Reason.NOT_READY, "inactive: no command is sent"))
        self._view.publish_events()
        publish_status(self, self._status, self._active_monitor.model_id, ModelStatus.STATE_READY)

    def cleanup(self) -> None:
        self._keep_latch()
        for subscription in self._made:
            self.destroy_subscription(subscription)
        if self._made:
            for timer in self._view_timers:
                self.destroy_timer(timer)
            self.destroy_publisher(self._verdicts)
        if self._side is not None:
            self._side.close()
            self._side = None
        if self._consents is not None:
            self._consents.close()
            self._consents = None
        self._made, self._monitor = [], None
        for part in (self._self_test, self._models):
            if part is not None:
                part.close()
        self._self_test = self._models = None

    def _critic_of(self, bundle: Bundle) -> CriticModel:
        """Return the critic of a bundle; UserError when the bundle does not fit the robot and the parameters."""
        Thresholds.of(bundle.manifest, self._robot, monitor_parameters(self))
        require_supported(bundle.manifest, self._unsupported, f"unsupported:={UNSUPPORTED_PHRASE}")
        if why := unsupported_because(bundle.manifest.calibration):
            self.get_logger().warning(f"UNSUPPORTED CALIBRATION of {bundle.manifest.id[:12]} is accepted: {why}")
        return CriticModel.of(bundle)

    def _tested_sessions(self) -> tuple[LiveSession, ...]:
        models = self._models.models() if self._models is not None else ()
        return tuple(model.session for model in models if model.session is not None)

    def _model_of(self, model_id: str) -> CriticModel | None:
        """Return a loaded model. The call may hold the monitor's lock, so `_publish_model` publishes it afterwards."""
        model = self._models.find(model_id) if self._models is not None else None
        if model is not None:
            self._view.model_id = model_id
        return model

    def _publish_model(self) -> None:
        if self._models is not None:
            self._models.tell()

    def _make_monitor(self) -> None:
        """Make a monitor that has judged nothing yet, under the latch of the one before it."""
        self._keep_latch()
        self._monitor = SafetyMonitor(
            CriticModel.of(self._bundle),
            self._robot,
            monitor_parameters(self),
            self._now,
            self._latched,
            self._shadow,
            self._simulated_time,
            self._model_of,
            self._consent,
            self._speed_cap,
            retreats=bool(self.get_parameter("retreat").value),
        )

    def _keep_latch(self) -> None:
        """Remember the latch: only ~/reset ends it, not a round through the lifecycle."""
        if self._monitor is not None:
            self._latched = self._monitor.state.latched

    # -- inputs --------------------------------------------------------------------------------------
    def _count(self, kind: str) -> None:
        self._activity.messages[kind] += 1

    def _on_heartbeat(self, message: Heartbeat) -> None:
        """Watch heartbeats while inactive, too: a node that comes back then also has to wait for a person."""
        now, stamp_s = self._now(), seconds(message.stamp)
        sent_s = stamp_s if self._simulated_time else sent_at(stamp_s, now)
        beat = Beat(message.pid, message.state == State.PRIMARY_STATE_ACTIVE, sent_s, now.monotonic_s)
        limit_s = float(self.get_parameter("heartbeat_gap_s").value)
        finding = self._heartbeats.heard(message.node, beat, limit_s)
        if self._side is not None:
            self._side.heard_from(message)
        if finding is not None:
            self._latch(finding)

    def _latch(self, finding: Finding) -> None:
        self._tell_latch(finding.reason, finding.text)
        if self._monitor is None:
            self._latched = self._latched or finding
        else:
            self._monitor.latch(finding)

    def _on_latent(self, message: Latent) -> None:
        self._count("latent")
        self._robot_side.settle()
        if verdicts := self._active_monitor.receive_latent(latent_input(message, time.monotonic())):
            self._robot_side.send_now()
            self._publish_verdicts(verdicts)
        self._publish_model()

    def _on_proposal(self, message: ActionProposal) -> None:
        self._count("proposal")
        self._robot_side.settle()
        verdict = self._active_monitor.receive_proposal(self._view.shown(proposal_input(message, time.monotonic())))
        if verdict is not None:
            if verdict.reason is not Reason.ORDER:  # such a proposal changes nothing
                self._robot_side.send_now()
            self._publish_verdicts([verdict])
        self._publish_model()

    def _on_operator(self, message: OperatorAction) -> None:
        self._count("operator")
        self._active_monitor.receive_operator(*operator_message(message, time.monotonic()))

    # -- outputs -------------------------------------------------------------------------------------
    def _tick(self) -> None:
        """Send one command: in the thread of the command stream at its rate, and with a verdict in the executor's."""
        with self._changing:
            tick = self._active_monitor.tick()
            self._view.note(self._event_log.see(tick.finding))
        self._robot_side.send(tick.command, tick.gripper)
        self._finding = tick.finding
        if tick.verdict is not None:
            self._publish_verdicts([tick.verdict])

    def _publish_verdicts(self, verdicts: Iterable[Verdict]) -> None:
        for verdict in verdicts:
            self._verdict = verdict
            self._verdicts.publish(verdict_message(verdict))
            self._activity.decisions[verdict.decision.name] += 1
            if verdict.decision is Decision.LATCH:
                self._tell_latch(verdict.reason, verdict.reason_text)
            elif verdict.decision is Decision.STOP:
                self._view.tell_stop(verdict.reason_text)

    def _tell_latch(self, reason: Reason, text: str) -> None:
        """Log a latch once, and again when it has another reason, or was reset meanwhile."""
        if reason is not self._latch_told:
            self._latch_told = reason
            self.get_logger().error(f"LATCH: {text}")

    def _on_stream_failure(self, text: str) -> None:
        """Latch, in the thread of the command stream at its end."""
        finding = Finding(Decision.LATCH, Reason.NOT_READY, text)
        with self._changing:
            self._active_monitor.latch(finding)
            self._view.note(self._event_log.see(finding))
        self._finding = self._stream_failure = finding

    def _watch(self) -> None:
        """Look for strangers in the graph. RuntimeError, which ends the process, when the command stream failed."""
        if self._self_test is not None:
            self._active_monitor.receive_self_test(self._self_test.fault(time.monotonic()))
        if self.is_active:
            self._robot_side.look_around()
        if self._consents is not None:
            self._consents.watch()
        self._view.publish_events()
        if self._stream_failure is not None:
            raise RuntimeError(self._stream_failure.text)

    def _mark(self) -> None:
        self._view.mark(self._robot, self._active_monitor, self._finding, self._verdict)

    def _report(self) -> None:
        monitor, stream = self._active_monitor, self._robot_side.stream
        self._view.report(self._robot, monitor, self.is_active, self._finding, stream, self._activity)

    # -- operator ------------------------------------------------------------------------------------
    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if not self.is_active:
            response.success, response.message = False, "refused: the node is not active, so nothing can be checked"
            return response
        with self._changing:
            was = self._active_monitor.state.latched
            refusal = self._active_monitor.reset()
            self._latch_told = self._latch_told if refusal else None
            text = f"refused, {refusal}" if refusal else ("latch ended" if was else "nothing was latched")
            self._view.note(self._event_log.reset_answered(not refusal, was.reason if was else Reason.OK, text))
        response.success, response.message = not refusal, text
        self.get_logger().info(f"reset: {text}" + (f" ({was.text})" if was else ""))
        return response

    def _on_engage(self, request: Trigger.Request, response: Trigger.Response, watched: bool = False) -> Any:
        if not self.is_active:
            response.success, response.message = False, "refused: the node is not active, so nothing can be checked"
            return response
        with self._changing:
            refusal = self._active_monitor.engage(watched)
            text = f"refused, {refusal}" if refusal else "engaged: the robot moves when a proposal passes in an episode"
            self._view.note(self._event_log.engage_answered(not refusal, text))
        response.success, response.message = not refusal, text
        self.get_logger().info(f"engage: {text}")
        return response

    def _on_disengage(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        text = "disengaged: the robot stops; ~/engage lets it move again"
        if self._consent.engage == "by_itself":
            response.message = "refused: this robot engages by itself (parameter engage); ~/estop stops it"
            return response
        if self._monitor is not None:
            with self._changing:
                self._monitor.disengage()
                self._view.note(OperatorEvent(EventKind.DISENGAGED, Reason.NOT_ENGAGED, text))
        response.success, response.message = True, text
        self.get_logger().info(f"disengage: {text}")
        return response

    def _on_estop_service(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._latch(Finding(Decision.LATCH, Reason.ESTOP, "the emergency stop service was called"))
        response.success, response.message = True, "latched; ~/reset ends it"
        return response

    def _on_parameters(self, changed: list[Parameter]) -> SetParametersResult:
        """Change all parameters or none: a refusal leaves the old values in force."""
        names = {description.name for description in DESCRIPTIONS}
        values = {parameter.name: parameter.value for parameter in changed if parameter.name in names}
        if not values:
            return SetParametersResult(successful=True)
        try:
            parameters = MonitorParameters.of({**parameter_values(self), **values})
            if self._monitor is not None:
                self._monitor.change_parameters(parameters, self.is_active)
        except UserError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    @property
    def _robot_side(self) -> RobotSide:
        assert self._side is not None
        return self._side

    @property
    def _active_monitor(self) -> SafetyMonitor:
        assert self._monitor is not None
        return self._monitor

    @property
    def _simulated_time(self) -> bool:
        return bool(self.get_parameter("use_sim_time").value)

    def _now(self) -> Now:
        return Now(self.get_clock().now().nanoseconds * 1e-9, time.monotonic())


def main() -> None:
    end_process(run_node(SafetyMonitorNode, priority=MONITOR_PRIORITY))


if __name__ == "__main__":
    main()
