import multiprocessing
from pathlib import Path

import pytest
from tiny_bundle import write_tiny_bundle

from fosp_cli.evaluation.in_process import Evaluation, evaluate_all, evaluate_episodes
from fosp_cli.evaluation.metrics import DecidedStep, Hindsight, episode_result
from fosp_core.bundle.bundle import read_manifest, write_bundle
from fosp_core.decisions import Decision
from fosp_core.errors import UserError
from fosp_core.processes import ProcessDied
from fosp_core.robot.config import read_robot
from fosp_policy.expansion import SafePolicy
from fosp_sim.demonstration.demonstrators import Demonstrator
from fosp_sim.env import Env
from fosp_sim.task.arm_world import ArmWorld
from fosp_sim.task.scenario import Scenario

pytestmark = pytest.mark.slow

ARM = read_robot(Path(__file__).parents[3] / "config/robots/sim_arm.yaml")
SCENARIO = Scenario(task="safe_reach", seed=3, episodes=2, max_steps=6)


def tiny_bundle(folder: Path, **options) -> Path:
    """A bundle for safe_reach of nets with known outputs."""
    write_tiny_bundle(folder / "any_task", ARM, **options)
    manifest = read_manifest(folder / "any_task")
    files = {name: folder / "any_task" / name for name in manifest.files}
    write_bundle(folder / "bundle", manifest.model_copy(update={"task": "safe_reach"}), files)
    return folder / "bundle"


def test_the_same_episode_gives_the_same_result(tmp_path):
    bundle = tiny_bundle(tmp_path, policy_action=(0.2, 0.1, 0.0))
    first, second = (evaluate_episodes(Evaluation(bundle, SCENARIO, ARM), [0, 1]) for _ in range(2))
    assert first == second
    assert [result.steps for result in first] == [6, 6]


def test_parallel_workers_give_the_results_of_one(tmp_path):
    bundle = tiny_bundle(tmp_path, policy_action=(0.2, 0.1, 0.0))
    results = [result for _, result in evaluate_all([Evaluation(bundle, SCENARIO, ARM)], workers=2)]
    assert sorted(results, key=lambda result: result.episode) == evaluate_episodes(
        Evaluation(bundle, SCENARIO, ARM), [0, 1]
    )


def test_two_bundles_are_run_on_the_same_episodes(tmp_path):
    calm = tiny_bundle(tmp_path / "calm", policy_action=(0.0, 0.0, 0.0))
    moving = tiny_bundle(tmp_path / "moving", policy_action=(0.2, 0.1, 0.0))
    evaluations = [Evaluation(bundle, SCENARIO, ARM) for bundle in (calm, moving)]
    results = list(evaluate_all(evaluations, workers=1))
    for index, bundle in enumerate((calm, moving)):
        own = [result for i, result in results if i == index]
        assert own == evaluate_episodes(Evaluation(bundle, SCENARIO, ARM), [0, 1])


def test_stopping_early_ends_the_processes_at_once(tmp_path):
    endless = Evaluation(tiny_bundle(tmp_path), SCENARIO.model_copy(update={"episodes": 10_000}), ARM)
    results = evaluate_all([endless], workers=1)
    next(results)
    assert multiprocessing.active_children()
    results.close()
    assert not multiprocessing.active_children()


def test_a_process_that_dies_is_told_and_not_waited_for(tmp_path):
    endless = Evaluation(tiny_bundle(tmp_path), SCENARIO.model_copy(update={"episodes": 10_000}), ARM)
    results = evaluate_all([endless], workers=1)
    next(results)
    (process,) = multiprocessing.active_children()
    process.kill()
    with pytest.raises(ProcessDied, match="a process died"):
        list(results)


@pytest.fixture
def no_way_out(monkeypatch):
    """A policy that proposes what its actors say, and nothing else: from the tiny critic's risk there is a way out."""
    monkeypatch.setattr(SafePolicy, "_ways_out", lambda *arguments: [])


def test_a_way_out_of_a_risky_policy_is_not_vetoed(tmp_path):
    bundle = tiny_bundle(tmp_path, policy_action=(1.5, 0.0, 0.0))
    (on,) = evaluate_episodes(Evaluation(bundle, SCENARIO, ARM), [0])
    assert on.vetoes == 0


def test_a_risky_policy_is_vetoed_with_the_monitor_on_and_let_through_with_it_off(tmp_path, no_way_out):
    # The tiny critic's risk is the first axis of the action. So far beyond 1 every sample of the policy is infeasible,
    # too: the threshold is 5 of its widest standard deviations away.
    bundle = tiny_bundle(tmp_path, policy_action=(1.5, 0.0, 0.0))
    (on,) = evaluate_episodes(Evaluation(bundle, SCENARIO, ARM), [0])
    (off,) = evaluate_episodes(Evaluation(bundle, SCENARIO, ARM, monitoring="off"), [0])
    (shadow,) = evaluate_episodes(Evaluation(bundle, SCENARIO, ARM, monitoring="shadow"), [0])
    assert on.vetoes == on.steps
    assert off.vetoes == 0
    assert shadow.vetoes == shadow.steps
    assert shadow.episode_return == off.episode_return != on.episode_return


def test_the_policy_filter_acts_where_the_policy_alone_does_not(tmp_path):
    # The online actor goes along the axis that the tiny critic fears, and only the filter of the policy keeps it back.
    bundle = tiny_bundle(tmp_path, policy_action=(1.5, 0.0, 0.0))
    ways = ("off", "policy_filter", "shadow")
    (alone,), (filtered,), (shadow,) = (
        evaluate_episodes(Evaluation(bundle, SCENARIO, ARM, monitoring=way), [0]) for way in ways
    )
    assert alone.vetoes == filtered.vetoes == 0
    assert alone.episode_return != filtered.episode_return == shadow.episode_return
    assert None not in (alone.risks, filtered.risks, shadow.risks)
    assert min(alone.risks.quiet) > max(filtered.risks.quiet)
    (on,) = evaluate_episodes(Evaluation(bundle, SCENARIO, ARM), [0])
    assert on.risks is None, "what was gated says nothing of what would have followed"


def test_a_scripted_policy_drives_in_the_place_of_the_bundles(tmp_path):
    (result,) = evaluate_episodes(
        Evaluation(tiny_bundle(tmp_path), SCENARIO, ARM, monitoring="off", proposer="greedy"), [1]
    )
    env = Env(SCENARIO, ARM, rendering="none")
    env.reset(1)
    script = Demonstrator("greedy", env.scene, ARM, SCENARIO.seed + 1)
    total = sum(env.step(script.act(env.world.state(), env.world.time)).reward for _ in range(6))
    assert result.episode_return == pytest.approx(total)


def test_a_scripted_policy_is_judged_by_the_bundles_critics(tmp_path):
    # The arm starts at small x and the goals are beyond it, so greedy goes along the axis that the tiny critic fears.
    bundle = tiny_bundle(tmp_path)
    (on,) = evaluate_episodes(Evaluation(bundle, SCENARIO, ARM, proposer="greedy"), [0])
    (off,) = evaluate_episodes(Evaluation(bundle, SCENARIO, ARM, monitoring="off", proposer="greedy"), [0])
    assert on.vetoes > 0
    assert on.episode_return < off.episode_return


def test_in_shadow_mode_verdicts_are_held_against_what_followed(tmp_path, no_way_out):
    risky = tiny_bundle(tmp_path, policy_action=(1.5, 0.0, 0.0))
    (shadow,) = evaluate_episodes(Evaluation(risky, SCENARIO, ARM, monitoring="shadow"), [0])
    assert shadow.cost == 0.0
    assert shadow.hindsight == Hindsight(false_vetoes=6, false_brakes=6, preceding=0, missed=0)
    (on,) = evaluate_episodes(Evaluation(risky, SCENARIO, ARM), [0])
    assert on.hindsight is None


def test_a_violation_is_told_with_the_decision_it_happened_under():
    decisions = [Decision.PASS, Decision.SUBSTITUTE, Decision.RECOVER, Decision.PASS]
    steps = [DecidedStep(period, decision) for period, decision in enumerate(decisions)]
    result = episode_result(0, False, 0.0, [0.0, 0.0, 1.0, 1.0], steps, 1, 0.05)
    assert (result.violated_under, result.vetoed_for) == ("RECOVER", 2)
    assert (result.vetoes, result.substitutions, result.brakes) == (2, 1, 1)


def test_a_bundle_of_another_task_is_refused(tmp_path):
    write_tiny_bundle(tmp_path / "bundle", ARM)
    with pytest.raises(UserError, match="bundle is for task 'tiny', the scenario is 'safe_reach'"):
        evaluate_episodes(Evaluation(tmp_path / "bundle", SCENARIO, ARM), [0])


def test_a_simulated_robot_that_goes_the_opposite_way_is_stopped_in_the_evaluation_too(tmp_path, monkeypatch):
    bundle = tiny_bundle(tmp_path, policy_action=(0.0, 0.5, 0.0))
    scenario = Scenario(task="safe_reach", seed=3, episodes=1, max_steps=20)
    assert evaluate_episodes(Evaluation(bundle, scenario, ARM), [0])[0].stops == 0
    drive = ArmWorld._drive
    monkeypatch.setattr(ArmWorld, "_drive", lambda world, twist: drive(world, -twist))
    result = evaluate_episodes(Evaluation(bundle, scenario, ARM), [0])[0]
    assert result.stops >= result.steps - 8
