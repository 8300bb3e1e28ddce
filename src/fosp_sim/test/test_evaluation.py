import multiprocessing
from pathlib import Path

import pytest

from fosp_core.bundle import read_manifest, write_bundle
from fosp_core.errors import UserError
from fosp_core.specs import read_robot
from fosp_core.testing import write_tiny_bundle
from fosp_sim.evaluation import Evaluation, evaluate, evaluate_all, evaluate_episodes
from fosp_sim.processes import ProcessDied
from fosp_sim.scenario import Scenario

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
    first, second = (evaluate_episodes(bundle, SCENARIO, ARM, [0, 1]) for _ in range(2))
    assert first == second
    assert [result.steps for result in first] == [6, 6]


def test_parallel_workers_give_the_results_of_one(tmp_path):
    bundle = tiny_bundle(tmp_path, policy_action=(0.2, 0.1, 0.0))
    parallel = sorted(evaluate(bundle, SCENARIO, ARM, workers=2), key=lambda result: result.episode)
    assert parallel == evaluate_episodes(bundle, SCENARIO, ARM, [0, 1])


def test_two_bundles_are_run_on_the_same_episodes(tmp_path):
    calm = tiny_bundle(tmp_path / "calm", policy_action=(0.0, 0.0, 0.0))
    moving = tiny_bundle(tmp_path / "moving", policy_action=(0.2, 0.1, 0.0))
    evaluations = [Evaluation(bundle, SCENARIO, ARM) for bundle in (calm, moving)]
    results = list(evaluate_all(evaluations, workers=1))
    for index, bundle in enumerate((calm, moving)):
        own = [result for i, result in results if i == index]
        assert own == evaluate_episodes(bundle, SCENARIO, ARM, [0, 1])


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


def test_a_risky_policy_is_vetoed_with_the_monitor_on_and_let_through_with_it_off(tmp_path):
    # The tiny critic's risk is the first axis of the action. So far beyond 1 every sample of the policy is infeasible
    # too: its widest alternative lies 5 standard deviations from the threshold.
    bundle = tiny_bundle(tmp_path, policy_action=(1.5, 0.0, 0.0))
    (on,) = evaluate_episodes(bundle, SCENARIO, ARM, [0], "on")
    (off,) = evaluate_episodes(bundle, SCENARIO, ARM, [0], "off")
    (shadow,) = evaluate_episodes(bundle, SCENARIO, ARM, [0], "shadow")
    assert on.vetoes == on.steps
    assert off.vetoes == 0
    assert shadow.vetoes == shadow.steps
    assert shadow.episode_return == off.episode_return != on.episode_return


def test_a_bundle_of_another_task_is_refused(tmp_path):
    write_tiny_bundle(tmp_path / "bundle", ARM)
    with pytest.raises(UserError, match="bundle is for task 'tiny', the scenario is 'safe_reach'"):
        evaluate_episodes(tmp_path / "bundle", SCENARIO, ARM, [0])
