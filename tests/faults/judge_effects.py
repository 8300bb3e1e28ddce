"""Effects on the judge: unfit bundles are offered to the moving robot, and networks go wrong in memory."""

from __future__ import annotations

import itertools
import multiprocessing
import signal
from pathlib import Path
from typing import Any

from effects import Begun, Effect
from graph_under_fault import POLICY_ACTION, GraphUnderFault, wait
from relay import wall_s
from tiny_bundle import write_tiny_bundle

from fosp_core import topics
from fosp_core.bundle.bundle import read_manifest, write_bundle
from fosp_core.bundle.probes import PROBES
from fosp_core.ros import qos
from fosp_msgs.msg import ModelAnnouncement, ModelStatus

REFUSAL_TIMEOUT_S = 20.0
_number = itertools.count(1)


def offered(said: str, **options: Any) -> Effect:
    """A tiny bundle with `options` is announced, and has to be refused with words that hold `said`."""

    def begin(graph: GraphUnderFault) -> Begun:
        number = next(_number)
        path = graph.directory / f"offer_{number}"
        _write(path, graph, number, options)
        return _refused(graph, path, read_manifest(path).id, said)

    return begin


def offered_with_probes_cut_off() -> Effect:
    """A good bundle whose probes.npz is only half there, under the right hash."""

    def begin(graph: GraphUnderFault) -> Begun:
        number = next(_number)
        source, path = graph.directory / f"whole_{number}", graph.directory / f"offer_{number}"
        _write(source, graph, number, {})
        files: dict[str, Path | bytes] = {name: source / name for name in read_manifest(source).files}
        content = (source / PROBES).read_bytes()
        model_id = write_bundle(path, read_manifest(source), {**files, PROBES: content[: len(content) // 2]}).id
        return _refused(graph, path, model_id, "not readable")

    return begin


def _write(path: Path, graph: GraphUnderFault, seed: int, options: dict[str, Any]) -> None:
    """Write a tiny bundle in a process of its own: in this one it would hold up the relay of the graph."""
    told = {"policy_action": POLICY_ACTION, "seed": seed, **options}
    spawn = multiprocessing.get_context("spawn")
    writer = spawn.Process(target=write_tiny_bundle, args=(path, graph.robot), kwargs=told)
    writer.start()
    writer.join()
    assert writer.exitcode == 0


def _refused(graph: GraphUnderFault, path: Path, model_id: str, said: str) -> Begun:
    since_s = wall_s()
    told: list[ModelStatus] = []
    node = graph.node
    subscription = node.create_subscription(ModelStatus, topics.MODEL_STATUS, told.append, qos.MODEL_STATUSES)
    publisher = node.create_publisher(ModelAnnouncement, topics.MODEL_ANNOUNCEMENT, qos.LATCHED)
    stamp = node.get_clock().now().to_msg()
    publisher.publish(ModelAnnouncement(model_id=model_id, path=str(path), stamp=stamp))

    def answers() -> list[ModelStatus]:
        states = (ModelStatus.STATE_REFUSED, ModelStatus.STATE_TRIAL, ModelStatus.STATE_ACTIVE)
        return [s for s in told if s.model_id == model_id and s.node == "/encoder_node" and s.state in states]

    try:
        answer = wait(answers, REFUSAL_TIMEOUT_S, "the encoder's answer to the offer")[0]
    finally:
        node.destroy_subscription(subscription)
        node.destroy_publisher(publisher)
    if answer.state != ModelStatus.STATE_REFUSED or said not in answer.detail:
        raise AssertionError(f"the offer was answered with state {answer.state}: {answer.detail or 'no reason'}")
    return Begun(since_s, lambda: None)


def goes_wrong(name: str, signum: signal.Signals = signal.SIGUSR1) -> Effect:
    """The networks of a node go wrong (corruptible.py); in the end the node is killed, to be started anew."""

    def begin(graph: GraphUnderFault) -> Begun:
        before, since_s = graph.supervisor.pid(name), wall_s()
        graph.signal(name, signum)

        def gone() -> bool:
            return not graph.supervisor.alive or graph.supervisor.pid(name) != before

        def end() -> None:
            graph.signal(name, signal.SIGKILL)
            wait(gone, 20.0, f"a new {name}, or none")

        return Begun(since_s, end)

    return begin
