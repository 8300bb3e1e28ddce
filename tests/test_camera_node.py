"""camera_node with a RealSense of the SDK that can be unplugged: topics, diagnostics, an arm that stops meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseStamped, TwistStamped
from lifecycle_msgs.msg import Transition
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState

pytest.importorskip("pyrealsense2", reason="pip install -r requirements/realsense.txt")

from tiny_bundle import write_tiny_bundle
from virtual_realsense import DISTANCE_MM, FOCAL, HEIGHT, RATE_HZ, SERIAL, WIDTH, record

from fosp_core import topics
from fosp_core.robot.config import read_robot
from fosp_core.ros import qos
from fosp_core.ros.image_message import image_view, rgb_view
from fosp_core.ros.stamps import seconds
from fosp_msgs.msg import Latent

ROBOT = Path(__file__).parents[1] / "config" / "robots" / "sim_arm.yaml"
PERIOD_S = 2 / RATE_HZ
STOP_LIMIT_S = 0.3
"""From the unplugging to the zero command: a frame's way, 0.1 s without a proposal, and the deceleration."""
RESUME_LIMIT_S = 3.0


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("realsense") / "camera.db3", 40 * RATE_HZ)


class Plug:
    """The cable of the virtual camera."""

    def __init__(self, file: Path) -> None:
        self.file = file
        file.touch()

    def pull(self) -> float:
        """Monotonic s of it."""
        self.file.unlink()
        return time.monotonic()

    def plug_in(self) -> float:
        self.file.touch()
        return time.monotonic()


@pytest.fixture
def plug(tmp_path: Path) -> Plug:
    return Plug(tmp_path / "plugged")


@pytest.fixture
def active(start_node: Callable[..., Any], graph: Any) -> Callable[..., Any]:
    """`active(module, name, parameter=value, ...)`: a managed node, configured and activated."""

    def start(module: str, name: str, **parameters: object) -> Any:
        arguments = [part for key, value in parameters.items() for part in ("-p", f"{key}:={value}")]
        node = start_node(module, *arguments)
        assert graph.transition(name, Transition.TRANSITION_CONFIGURE), node.log
        assert graph.transition(name, Transition.TRANSITION_ACTIVATE), node.log
        return node

    return start


@pytest.fixture
def start_camera(active: Callable[..., Any], recording: Path, plug: Plug) -> Callable[..., Any]:
    def start(**parameters: object) -> Any:
        return active(
            "virtual_realsense",
            "camera_node",
            recording=recording,
            plug=plug.file,
            source="realsense",
            width=WIDTH,
            height=HEIGHT,
            rate_hz=float(RATE_HZ),
            **parameters,
        )

    return start


def camera_statuses(messages: list[DiagnosticArray]) -> list[DiagnosticStatus]:
    return [status for message in messages for status in message.status if status.name == "camera_node: camera"]


def test_a_realsense_publishes_what_its_ros_driver_publishes_and_tells_how_it_does(
    start_camera: Callable[..., Any], graph: Any, wait_until: Callable[..., Any]
) -> None:
    images = graph.listen(Image, "wrist/color/image_raw", qos.IMAGE)
    infos = graph.listen(CameraInfo, "wrist/color/camera_info", qos.IMAGE)
    depths = graph.listen(Image, "wrist/aligned_depth_to_color/image_raw", qos.IMAGE)
    depth_infos = graph.listen(CameraInfo, "wrist/aligned_depth_to_color/camera_info", qos.IMAGE)
    diagnostics = graph.listen(DiagnosticArray, topics.DIAGNOSTICS, qos.STEP)
    node = start_camera(camera_name="wrist", depth="true", serial=f'"{SERIAL}"')
    wait_until(lambda: len(images) > 20 and len(depths) > 20 and infos and depth_infos, what="frames")
    wait_until(lambda: any("30" in s.message for s in camera_statuses(diagnostics)), what="a rate on /diagnostics")
    assert (rgb_view(images[-1])[0, 0] > rgb_view(images[-1])[0, -1]).tolist() == [True, False, False]
    assert np.median(image_view(depths[-1])) == DISTANCE_MM
    assert depths[-1].encoding == "16UC1"
    for message in (images[-1], infos[-1], depths[-1], depth_infos[-1]):
        assert message.header.frame_id == "wrist_color_optical_frame"
    assert (infos[-1].height, infos[-1].width, infos[-1].k[0]) == (HEIGHT, WIDTH, FOCAL)
    stamps = [seconds(image.header.stamp) for image in images[-20:]]
    assert np.median(np.diff(stamps)) == pytest.approx(1 / RATE_HZ, rel=0.1)
    assert -0.01 < graph.node.get_clock().now().nanoseconds * 1e-9 - stamps[-1] < 1.0
    status = camera_statuses(diagnostics)[-1]
    told = {value.key: value.value for value in status.values}
    assert status.hardware_id == SERIAL
    assert told["temperature_c"] == "41"
    assert {"rate_hz", "dropped", "latency_ms", "reconnects", "usb"} <= set(told)
    assert node.stop() == 0


class Arm:
    """Stands for the arm: joint states and tool pose at 100 Hz; remembers which commands moved it, and when.

    It moves along y as it is told, and jumps back before it leaves its workspace, as a simulated robot may.
    """

    def __init__(self, graph: Any) -> None:
        self.moving: list[tuple[float, bool]] = []
        """(monotonic s of the receipt, whether it is a command to move)."""
        self._clock, self._noise_m = graph.node.get_clock(), 1e-9
        self._y, self._speed, self._moved_s = 0.0, 0.0, time.monotonic()
        self._state = graph.node.create_publisher(JointState, "joint_states", qos.STEP)
        self._pose = graph.node.create_publisher(PoseStamped, "tool_pose", qos.STEP)
        graph.node.create_timer(0.01, self._publish)
        graph.node.create_subscription(TwistStamped, "arm/twist_command", self._command, qos.COMMAND_HISTORY)

    def _publish(self) -> None:
        state, pose = JointState(name=["joint1"], position=[0.0]), PoseStamped()
        state.header.stamp = pose.header.stamp = self._clock.now().to_msg()
        pose.header.frame_id = "base_link"
        self._noise_m = -self._noise_m  # no two measured poses are the same to the last bit
        now_s = time.monotonic()
        self._y, self._moved_s = self._y + (now_s - self._moved_s) * self._speed, now_s
        if self._y > 0.2:
            self._y = -0.2
        pose.pose.position.x, pose.pose.position.y, pose.pose.position.z = 0.5 + self._noise_m, self._y, 0.2
        self._state.publish(state)
        self._pose.publish(pose)

    def _command(self, message: TwistStamped) -> None:
        self._speed = message.twist.linear.y
        self.moving.append((time.monotonic(), self._speed != 0.0))

    def since(self, begin_s: float, moves: bool) -> float | None:
        """Return the time, from `begin_s` on, of the first command that moves it or does not; None so far."""
        return next((when for when, moving in list(self.moving) if when >= begin_s and moving is moves), None)


def test_unplugging_stops_the_arm_and_the_stream_is_back_soon_after_plugging_in_again(
    start_camera: Callable[..., Any],
    active: Callable[..., Any],
    graph: Any,
    plug: Plug,
    wait_until: Callable[..., Any],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    robot = tmp_path / "arm.yaml"
    robot.write_text(yaml.safe_dump({**yaml.safe_load(ROBOT.read_text()), "camera_frame_rate_hz": RATE_HZ}))
    write_tiny_bundle(tmp_path / "bundle", read_robot(robot), policy_action=[0, 0.4, 0], decision_period_s=PERIOD_S)
    diagnostics = graph.listen(DiagnosticArray, topics.DIAGNOSTICS, qos.STEP)
    arrivals: list[float] = []
    graph.node.create_subscription(
        Image, topics.COLOR_IMAGE, lambda image: arrivals.append(time.monotonic()), qos.IMAGE
    )
    arm = Arm(graph)
    camera = start_camera()
    model = {"bundle": tmp_path / "bundle", "robot": robot}
    for package, name in (
        ("fosp_perception", "encoder_node"),
        ("fosp_policy", "policy_node"),
        ("fosp_safety_monitor", "safety_monitor_node"),
    ):
        consent = {"engage": "by_itself", "episodes": "not_used"} if name == "safety_monitor_node" else {}
        active(f"{package}.{name}", name, **model, **consent)
    begin = time.monotonic()
    wait_until(lambda: arm.since(begin, moves=True), what="commands to move")

    pulled = plug.pull()
    stopped = wait_until(lambda: arm.since(pulled, moves=False), what="a stop")
    wait_until(lambda: "was unplugged" in camera.log, what="a line of the camera")
    lost = wait_until(
        lambda: [s for s in camera_statuses(diagnostics) if s.level == DiagnosticStatus.ERROR], what="an error"
    )
    assert SERIAL in lost[0].message
    assert arm.since(stopped + 0.05, moves=True) is None, "it stands still as long as the camera is away"
    assert stopped - pulled < STOP_LIMIT_S

    plugged = plug.plug_in()
    wait_until(lambda: arrivals[-1] > plugged, what="frames again")
    frame = next(arrival for arrival in arrivals if arrival > plugged)
    moved = wait_until(lambda: arm.since(plugged, moves=True), what="motion again")
    assert frame - plugged < RESUME_LIMIT_S
    for name, value in (("stop_s", stopped - pulled), ("frame_s", frame - plugged), ("moves_s", moved - plugged)):
        record_property(name, value)
        print(f"{name} {value:.3f}")
    wait_until(
        lambda: {v.key: v.value for v in camera_statuses(diagnostics)[-1].values}["reconnects"] == "1",
        what="the reconnection on /diagnostics",
    )
    assert camera.stop() == 0


def test_the_encoder_takes_the_compressed_images_of_any_driver(
    active: Callable[..., Any], graph: Any, wait_until: Callable[..., Any], tmp_path: Path
) -> None:
    robot, driver = tmp_path / "arm.yaml", "/driver/left/image/compressed"
    content = {**yaml.safe_load(ROBOT.read_text()), "camera_topics": {topics.COLOR_IMAGE: driver}}
    robot.write_text(yaml.safe_dump(content))
    write_tiny_bundle(tmp_path / "bundle", read_robot(robot))
    latents = graph.listen(Latent, topics.LATENT, qos.STEP)
    publisher = graph.node.create_publisher(CompressedImage, driver, qos.IMAGE_SOURCE)
    jpeg = cv2.imencode(".jpg", np.full((96, 128, 3), 51, np.uint8))[1].tobytes()
    message = CompressedImage(format="rgb8; jpeg compressed bgr8", data=jpeg)

    def publish() -> None:
        message.header.stamp = graph.node.get_clock().now().to_msg()
        publisher.publish(message)

    graph.node.create_timer(0.025, publish)
    node = active("fosp_perception.encoder_node", "encoder_node", bundle=tmp_path / "bundle", robot=robot)
    wait_until(lambda: latents, what="latents")
    assert latents[0].deter[0] == pytest.approx(0.2, abs=0.005), "brightness of the picture"
    message.data = jpeg[: len(jpeg) // 2]
    wait_until(lambda: "cannot be decoded" in node.log, what="a line about the damaged picture")
    assert node.running
