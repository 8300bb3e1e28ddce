"""ModelFollower on a real node: what it says of a model, and when."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tiny_bundle import write_tiny_bundle

from fosp_core import topics
from fosp_core.bundle.bundle import Bundle
from fosp_core.robot.config import read_robot
from fosp_core.ros import qos
from fosp_core.ros.model_following import ModelFollower
from fosp_core.ros.model_parameters import MODEL_PARAMETERS, load_bundle_of
from fosp_core.ros.parameters import declare
from fosp_msgs.msg import ModelAnnouncement, ModelStatus

ROBOT_FILE = Path(__file__).resolve().parents[1] / "config" / "robots" / "sim_arm.yaml"


@dataclass
class Told:
    """A publisher that keeps what it is given, so that a test sees what was published by when."""

    messages: list[ModelStatus] = field(default_factory=list)

    def publish(self, message: ModelStatus) -> None:
        self.messages.append(message)

    def states(self, model_id: str) -> list[int]:
        return [message.state for message in self.messages if message.model_id == model_id]


def test_a_model_that_is_found_under_a_lock_is_told_of_once_and_afterwards(
    graph: Any, tmp_path: Path, wait_until: Any
) -> None:
    robot, told = read_robot(ROBOT_FILE), Told()
    manifests = [write_tiny_bundle(tmp_path / str(seed), robot, seed=seed) for seed in range(2)]
    old, new = (manifest.id for manifest in manifests)
    declare(graph.node, MODEL_PARAMETERS)
    bundle = load_bundle_of(graph.node, tmp_path / "0", robot)
    follower: ModelFollower[Bundle] = ModelFollower(graph.node, robot, bundle, told, lambda loaded: loaded)  # type: ignore[arg-type]
    announcements = graph.node.create_publisher(ModelAnnouncement, topics.MODEL_ANNOUNCEMENT, qos.LATCHED)
    now = graph.node.get_clock().now().to_msg()
    announcements.publish(ModelAnnouncement(model_id=new, path=str(tmp_path / "1"), parent_id=old, stamp=now))
    wait_until(lambda: told.states(new) == [ModelStatus.STATE_READY], 20.0, "a loaded model")

    found = follower.find(new)
    assert found is not None
    assert found.manifest.id == follower.active_id == new
    assert told.states(new) == [ModelStatus.STATE_READY], "nothing was published while it was looked up"
    follower.tell()
    follower.tell()
    assert told.states(new) == [ModelStatus.STATE_READY, ModelStatus.STATE_ACTIVE]

    assert follower.of(old) is bundle
    assert told.states(old) == [ModelStatus.STATE_ACTIVE], "of() tells at once"
    follower.close()
