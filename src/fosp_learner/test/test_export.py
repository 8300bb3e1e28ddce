from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from tiny_networks import TINY

from fosp_core.bundle.bundle import load_bundle, write_bundle
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import CameraSpec, ObservationSpec
from fosp_learner import config as learner_config
from fosp_learner.bundling.export import NAMES, CriticGraph, export_networks, learn_graphs
from fosp_learner.bundling.known_graphs import KnownGraphs
from fosp_learner.config import CloningConfig, CriticConfig, LearnerConfig
from fosp_learner.data.bags import Episode
from fosp_learner.data.dataset import Dataset, from_episodes
from fosp_learner.model.critics import Critics
from fosp_learner.training.filtering import filter_episodes
from fosp_learner.training.trainer import Trainer

pytestmark = pytest.mark.slow

DETER = TINY.recurrent + TINY.embed
OBSERVATION = ObservationSpec(cameras=(CameraSpec(height=32, width=32),))


@pytest.fixture(scope="module")
def trainer(make_episode: Callable[..., Episode]) -> Iterator[Trainer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(learner_config.SIZES, "nano", TINY)
        data = from_episodes([make_episode(8 + i % 3, i, violates=i % 2 == 0) for i in range(6)])
        settings = LearnerConfig(steps=4, cloning=CloningConfig(share=0.0), batch_size=2, sequence_length=5, bf16=False)
        trained = Trainer(settings, data)
        for _ in range(settings.total_steps):
            trained.train_step()
        yield trained


@pytest.fixture(scope="module")
def files(trainer: Trainer) -> dict[str, bytes]:
    behaviour = trainer.behaviour
    networks = (trainer.world_model, behaviour.actor, behaviour.actor, behaviour.critics)
    return export_networks(*networks, success=behaviour.success)


def test_exported_filter_equals_torch_along_an_episode(
    trainer: Trainer, files: dict[str, bytes], episodes: list[Episode]
):
    data = from_episodes(episodes[:1])
    expected = next(filter_episodes(trainer.world_model, data))
    session = ort.InferenceSession(files["encoder.onnx"])
    deter, stoch = np.full((1, DETER), 7, np.float32), np.full((1, TINY.stoch), 7, np.float32)
    for t in range(data.episodes[0].length):
        deter, stoch, kl = session.run(
            ["next_deter", "next_stoch", "kl"],
            {
                "image": expected.batch.images[:, t].numpy(),
                "deter": deter,
                "stoch": stoch,
                "action": expected.batch.action_prev[:, t].numpy() if t else np.full((1, 3), 5, np.float32),
                "is_first": np.array([t == 0], np.float32),
            },
        )
        feature = np.concatenate([deter, stoch], -1)[0]
        np.testing.assert_allclose(feature, expected.latents.feature[t].numpy(), atol=1e-4)
        np.testing.assert_allclose(kl, expected.surprise[t : t + 1].numpy(), atol=1e-3)


def test_exported_critic_takes_any_number_of_actions(trainer: Trainer, files: dict[str, bytes]):
    session = ort.InferenceSession(files["critic.onnx"])
    feature = torch.randn(1, TINY.feature)
    for count in (1, 2, 9):
        action = torch.rand(1, count, 3)
        q_h = session.run(
            ["q_h"],
            {"deter": feature[:, :DETER].numpy(), "stoch": feature[:, DETER:].numpy(), "action": action.numpy()},
        )[0]
        expected = trainer.behaviour.critics.q_target.values(feature.expand(count, -1), action[0])[2].detach()
        np.testing.assert_allclose(q_h[0], expected.numpy(), atol=1e-5)


def test_a_trained_bundle_loads_with_its_golden_check(
    trainer: Trainer,
    files: dict[str, bytes],
    episodes: list[Episode],
    robot: RobotConfig,
    assemble: Callable[..., Any],
    tmp_path: Path,
):
    data: Dataset = from_episodes(episodes)
    manifest, contents = assemble(trainer, data, robot, "safe_reach", OBSERVATION, {"seed": 0})
    written = write_bundle(tmp_path / "bundle", manifest, {**contents, **files})
    bundle = load_bundle(tmp_path / "bundle", robot)
    assert bundle.manifest.id == written.id
    assert bundle.manifest.calibration.violating_episodes == 4
    assert 0 <= bundle.manifest.metrics["q_h_auc"] <= 1


def test_the_most_pessimistic_of_several_heads_is_exported(trainer: Trainer):
    torch.manual_seed(0)
    critics = Critics(TINY, CriticConfig(heads=2), action=3)
    actor = trainer.behaviour.actor
    content = export_networks(trainer.world_model, actor, actor, critics)["critic.onnx"]  # which holds it against torch
    feature, action = torch.randn(1, TINY.feature), torch.rand(1, 4, 3)
    fed = {"deter": feature[:, :DETER].numpy(), "stoch": feature[:, DETER:].numpy(), "action": action.numpy()}
    (q_h,) = ort.InferenceSession(content).run(["q_h"], fed)
    (spread,) = ort.InferenceSession(content).run(["q_h_spread"], fed)
    assert CriticGraph(critics).further == ("q_h_spread",)
    logits = critics.q_target(feature.unsqueeze(1).expand(-1, 4, -1), action)[2]
    heads = torch.sigmoid(logits).detach().numpy()
    np.testing.assert_allclose(spread, heads.max(0) - heads.min(0), atol=1e-5)
    np.testing.assert_allclose(q_h, torch.sigmoid(logits).amax(0).detach().numpy(), atol=1e-5)


def test_a_success_critic_is_a_further_output_that_the_manifest_names(
    trainer: Trainer,
    files: dict[str, bytes],
    episodes: list[Episode],
    robot: RobotConfig,
    assemble: Callable[..., Any],
    tmp_path: Path,
):
    behaviour, feature, action = trainer.behaviour, torch.randn(1, TINY.feature), torch.rand(1, 4, 3)
    assert behaviour.success is not None
    networks = (trainer.world_model, behaviour.actor, behaviour.actor, behaviour.critics)
    known = KnownGraphs()
    learn_graphs(known, {name: files[f"{name}.onnx"] for name in NAMES}, *networks, behaviour.success)
    assert known.filled("critic", CriticGraph(behaviour.critics, behaviour.success)) == files["critic.onnx"]
    known._known.pop("critic")
    plain = export_networks(*networks, known)
    fed = {"deter": feature[:, :DETER].numpy(), "stoch": feature[:, DETER:].numpy(), "action": action.numpy()}
    q_s, q_h = ort.InferenceSession(files["critic.onnx"]).run(["q_s", "q_h"], fed)
    expected = behaviour.success.probability(feature.unsqueeze(1).expand(-1, 4, -1), action).detach().numpy()
    np.testing.assert_allclose(q_s, expected, atol=1e-5)
    np.testing.assert_allclose(q_h, ort.InferenceSession(plain["critic.onnx"]).run(["q_h"], fed)[0], atol=1e-6)
    manifest, contents = assemble(trainer, from_episodes(episodes), robot, "safe_reach", OBSERVATION, {"seed": 0})
    assert manifest.critic_outputs == ("q_s",)
    without = manifest.model_copy(update={"critic_outputs": ()})
    write_bundle(tmp_path / "without", without, {**contents, **plain})
    assert "critic_outputs" not in (tmp_path / "without" / "manifest.json").read_text(), "as it always was"
    assert load_bundle(tmp_path / "without", robot).manifest.critic_outputs == ()
    for name, claimed, given in (("claims", manifest, plain), ("hides", without, files)):
        write_bundle(tmp_path / name, claimed, {**contents, **given})
        with pytest.raises(UserError, match=r"critic\.onnx: expected inputs .* and outputs"):
            load_bundle(tmp_path / name, robot)
