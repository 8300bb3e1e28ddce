"""Learns on the running robot: records the live topics, trains in a process of its own, announces better bundles.

The robot does not depend on it: the node is not managed, and the graph goes on when it dies. Training never shares an
interpreter with anything that has to keep up with topics; it runs at idle priority, on as many cores as it is given.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
import zlib
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from fosp_core import topics
from fosp_core.bundle.bundle import read_manifest
from fosp_core.bundle.transfer import OutgoingBundle, PieceRequest
from fosp_core.errors import UserError
from fosp_core.processes import end_process, end_with_parent
from fosp_core.robot.config import read_robot
from fosp_core.ros import qos
from fosp_core.ros.lifecycle import run_node
from fosp_core.ros.model_following import LEADER, resolved_node
from fosp_core.ros.parameters import NodeParameter, declare
from fosp_core.ros.robot_parameter import path_parameter
from fosp_core.ros.stamps import time_message
from fosp_core.specs import parse_spec, read_yaml
from fosp_learner.finetuning.announcing import Announcer, ModelState, Offered
from fosp_learner.finetuning.config import FinetuneConfig
from fosp_learner.finetuning.lineage import Lineage
from fosp_msgs.msg import BundleChunk, BundleOffer, BundleRequest, ModelAnnouncement, ModelStatus
from fosp_recording import recorder_node
from fosp_recording.recorder_node import GraphRecorder

POLL_PERIOD_S = 0.5
LAST_MESSAGES_S = 1.0
"""How long the node, going down, reads messages of an episode whose end has not been read yet."""
MOST_RESTARTS = 3
"""How often a trainer that ended by an error is started anew; after that a person is needed."""
_STATES = {
    ModelStatus.STATE_REFUSED: ModelState.REFUSED,
    ModelStatus.STATE_TRIAL: ModelState.TRIAL,
    ModelStatus.STATE_ACTIVE: ModelState.COMMITTED,
    ModelStatus.STATE_ROLLED_BACK: ModelState.ROLLED_BACK,
}


PARAMETERS = (
    *recorder_node.PARAMETERS,
    NodeParameter("bundle", "", "Folder of the bundle to fine-tune."),
    NodeParameter("run", "", "Folder of the run: bags, experience, checkpoint, candidates."),
    NodeParameter("config", "", "File of the settings of the fine-tuning (finetuning.config.FinetuneConfig)."),
    NodeParameter("weights", "", "Checkpoint of a bundle that holds none."),
    NodeParameter("signing_key", "", "File of the private key that candidates are signed with."),
    NodeParameter("cache", "runs/cache", "Folder of the cached episodes."),
    NodeParameter("bags", (), "More folders in which finished bags appear."),
    NodeParameter("offline", (), "Folders of the data that the bundle was trained on."),
    NodeParameter("record", True, "Record the live topics to `out`."),
    NodeParameter(
        "announce",
        "path",
        "Tell of better bundles: `path` where the robot reads this machine's disk, `offer` where it fetches them over "
        "topics.",
        choices=("path", "offer", "none"),
    ),
)


class LearnerNode(Node):
    """Fine-tunes `bundle` into the run folder `run`; killed and started again it goes on from its checkpoint.

    PARAMETERS lists its parameters; `out`, of its GraphRecorder, is `run`/bags by default.

    It sends no heartbeats: at idle priority they would come late on a busy machine, and latch the robot.
    """

    def __init__(self) -> None:
        super().__init__("learner_node")
        declare(self, PARAMETERS)
        self._recorder = GraphRecorder(self)
        self._run_folder = path_parameter(self, "run").absolute()
        self._how = str(self.get_parameter("announce").value)
        recorded = self._recorded_folder()
        self._arguments = self._training_arguments(recorded)
        self._lineage = Lineage(self._run_folder)
        self._announcer = Announcer(self._lineage)
        self._outgoing: OutgoingBundle | None = None
        self._restarts = 0
        self._announcements = self.create_publisher(ModelAnnouncement, topics.MODEL_ANNOUNCEMENT, qos.LATCHED)
        self.create_subscription(ModelStatus, topics.MODEL_STATUS, self._on_status, qos.MODEL_STATUSES)
        if self._how == "offer":
            self._offers = self.create_publisher(BundleOffer, topics.BUNDLE_OFFER, qos.LATCHED)
            self._chunks = self.create_publisher(BundleChunk, topics.BUNDLE_CHUNK, qos.TRANSFER)
            self.create_subscription(BundleRequest, topics.BUNDLE_REQUEST, self._on_request, qos.TRANSFER)
        if recorded is not None:
            period_s = read_manifest(self._arguments["bundle"]).decision_period_s
            self._recorder.open(recorded, period_s)
        self._trainer = self._start_trainer()
        if recorded is not None:
            self._recorder.start()
        # On the steady clock: a simulated one ends with what is played, and training goes on.
        self._timer = self.create_timer(POLL_PERIOD_S, self._poll, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def close(self) -> None:
        """End the trainer, which goes on from its checkpoint next time, and finish the bag that is being written."""
        self._timer.cancel()
        self._trainer.terminate()
        self._recorder.await_end_of_episode(LAST_MESSAGES_S)
        self._recorder.stop()
        self._trainer.join(5.0)

    # -- training ------------------------------------------------------------------------------------
    def _recorded_folder(self) -> Path | None:
        """Return the folder that bags are recorded into; None when nothing is recorded."""
        if not self.get_parameter("record").value:
            return None
        out = str(self.get_parameter("out").value)
        return Path(out).expanduser() if out else self._run_folder / "bags"

    def _training_arguments(self, recorded: Path | None) -> dict[str, Any]:
        """Return all that the trainer's process needs; UserError when anything is wrong with it."""
        config = str(self.get_parameter("config").value)
        described = read_yaml(Path(config)) or {} if config else {}
        parse_spec(FinetuneConfig, described, config or "settings")
        read_robot(path_parameter(self, "robot"))
        bundle = path_parameter(self, "bundle")
        if not bundle.is_dir():
            raise UserError(f"{bundle}: no such bundle folder")
        bags = [Path(entry) for entry in self.get_parameter("bags").value if entry]
        if recorded is not None:
            bags.append(recorded)
        if not bags:
            raise UserError("parameter 'bags' of learner_node is empty and 'record' is false: nothing to learn from")
        optional = {
            name: Path(str(self.get_parameter(name).value)) if self.get_parameter(name).value else None
            for name in ("weights", "signing_key")
        }
        return {
            "bundle": bundle,
            "robot": path_parameter(self, "robot"),
            "bags": tuple(bags),
            "offline": tuple(Path(entry) for entry in self.get_parameter("offline").value if entry),
            "cache": Path(str(self.get_parameter("cache").value)),
            "settings": described,
            "run": self._run_folder,
            **optional,
        }

    def _start_trainer(self) -> BaseProcess:
        # Not a daemon, which could have no children: bags are read in processes of their own. It ends with its parent.
        process = multiprocessing.get_context("spawn").Process(target=train, kwargs=self._arguments, name="trainer")
        process.start()
        return process

    def _poll(self) -> None:
        """Start a trainer that failed anew, and announce what is new."""
        if not self._trainer.is_alive() and self._trainer.exitcode != 0 and self._restarts <= MOST_RESTARTS:
            self._restarts += 1
            if self._restarts > MOST_RESTARTS:
                self.get_logger().error("the trainer failed again and again: no more learning; the robot goes on")
                reason = (
                    f"the trainer failed {self._restarts} times, the last time with exit code {self._trainer.exitcode}"
                )
                self._lineage.append("gave_up", "", reason=reason)
            else:
                self.get_logger().error(f"the trainer ended with {self._trainer.exitcode}: it is started anew")
                self._trainer = self._start_trainer()
        offered = self._announcer.next_offer(time.monotonic())
        if offered is not None:
            self._announce(offered)

    # -- announcing ----------------------------------------------------------------------------------
    def _announce(self, offered: Offered) -> None:
        stamp = self.get_clock().now().to_msg()
        name = offered.model_id[:12]
        if self._how == "path":
            self._announcements.publish(
                ModelAnnouncement(
                    model_id=offered.model_id, parent_id=offered.parent_id, path=str(offered.path), stamp=stamp
                )
            )
            self.get_logger().info(f"announced {name}")
        elif self._how == "offer":
            self._outgoing = OutgoingBundle(offered.path, self.get_clock().now().nanoseconds)
            offer = self._outgoing.offer
            self._offers.publish(
                BundleOffer(
                    model_id=offer.model_id,
                    parent_id=offer.parent_id,
                    manifest=offer.manifest,
                    files=list(offer.sizes),
                    sizes=list(offer.sizes.values()),
                    stamp=time_message(offer.stamp_ns),
                )
            )
            self.get_logger().info(f"offered {name}: {sum(offer.sizes.values()) / 1e6:.1f} MB")

    def _on_request(self, message: BundleRequest) -> None:
        if self._outgoing is None or message.model_id != self._outgoing.offer.model_id:
            return
        data = self._outgoing.chunk(PieceRequest(message.file, message.offset, message.length))
        if data is not None:
            self._chunks.publish(
                BundleChunk(
                    model_id=message.model_id,
                    file=message.file,
                    offset=message.offset,
                    data=data,
                    crc32=zlib.crc32(data),
                )
            )

    def _on_status(self, message: ModelStatus) -> None:
        if message.node == resolved_node(self, LEADER) and message.state in _STATES:
            self._announcer.state_changed(message.model_id, _STATES[message.state], message.detail, time.monotonic())


def train(
    *,
    bundle: Path,
    robot: Path,
    bags: tuple[Path, ...],
    offline: tuple[Path, ...],
    cache: Path,
    settings: dict[str, Any],
    run: Path,
    weights: Path | None,
    signing_key: Path | None,
) -> None:
    """Fine-tune in the trainer's process until its step budget is spent, and follow the bags until its parent ends.

    An interrupt reaches all processes of the node; this one ignores it, and waits for its parent to end it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    from fosp_learner.finetuning.online_learner import OnlineLearner, Sources
    from fosp_learner.process import limit_resources

    parsed = parse_spec(FinetuneConfig, settings, "settings")
    limit_resources(parsed)
    sources = Sources(bundle, read_robot(robot), bags, offline, weights, cache, signing_key)
    try:
        OnlineLearner(sources, parsed, run, follow=True, resume=True, command="learner_node").run()
    except UserError as error:
        print(f"fosp: {error}", file=sys.stderr, flush=True)
        sys.exit(2)


def main() -> None:
    end_process(run_node(LearnerNode))


if __name__ == "__main__":
    main()
