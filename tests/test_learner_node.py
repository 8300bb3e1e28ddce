"""learner_node, bundle_receiver and replay as real processes over DDS: from a played bag to a bundle on the robot."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from std_srvs.srv import Trigger
from tiny_bundle import write_tiny_bundle

from fosp_core import topics
from fosp_core.bundle.bundle import load_bundle
from fosp_core.bundle.transfer import received
from fosp_core.robot.config import read_robot
from fosp_core.ros import qos
from fosp_learner.data.bags import read_bag
from fosp_learner.finetuning.lineage import Lineage
from fosp_msgs.msg import BundleChunk, BundleOffer, Heartbeat, ModelAnnouncement
from fosp_sim.demonstration.record import record_episodes
from fosp_sim.task.scenario import read_scenario

pytestmark = pytest.mark.timeout(900)
CONFIG = Path(__file__).resolve().parents[1] / "config"
ROBOT_FILE = CONFIG / "robots" / "sim_arm.yaml"
FOSP = [sys.executable, "-m", "fosp_cli.cli"]


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve short episodes, some with violations."""
    folder = tmp_path_factory.mktemp("recorded") / "bags"
    scenario = read_scenario(CONFIG / "scenarios" / "safe_reach_train.yaml").model_copy(update={"max_steps": 12})
    assert len(list(record_episodes(scenario, read_robot(ROBOT_FILE), "greedy", 8, folder))) == 8
    return folder


@pytest.fixture(scope="module")
def parent(bags: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with training weights, of two updates."""
    folder = tmp_path_factory.mktemp("parent")
    config = folder / "config.yaml"
    config.write_text(
        yaml.safe_dump(
            {"cloning": {"share": 0.0}, "refinement": {"share": 0.0}, "extraction": {"share": 0.0}, "batch_size": 4}
        )
    )
    command = [*FOSP, "pretrain", str(bags), "--out", str(folder / "bundle"), "--steps", "2", "--config", str(config)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return folder / "bundle"


@pytest.mark.long
def test_a_bag_that_is_played_is_learned_from_through_sigkill_and_the_bundle_reaches_a_robot_over_topics_alone(
    bags: Path,
    parent: Path,
    tmp_path: Path,
    graph: Any,
    start_node: Callable[..., Any],
    wait_until: Callable[..., Any],
    ros_environment: Any,
) -> None:
    run = tmp_path / "run"
    config = tmp_path / "config.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "steps": 4,
                "candidate_every": 4,
                "checkpoint_every": 1,
                "batch_size": 4,
                "least_rows": 10,
                "updates_per_row": 1.0,
                "niceness": 0,
                "cores": 2,  # so that the offline bags are read in processes of their own
                "settling": {"updates": 20},
                # Two updates after two make no better model; what is tested here is the way of the bundle.
                "gate": {"miss_rate_margin": 1, "false_veto_margin": 1, "inside_range": 0.01, "return_margin": 100,
                         "violation_margin": 1},
            }
        )
    )  # fmt: skip
    arguments = [
        *("-p", f"bundle:={parent}", "-p", f"robot:={ROBOT_FILE}", "-p", f"run:={run}", "-p", f"config:={config}"),
        *("-p", f"offline:=['{bags}']", "-p", f"cache:={tmp_path / 'cache'}", "-p", "announce:=offer"),
    ]
    learner = start_node("fosp_learner.learner_node", *arguments)
    heartbeats = graph.listen(Heartbeat, topics.HEARTBEAT, qos.STEP)

    def recording() -> bool:
        """It answers services once it records."""
        answer = graph.call(Trigger, "learner_node/discard", Trigger.Request(), 60.0)
        return bool(answer.message == "there is no episode to discard")

    wait_until(recording, 90.0, "a recording learner")
    replayed = subprocess.run(
        [*FOSP, "replay", str(bags / "episode_000003"), "--rate", "1"],
        env=ros_environment.variables, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert replayed.returncode == 0, replayed.stderr
    ledger = run / "buffer" / "episodes.jsonl"
    wait_until(lambda: ledger.exists() and ledger.read_text().count("\n") == 1, 240.0, "the played episode")
    wait_until((run / "checkpoint").is_dir, 240.0, "a checkpoint")

    learner.kill()
    experience = ledger.read_bytes()
    learner = start_node("fosp_learner.learner_node", *arguments)
    lineage = Lineage(run)
    wait_until(lambda: any(e.event == "announced" for e in lineage.events()), 400.0, "a bundle on offer")
    assert ledger.read_bytes() == experience, "nothing was lost, and nothing was taken in twice"
    candidate = next(e for e in lineage.events() if e.event == "candidate")
    assert candidate.details["step"] == 4

    offers = graph.listen(BundleOffer, topics.BUNDLE_OFFER, qos.LATCHED)
    chunks = graph.listen(BundleChunk, topics.BUNDLE_CHUNK, qos.TRANSFER)
    announcements = graph.listen(ModelAnnouncement, topics.MODEL_ANNOUNCEMENT, qos.LATCHED)
    store = tmp_path / "robot"
    receive = ["-p", f"folder:={store}", "-p", f"robot:={ROBOT_FILE}"]
    receiver = start_node("fosp_learner.bundle_receiver", *receive)
    wait_until(lambda: offers and len(chunks) > 20, 60.0, "the beginning of a transfer")
    receiver.kill()
    assert received(store, candidate.id) is None or announcements, "half a bundle is none"
    start_node("fosp_learner.bundle_receiver", *receive)
    wait_until(lambda: announcements, 120.0, "the bundle, announced on the robot")
    bundle = load_bundle(Path(announcements[-1].path), read_robot(ROBOT_FILE))
    assert bundle.manifest.id == announcements[-1].model_id == candidate.id
    assert learner.stop(signal.SIGINT) == 0
    assert heartbeats == [], "the safety monitor would latch when it was late"


PLAYED = ({}, {"rate": 0.5}, {"rate": 4.0}, {"loops": 3}, {"pause_at": 0.3, "pause_s": 4.0})


@pytest.mark.long
def test_a_bag_that_is_played_with_its_clock_gives_the_learner_the_same_episode_at_any_speed_looped_and_paused(
    bags: Path,
    parent: Path,
    tmp_path: Path,
    start_node: Callable[..., Any],
    wait_until: Callable[..., Any],
    ros_environment: Any,
) -> None:
    bag, run, robot = bags / "episode_000003", tmp_path / "run", read_robot(ROBOT_FILE)
    observation = load_bundle(parent, robot).manifest.observation
    (expected,) = read_bag(bag, observation, robot, 0.05).episodes
    learner = start_node(
        "fosp_learner.learner_node",
        *("-p", f"bundle:={parent}", "-p", f"robot:={ROBOT_FILE}", "-p", f"run:={run}"),
        *("-p", f"cache:={tmp_path / 'cache'}", "-p", "announce:=none", "-p", "use_sim_time:=true"),
    )
    player = [sys.executable, str(Path(__file__).with_name("played_bag.py")), str(bag), "learner_node"]
    count = 0
    for settings in PLAYED:
        words = [f"{key}={value}" for key, value in settings.items()]
        played = subprocess.run(
            [*player, *words], env=ros_environment.variables, capture_output=True, text=True, timeout=120
        )
        assert played.returncode == 0, played.stderr
        count += int(settings.get("loops", 1))
        recorded = [run / "bags" / f"episode_{number:06d}" for number in range(count)]
        wait_until(lambda ends=recorded: ends[-1].is_dir(), 20.0, f"episode {count}, {settings}")
    assert sorted((run / "bags").glob("*_0*")) == recorded, "and none is incomplete"
    for number, one in enumerate(recorded):
        (episode,) = read_bag(one, observation, robot, 0.05).episodes
        for name in ("images", "action", "reward", "cost", "is_terminal"):
            same = (getattr(episode, name) == getattr(expected, name)).all()
            assert same, f"{name} of episode {number}"
    ledger = run / "buffer" / "episodes.jsonl"
    wait_until(lambda: ledger.exists() and ledger.read_text().count("\n") == 1, 240.0, "the episode, taken in once")
    wait_until(lambda: learner.log.count("passed over") == count - 1, 60.0, "the others, passed over")
    assert learner.stop(signal.SIGINT) == 0


def test_replay_refuses_to_move_a_robot_and_says_what_is_wrong_with_a_bag(
    bags: Path, tmp_path: Path, graph: Any, ros_environment: Any
) -> None:
    from geometry_msgs.msg import TwistStamped

    def replay(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [*FOSP, "replay", *arguments], env=ros_environment.variables, capture_output=True, text=True, timeout=120
        )
        return done.returncode, done.stderr

    graph.listen(TwistStamped, "arm/twist_command", qos.COMMAND)
    code, said = replay(str(bags / "episode_000000"))
    assert code == 2
    assert "probe listens" in said
    code, said = replay(str(tmp_path / "nowhere"))
    assert (code, said.count("\n")) == (2, 1)
    (tmp_path / "empty").mkdir()
    code, said = replay(str(tmp_path / "empty"))
    assert (code, said.count("\n")) == (2, 1)


def test_an_interrupt_leaves_the_trainer_to_its_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fosp_learner import learner_node

    class Interrupted:
        def __init__(self, *arguments: Any, **keywords: Any) -> None: ...

        def run(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            (tmp_path / "goes_on").touch()

    monkeypatch.setattr("fosp_learner.finetuning.online_learner.OnlineLearner", Interrupted)
    folders = dict.fromkeys(("bundle", "cache", "run"), tmp_path)
    arguments = {"robot": ROBOT_FILE, "bags": (), "offline": (), "settings": {}, "weights": None, "signing_key": None}
    trainer = multiprocessing.get_context("fork").Process(target=learner_node.train, kwargs=folders | arguments)
    trainer.start()
    trainer.join(60.0)
    assert trainer.exitcode == 0
    assert (tmp_path / "goes_on").exists()


@pytest.mark.long
def test_a_trainer_that_cannot_begin_is_given_up_and_the_lineage_says_so(
    tmp_path: Path, start_node: Callable[..., Any], wait_until: Callable[..., Any]
) -> None:
    bundle, run = tmp_path / "bundle", tmp_path / "run"
    write_tiny_bundle(bundle, read_robot(ROBOT_FILE))  # without training weights
    arguments = ["-p", f"bundle:={bundle}", "-p", f"robot:={ROBOT_FILE}", "-p", f"run:={run}"]
    learner = start_node("fosp_learner.learner_node", *arguments)
    wait_until(lambda: Lineage(run).events(), 120.0, "the learner giving up")
    (event,) = Lineage(run).events()
    assert (event.event, event.details["reason"]) == (
        "gave_up",
        "the trainer failed 4 times, the last time with exit code 2",
    )
    assert learner.stop(signal.SIGINT) == 0


def test_a_graph_goes_on_when_its_learner_dies_again_and_again(
    tmp_path: Path, ros_environment: Any, wait_until: Callable[..., Any]
) -> None:
    from fosp_bringup.stack import MOST_RESPAWNS, Stack, StackProcess
    from fosp_bringup.supervisor import Supervisor

    script = tmp_path / "dies.py"
    script.write_text("raise SystemExit(3)\n")
    lives = tmp_path / "lives.py"
    lives.write_text("import time\nwhile True:\n    time.sleep(0.1)\n")
    lines: list[str] = []
    described = Stack(
        (
            StackProcess("learner_node", "here", "dies", managed=False, dispensable=True),
            StackProcess("robot", "here", "lives", managed=False),
        )
    )
    path = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    with Supervisor(described, variables={"PYTHONPATH": path}, write=lines.append, colour=False) as supervisor:
        wait_until(lambda: any("go on without it" in line for line in lines), 60.0, "the supervisor giving up")
        assert sum("started anew" in line for line in lines) == MOST_RESPAWNS
        assert supervisor.alive


def test_the_tiny_bundle_has_nothing_to_learn_from_and_the_learner_says_so(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "bundle", read_robot(ROBOT_FILE))
    (tmp_path / "bags").mkdir()
    command = ["finetune", "--bundle", "bundle", "--bags", "bags", "--out", "out"]
    done = subprocess.run([*FOSP, *command], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "--weights" in done.stderr
