"""The measurements of `fosp bench`. Each returns keys of bench.json."""

from __future__ import annotations

import importlib.util
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fosp_bringup.paths import robot_path, scenario_path
from fosp_cli.bench import simulator
from fosp_cli.evaluation.live_graph import LiveGraph
from fosp_cli.evaluation.metrics import percentiles_ms
from fosp_core.bundle.bundle import Bundle, load_bundle, read_manifest
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.ros.stamps import seconds
from fosp_sim.task.scenario import Scenario, read_scenario
from fosp_sim.task.tasks import TASKS

if TYPE_CHECKING:
    from fosp_cli.evaluation.episode_log import Step
    from fosp_learner.config import Size

LIVE_EPISODES = 6
RATE_EPISODES = 200
ONNX_STEPS = 2000
SWAPS = 10
PROPOSALS = 300
HANDS = 40
WEIGHT_S = 20.0
CONSOLE_S = 60.0
SERVING_HZ = 50.0


def machine() -> dict[str, Any]:
    """Return the facts about this machine that figures depend on."""
    import onnxruntime
    import torch

    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
        "gpu": gpu,
    }


def parts(bundle: Path, out: Path, share: float) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return name -> measurement, in an order in which none disturbs the next. Each takes `share` of its samples."""

    def some(count: int) -> int:
        return max(1, round(count * share))

    return {
        "the live graph": partial(live_graph, bundle, out, some(LIVE_EPISODES)),
        "the live graph beside the console": partial(console, bundle, out, CONSOLE_S * share),
        "the weight of the nodes": partial(weight, bundle, out, WEIGHT_S * share),
        "the way to the command": partial(hops, bundle, out, some(LIVE_EPISODES)),
        "the floor of image to command": partial(floor, bundle, some(PROPOSALS)),
        "the price of a message": partial(messages, some(PROPOSALS)),
        "the live graph beside a learner": partial(live_graph_with_learner, bundle, out, some(LIVE_EPISODES)),
        "hot swaps": partial(swaps, bundle, some(SWAPS)),
        "ONNX Runtime": partial(onnx_step, bundle, some(ONNX_STEPS)),
        "the safety monitor": partial(monitor_decision, some(ONNX_STEPS)),
        "the limits of an arm": partial(arm_limits, some(ONNX_STEPS)),
        "the safety monitor's node": partial(monitor_added, bundle, some(PROPOSALS)),
        "a robot of 1 kHz": partial(fast_robot, bundle, some(PROPOSALS)),
        "a protective zone": partial(zone, bundle, some(HANDS)),
        "the simulator": partial(simulators, 3.0 * share),
        "the tasks": partial(tasks, some(RATE_EPISODES)),
        "bags": partial(bags, some(10)),
        "training": partial(training, some(20)),
        "a candidate": partial(candidate, bundle, share),
    }


def live_graph(bundle: Path, out: Path, episodes: int) -> dict[str, Any]:
    """Measure image to command and the jitter of the command stream, all nodes on this machine."""
    out.mkdir(parents=True, exist_ok=True)
    period_s = 1.0 / _simulated("safe_reach")[1].command_rate_hz
    lateness: list[float] = []
    with LiveGraph(bundle, scenario_path("safe_reach"), log=out / "live.log") as live:
        for episode in range(episodes):
            before = len(live.command_stamps_s)
            live.run_episode(episode)
            gaps = np.diff(live.command_stamps_s[before:])
            lateness += np.maximum(gaps - period_s, 0.0).tolist()  # commands of verdicts come in between
        return {
            "image_to_command_ms": percentiles_ms(live.latencies_s),
            "command_jitter_ms": percentiles_ms(lateness),
        }


def console(bundle: Path, out: Path, seconds: float) -> dict[str, Any]:
    """Measure image to command without the console, and beside many pages of it of which one hardly reads."""
    from fosp_cli.bench.console_load import console_load

    return console_load(bundle, out, seconds)


def weight(bundle: Path, out: Path, seconds: float) -> dict[str, Any]:
    """Measure processor time and memory of each node with a camera of 640x480 pixels, and the time until active."""
    from fosp_cli.bench.weight import node_costs

    return node_costs(bundle, out, seconds)


def hops(bundle: Path, out: Path, episodes: int) -> dict[str, Any]:
    """Measure each part of the way from image to command. The watcher of the messages takes time from the nodes."""
    from fosp_cli.bench.hops import ChainWatch

    out.mkdir(parents=True, exist_ok=True)
    with (
        LiveGraph(bundle, scenario_path("safe_reach"), log=out / "hops.log") as live,
        ChainWatch(_simulated("safe_reach")[1]) as watch,
    ):
        for episode in range(episodes):
            live.run_episode(episode)
        return {"hops_ms": watch.hops_ms()}


def floor(bundle: Path, frames: int) -> dict[str, Any]:
    """Measure image to command through nodes that only receive, run the networks and send."""
    from fosp_cli.bench.bare_chain import image_to_command_s

    return {"image_to_command_floor_ms": percentiles_ms(image_to_command_s(bundle, frames))}


def messages(count: int) -> dict[str, Any]:
    """Measure what rclpy takes for one message of each kind of the control path, processor time in us."""
    from fosp_cli.bench.message_costs import message_costs

    return {"message_us": message_costs(count)}


def live_graph_with_learner(bundle: Path, out: Path, episodes: int) -> dict[str, Any]:
    """Measure the time between two decisions with and without a learner at idle priority on the same machine."""
    import multiprocessing

    from fosp_cli.bench.training import train_until_killed

    out.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Any] = {}
    for name in ("without_learner", "with_learner"):
        learner = None
        if name == "with_learner":
            learner = multiprocessing.get_context("spawn").Process(target=train_until_killed, daemon=True)
            learner.start()
        periods: list[float] = []
        try:
            with LiveGraph(bundle, scenario_path("safe_reach"), log=out / f"{name}.log") as live:
                for episode in range(episodes):
                    steps: list[Step] = []
                    live.run_episode(episode, steps.append)
                    periods += np.diff([seconds(step.verdict.decided) for step in steps]).tolist()
        finally:
            if learner is not None:
                learner.kill()
                learner.join()
        figures[name] = percentiles_ms(periods)
    return {"decision_period_ms": figures}


def swaps(bundle: Path, count: int) -> dict[str, Any]:
    """Measure the time to load, verify and self-test an announced bundle next to an encoder at 50 Hz."""
    from fosp_cli.bench.training import write_noise_bundle
    from fosp_core.bundle.loader import BundleLoader
    from fosp_core.swap.sequence import Announcement

    ready: dict[str, float] = {}
    serving: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        small, paper = Path(folder) / "small", Path(folder) / "paper"
        write_noise_bundle(small, "small")
        write_noise_bundle(paper, "paper")
        for directory in (bundle, small, paper):
            loaded = load_bundle(directory, provider="cpu")
            inputs = _inputs(loaded)
            loader = BundleLoader(lambda offered: load_bundle(offered.path, provider="cpu"))
            took: list[float] = []
            steps: list[float] = []
            for number in range(count):
                loader.offer(Announcement(loaded.manifest.id, directory, number))
                begin = deadline = time.perf_counter()
                while not loader.take():
                    started = time.perf_counter()
                    _step(loaded, inputs)
                    steps.append(time.perf_counter() - started)
                    deadline += 1.0 / SERVING_HZ
                    time.sleep(max(0.0, deadline - time.perf_counter()))
                took.append(time.perf_counter() - begin)
            loader.close()
            size = loaded.manifest.size
            ready[size], serving[size] = round(1e3 * float(np.median(took)), 1), percentiles_ms(steps)
    return {"swap_ms": ready, "step_while_swapping_ms": serving}


def onnx_step(bundle: Path, steps: int) -> dict[str, Any]:
    """Compare encoder, both actors and critics in ONNX Runtime with eager torch: batch 1, one thread each."""
    from fosp_cli.bench.training import torch_policy_step_ms

    loaded = load_bundle(bundle, provider="cpu")
    size: Any = loaded.manifest.size
    inputs = _inputs(loaded)
    seconds = _timed(lambda: _step(loaded, inputs), steps)
    onnx, torch = percentiles_ms(seconds), torch_policy_step_ms(size, max(20, steps // 4))
    return {
        "onnx_step_ms": {size: onnx},
        "torch_step_ms": {size: torch},
        "torch_over_onnx": {size: round(torch["p50"] / onnx["p50"], 2)},
    }


def monitor_decision(decisions: int) -> dict[str, Any]:
    """Measure one proposal in the monitor's pure core, without inference."""
    from fosp_cli.bench.monitor import decision_seconds

    p = np.percentile(np.asarray(decision_seconds(decisions)) * 1e6, [50, 99])
    return {"monitor_decision_us": {"p50": round(float(p[0]), 1), "p99": round(float(p[1]), 1)}}


def arm_limits(count: int) -> dict[str, Any]:
    """Measure the limits of a seven-joint arm: for its joint states, and for a command; nothing without Pinocchio."""
    from fosp_cli.bench.monitor import arm_seconds

    if importlib.util.find_spec("pinocchio") is None:
        return {}
    view, judged = arm_seconds(count)
    return {"arm_limits_ms": {"joint_states": percentiles_ms(view), "command": percentiles_ms(judged)}}


def monitor_added(bundle: Path, proposals: int) -> dict[str, Any]:
    """Measure proposal to command of the monitor's node and of a node that judges nothing, while nothing else runs.

    The difference is what the monitor adds.
    """
    from fosp_cli.bench.monitor import proposal_to_command_s

    bare = percentiles_ms(proposal_to_command_s(bundle, proposals, bare=True))
    monitor = percentiles_ms(proposal_to_command_s(bundle, proposals))
    return {
        "proposal_to_command_ms": monitor,
        "bare_node_ms": bare,
        "monitor_adds_ms": round(monitor["p50"] - bare["p50"], 2),
    }


def fast_robot(bundle: Path, decisions: int) -> dict[str, Any]:
    """Measure the processor time that monitor and feedback node take of one core, beside robots of 100 Hz and 1 kHz."""
    from fosp_cli.bench.monitor import COMMON, KILOHERTZ, nodes_cpu_percent

    rhythms = {"100 Hz": COMMON, "1 kHz": KILOHERTZ}
    shares = {name: nodes_cpu_percent(bundle, rhythm, decisions) for name, rhythm in rhythms.items()}
    return {"states_and_poses_cpu_percent": shares}


def zone(bundle: Path, hands: int) -> dict[str, Any]:
    """Measure a stop zone fed by depth images of 640x480 at 30 Hz, from the sensor's stamp to the braking command."""
    from fosp_cli.bench.zone_stop import zone_stop

    return zone_stop(bundle, hands)


def simulators(seconds: float) -> dict[str, Any]:
    """Measure the rendered control steps on one core, 64x64 pixels: per second, and per second of processor time."""
    rates, of_processor = {}, {}
    for task in [name for name, known in TASKS.items() if known.robot]:
        scenario, robot = _simulated(task)
        speed = simulator.simulator_speed(scenario, robot, seconds)
        rates[task], of_processor[task] = round(speed.wall, 1), round(speed.processor, 1)
    return {"sim_steps_per_s": rates, "sim_steps_per_cpu_s": of_processor}


def tasks(episodes: int) -> dict[str, Any]:
    """Measure the difficulty of the tasks: drive straight to the goal, and as the careful demonstrator."""
    straight, careful = {}, {}
    for task in [name for name, known in TASKS.items() if known.build is None]:
        scenario, robot = _simulated(task)
        straight[task] = round(simulator.straight_line_rates(scenario, robot, episodes).violation_rate, 3)
        careful[task] = round(simulator.careful_rates(scenario, robot, episodes).success_rate, 3)
    return {"straight_line_violation_rate": straight, "careful_success_rate": careful, "rate_episodes": episodes}


def bags(episodes: int) -> dict[str, Any]:
    """Measure the frames per second that the learner reads from bags, and the VGA frames that one core decodes."""
    from fosp_cli.bench.training import vga_frames_per_s
    from fosp_core.specs import ObservationSpec
    from fosp_learner.data.bags import read_episodes
    from fosp_sim.demonstration.record import record_episodes

    scenario, robot = _simulated("safe_reach")
    with tempfile.TemporaryDirectory() as folder:
        recorded = list(record_episodes(scenario, robot, "careful", episodes, Path(folder)))
        frames = sum(2 * outcome.steps + 1 for outcome in recorded)
        begin = time.perf_counter()
        for outcome in recorded:
            read_episodes(outcome.folder, ObservationSpec(), robot, 0.05)
        read = round(frames / (time.perf_counter() - begin), 1)
    return {
        "bag_frames_per_s": read,
        "vga_frames_per_s": {name: round(rate) for name, rate in vga_frames_per_s().items()},
    }


def training(steps: int) -> dict[str, Any]:
    """Measure a full update (world model, critics, actor; batch 16x32), s.

    The variants: in each precision, of which the trainer takes the faster, with rollouts from 128 latents, and with
    rollouts from all latents compared with the same step written plainly.
    """
    from fosp_cli.bench.training import plain_over_optimised, training_step
    from fosp_learner.config import ImaginationConfig

    fast: dict[str, float] = {}
    fp32: dict[str, float] = {}
    imagined: dict[str, float] = {}
    chosen: dict[str, str] = {}
    sizes: tuple[Size, ...] = ("nano", "small")
    for size in sizes:
        times = training_step(size, steps)
        fast[size], fp32[size], chosen[size] = round(times.bf16_s, 4), round(times.fp32_s, 4), times.chosen
        imagined[size] = round(training_step(size, steps, ImaginationConfig(weight=1.0)).chosen_s, 4)
    against = plain_over_optimised("small", max(3, steps // 4))
    return {
        "train_step_s": fast,
        "train_step_fp32_s": fp32,
        "train_step_chosen": chosen,
        "train_step_imagined_s": imagined,
        "train_step_all_starts": {"small": {name: round(value, 4) for name, value in against.items()}},
    }


def candidate(bundle: Path, share: float) -> dict[str, Any]:
    """Measure the export of networks, and what a candidate of fine-tuning takes on one core, s."""
    from fosp_cli.bench.candidate import candidate_s
    from fosp_cli.bench.training import export_s

    sizes: tuple[Size, ...] = ("nano", "small")
    robot = read_robot(robot_path(read_manifest(bundle).robot))
    with tempfile.TemporaryDirectory() as folder:
        found = candidate_s(bundle, robot, Path(folder), share)
    return {"candidate": found, "export_s": {size: round(export_s(size), 2) for size in sizes}}


def _simulated(task: str) -> tuple[Scenario, RobotConfig]:
    """Return the shipped scenario of a task, and its robot."""
    scenario = read_scenario(scenario_path(task))
    return scenario, read_robot(robot_path(scenario.robot))


def _inputs(bundle: Bundle) -> dict[str, NDArray[Any]]:
    manifest, rng = bundle.manifest, np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (1, *manifest.observation.shape), np.uint8),
        "deter": np.zeros((1, manifest.latent.deter), np.float32),
        "stoch": np.zeros((1, manifest.latent.stoch), np.float32),
        "action": np.zeros((1, manifest.action.size), np.float32),
        "is_first": np.zeros(1, np.float32),
    }


def _step(bundle: Bundle, inputs: dict[str, NDArray[Any]]) -> None:
    latent = bundle.encoder.run(**inputs)
    deter, stoch = latent["next_deter"], latent["next_stoch"]
    actors = bundle.policy.run(deter=deter, stoch=stoch)
    bundle.critic.run(deter=deter, stoch=stoch, action=actors["mean"])


def _timed(run: Callable[[], None], count: int) -> Sequence[float]:
    for _ in range(20):
        run()
    seconds = []
    for _ in range(count):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return seconds
