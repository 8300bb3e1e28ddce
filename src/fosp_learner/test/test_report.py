"""A tiny run from bags to its report, and the report again from what the run left."""

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_networks import TINY

from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import ObservationSpec
from fosp_learner import config as learner_config
from fosp_learner.config import LearnerConfig
from fosp_learner.data.bags import Episode
from fosp_learner.data.dataset import from_episodes
from fosp_learner.pretrain import _scene, pretrain
from fosp_learner.report.figure_data import CONTEXT, Prediction, SceneFrames, mean_error, predict, scene_v_h
from fosp_learner.report.run import RunFacts, read_facts, rebuild_report
from fosp_learner.report.video import open_loop_video
from fosp_learner.training.checkpoint import save_checkpoint
from fosp_learner.training.filtering import filter_episodes
from fosp_learner.training.trainer import Trainer

pytestmark = pytest.mark.slow

FIGURES = {
    "curves.png",
    "open_loop.png",
    "reachability_map.png",
    "reachability_episodes.png",
    "calibration.png",
    "reliability.png",
    "surprise.png",
}


def scene_of(task: str, robot: RobotConfig, observation: ObservationSpec) -> SceneFrames:
    """A grid of two by three places, the right column dark."""
    images = np.full((2, 3, *observation.shape), 200, np.uint8)
    images[:, 2] = 0
    y, x = np.mgrid[0:2, 0:3].astype(float)
    return SceneFrames(
        images, x[0], y[:, 0], x - 1.5, (0.0, 0.0), (2.0, 1.0), np.zeros((240, 320, 3), np.uint8), f"<{task}>"
    )


def test_the_moving_picture_has_truth_and_prediction_beside_each_other_frame_by_frame():
    truth = np.zeros((6, 8, 8, 3), np.float32)
    truth[:, :, :, 0] = np.linspace(0.2, 1.0, 6)[:, None, None]
    predicted = np.zeros_like(truth)
    predicted[:, :, :, 2] = 0.8
    error = np.ones(6, np.float32)
    long, short = (Prediction(f"e{n}", truth[:n], predicted[:n], error[:n], error[:n]) for n in (6, 3))
    content = open_loop_video([long, short], 0.05)
    assert content == open_loop_video([long, short], 0.05)
    picture = Image.open(io.BytesIO(content))
    assert (picture.format, picture.n_frames, picture.info.get("loop")) == ("WEBP", 6, 0)
    reds, durations = [], []
    for number in range(6):
        picture.seek(number)
        picture.load()
        durations.append(picture.info["duration"])
        pixels = np.asarray(picture.convert("RGB"), int)
        middle = pixels[16 + 80]
        assert middle[80][0] > middle[80][2], "the truth is red"
        assert middle[6 + 160 + 80][2] > 150, "the prediction is blue"
        reds.append(middle[80][0])
    assert reds == sorted(reds)
    assert reds[-1] > reds[0] + 100
    assert durations[0] == 100, "half as fast as 50 ms per step"
    assert durations[-1] > 1000
    with pytest.raises(ValueError, match="no prediction"):
        open_loop_video([], 0.05)


@pytest.mark.long
@pytest.mark.timeout(400)  # of a machine that does other things as well
def test_a_run_leaves_a_report_that_can_be_made_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, write_bag: Callable[..., Path], robot: RobotConfig
):
    monkeypatch.setitem(learner_config.SIZES, "nano", TINY)
    for i in range(8):
        write_bag(f"episode_{i:06}", frames=21, size=(64, 64), cost_at=16 if i % 2 else -1, last_at=20)
    settings = LearnerConfig.model_validate(
        {
            "steps": 4,
            "batch_size": 2,
            "sequence_length": 4,
            "validation_share": 0.5,
            "cloning": {"batch_size": 4},
            "refinement": {"batch_size": 2},
        }
    )
    pretrain([tmp_path / "bags"], tmp_path / "bundle", [robot], settings, runs=tmp_path / "runs", scene_of=scene_of)
    run = tmp_path / "runs" / "pretrain" / "bundle"
    report = run / "report"
    assert {path.name for path in report.glob("*.png")} == FIGURES
    page = (report / "index.html").read_text()
    for path in report.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
        assert base64.b64encode(path.read_bytes()).decode() in page, "the page holds its figures"
    assert not re.search(r'(src|href)="(?!data:)', page), "and needs nothing beside it"
    assert base64.b64encode((report / "open_loop.webp").read_bytes()).decode() in page, "and its moving picture"
    assert "&lt;safe_reach&gt;" in page, "text is escaped"
    assert "cannot support a miss rate of 0.05" in page, "two violating episodes are too few, and it says so"
    assert "cloning.batch_size" in page, "settings that differ are listed"
    before = {name: (report / name).read_bytes() for name in FIGURES - {"reachability_map.png"}}
    assert rebuild_report(run) == report / "index.html"
    assert before == {path.name: path.read_bytes() for path in report.glob("*.png")}, "the same to the last pixel"
    facts = read_facts(run)
    assert facts is not None
    assert (facts.task, facts.robot.name, facts.bundle) == ("safe_reach", "sim_arm", str(tmp_path / "bundle"))


def test_what_a_report_needs_and_is_gone_is_named(
    monkeypatch: pytest.MonkeyPatch, episodes: list[Episode], tmp_path: Path
):
    monkeypatch.setitem(learner_config.SIZES, "nano", TINY)
    run = tmp_path / "runs" / "pretrain" / "some"
    with pytest.raises(UserError, match=r"no checkpoint"):
        rebuild_report(run)
    save_checkpoint(Trainer(LearnerConfig(), from_episodes(episodes)), "key", run / "checkpoint")
    with pytest.raises(UserError, match=r"runs/cache/key: the rows of the bags are gone"):
        rebuild_report(run)
    assert read_facts(run) is None
    (run / "run.json").write_text("{")
    with pytest.raises(UserError, match=r"run\.json: damaged"):
        read_facts(run)


def test_a_machine_that_cannot_render_gets_its_report_without_the_map(
    capsys: pytest.CaptureFixture[str], robot: RobotConfig
):
    def cannot(task: str, robot: RobotConfig, observation: ObservationSpec) -> SceneFrames:
        raise UserError("no off-screen rendering")

    facts = RunFacts(task="safe_reach", robot=robot, observation=ObservationSpec(), bundle="")
    assert _scene(cannot, facts) is None
    assert capsys.readouterr().err == "the report has no map over a scene: no off-screen rendering\n"


def test_the_map_of_a_scene_is_what_the_runtime_would_say_of_each_place(
    monkeypatch: pytest.MonkeyPatch, episodes: list[Episode]
):
    monkeypatch.setitem(learner_config.SIZES, "nano", TINY)
    data = from_episodes(episodes)
    trainer = Trainer(LearnerConfig(), data)
    first = [next(filter_episodes(trainer.world_model, data.of([e]))) for e in data.episodes[:6]]
    images = np.stack([e.batch.images[0, 0].numpy() for e in first]).reshape(2, 3, *data.images.shape[1:])
    blank = np.zeros((2, 3))
    scene = SceneFrames(images, np.arange(3.0), np.arange(2.0), blank, (0, 0), (1, 1), images[0, 0, 0], "")
    found = scene_v_h(trainer.world_model, trainer.behaviour.critics, scene)
    expected = [trainer.behaviour.critics.v.values(e.latents.feature[:1])[2].item() for e in first]
    assert found.reshape(-1).tolist() == pytest.approx(expected, abs=1e-5)


def test_open_loop_predictions_know_the_actions_and_nothing_of_later_frames(
    monkeypatch: pytest.MonkeyPatch, make_episode: Callable[..., Episode]
):
    monkeypatch.setitem(learner_config.SIZES, "nano", TINY)
    episode = make_episode(CONTEXT + 4, 0)
    trainer = Trainer(LearnerConfig(), from_episodes([episode]))

    def predicted(changed: Episode) -> Prediction:
        filtered = next(filter_episodes(trainer.world_model, from_episodes([changed])))
        found = predict(trainer.world_model, filtered, horizon=20)
        assert found is not None
        return found

    before = predicted(episode)
    assert before.truth.shape == (4, 32, 32, 3), "to the end of the episode"
    later = episode.images.copy()
    later[CONTEXT:] = later[CONTEXT - 1]
    still = predicted(Episode(**(vars(episode) | {"images": later})))
    np.testing.assert_array_equal(still.predicted, before.predicted)
    assert still.rmse_still.tolist() == [0.0] * 4
    assert (before.rmse_still > 0).all()
    ours, theirs = mean_error([before, still], 6)
    assert np.isnan(ours[4:]).all()
    assert theirs[0] == pytest.approx(np.sqrt(before.rmse_still[0] ** 2 / 2))
    other = episode.action.copy()
    other[CONTEXT] = -other[CONTEXT]
    assert not np.array_equal(predicted(Episode(**(vars(episode) | {"action": other}))).predicted, before.predicted)
    short = from_episodes([make_episode(CONTEXT, 1)])
    assert predict(trainer.world_model, next(filter_episodes(trainer.world_model, short)), 20) is None
