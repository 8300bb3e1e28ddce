"""`fosp record`: record demonstrations as bags, driven by a program in simulation or by a person on a robot."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

from fosp_cli.commands.options import (
    Camera,
    CameraPath,
    Domain,
    Feedback,
    Namespace,
    Network,
    OpenConsole,
    Scenario,
    SceneKind,
    Workers,
)
from fosp_core.bag.notes import HAZARDS
from fosp_core.errors import UserError

KEYBOARD = "keyboard"
HAZARD_PATIENCE = 3
"""Time of an episode that shows a hazard, as a multiple of the scenario's."""
_Kind = Literal["careful", "greedy", "noisy", "random", "mixed"]


def record(
    out: Annotated[Path, typer.Option(help="Folder that gets one bag folder per episode.", metavar="DIR")],
    scenario: Scenario = "",
    demonstrator: Annotated[
        _Kind,
        typer.Option(
            help="Program that drives in simulation: careful, greedy, noisy, random, or mixed, which draws one of them "
            "for each episode.",
            metavar="NAME",
        ),
    ] = "mixed",
    episodes: Annotated[int, typer.Option(min=1, help="Number of episodes.")] = 50,
    seed: Annotated[int | None, typer.Option(min=0, max=2**62 - 1, help="Seed that replaces the scenario's.")] = None,
    robot: Annotated[
        str,
        typer.Option(
            help="The robot: a name in config/robots or a YAML file. In simulation the default is the task's robot.",
            metavar="ROBOT",
        ),
    ] = "",
    workers: Workers = None,
    teleop: Annotated[
        str,
        typer.Option(
            help="Device with which a person drives: gamepad, spacemouse, keyboard or a YAML file.", metavar="DEVICE"
        ),
    ] = "",
    bundle: Annotated[
        Path | None,
        typer.Option(
            help="The policy of this bundle drives, and the person (--teleop) or the program takes over from it.",
            metavar="DIR",
        ),
    ] = None,
    hazards: Annotated[
        bool,
        typer.Option(
            "--hazards",
            help="Show hazards: slow approaches to what is new, each of which ends where a violation begins "
            "(docs/show_hazards.md). A program does it in simulation, a person with --teleop.",
        ),
    ] = False,
    scene: SceneKind = "",
    feedback: Feedback = "",
    camera: Camera = "none",
    camera_path: CameraPath = "",
    namespace: Namespace = "",
    domain: Domain = "",
    network: Network = False,
    console: OpenConsole = False,
) -> int:
    """Record demonstrations as rosbag2 MCAP bags, one per episode, with the topics that training reads.

    Without --teleop a program drives in simulation (give --scenario). With --teleop a person drives, either a robot
    (give --robot and --feedback) or the live simulation (give --scenario). With --bundle a policy drives first, and the
    person takes over from it, or the program does, at a random moment or where the robot hangs; what is recorded
    in simulation begins there.
    """
    if teleop:
        if seed is not None or workers is not None:
            raise UserError("--seed and --workers apply when a program drives; leave them out with --teleop")
        return _by_a_person(
            out,
            scenario,
            robot,
            teleop,
            bundle,
            feedback,
            camera,
            camera_path,
            namespace,
            episodes,
            domain,
            network,
            console,
            hazards,
            scene,
        )
    if console:
        raise UserError("--console shows a graph: give --teleop DEVICE, because a program records without one")
    if not scenario:
        raise UserError("give --scenario NAME for a simulation, or --robot NAME --teleop DEVICE --feedback RULES")
    if scene:
        raise UserError("--scene goes with --teleop DEVICE: the bags of a program hold their scenario")
    if hazards and (demonstrator not in ("mixed", HAZARDS) or bundle is not None):
        raise UserError("--hazards has a driver of its own: leave --demonstrator and --bundle out")
    driver = HAZARDS if hazards else demonstrator
    return _by_a_program(out, scenario, driver, episodes, seed, robot, workers, bundle)


def keyboard(namespace: Namespace = "", domain: Domain = "") -> int:
    """Be the device of a graph that was started with teleop keyboard: keys of this terminal become those of a gamepad.

    The robot is yours while you hold a key that moves it, or the space bar. Ctrl-C ends this.
    """
    from fosp_bringup.neighbours import choose_domain
    from fosp_cli.demonstration.keyboard import publish_keys

    if not sys.stdin.isatty():
        raise UserError("fosp keyboard needs a terminal to read keys from")
    choose_domain(domain)
    publish_keys(namespace)
    return 0


def _by_a_program(
    out: Path,
    scenario: str,
    demonstrator: str,
    episodes: int,
    seed: int | None,
    robot: str,
    workers: int | None,
    bundle: Path | None,
) -> int:
    from fosp_bringup.paths import robot_path, scenario_path
    from fosp_cli.demonstration.policy_approach import PolicyApproach
    from fosp_core.processes import ProcessDied
    from fosp_core.robot.config import read_robot
    from fosp_sim.demonstration.record import record_in_processes
    from fosp_sim.task.scenario import read_scenario

    described = read_scenario(scenario_path(scenario))
    if seed is not None:
        described = described.model_copy(update={"seed": seed})
    if demonstrator == HAZARDS:  # slowly there, and back
        described = described.model_copy(update={"max_steps": HAZARD_PATIENCE * described.max_steps})
    described_robot = read_robot(robot_path(robot or described.robot))
    approach = None if bundle is None else PolicyApproach(bundle, described_robot, described.task)
    recording = record_in_processes(described, described_robot, demonstrator, episodes, out, workers, approach=approach)
    try:
        with _progress(out, episodes):
            outcomes = list(recording)
    except ProcessDied as error:
        print(f"fosp: {error}", file=sys.stderr)
        return 1
    reached = sum(o.reached and not o.violated for o in outcomes)
    violated = sum(o.violated for o in outcomes)
    print(f"{len(outcomes)} episodes in {out}: {reached} reach the goal without a violation, {violated} violate")
    print(f"next: ./fosp bags check {out}")
    return 0


@contextlib.contextmanager
def _progress(out: Path, episodes: int) -> Iterator[None]:
    """Show how many episodes are finished: the processes hand theirs over in tens, but their folders appear at once."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    before, ended = len(list(out.glob("episode_*"))), threading.Event()
    columns = (
        TextColumn("recording"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("episodes"),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as bar:
        task = bar.add_task("recording", total=episodes)

        def finished() -> int:
            return len(list(out.glob("episode_*"))) - before

        def look() -> None:
            while not ended.wait(0.3):
                bar.update(task, completed=finished())

        looking = threading.Thread(target=look, name="progress", daemon=True)
        looking.start()
        try:
            yield
        finally:
            ended.set()
            looking.join()
            bar.update(task, completed=finished())


def _by_a_person(
    out: Path,
    scenario: str,
    robot: str,
    teleop: str,
    bundle: Path | None,
    feedback: str,
    camera: str,
    camera_path: str,
    namespace: str,
    episodes: int,
    domain: str,
    network: bool,
    console: bool,
    hazards: bool,
    scene: str,
) -> int:
    from fosp_bringup.neighbours import choose_domain, sole_graph
    from fosp_bringup.paths import feedback_path, robot_path, scenario_path, teleop_path
    from fosp_bringup.stack import stack
    from fosp_bringup.stack_options import StackOptions, optional
    from fosp_cli.commands.console import keep_token
    from fosp_cli.demonstration.session import Session
    from fosp_cli.demonstration.session import record as record_session
    from fosp_core.robot.config import read_robot
    from fosp_policy.teleoperation import read_mapping
    from fosp_recording.feedback_rules import read_feedback_config
    from fosp_sim.task.scenario import read_scenario

    keyboard = teleop == KEYBOARD
    if keyboard and not sys.stdin.isatty():
        raise UserError("--teleop keyboard needs a terminal to read keys from")
    if hazards and scenario:
        raise UserError("in simulation a program shows hazards: leave --teleop out")
    if not scenario and not (robot and feedback):
        raise UserError("a person on a robot needs --robot NAME and --feedback RULES (names in config/feedback)")
    device = "gamepad" if keyboard else teleop
    options = StackOptions(
        robot=robot or None,
        simulator="mujoco" if scenario else None,
        scenario=scenario or None,
        auto_reset=False,
        teleop=device,
        take_over=bundle is not None,
        bundle=bundle,
        feedback=feedback or None,
        camera=optional(camera),
        camera_path=Path(camera_path) if camera_path else None,
        recorder=out,
        hazards=hazards,
        scene=scene,
        namespace=namespace,
        network=network,
        console=console,
    )
    if console:
        keep_token()
    described = stack(options)
    name = robot or read_scenario(scenario_path(scenario)).robot
    config = read_robot(robot_path(name))
    mapping = read_mapping(teleop_path(device), config.action)
    rules = read_feedback_config(feedback_path(feedback)) if feedback else None
    repeats = mapping.deadman is not None
    session = Session(described, config, out, episodes, mapping.topic, keyboard, repeats, rules, mapping)
    choose_domain(domain)
    with sole_graph(namespace, described.stays_here):
        return record_session(session)
