"""encoder_node of a model that sees two cameras, over real DDS: no latent is made of one alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from lifecycle_msgs.msg import Transition
from sensor_msgs.msg import Image
from tiny_bundle import write_tiny_bundle

from fosp_core import topics
from fosp_core.robot.config import read_robot
from fosp_core.ros import qos
from fosp_core.ros.image_message import fill_image
from fosp_core.ros.stamps import nanoseconds, time_message
from fosp_core.specs import CameraSpec, ObservationSpec
from fosp_msgs.msg import Latent

ROBOT = Path(__file__).parents[1] / "config" / "robots" / "sim_arm.yaml"
WRIST_IMAGE = "wrist/color/image_raw"
MISSING = f"no frame of camera 'wrist' ({WRIST_IMAGE}) belongs to this moment"
FRAME_S = 0.025

pytestmark = pytest.mark.timeout(120)


class Cameras:
    """Two cameras at 40 Hz that are triggered together: brightness 0.2 in front, 0.6 at the wrist."""

    def __init__(self, graph: Any) -> None:
        self._clock = graph.node.get_clock()
        self.wrist_works = True
        self.wrist_behind_ns = 0
        self._frames = []
        for topic, grey in ((WRIST_IMAGE, 153), (topics.COLOR_IMAGE, 51)):
            image = Image()
            fill_image(image, np.full((96, 128, 3), grey, np.uint8))
            self._frames.append((graph.node.create_publisher(Image, topic, qos.IMAGE_SOURCE), image))
        graph.node.create_timer(FRAME_S, self._publish)

    def now_ns(self) -> int:
        return int(self._clock.now().nanoseconds)

    def _publish(self) -> None:
        now_ns = self.now_ns()
        (wrist, wrist_image), (front, front_image) = self._frames
        wrist_image.header.stamp = time_message(now_ns - self.wrist_behind_ns)
        front_image.header.stamp = time_message(now_ns)
        if self.wrist_works:
            wrist.publish(wrist_image)
        front.publish(front_image)


@pytest.fixture
def cameras(graph: Any) -> Cameras:
    return Cameras(graph)


@pytest.fixture
def encoder(start_node: Callable[..., Any], graph: Any, tmp_path: Path) -> Callable[[], Any]:
    """`encoder()`: encoder_node with a bundle of two cameras, active."""
    seen = ObservationSpec(cameras=(CameraSpec(), CameraSpec(name="wrist", topic=WRIST_IMAGE)))
    bundle, robot = tmp_path / "bundle", tmp_path / "robot.yaml"
    cameras = [{"serial": "1"}, {"name": "wrist", "serial": "2"}]
    robot.write_text(yaml.safe_dump({**yaml.safe_load(ROBOT.read_text()), "cameras": cameras}))
    write_tiny_bundle(bundle, read_robot(robot), observation=seen)

    def start() -> Any:
        node = start_node("fosp_perception.encoder_node", "-p", f"bundle:={bundle}", "-p", f"robot:={robot}")
        assert graph.transition("encoder_node", Transition.TRANSITION_CONFIGURE), node.log
        assert graph.transition("encoder_node", Transition.TRANSITION_ACTIVATE), node.log
        return node

    return start


def test_a_latent_is_made_of_the_images_of_both_cameras(
    encoder: Callable[[], Any], graph: Any, cameras: Cameras, wait_until: Callable[..., Any]
) -> None:
    latents = graph.listen(Latent, topics.LATENT, qos.STEP)
    encoder()
    wait_until(lambda: latents, 20, "a latent")
    first = latents[0]
    assert first.is_first
    assert first.deter[0] == pytest.approx(0.4, abs=1e-3), "the brightness of both: (0.2 + 0.6) / 2"


@pytest.mark.parametrize("fault", ["gone", "late"])
def test_without_images_of_the_second_camera_there_is_no_latent_and_a_line_that_names_it(
    fault: str, encoder: Callable[[], Any], graph: Any, cameras: Cameras, wait_until: Callable[..., Any]
) -> None:
    latents = graph.listen(Latent, topics.LATENT, qos.STEP)
    node = encoder()
    wait_until(lambda: len(latents) > 5, 20, "latents of both cameras")
    before = node.log.count(MISSING)
    if fault == "gone":
        cameras.wrist_works = False
    else:
        cameras.wrist_behind_ns = 300_000_000
    broken_ns = cameras.now_ns()
    wait_until(lambda: node.log.count(MISSING) > before, 20, "a line that names the wrist camera")
    wait_until(lambda: cameras.now_ns() > broken_ns + 700_000_000, 20, "many more frames of the other camera")
    newest_ns = max(nanoseconds(latent.header.stamp) for latent in latents)
    assert newest_ns < broken_ns + 100_000_000, "half a decision period, and what was under way"
    elapsed_s = (cameras.now_ns() - broken_ns) * 1e-9
    assert node.log.count(MISSING) - before <= 2 + elapsed_s, "once a second, not for each frame"
    assert node.log.count("[ERROR]") == node.log.count(MISSING), "and no other"
    count = len(latents)
    cameras.wrist_works, cameras.wrist_behind_ns = True, 0
    wait_until(lambda: len(latents) > count + 2, 20, "latents, as soon as the camera is back")
    assert node.running


def test_a_second_camera_that_never_came_up_gives_no_latent_at_all(
    encoder: Callable[[], Any], graph: Any, cameras: Cameras, wait_until: Callable[..., Any]
) -> None:
    cameras.wrist_works = False
    latents = graph.listen(Latent, topics.LATENT, qos.STEP)
    node = encoder()
    wait_until(lambda: MISSING in node.log, 20, "a line that names the wrist camera")
    assert not latents
