"""config/baselines: what FOSP is compared with differs from it in what its name says, and in nothing else."""

from pathlib import Path

import pytest

from fosp_core.errors import UserError
from fosp_core.specs import Spec, parse_spec, read_yaml
from fosp_learner.config import LearnerConfig
from fosp_learner.finetuning.config import FinetuneConfig

FOLDER = Path(__file__).parents[3] / "config" / "baselines"

DIFFERENCES = {
    "behaviour_cloning": {"cloning.episodes", "actor.beta", "actor.reachability"},
    "no_reachability": {"actor.reachability"},
    "no_in_sample": {"actor.objective", "imagination.weight"},
    "lower_expectile_reward": {"critic.reward_expectile"},
}


def flat(config: LearnerConfig) -> dict[str, object]:
    """Settings by "<part>.<name>"."""
    found: dict[str, object] = {}
    for name, value in config.model_dump().items():
        found |= {f"{name}.{key}": x for key, x in value.items()} if isinstance(value, dict) else {name: value}
    return found


@pytest.mark.parametrize("name", DIFFERENCES)
def test_a_baseline_differs_in_what_its_name_says_alone(name: str):
    path = FOLDER / f"{name}.yaml"
    baseline, fosp = flat(parse_spec(LearnerConfig, read_yaml(path), str(path))), flat(LearnerConfig())
    assert {key for key in fosp if baseline[key] != fosp[key]} == DIFFERENCES[name]


def test_there_is_no_baseline_without_a_description_here():
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(DIFFERENCES)


@pytest.mark.parametrize("kind", [LearnerConfig, FinetuneConfig])
@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_that_no_generator_takes_is_refused(kind: type[Spec], seed: int) -> None:
    with pytest.raises(UserError, match="settings: seed: Input should be"):
        parse_spec(kind, {"seed": seed}, "settings")
