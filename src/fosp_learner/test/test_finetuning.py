"""Fine-tuning on tiny networks: what goes on learning, what stays, how it resumes, what the gate says."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_networks import TINY

from fosp_core.bundle.bundle import load_bundle, read_manifest, write_bundle
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import ObservationSpec, parse_spec, read_yaml
from fosp_learner import config as learner_config
from fosp_learner.bundling.calibration import EpisodeValues
from fosp_learner.bundling.seen import SEEN, read_seen, seen_bytes
from fosp_learner.bundling.training_weights import WEIGHTS, read_weights, require_same_networks, weights_bytes
from fosp_learner.config import CloningConfig, LearnerConfig
from fosp_learner.data.bags import Episode
from fosp_learner.data.dataset import Dataset, from_episodes
from fosp_learner.finetuning.config import CorrectionConfig, FinetuneConfig, GateConfig, SettlingConfig
from fosp_learner.finetuning.fine_tuner import FineTuner, MixedSampler
from fosp_learner.finetuning.gate import GateFigures, judge, miss_and_false_veto_rate
from fosp_learner.finetuning.lineage import Lineage, forget_after
from fosp_learner.finetuning.online_learner import OnlineLearner, Sources
from fosp_learner.finetuning.settling import StoredFeatures, sources
from fosp_learner.phase_config import ExtractionConfig, RefinementConfig
from fosp_learner.pretrain import provenance
from fosp_learner.training.checkpoint import network_tensors
from fosp_learner.training.filtering import filter_episodes
from fosp_learner.training.trainer import Trainer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # a bundle of three networks is exported twice
SETTLING = SettlingConfig(updates=2, episodes=4, sequence_length=5, batch_size=4)
CONFIG = Path(__file__).resolve().parents[3] / "config"
SETTINGS = FinetuneConfig(
    steps=6,
    batch_size=4,
    candidate_every=1000,
    checkpoint_every=2,
    hold_out_every=3,
    niceness=0,
    bf16=False,
    settling=SETTLING,
)


@pytest.fixture(autouse=True)
def tiny_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(learner_config.SIZES, "nano", TINY)


@pytest.fixture(scope="module")
def parent(
    tmp_path_factory: pytest.TempPathFactory,
    robot: RobotConfig,
    make_episode: Callable[..., Episode],
    assemble: Callable[..., Any],
) -> Path:
    """A bundle of tiny networks, with its weights."""
    config = LearnerConfig(
        steps=4,
        batch_size=2,
        sequence_length=5,
        bf16=False,
        cloning=CloningConfig(share=0.0),
        refinement=RefinementConfig(share=0.0),
        extraction=ExtractionConfig(share=0.0),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(learner_config.SIZES, "nano", TINY)
        data = from_episodes([make_episode(9, i, violates=i % 2 == 0, size=64) for i in range(6)], "offline")
        trainer = Trainer(config, data)
        for _ in range(2):
            trainer.train_step()
        training = provenance(trainer, data, "test")
        manifest, files = assemble(trainer, data, robot, "safe_reach", ObservationSpec(), training)
    files[WEIGHTS] = weights_bytes(network_tensors(trainer))
    files[SEEN] = seen_bytes(["00000000000000ff"])
    out = tmp_path_factory.mktemp("parent") / "bundle"
    write_bundle(out, manifest, files)
    return out


def tuner(parent: Path, offline: Dataset, settings: FinetuneConfig = SETTINGS) -> FineTuner:
    manifest = load_bundle(parent).manifest
    return FineTuner(manifest, read_weights(parent), parent, settings, offline, offline)


@pytest.fixture
def offline(make_episode: Callable[..., Episode]) -> Dataset:
    return from_episodes([make_episode(9, i, size=64) for i in range(6)], "offline")


def copies(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def test_the_offline_actor_and_what_it_sees_stay_and_all_else_learns(parent: Path, offline: Dataset) -> None:
    fine = tuner(parent, offline)
    before = {
        "offline_actor": copies(fine.offline_actor),
        "image_encoder": copies(fine.world_model.encoder),
        "rssm": copies(fine.world_model.rssm),
        "critics": copies(fine.behaviour.critics),
        "online_actor": copies(fine.behaviour.actor),
    }
    for _ in range(3):
        fine.train_step()
    now = {
        "offline_actor": fine.offline_actor,
        "image_encoder": fine.world_model.encoder,
        "rssm": fine.world_model.rssm,
        "critics": fine.behaviour.critics,
        "online_actor": fine.behaviour.actor,
    }
    same = {
        part: all(torch.equal(tensor, now[part].state_dict()[name]) for name, tensor in tensors.items())
        for part, tensors in before.items()
    }
    expected = {"offline_actor": True, "image_encoder": True, "rssm": False, "critics": False, "online_actor": False}
    assert same == expected


def test_settling_changes_critics_and_online_actor_alone_and_nothing_when_it_is_stopped(
    parent: Path, offline: Dataset, make_episode: Callable[..., Episode]
) -> None:
    fine = tuner(parent, offline)
    before = network_tensors(fine) | {f"offline.{n}": t for n, t in fine.offline_actor.state_dict().items()}
    before = {name: tensor.clone() for name, tensor in before.items()}
    experience = from_episodes([make_episode(9, 50, size=64), make_episode(9, 51, violates=True, size=64)])

    def changed() -> set[str]:
        now = network_tensors(fine) | {f"offline.{n}": t for n, t in fine.offline_actor.state_dict().items()}
        return {name for name, tensor in before.items() if not torch.equal(tensor, now[name])}

    assert not fine.settle(experience, stop=lambda: True)
    assert changed() == set()
    assert fine.settle(experience)
    parts = ("behaviour.critics.", "behaviour.success.", "behaviour.actor.", "behaviour.weighting.")
    assert {part for part in parts if any(name.startswith(part) for name in changed())} == set(parts)
    assert all(name.startswith(parts) for name in changed())


def test_settled_features_are_those_of_their_rows(parent: Path, offline: Dataset) -> None:
    model = tuner(parent, offline).world_model
    stored = StoredFeatures(model, offline.of(offline.episodes[2:4]), 5, np.random.default_rng(0))
    drawn = stored.of(offline.episodes[2:4])(6)
    filtered = [f.latents.feature for f in filter_episodes(model, offline)]
    known = torch.cat(filtered[2:4])
    assert ((drawn.data.feature.flatten(0, 1)[:, None] - known[None]).abs().sum(-1).min(1).values < 1e-4).all()


def test_the_actor_follows_the_steps_of_an_operator_by_a_weight_of_their_own(parent: Path, offline: Dataset) -> None:
    model, corrected = tuner(parent, offline).world_model, np.zeros(len(offline.reward), np.bool_)
    corrected[[offline.episodes[3].start + 1, offline.episodes[3].start + 2]] = True
    data = dataclasses.replace(offline, corrected=corrected).of(offline.episodes[2:4])
    stored = StoredFeatures(model, data, 5, np.random.default_rng(0))
    stored.note(lambda feature, action: torch.zeros(len(feature), 2))
    stored.weigh_corrections(3.0)
    known = stored.of(data.episodes[1:])(40).known
    assert set(known[..., 0].unique().tolist()) == {0.0, 3.0}
    assert not known[..., 1].any()


@pytest.mark.parametrize(("success", "weights"), [(True, {0.5, 3.0}), (False, {0.0, 3.0})])
def test_of_an_episode_that_ran_out_of_time_the_actor_follows_the_operator_alone(
    parent: Path, offline: Dataset, success: bool, weights: set[float]
) -> None:
    model, corrected = tuner(parent, offline).world_model, np.zeros(len(offline.reward), np.bool_)
    index = dataclasses.replace(offline.episodes[3], success=success, violates=False)
    corrected[index.start + 2 : index.start + 5] = True
    data = dataclasses.replace(offline, corrected=corrected).of([offline.episodes[2], index])
    stored = StoredFeatures(model, data, 5, np.random.default_rng(0))
    stored.note(lambda feature, action: torch.full((len(feature), 2), 0.5))
    stored.weigh_corrections(3.0)
    assert set(stored.of([index])(60).known[..., 0].unique().tolist()) == weights
    assert set(stored.of([offline.episodes[2]])(40).known[..., 0].unique().tolist()) == {0.5}, "nobody drove in it"


def test_what_is_noted_of_a_row_is_what_its_batch_would_give(parent: Path, offline: Dataset) -> None:
    fine = tuner(parent, offline)
    critics = fine.behaviour.critics
    stored = StoredFeatures(fine.world_model, offline, 5, np.random.default_rng(0))
    stored.note(lambda feature, action: torch.stack(critics.q_target.values(feature, action), -1))
    drawn = stored.of(offline.episodes)(6)
    assert drawn.known.shape == (6, 5, 3)
    now = critics.values(drawn.data.feature[:, :-1], drawn.data.action)
    valid = drawn.data.valid
    for column, value in enumerate((now.q_r, now.q_c, now.q_h)):
        assert torch.allclose(drawn.known[:, :-1, column][valid], value[valid], atol=1e-5)


def test_settling_draws_the_share_of_offline_data_and_enough_violations(make_episode: Callable[..., Episode]) -> None:
    def data(flags: list[bool], seed: int) -> Dataset:
        return from_episodes([make_episode(4, seed + i, violates=flag) for i, flag in enumerate(flags)])

    offline, new = data([True] * 30 + [False] * 90, 0), data([False] * 9, 200)
    config, rng = SettlingConfig(episodes=40, batch_size=8), np.random.default_rng(0)
    first, second = sources(offline, new, 0.25, config, rng)
    assert (first.size, second.size) == (2, 6)
    assert (len(first.data.episodes), sum(e.violates for e in first.data.episodes)) == (40, 10)
    assert all(e.success for e in first.followed)
    assert second.followed == new.episodes
    (only,) = sources(None, new, 0.5, config, rng)
    assert only.size == 8
    (only,) = sources(offline, None, 0.5, config, rng)
    assert only.size == 8


def test_batches_are_half_experience(offline: Dataset, make_episode: Callable[..., Episode]) -> None:
    new = dataclasses.replace(make_episode(9, 77, size=64), reward=np.full(9, 5.0, np.float32))
    sampler = MixedSampler(offline, 5, 0, 0, 0.5)
    assert (sampler.batch(8).reward < 4).all(), "nothing else has been experienced"
    sampler.experience(from_episodes([new]))
    batch = sampler.batch(8)
    assert len(batch.reward) == 8
    experienced = (batch.reward > 4).any(1)
    assert experienced.tolist() == [False] * 4 + [True] * 4


def test_a_sampler_goes_on_where_it_was_although_experience_grew(offline: Dataset, make_episode: Any) -> None:
    first, second = make_episode(9, 50, size=64), make_episode(9, 51, size=64)

    def drawn(interrupted: bool) -> torch.Tensor:
        sampler = MixedSampler(offline, 5, 0, 0, 0.5)
        sampler.experience(from_episodes([first]))
        sampler.batch(4)
        if interrupted:
            state = json.loads(json.dumps(sampler.state))
            sampler = MixedSampler(offline, 5, 9, 0, 0.5)
            sampler.experience(from_episodes([first]))
            sampler.state = state
        sampler.experience(from_episodes([first, second]))
        return sampler.batch(8).images

    assert torch.equal(drawn(False), drawn(True))


def test_weights_of_another_training_are_not_taken_for_the_bundles(parent: Path, offline: Dataset) -> None:
    fine = tuner(parent, offline)
    actor, critics = fine.behaviour.actor, fine.behaviour.critics
    require_same_networks(parent, fine.world_model, fine.offline_actor, actor, critics, parent)
    with torch.no_grad():
        for parameter in critics.q_target.parameters():
            parameter.copy_(torch.randn_like(parameter))
    with pytest.raises(UserError, match="not the weights of"):
        require_same_networks(parent, fine.world_model, fine.offline_actor, actor, critics, parent)


def test_a_bundle_without_weights_says_what_to_do(parent: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    with pytest.raises(UserError, match="--weights"):
        read_weights(bare)


FIGURES = GateFigures(0.05, 0.1, 1.0, 2.0, 0.1)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"miss_rate": 0.09}, "miss rate"),
        ({"false_veto_rate": 0.3}, "false veto rate"),
        ({"inside_range": 0.5}, "ranges"),
        ({"imagined_return": 1.5}, "imagined return"),
        ({"imagined_violation": 0.25}, "violations"),
        ({"imagined_return": math.nan}, "imagined return"),
    ],
)
def test_a_candidate_that_is_worse_in_anything_is_kept_with_the_reason(change: dict[str, float], names: str) -> None:
    judgement = judge(dataclasses.replace(FIGURES, **change), FIGURES, GateConfig())
    assert not judgement.passed
    assert names in judgement.reasons[0]


def test_a_candidate_as_good_as_the_running_one_passes() -> None:
    assert judge(FIGURES, FIGURES, GateConfig()).passed
    assert judge(FIGURES, FIGURES, GateConfig(), 0.4).as_json()["intervention_share"] == 0.4
    (reason,) = judge(FIGURES, FIGURES, GateConfig(intervention_share=0.3), 0.4).reasons
    assert "an operator drove 0.400 is above 0.300" in reason
    nothing_to_say = dataclasses.replace(FIGURES, miss_rate=math.nan)
    assert judge(nothing_to_say, nothing_to_say, GateConfig()).passed, "no violation to miss for either"


def test_episodes_are_held_against_the_eps_that_they_were_not_used_for() -> None:
    def episode(q_h: list[float], cost: list[float]) -> EpisodeValues:
        nothing = np.zeros(len(q_h), np.float32)
        return EpisodeValues(nothing, nothing, np.array(q_h, np.float32), nothing, np.array(cost, np.float32), nothing)

    violating, safe = episode([0.1, 0.2, 0.3], [0, 1, 1]), episode([0.1, 0.2, 0.4, 0.3], [0, 0, 0, 0])
    assert miss_and_false_veto_rate([(0.15, violating), (0.25, safe)], 1) == (0.0, 0.5)
    assert miss_and_false_veto_rate([(0.25, violating), (0.35, safe)], 1) == (1.0, 0.25)
    both = [(0.15, violating), (0.25, safe), (0.25, violating), (0.35, safe)]
    assert miss_and_false_veto_rate(both, 1) == (0.5, 0.375), "a mean over onsets, and over steps"
    missed, vetoed = miss_and_false_veto_rate([(0.15, safe)], 1)
    assert math.isnan(missed)
    assert vetoed == 0.75


@pytest.fixture
def learner(parent: Path, robot: RobotConfig, tmp_path: Path, write_bag: Callable[..., Path]) -> Callable[..., Any]:
    """`learner(resume)`: a run on bags of 80 x 80 pixels, three of which violate."""
    for i in range(6):
        outcome = {"cost_at": 20 if i % 2 else -1, "last_at": 20, "speed": 0.1 + 0.01 * i}
        write_bag(f"episode_{i:06d}", frames=21, size=(80, 80), **outcome)

    def make(
        run: str, resume: bool = False, settings: FinetuneConfig = SETTINGS, bundle: Path = parent
    ) -> OnlineLearner:
        sources = Sources(bundle, robot, (tmp_path / "bags",))
        return OnlineLearner(sources, settings, tmp_path / run, resume=resume)

    return make


def losses(run: Path) -> list[str]:
    return (run / "losses.csv").read_text().splitlines()


def test_a_run_makes_a_bundle_that_loads_and_a_lineage(learner: Callable[..., OnlineLearner], parent: Path) -> None:
    run = learner("run")
    run.run()
    candidate = run.newest_candidate()
    bundle = load_bundle(candidate.path)
    assert bundle.manifest.parent_id == load_bundle(parent).manifest.id
    assert bundle.manifest.training["experience"]["episodes"] == 6
    assert bundle.manifest.training["correction"]["episodes"] == 6
    experience = run.buffer.dataset(run.tuner.step, held_out=False)
    assert experience is not None
    assert read_seen(candidate.path) == {"00000000000000ff", *(e.content for e in experience.episodes)}
    assert [event.event for event in run.lineage.events()] == ["start", "candidate"]
    again = FineTuner(bundle.manifest, read_weights(candidate.path), candidate.path, SETTINGS, None, run.tuner._data)
    frozen = run.tuner.offline_actor.state_dict()
    assert all(torch.equal(t, frozen[n]) for n, t in again.offline_actor.state_dict().items()), "of all generations"


def test_without_any_new_episode_nothing_is_trained_whatever_offline_data_there_is(
    parent: Path, robot: RobotConfig, tmp_path: Path, write_bag: Callable[..., Path]
) -> None:
    for i in range(6):
        write_bag(f"episode_{i:06d}", frames=21, size=(80, 80), cost_at=10 if i % 2 else -1, last_at=20, speed=0.01 * i)
    (tmp_path / "empty").mkdir()
    offline = (tmp_path / "bags",)
    with pytest.raises(UserError, match="empty: no bag here"):
        OnlineLearner(Sources(parent, robot, (tmp_path / "empty",), offline), SETTINGS, tmp_path / "run")
    broken = write_bag("broken", frames=21, size=(80, 80), topics=("image", "command"))
    broken.rename(tmp_path / "empty" / "broken")
    sources = Sources(parent, robot, (tmp_path / "empty",), offline, cache=tmp_path / "cache")
    with pytest.raises(UserError, match="no episode to train on"):
        OnlineLearner(sources, SETTINGS, tmp_path / "run").run()


def test_it_is_told_at_once_that_no_candidate_can_pass(
    learner: Callable[..., OnlineLearner], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fosp_learner.finetuning.candidate.unsupported_because", lambda calibration: "")
    learner("run").run()
    told = " ".join("".join(capsys.readouterr()).split())
    assert "needs 19: every candidate is refused until new episodes bring the others" in told
    assert told.index("needs 19") < told.index(" at update 6")


def test_a_violation_lowers_the_threshold_of_the_running_bundle_at_once(
    learner: Callable[..., OnlineLearner],
    parent: Path,
    write_bag: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = learner("run")
    run._note_start()
    run._intake.take_in(0, print)
    foreseen = {entry.start: 1.0 for entry in run.buffer.entries}
    found = run._maker._scores(run._maker._parent_networks, 1)
    assert found.keys() == {entry.start for entry in run.buffer.entries if entry.violates}, "held out or not"
    assert all(0.0 < score < 1.0 for score in found.values())
    monkeypatch.setattr(run._maker, "_scores", lambda networks, horizon: foreseen)
    run._tighten()
    assert len(run.lineage.events()) == 1, "no threshold prevents what the judge foresaw"
    monkeypatch.setattr(run._maker, "_scores", lambda networks, horizon: {})
    run._tighten()
    tightened, before = read_manifest(Path(run.lineage.running()[1])), read_manifest(parent)
    assert (tightened.parent_id, tightened.files) == (before.id, before.files), "the same networks"
    share = CorrectionConfig().floor  # three of six violate
    assert tightened.calibration.eps == pytest.approx(share * before.calibration.eps)
    assert not run.concluded, "no update has gone into it"
    write_bag("episode_000006", frames=21, size=(80, 80), cost_at=-1, last_at=20, speed=0.2)
    assert not run._intake.take_in(0, print)
    run._tighten()
    assert len(run.lineage.events()) == 2, "it is never loosened in this way"


def test_a_learner_that_follows_tightens_after_its_budget_is_spent(
    parent: Path, robot: RobotConfig, tmp_path: Path, write_bag: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OnlineLearner, "_try_candidate", lambda run: None)
    monkeypatch.setattr("fosp_learner.finetuning.online_learner.POLL_S", 0.01)
    for i in range(2):
        write_bag(f"episode_{i:06d}", frames=21, size=(80, 80), cost_at=-1, last_at=20, speed=0.1 + 0.01 * i)
    settings = SETTINGS.model_copy(update={"least_rows": 1, "updates_per_row": 100.0, "train_on": "all"})
    run = OnlineLearner(Sources(parent, robot, (tmp_path / "bags",)), settings, tmp_path / "run", follow=True)
    asked = 0

    def stop() -> bool:
        nonlocal asked
        if run.tuner.step == settings.steps:
            asked += 1
            if asked == 5:
                write_bag("episode_000002", frames=21, size=(80, 80), cost_at=20, last_at=20, speed=0.3)
        return asked > 5 and len(run.lineage.events()) == 2

    run.run(stop)
    assert [event.event for event in run.lineage.events()] == ["start", "candidate"]
    assert read_manifest(Path(run.lineage.running()[1])).calibration.eps < read_manifest(parent).calibration.eps


@pytest.mark.parametrize("killed_at", [1, 3, 5, 6])
def test_a_run_that_was_killed_goes_on_as_if_it_had_not_been(
    learner: Callable[..., OnlineLearner], killed_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 6 it is settling."""
    monkeypatch.setattr(OnlineLearner, "_try_candidate", lambda run: None)  # seconds, and not what is asked here
    straight = learner("straight")
    straight.run()
    killed = learner("killed")
    killed.run(stop=lambda: killed.tuner.step >= killed_at)
    # A kill takes what came after the last checkpoint; stopping has saved more than a kill would.
    resumed = learner("killed", resume=True)
    resumed.run()
    tensors = network_tensors(resumed.tuner)
    assert all(torch.equal(t, tensors[name]) for name, t in network_tensors(straight.tuner).items())
    assert [vars(e) for e in resumed.buffer.entries] == [vars(e) for e in straight.buffer.entries]


@pytest.mark.parametrize("path", sorted((CONFIG / "finetuning").glob("*.yaml")), ids=lambda path: path.stem)
def test_settings_that_are_shipped_are_understood(path: Path) -> None:
    assert parse_spec(FinetuneConfig, read_yaml(path), path.name)


def test_lines_of_updates_that_are_made_again_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "losses.csv"
    path.write_text("step,figure,value\n25,a,1\n50,a,2\n75,a,3\n")
    forget_after(path, 50)
    assert path.read_text().split() == ["step,figure,value", "25,a,1", "50,a,2"]


def test_the_running_bundle_is_the_newest_that_passed_and_was_not_sent_back(tmp_path: Path) -> None:
    lineage = Lineage(tmp_path)
    lineage.append("start", "a", path="/a")
    lineage.append("candidate", "b", path="/b", gate={"passed": True})
    lineage.append("candidate", "c", path="/c", gate={"passed": False})
    assert lineage.running() == ("b", "/b")
    lineage.append("candidate", "d", path="/d", gate={"passed": True})
    lineage.append("rolled_back", "d")
    assert lineage.running() == ("b", "/b")
    with lineage.path.open("a") as file:
        file.write('{"event": "candidate", "id": "e", "det')
    assert lineage.running() == ("b", "/b"), "a line that a crash cut off says nothing"
