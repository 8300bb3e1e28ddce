"""Zones that are fed by depth images: of MuJoCo in both tasks, and of a RealSense of the SDK."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image

from fosp_core.clock import Now, Received
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.robot.extending import read_robot_content
from fosp_core.ros.image_message import fill_depth
from fosp_core.specs import parse_spec
from fosp_safety_monitor.zones.decoding import Readings, SourceDecoder
from fosp_safety_monitor.zones.field import ProtectiveField, ToolState
from fosp_sim.depth_cameras import millimetres
from fosp_sim.env import Env
from fosp_sim.robot_messages import camera_info
from fosp_sim.task.arm_kinematics import TOOL_ORIENTATION
from fosp_sim.task.render import CAMERA_FRAME, lenses, painter_of
from fosp_sim.task.scenario import read_scenario

CONFIG = Path(__file__).resolve().parents[1] / "config"
CELL = {
    "name": "cell",
    "action": "stop",
    "lower": [0.28, -0.45, 0.03],
    "upper": [0.80, 0.45, 0.35],
    "sources": ["cell"],
    "min_points": 8,
}
FRESH, NOW = Received(1000.0, 50.0), Now(1000.0, 50.0)


def robot_of(name: str, **changes: Any) -> RobotConfig:
    """The robot of a file whose keys are changed."""
    return parse_spec(RobotConfig, {**read_robot_content(CONFIG / "robots" / f"{name}.yaml"), **changes}, name)


def in_metres(depth: NDArray[np.uint16]) -> Image:
    """The 32FC1 message of an image in mm."""
    seen = depth.astype(np.float32) * np.float32(1e-3)
    seen[depth == 0] = np.nan
    image = Image(height=seen.shape[0], width=seen.shape[1], step=seen.strides[0], encoding="32FC1")
    image.data.frombytes(seen.tobytes())
    return image


def in_millimetres(depth: NDArray[np.uint16]) -> Image:
    """The 16UC1 message of an image in mm."""
    image = Image()
    fill_depth(image, depth)
    return image


def read(robot: RobotConfig, image: Image, info: CameraInfo) -> Readings:
    """Return the readings of the first source of a robot in an image."""
    decoder = SourceDecoder(robot.sources[0])
    decoder.take_info(info)
    image.header.frame_id = decoder.config.frame_id
    return decoder.read(image)


class Scene:
    """Depth of an episode of a task."""

    def __init__(self, task: str, robot: RobotConfig, obstacles: int | None = None) -> None:
        scenario = read_scenario(CONFIG / "scenarios" / f"{task}.yaml")
        if obstacles is not None:
            scenario = scenario.model_copy(
                update={"obstacles": scenario.obstacles.model_copy(update={"count": obstacles})}
            )
        self.env = Env(scenario, robot, rendering="none")
        self.world = self.env.world
        self.env.reset(0)
        self.painter: Any = painter_of(self.world)
        self.info = camera_info(lenses(self.world)["color"], CAMERA_FRAME)

    def depth(self) -> NDArray[np.uint16]:
        return millimetres(self.painter.depth(None, *self.world.picture, "color"))

    @property
    def tool(self) -> ToolState:
        return ToolState(self.world.state().position, TOOL_ORIENTATION, NOW.ros_s)


@pytest.mark.parametrize("message", [in_millimetres, in_metres])
def test_an_arm_does_not_see_itself_in_its_cell_and_sees_obstacles_where_they_are(message: Any) -> None:
    robot = robot_of("sim_arm.zones", zones=[CELL])
    field = ProtectiveField(robot)
    alone = Scene("safe_reach", robot, obstacles=0)
    rng, filtered = np.random.default_rng(0), 0
    for episode in range(20):
        alone.env.reset(episode)
        for _ in range(6):
            alone.env.step(rng.uniform(-1, 1, 3).astype(np.float32))
        seen = read(robot, message(alone.depth()), alone.info)
        view = field.view("cell", seen, FRESH, alone.tool)
        assert view.fault == ""
        found = field.judge({"cell": view}, (1.0, 0.0, 0.0), (0.0, 0.0, 0.0), alone.tool, NOW)
        assert found.share == 1.0, found.text
        blind = field.view("cell", seen, FRESH, ToolState((0.0, 0.0, 2.0), TOOL_ORIENTATION))
        filtered += blind.clouds["cell"].weights.sum() > CELL["min_points"]
    assert filtered > 10, "without the self-filter the arm would see its own tool"

    crowded = Scene("safe_reach", robot)
    seen = read(robot, message(crowded.depth()), crowded.info)
    view = field.view("cell", seen, FRESH, crowded.tool)
    assert field.judge({"cell": view}, (0.0,) * 3, (0.0,) * 3, crowded.tool, NOW).share == 0.0
    points = view.clouds["cell"].points
    spread, obstacles = view.clouds["cell"].spread, crowded.env.scene.obstacles
    for point in points:
        nearest = min(math.dist(point[:2], (one.x, one.y)) - math.sqrt(2.0) * one.half for one in obstacles)
        assert nearest <= spread + 0.01, "nothing but obstacles is in the cell"
    for one in obstacles:
        assert min(math.dist(point[:2], (one.x, one.y)) for point in points) <= math.sqrt(2.0) * one.half + spread


def test_a_base_sees_the_obstacles_ahead_by_the_depth_of_its_camera() -> None:
    front = {
        "name": "front",
        "topic": "depth",
        "info_topic": "depth_info",
        "type": "Depth",
        "frame_id": CAMERA_FRAME,
        "position": [0.05, 0.0, 0.30],
        "rotation": [-math.pi / 2 - math.atan2(0.2079, 0.9781), 0.0, -math.pi / 2],
        "stride": 1,
    }
    ahead = {"name": "ahead", "action": "stop", "polygon": [[3, 0.4], [0.3, 0.4], [0.3, -0.4], [3, -0.4]]}
    zone = {**ahead, "height": [0.05, 1.0], "sources": ["front"], "unknown": "ignore"}
    robot = robot_of("sim_base", sources=[front], zones=[zone])
    scene, compared = Scene("safe_goal", robot), 0
    for episode in range(6):
        scene.env.reset(episode)
        seen = read(robot, in_millimetres(scene.depth()), scene.info)
        floor = seen.points[np.abs(seen.points[:, 2]) < 0.03]
        assert len(floor) > 1000, "the floor is at the height of the floor"
        state = scene.world.state()
        c, s = math.cos(state.heading), math.sin(state.heading)
        for one in scene.env.scene.obstacles:
            dx, dy = one.x - state.position[0], one.y - state.position[1]
            x, y = c * dx + s * dy, c * dy - s * dx
            beside = np.hypot(seen.points[:, 0] - x, seen.points[:, 1] - y) - math.sqrt(2.0) * one.half
            standing = beside[(seen.points[:, 2] > 0.06) & (seen.points[:, 2] < one.height)]
            if 0.6 < x < 1.5 and abs(y) < 0.3 * x:
                compared += 1
                assert standing.min() < 0.0, "an obstacle in view is seen where it is"
    assert compared >= 2


# -- a RealSense -------------------------------------------------------------------------------------
@pytest.fixture
def sdk() -> Iterator[Any]:
    """The virtual RealSense; the SDK aborts when its objects end in a thread of their own."""
    pytest.importorskip("pyrealsense2", reason="pip install -r requirements/realsense.txt")
    import virtual_realsense

    yield virtual_realsense
    gc.collect()


def test_frames_of_a_realsense_stop_an_arm_when_something_reaches_into_its_cell(sdk: Any, tmp_path: Path) -> None:
    from fosp_perception.camera.image_source import CameraSettings
    from fosp_perception.camera.realsense_source import RealSenseSource

    def distances(number: int) -> NDArray[np.uint16]:
        """A table at 0.9 m, and from frame 30 on a box of 0.1 m at 0.6 m in the middle."""
        seen = np.full((sdk.HEIGHT, sdk.WIDTH), 900, np.uint16)
        seen[::7, ::5] = 0  # a stereo camera always has pixels that it cannot tell
        if number >= 30:
            seen[50:70, 70:90] = 600
        return seen

    recording = sdk.record(tmp_path / "camera.db3", 60, distances=distances)
    above = {
        "name": "cell",
        "topic": "depth",
        "info_topic": "depth_info",
        "type": "Depth",
        "frame_id": CAMERA_FRAME,
        "position": [0.5, 0.0, 0.95],
        "rotation": [math.pi, 0.0, 0.0],
        "stride": 2,
    }
    zone = {**CELL, "lower": [0.3, -0.3, 0.10], "upper": [0.7, 0.3, 0.5], "unknown": "ignore"}
    robot = robot_of("sim_arm", sources=[above], zones=[zone])
    field, tool = ProtectiveField(robot), ToolState((0.5, 0.0, 0.8), TOOL_ORIENTATION, NOW.ros_s)
    table: list[float] = []
    shares: dict[bool, set[float]] = {False: set(), True: set()}
    with sdk.VirtualPlug(recording) as plug:
        settings = CameraSettings(width=sdk.WIDTH, height=sdk.HEIGHT, depth=True)
        source = RealSenseSource(settings, time.time_ns, plug.context)
        try:
            lens = source.intrinsics
            info = CameraInfo(width=sdk.WIDTH, height=sdk.HEIGHT, distortion_model=lens.distortion_model)
            info.k, info.d = list(lens.k), list(lens.d)
            info.header.frame_id = robot.sources[0].frame_id
            number = 0
            while number < 50:
                frame = source.read()
                if frame.depth is None:
                    continue
                seen = read(robot, in_millimetres(frame.depth), info)
                view = field.view("cell", seen, FRESH, tool)
                assert view.fault == ""
                found = field.judge({"cell": view}, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), tool, NOW)
                table.append(float(np.median(seen.points[:, 2])))
                number = frame.number
                shares[bool((frame.depth == 600).any())].add(found.share)  # depth of the colour frame before may come
        finally:
            source.close()
    assert np.median(table) == pytest.approx(0.05, abs=0.003), "0.9 m below a camera at 0.95 m"
    assert shares == {False: {1.0}, True: {0.0}}


def test_the_shipped_robot_file_is_read() -> None:
    robot = read_robot(CONFIG / "robots" / "sim_arm.zones.yaml")
    assert [source.type for source in robot.sources] == ["Depth"]
    assert [zone.action for zone in robot.zones] == ["approach"]
