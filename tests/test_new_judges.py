"""A new judge must earn it: bundles whose critic, thresholds or probes are no good are offered to the running graph."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import test_hot_swap
from conftest import wait_for
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from monitored_chain import MOVES_UNASKED
from std_srvs.srv import Trigger
from test_hot_swap import RATE_HZ, RESET, Running
from tiny_bundle import write_tiny_bundle

from fosp_core import topics
from fosp_core.bundle.bundle import read_manifest, write_bundle
from fosp_core.bundle.probes import PROBES
from fosp_core.decisions import Reason
from fosp_core.robot.config import read_robot
from fosp_core.ros import qos
from fosp_msgs.msg import ModelStatus, SafetyVerdict
from fosp_safety_monitor.parameters import UNSUPPORTED_PHRASE

running = test_hot_swap.running

UNFIT: dict[str, tuple[dict[str, Any], str]] = {
    "the critic says 0": ({"judge": (0.0, 0.0)}, "lets pass 10 of 10 actions before a violation"),
    "the critic is inverted": ({"judge": (-1.0, 1.0)}, "vetoes 10 of 10 safe actions"),
    "the critic says 0.5": ({"judge": (0.0, 0.5)}, "rank correlation 0.00"),
    "the critic vetoes everything": ({"judge": (0.0, 0.9)}, "vetoes 10 of 10 safe actions"),
    "eps is 0.999": ({"calibration": {"eps": 0.999}}, "above the robot's eps_ceiling of 0.5"),
    "eps is next to 0": ({"calibration": {"eps": 1e-6}}, "vetoes 10 of 10 safe actions"),
    "supported is false": ({"calibration": {"supported": False}}, "accept it in words"),
    "supported is a lie": ({"calibration": {"violating_episodes": 3}}, "3 violating episodes cannot support"),
    "no episode calibrated it": ({"calibration": {"episodes": 0, "violating_episodes": 0}}, "on no episode"),
}


def with_file(run: Running, seed: int, name: str, content: bytes) -> tuple[Path, str]:
    """A good bundle but for one file, whose hash is right."""
    source, _ = run.bundle(seed)
    manifest = read_manifest(source)
    files: dict[str, Path | bytes] = {file: source / file for file in manifest.files}
    target = run.folder / f"with_{seed}"
    return target, write_bundle(target, manifest, {**files, name: content}).id


def with_manifest(run: Running, seed: int, change: Callable[[dict[str, Any]], None]) -> tuple[Path, str]:
    """A good bundle but for its manifest."""
    path, model_id = run.bundle(seed)
    content = json.loads((path / "manifest.json").read_text())
    change(content)
    (path / "manifest.json").write_text(json.dumps(content))
    return path, model_id


@pytest.mark.timeout(240)
def test_whatever_is_wrong_with_a_new_judge_it_is_refused_and_the_robot_goes_on_under_the_old_one(
    running: Running,
) -> None:
    run = running
    offers: list[tuple[str, tuple[Path, str], str]] = []
    for seed, (name, (options, said)) in enumerate(UNFIT.items(), 100):
        path = run.folder / f"unfit_{seed}"
        fit = {"policy_action": (0.2, 0.3, 0.0), "decision_period_s": 1.0 / RATE_HZ, "seed": seed}
        offers.append((name, (path, write_tiny_bundle(path, run.robot, **fit, **options).id), said))
    whole = (run.folder / "base" / PROBES).read_bytes()
    offers.append(("its probes are cut off", with_file(run, 200, PROBES, whole[: len(whole) // 2]), "not readable"))
    offers.append(("its probes are something else", with_file(run, 201, PROBES, b"PK"), "not readable"))
    nan_eps = with_manifest(run, 202, lambda content: content["calibration"].update(eps=float("nan")))
    offers.append(("eps is not a number", nan_eps, "calibration.eps"))
    offers.append(
        ("another task", with_manifest(run, 203, lambda content: content.update(task="safe_goal")), "damaged")
    )
    begin = len(run.verdicts)
    for name, (path, model_id), said in offers:
        run.announce(path, model_id)
        detail = run.wait_told(ModelStatus.STATE_REFUSED, model_id, 30.0).detail
        assert said in detail, name
        assert "\n" not in detail
        assert not run.told(ModelStatus.STATE_TRIAL, model_id), name
    assert {v.model_id for v in run.verdicts[begin:]} == {run.base_id}
    assert [v.reason_text for v in run.verdicts[begin:] if v.decision >= SafetyVerdict.STOP] == []

    # The monitor decides by itself, whatever the encoder says: it holds no model that it refused.
    refused_by = {s.node for s in run.statuses if s.state == ModelStatus.STATE_REFUSED}
    assert {"/safety_monitor_node", "/encoder_node"} <= refused_by
    zero_id = offers[0][1][1]
    assert run.told(ModelStatus.STATE_REFUSED, zero_id, "/safety_monitor_node")
    assert not run.told(ModelStatus.STATE_READY, zero_id, "/safety_monitor_node")

    good, good_id = run.bundle(300)
    run.announce(good, good_id)
    run.wait_told(ModelStatus.STATE_ACTIVE, good_id, 30.0)
    run.wait_verdicts_of(good_id)
    # A second one is held against the bundle of the start as well: nobody gets far by small steps.
    zero, zero_id = offers[0][1]
    run.announce(zero, zero_id)
    run.wait_told(ModelStatus.STATE_REFUSED, zero_id, 30.0)
    run.wait_verdicts_of(good_id)


ACCEPTED = ["-p", f"unsupported:={UNSUPPORTED_PHRASE}"]
NO_EPISODES = {"episodes": 0, "violating_episodes": 0, "supported": False}


@pytest.mark.parametrize(
    ("change", "said", "arguments"),
    [
        ({"supported": False}, "accept it in words: unsupported:=", []),
        ({"supported": False}, "", ACCEPTED),
        ({"eps": 0.6}, "eps_ceiling", ACCEPTED),
        (NO_EPISODES, "on no episode", ACCEPTED),
    ],
)
def test_the_monitor_starts_with_no_judge_that_is_no_good_and_in_words_alone_with_an_unsupported_one(
    change: dict[str, Any], said: str, arguments: list[str], start_node: Any, graph: Any, tmp_path: Path
) -> None:
    robot_file = test_hot_swap.ROBOT_FILE
    write_tiny_bundle(tmp_path / "bundle", read_robot(robot_file), calibration=change)
    paths = ["-p", f"bundle:={tmp_path / 'bundle'}", "-p", f"robot:={robot_file}"]
    node = start_node("fosp_safety_monitor.safety_monitor_node", *paths, *arguments)
    configured = graph.transition("/safety_monitor_node", Transition.TRANSITION_CONFIGURE, 60.0)
    wait_for(lambda: (said or "UNSUPPORTED CALIBRATION") in node.log, 5.0, "the reason")
    assert configured == (not said)


LONG = pytest.mark.long


@pytest.mark.parametrize(
    "node", [pytest.param("encoder_node", marks=LONG), pytest.param("policy_node", marks=LONG), "safety_monitor_node"]
)
def test_a_network_that_goes_wrong_in_memory_stops_the_robot(running: Running, node: str) -> None:
    run, name = running, node.removeprefix("safety_").removesuffix("_node")
    diagnostics: list[DiagnosticArray] = run.graph.listen(DiagnosticArray, topics.DIAGNOSTICS, qos.RECORD)
    run.nodes[node].kill()
    run.wait_until(lambda: any(v.decision >= 3 for v in run.verdicts[-1:]) or name == "monitor", 10.0, "a stop")
    said = {"policy": test_hot_swap.NO_WAY_OUT, "monitor": MOVES_UNASKED}
    process = run.bring_up(node, f"corruptible_{name}", *said.get(name, ()))
    if name != "monitor":
        run.wait_until(lambda: run.graph.call(Trigger, RESET, Trigger.Request()).success, 30.0, "a reset")
    begin = len(run.verdicts)
    run.wait_until(lambda: len(run.verdicts) > begin, 10.0, "verdicts")
    run.wait_verdicts_of(run.base_id)
    process.process.send_signal(signal.SIGUSR1)
    if name == "monitor":
        run.wait_until(lambda: run.verdicts[-1].reason == Reason.SELF_TEST, 20.0, "a latch")
        assert run.verdicts[-1].decision == SafetyVerdict.LATCH
        process.process.send_signal(signal.SIGUSR2)
        refused = run.graph.call(Trigger, RESET, Trigger.Request())
        assert (refused.success, "fails its self-test" in refused.message) == (False, True)
    else:
        run.wait_until(lambda: run.verdicts[-1].decision >= SafetyVerdict.STOP, 20.0, "a stop")
        run.wait_until(lambda: "nothing is published: the" in process.log, 5.0, "the reason")

        def told() -> bool:
            statuses = [status for array in diagnostics[-20:] for status in array.status]
            return any(s.level == s.ERROR and s.name == f"{node}: self-test" for s in statuses)

        run.wait_until(told, 5.0, "ERROR on /diagnostics")
    run.wait_until(lambda: run.commands[-1].twist.linear.y == 0.0, 5.0, "a standstill")
