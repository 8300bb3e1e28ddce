"""The operator's console: shows the running graph in a browser, and passes a person's orders on to it.

The robot goes on without this node: it takes part in no decision, sends no heartbeat that anybody waits for, and hears
every stream as best effort, so that a console which hangs holds nobody up. rclpy spins in the main thread, the web
server (server.py) in another. The exception is meant: a page that has engaged the robot is its watch, and when the page
or this process goes, the safety monitor ends the consent to motion.
"""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image

from fosp_console.access import LOOPBACK, Access, access
from fosp_console.frames import FrameEncoder
from fosp_console.graph_link import GraphLink
from fosp_console.graph_state import GraphState
from fosp_console.orders import Order
from fosp_console.readout import RecorderWatch, learner_view, lineage_of, model_view, robot_view
from fosp_console.server import Answer, ConsoleServer
from fosp_core import topics
from fosp_core.errors import UserError
from fosp_core.processes import end_process
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.ros import qos
from fosp_core.ros.command_message import command_message_type
from fosp_core.ros.image_message import rgb_view
from fosp_core.ros.lifecycle import run_node
from fosp_core.ros.parameters import NodeParameter, declare
from fosp_core.ros.stamps import seconds
from fosp_msgs.msg import ActionProposal, Latent, ModelStatus, SafetyEvent, SafetyVerdict, StepFeedback

PORT = 8420
TOKEN_VARIABLE = "FOSP_CONSOLE_TOKEN"
"""Environment variable with the token. A parameter could be read by every node of the graph."""
SLOW_PERIOD_S = 1.0
MOTION_PERIOD_S = 0.1
PARAMETERS = (
    NodeParameter("host", LOOPBACK, f"Address to listen on; any but loopback needs a token in {TOKEN_VARIABLE}."),
    NodeParameter("port", PORT, "TCP port to listen on; 0 takes a free one.", lower=0, upper=65535),
    NodeParameter("robot", "", "Robot file; empty: the one that the safety monitor names, if it is on this computer."),
    NodeParameter("bundle", "", "Folder of the model bundle; empty: the one that the safety monitor names."),
    NodeParameter("most_clients", 32, "Pages that may be connected at a time.", lower=1, upper=1000),
)


class ConsoleNode(Node):  # type: ignore[misc]
    """Hears the graph, and serves the page until `close`."""

    def __init__(self) -> None:
        super().__init__("console_node")
        declare(self, PARAMETERS)
        self._access: Access = access(
            str(self.get_parameter("host").value),
            int(self.get_parameter("port").value),
            os.environ.get(TOKEN_VARIABLE, ""),
        )
        self.state = GraphState()
        self._robot: RobotConfig | None = None
        self._cameras: list[tuple[str, Any]] = []
        """Topic and message type of each camera."""
        self._image_subscriptions: list[Any] = []
        self._pages = 0
        self._command: tuple[float, ...] = ()
        self._motion: dict[str, Any] = {}
        self._recorder_out = self._learner_run = ""
        self._recorder = RecorderWatch()
        self._frames = FrameEncoder(self._read_frame, self._send_frame, self._on_bad_image)
        self._link = GraphLink(self, self.state)
        self._server = ConsoleServer(
            self._access,
            self.state,
            self._obey,
            lambda session: self._link.watch.hear(session, time.monotonic()),
            self._on_page_left,
            self._on_count,
            int(self.get_parameter("most_clients").value),
        )
        self._subscribe()
        given = str(self.get_parameter("robot").value), str(self.get_parameter("bundle").value)
        if given[0]:
            self._take_robot(Path(given[0]), strict=True)
        if given[1]:
            self._take_bundle(Path(given[1]))
        self._server.start()
        self.create_timer(MOTION_PERIOD_S, self._tell_motion)
        self.create_timer(SLOW_PERIOD_S, self._look_around)
        self._greet()

    def close(self) -> None:
        """End the watch, and the server."""
        self._link.end_watch("the console was closed")
        self._server.stop()
        self._frames.close()

    def _greet(self) -> None:
        host = "127.0.0.1" if self._access.host in ("0.0.0.0", "::", "") else self._access.host
        host = f"[{host}]" if ":" in host and not host.startswith("[") else host
        print(f"console: http://{host}:{self._server.port}/#token={self._access.token}", flush=True)
        print(f"console: to look only: http://{host}:{self._server.port}/", flush=True)

    # -- the graph -----------------------------------------------------------------------------------
    def _subscribe(self) -> None:
        hear = self.create_subscription
        hear(Latent, topics.LATENT, self.state.latent, qos.SENSOR)
        hear(ActionProposal, topics.PROPOSAL, self.state.proposal, qos.SENSOR)
        hear(SafetyVerdict, topics.VERDICT, self._on_verdict, qos.SENSOR)
        hear(StepFeedback, topics.FEEDBACK, self.state.feedback, qos.SENSOR)
        hear(SafetyEvent, topics.SAFETY_EVENT, self._on_event, qos.LATCHED_EVENTS)
        hear(ModelStatus, topics.MODEL_STATUS, self._on_model_status, qos.MODEL_STATUSES)
        hear(DiagnosticArray, topics.DIAGNOSTICS, self._on_diagnostics, qos.SENSOR)

    def _on_verdict(self, message: SafetyVerdict) -> None:
        if self.state.verdict(message):
            self._server.flush_soon()

    def _on_event(self, message: SafetyEvent) -> None:
        self.state.event(message)
        if message.kind in (SafetyEvent.LATCHED, SafetyEvent.DISENGAGED, SafetyEvent.DEACTIVATED):
            self._link.consent_ended(seconds(message.stamp))
        self._server.flush_soon()

    def _on_model_status(self, message: ModelStatus) -> None:
        self.state.model_status(message)
        if message.path and message.state in (ModelStatus.STATE_ACTIVE, ModelStatus.STATE_TRIAL):
            self._take_bundle(Path(message.path))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.state.diagnostics(message, time.time())

    def _take_bundle(self, path: Path) -> None:
        catalogue = self._link.bundles
        model_id = catalogue.add(path)
        manifest = catalogue.manifest(model_id)
        if manifest is None:
            return
        catalogue.decides(model_id)
        self.state.tell("model", {**model_view(manifest, path), "lineage": lineage_of(model_id, catalogue)})
        self.state.tell("bundles", {"known": catalogue.view(), "before": catalogue.before})
        camera = manifest.calibration.camera
        self.state.limits(*(None, None) if camera is None else (camera.novelty_limit, camera.inconsistency_limit))
        if self._robot is not None:
            self._find_cameras([self._robot.image_topic(one.topic) for one in manifest.observation.cameras])

    def _take_robot(self, path: Path, strict: bool = False) -> None:
        """Read the robot file; one that the graph names may be on another computer, and is then left out."""
        try:
            robot = read_robot(path)
        except (UserError, OSError):
            if strict:
                raise
            return
        self._robot = robot
        self.state.tell("robot", robot_view(robot))
        if robot.pose_topic:
            self.create_subscription(PoseStamped, robot.pose_topic, self._on_pose, qos.SENSOR)
        kind = command_message_type(robot)
        if kind is not PoseStamped:
            self.create_subscription(kind, robot.command_topic, self._on_command, qos.SENSOR)
        self._find_cameras([robot.image_topic(topics.of_camera(topics.COLOR_IMAGE, one.name)) for one in robot.cameras])

    def _find_cameras(self, names: list[str]) -> None:
        """Show these cameras as well as those that are shown."""
        known = [topic for topic, _ in self._cameras]
        new = [name for name in dict.fromkeys(names) if name not in known]
        if not new:
            return
        self._cameras += [(name, CompressedImage if name.endswith("/compressed") else Image) for name in new]
        self.state.tell("cameras", [topic for topic, _ in self._cameras])
        self._watch_images(False)
        self._watch_images(self._pages > 0)

    def _on_pose(self, message: PoseStamped) -> None:
        at = message.pose.position
        self._motion["pose"] = [round(at.x, 4), round(at.y, 4), round(at.z, 4)]

    def _on_command(self, message: Any) -> None:
        twist = getattr(message, "twist", message)
        robot = self._robot
        if robot is not None:
            parts = (axis.name.split(".") for axis in robot.action.axes)
            self._motion["command"] = [round(getattr(getattr(twist, a), b), 4) for a, b in parts]
            self._motion["at"] = time.time()

    def _tell_motion(self) -> None:
        if self._motion and self._pages:
            self.state.tell("motion", dict(self._motion))

    def _look_around(self) -> None:
        """Look once per second at what is not told by messages: parameters of the graph, folders, and ages."""
        for node, names, use in (
            ("safety_monitor_node", ("robot", "bundle", "engage"), self._on_monitor_parameters),
            ("recorder_node", ("out",), lambda out: setattr(self, "_recorder_out", str(out))),
            ("learner_node", ("run",), lambda run: setattr(self, "_learner_run", str(run))),
        ):
            self._link.ask_parameters(node, names, use)
        self.state.tell("clients", self._pages)
        out = Path(self._recorder_out)
        self.state.tell("recorder", self._recorder.view(out, time.monotonic()) if self._recorder_out else None)
        self.state.tell("learner", learner_view(Path(self._learner_run)) if self._learner_run else None)
        self.state.tell("watch", self._link.watch_view())

    def _on_monitor_parameters(self, robot: str, bundle: str, engage: str) -> None:
        self.state.tell("by_itself", engage == "by_itself")
        if self._robot is None and robot:
            self._take_robot(Path(robot))
        if self.state.part("model") is None and bundle:
            self._take_bundle(Path(bundle))

    # -- images --------------------------------------------------------------------------------------
    def _watch_images(self, wanted: bool) -> None:
        """Hear the cameras while somebody looks: every subscriber costs the camera's node a copy of each image."""
        if wanted and not self._image_subscriptions:
            self._image_subscriptions = [
                self.create_subscription(kind, topic, partial(self._frames.put, index), qos.IMAGE, raw=True)
                for index, (topic, kind) in enumerate(self._cameras)
            ]
        elif not wanted:
            for subscription in self._image_subscriptions:
                self.destroy_subscription(subscription)
            self._image_subscriptions = []

    def _read_frame(self, camera: int, data: bytes) -> tuple[float, NDArray[Any]]:
        message = deserialize_message(data, self._cameras[camera][1])
        return seconds(message.header.stamp), rgb_view(message)

    def _send_frame(self, camera: int, data: bytes) -> None:
        self._server.put_frame(camera, data)

    def _on_bad_image(self, text: str) -> None:
        self.get_logger().warning(text, throttle_duration_sec=5.0)

    # -- the server, in its thread -------------------------------------------------------------------
    def _on_count(self, clients: int) -> None:
        self._pages = clients
        self._link.soon(lambda: self._watch_images(self._pages > 0))

    def _on_page_left(self, session: str) -> None:
        if self._link.watch.left(session):
            self._link.soon(lambda: self._link.release("the page that had engaged has gone"))

    async def _obey(self, order: Order) -> Answer:
        done, said = await self._link.obey(order)
        self.state.note(
            {
                "kind": f"order: {order.name}" if done else f"order refused: {order.name}",
                "reason": "",
                "text": said[:300],
                "at": self.get_clock().now().nanoseconds * 1e-9,
                "source": "console",
            }
        )
        self._server.flush_soon()
        return done, said


def main() -> None:
    end_process(run_node(ConsoleNode))


if __name__ == "__main__":
    main()
