"""Bags to a LeRobotDataset and back, and data sets of others, with everything that may be wrong with them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("pyarrow", reason="pip install -r requirements/lerobot.txt")
pytest.importorskip("av", reason="pip install -r requirements/lerobot.txt")

import pyarrow as pa
import pyarrow.parquet as pq

from fosp_bringup.paths import robot_path
from fosp_cli.cli import run
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.specs import CameraSpec, ObservationSpec
from fosp_learner.data.bags import read_episodes
from fosp_learner.lerobot.layout import read_data_set, read_rows
from fosp_learner.lerobot.writing import CameraFeature, DataSetWriter, NumberFeature
from fosp_sim.demonstration.record import record_episodes
from fosp_sim.task.scenario import Scenario

FULL = ObservationSpec(cameras=(CameraSpec(height=240, width=320),))
PERIOD_S = 0.05


@pytest.fixture(scope="module")
def arm() -> RobotConfig:
    return read_robot(robot_path("sim_arm"))


@pytest.fixture(scope="module")
def bags(tmp_path_factory: pytest.TempPathFactory, arm: RobotConfig) -> Path:
    """Return three short recordings: the first driver dawdles, so its episodes are of one length."""
    folder = tmp_path_factory.mktemp("bags")
    list(record_episodes(Scenario(task="safe_reach", seed=1, max_steps=6), arm, "greedy", 3, folder))
    return folder


@pytest.mark.parametrize(("codec", "largest_error"), [("h264", 1.5), ("av1", 2.5), ("png", 0.0)])
def test_bags_come_back_from_a_data_set_with_the_same_actions_rewards_and_images(
    bags: Path, arm: RobotConfig, tmp_path: Path, codec: str, largest_error: float
) -> None:
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(yaml.safe_dump(plain_mapping() | {"video": {"codec": codec}}))
    exported = ["bags", "export", "lerobot", str(bags), "--out", str(tmp_path / "set")]
    assert run([*exported, *(["--mapping", str(mapping)] if codec != "h264" else [])]) == 0
    assert (
        run(["bags", "import", "lerobot", str(tmp_path / "set"), "--robot", "sim_arm", "--out", str(tmp_path / "back")])
        == 0
    )
    assert run(["bags", "check", str(tmp_path / "back")]) == 0
    assert sorted(path.name for path in (tmp_path / "back").iterdir()) == [f"episode_00000{n}" for n in range(3)]
    for name in ("episode_000000", "episode_000001", "episode_000002"):
        (was,), (now,) = (read_episodes(folder / name, FULL, arm, PERIOD_S) for folder in (bags, tmp_path / "back"))
        np.testing.assert_allclose(now.action, was.action, atol=1e-6)
        np.testing.assert_array_equal(now.reward, was.reward)
        np.testing.assert_array_equal(now.cost, was.cost)
        np.testing.assert_array_equal(now.is_terminal, was.is_terminal)
        assert (now.success, now.images.shape) == (was.success, was.images.shape)
        assert np.abs(now.images.astype(int) - was.images).mean() <= largest_error


def plain_mapping(**more: Any) -> dict[str, Any]:
    """Return the mapping of a data set of velocities in m/s with one camera, as an export without a file has it."""
    axes = {f"linear.{axis}": {"name": f"linear.{axis}"} for axis in "xyz"}
    return {
        "cameras": [{"feature": "observation.images.camera"}],
        "action": {"kind": "velocity", "frame_id": "base_link", "axes": axes, **more},
        "feedback": {name: f"next.{name}" for name in ("reward", "cost", "success", "terminal")},
    }


def test_a_lower_rate_of_the_mapping_keeps_the_sum_of_rewards(bags: Path, tmp_path: Path, arm: RobotConfig) -> None:
    (tmp_path / "half.yaml").write_text(yaml.safe_dump(plain_mapping() | {"fps": 20}))
    command = ["bags", "export", "lerobot", str(bags), "--out", str(tmp_path / "set")]
    assert run([*command, "--mapping", str(tmp_path / "half.yaml")]) == 0
    data_set = read_data_set(tmp_path / "set")
    rows = read_rows(data_set, data_set.episodes[0].data, ["action", "next.reward"])
    assert data_set.fps == 20
    for number in range(3):
        (episode,) = read_episodes(bags / f"episode_00000{number}", FULL, arm, PERIOD_S)
        np.testing.assert_allclose(rows[number]["action"], episode.action * 0.25, atol=1e-6)
        np.testing.assert_allclose(rows[number]["next.reward"][:-1, 0], episode.reward[1:], atol=1e-6)


def test_a_lost_frame_repeats_the_one_before_so_that_time_stays_true(tmp_path: Path, arm: RobotConfig, capsys) -> None:
    lossy = Scenario.model_validate(
        {"task": "safe_reach", "seed": 5, "max_steps": 40, "camera": {"drop_probability": 0.1}}
    )
    (recorded,) = record_episodes(lossy, arm, "careful", 1, tmp_path / "bags")
    assert run(["bags", "export", "lerobot", str(tmp_path / "bags"), "--out", str(tmp_path / "set")]) == 0
    assert "rows repeat the frame before" in capsys.readouterr().out
    data_set = read_data_set(tmp_path / "set")
    assert sum(entry.length for entry in data_set.episodes) == pytest.approx(
        2 * recorded.steps + 1, abs=3
    )  # of the ends


def test_nothing_that_exists_is_overwritten(bags: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("precious")
    assert run(["bags", "export", "lerobot", str(bags), "--out", str(tmp_path / "mine")]) == 2
    assert run(["bags", "export", "lerobot", str(bags), "--out", str(tmp_path / "set")]) == 0
    capsys.readouterr()
    command = ["bags", "import", "lerobot", str(tmp_path / "set"), "--robot", "sim_arm"]
    assert run([*command, "--out", str(tmp_path / "mine")]) == 2
    assert "mine is not empty; choose another --out, nothing is overwritten" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_a_damaged_bag_is_left_out_and_named(bags: Path, tmp_path: Path, capsys) -> None:
    for bag in bags.iterdir():
        copied = tmp_path / "bags" / bag.name
        copied.mkdir(parents=True)
        for file in bag.iterdir():
            (copied / file.name).write_bytes(
                file.read_bytes()[: 1000 if (bag.name, file.suffix) == ("episode_000001", ".mcap") else None]
            )
    assert run(["bags", "export", "lerobot", str(tmp_path / "bags"), "--out", str(tmp_path / "set")]) == 2
    assert (
        "1 bags were left out, the first: episode_000001: episode_000001.mcap ends too early" in capsys.readouterr().err
    )
    assert len(read_data_set(tmp_path / "set").episodes) == 2


# -- data sets of others -----------------------------------------------------------------------------------------
Make = Callable[..., Path]
NAMES = ("dx", "dy", "dz")


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return a function that writes a data set of displacements in mm per row, and its mapping beside it."""

    def made(
        *actions: np.ndarray, fps: int = 40, codec: str = "png", tasks: tuple[str, ...] = ("reach",), **mapped: Any
    ) -> Path:
        numbers = {
            "action": NumberFeature(NAMES),
            "next.reward": NumberFeature(("r",)),
            "next.success": NumberFeature(("s",), "bool"),
        }
        writer = DataSetWriter(tmp_path / "set", fps, "some_arm", numbers, {"cam": CameraFeature(64, 96)}, codec, 18)
        for number, action in enumerate(actions):
            rows = len(action)
            columns = {"action": action, "next.reward": np.ones((rows, 1)), "next.success": np.zeros((rows, 1), bool)}
            writer.add_episode(tasks[number % len(tasks)], columns, {"cam": pictures(rows, number)})
        writer.finish()
        mapping = {
            "cameras": [{"feature": "cam"}],
            "action": {
                "kind": "displacement",
                "frame_id": "base_link",
                "axes": {f"linear.{n[1]}": {"name": n, "factor": 0.001} for n in NAMES},
            },
            "feedback": {"reward": "next.reward", "success": "next.success", "cost": "never"},
        }
        mapping["action"].update(mapped)  # type: ignore[union-attr]
        (tmp_path / "mapping.yaml").write_text(yaml.safe_dump(mapping))
        return tmp_path / "set"

    return made


def pictures(count: int, number: int) -> Iterator[np.ndarray]:
    for row in range(count):
        yield np.full((64, 96, 3), (40 * number + row) % 256, np.uint8)


def steps(rows: int = 9, dx: float = 2.0) -> np.ndarray:
    """Return displacements in mm that go forth and back: 2 mm at 40 rows per second are 0.08 m/s."""
    return np.array([[dx if row % 2 else -dx, 0.0, 0.0] for row in range(rows)])


def importing(root: Path, *options: str) -> int:
    command = [
        "bags",
        "import",
        "lerobot",
        str(root),
        "--robot",
        "sim_arm",
        "--mapping",
        str(root.parent / "mapping.yaml"),
    ]
    return run([*command, "--out", str(root.parent / "bags"), *options])


@pytest.mark.parametrize("codec", ["png", "h264"])
def test_displacements_become_velocities_and_each_episode_shows_its_own_images(
    make: Make, arm: RobotConfig, capsys, codec: str
) -> None:
    root = make(steps(), steps(7), codec=codec)
    assert importing(root) == 0
    assert "linear.y is 0 in every step" in capsys.readouterr().out
    for number, rows in enumerate((9, 7)):
        (episode,) = read_episodes(root.parent / f"bags/episode_00000{number}", ObservationSpec(), arm, 0.025)
        np.testing.assert_allclose(
            episode.action[:-1, 0] * 0.25, [0.08 if r % 2 else -0.08 for r in range(rows - 1)], rtol=1e-5
        )
        shown = episode.images.mean((1, 2, 3, 4))
        np.testing.assert_allclose(shown, [40 * number + r for r in range(rows)], atol=2.0)
        assert episode.reward.tolist() == [0.0, *[1.0] * (rows - 2), 2.0]  # the last row's counts with it


def test_an_episode_with_a_nan_or_without_a_step_is_left_out_and_named_and_the_others_are_imported(
    make: Make, capsys
) -> None:
    root = make(steps(), steps(), steps(1), steps())
    data = root / "data/chunk-000/file-000.parquet"
    rows = pq.read_table(data).to_pylist()
    rows[9 + 3]["action"][1] = float("nan")
    pq.write_table(pa.Table.from_pylist(rows), data)
    assert importing(root) == 2
    printed = capsys.readouterr()
    assert "2 episodes in" in printed.out
    assert "left out: episode 1: action is not finite in 1 rows, the first is 3" in printed.out
    assert "left out: episode 2: too short: 1 rows" in printed.out
    assert printed.err.startswith("fosp: 2 episodes were left out, the first: episode 1")
    assert sorted(path.name for path in (root.parent / "bags").iterdir()) == ["episode_000000", "episode_000003"]


def test_an_episode_whose_video_ends_early_is_left_out(make: Make, capsys) -> None:
    root = make(steps(), steps(), codec="h264")
    entry = next((root / "meta/episodes").rglob("*.parquet"))
    table = pq.read_table(entry).to_pylist()
    table[1]["videos/cam/from_timestamp"] += 0.1
    pq.write_table(pa.Table.from_pylist(table), entry)
    assert importing(root) == 2
    assert "left out: episode 1:" in (out := capsys.readouterr().out)
    assert "no frame at 0.450 s, where row 5 needs one" in out
    assert [path.name for path in (root.parent / "bags").iterdir()] == ["episode_000000"]


def test_a_video_that_is_cut_off_is_told_for_each_episode_in_it(make: Make, capsys) -> None:
    root = make(steps(), steps(), codec="h264")
    (video,) = root.glob("videos/cam/*/*.mp4")
    video.write_bytes(video.read_bytes()[:2000])
    assert importing(root) == 2
    printed = capsys.readouterr()
    assert printed.out.count("file-000.mp4: cannot be decoded") == 2
    assert "0 episodes in" in printed.out
    assert len(printed.err.strip().splitlines()) == 1


def test_several_cameras_come_back_in_step_under_the_names_of_their_topics(tmp_path: Path) -> None:
    described = yaml.safe_load(robot_path("sim_arm").read_text())
    described["name"] = "two_eyes"
    described["cameras"] = [{"name": name, "serial": f"{name}1"} for name in ("camera", "wrist")]
    (tmp_path / "two_eyes.yaml").write_text(yaml.safe_dump(described))
    cameras = {key: CameraFeature(64, 64) for key in ("left", "right")}
    writer = DataSetWriter(tmp_path / "set", 40, "arm", {"action": NumberFeature(("0", "1", "2"))}, cameras, "png", 18)
    images = {"left": [np.full((64, 64, 3), n, np.uint8) for n in range(5)]}
    images["right"] = [255 - image for image in images["left"]]
    writer.add_episode("look", {"action": np.zeros((5, 3))}, images)
    writer.finish()
    rewarded = {"reward": "action", "cost": "never"}
    mapping = plain_mapping(axes={f"linear.{axis}": {"name": str(n)} for n, axis in enumerate("xyz")})
    mapping |= {"feedback": rewarded, "tasks": {"look": "looking"}}
    mapping["cameras"] = [{"feature": "left"}, {"feature": "right", "topic": "wrist/color/image_raw"}]
    (tmp_path / "mapping.yaml").write_text(yaml.safe_dump(mapping))
    robot, options = str(tmp_path / "two_eyes.yaml"), ["--mapping", str(tmp_path / "mapping.yaml")]
    command = ["bags", "import", "lerobot", str(tmp_path / "set"), "--robot", robot, *options]
    assert run([*command, "--out", str(tmp_path / "bags")]) == 0
    assert "looking" in (tmp_path / "bags/episode_000000/metadata.yaml").read_text()
    assert (
        run(["bags", "export", "lerobot", str(tmp_path / "bags"), "--robot", robot, "--out", str(tmp_path / "again")])
        == 0
    )
    data_set = read_data_set(tmp_path / "again")
    assert {key for key in data_set.features if "images" in key} == {
        "observation.images.camera",
        "observation.images.wrist",
    }
    back = ["bags", "import", "lerobot", str(tmp_path / "again"), "--robot", robot, "--out", str(tmp_path / "back")]
    assert run(back) == 0
    both = ObservationSpec(cameras=(CameraSpec(), CameraSpec(name="wrist", topic="wrist/color/image_raw")))
    (episode,) = read_episodes(tmp_path / "back/episode_000000", both, read_robot(Path(robot)), 0.025)
    shown = episode.images.mean((2, 3, 4))
    np.testing.assert_allclose(shown[:, 0], range(5), atol=2.0)
    np.testing.assert_allclose(shown[:, 1], [255 - n for n in range(5)], atol=2.0)


def test_a_few_actions_beyond_the_scale_are_told_and_many_are_refused(make: Make, capsys) -> None:
    fast = steps(60)
    fast[10, 0] = 9.0
    root = make(fast)
    assert importing(root) == 0
    assert (
        "1 of 59 steps (1.7%) are beyond the robot's 0.25 m/s on linear.x, up to 0.36; training clips them"
        in capsys.readouterr().out
    )


def test_numbers_of_another_unit_are_refused_before_anything_is_written(make: Make, capsys) -> None:
    root = make(steps(), axes={f"linear.{n[1]}": {"name": n} for n in NAMES})
    assert importing(root) == 2
    assert "8 of 8 steps (100.0%) are beyond the robot's 0.25 m/s" in (err := capsys.readouterr().err)
    assert "mend kind or factor" in err
    assert not (root.parent / "bags").exists()


def test_absolute_positions_that_pass_for_velocities_are_refused(make: Make, capsys) -> None:
    place = np.linspace(0.1, 0.2, 800)[:, None] * np.ones(3)
    root = make(place, kind="velocity", axes={f"linear.{n[1]}": {"name": n} for n in NAMES})
    assert importing(root) == 2
    assert "these are no velocities; absolute positions cannot be mapped" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fps", "refused"),
    [
        (30, "has 30 images per second, the cameras of sim_arm 40, and images cannot be made up"),
        (60, "images cannot be made up"),
        (80, "give --resample to take every 2. image"),
    ],
)
def test_another_rate_is_never_taken_for_the_cameras(make: Make, capsys, fps: int, refused: str) -> None:
    assert importing(make(steps(), fps=fps)) == 2
    assert refused in capsys.readouterr().err


def test_a_multiple_of_the_cameras_rate_is_thinned_out_on_request_without_losing_rewards_or_commands(
    make: Make, arm: RobotConfig
) -> None:
    action = np.repeat(np.array([[1.0, 0.0, 0.0], [2.0, 0.0, 0.0]]), 4, 0)
    root = make(np.concatenate([action, action[:1]]), fps=80)
    assert importing(root, "--resample") == 0
    (episode,) = read_episodes(root.parent / "bags/episode_000000", ObservationSpec(), arm, 0.05)
    np.testing.assert_allclose(episode.action[:-1, 0] * 0.25, [0.08, 0.16], rtol=1e-5)
    assert episode.reward.sum() == 9.0
    np.testing.assert_allclose(episode.images.mean((1, 2, 3, 4)), [0, 4, 8])


def test_several_tasks_are_imported_one_by_one_or_under_one_name(make: Make, capsys) -> None:
    root = make(steps(), steps(), tasks=("reach the cup", "reach the bowl"))
    assert importing(root) == 2
    assert "holds 2 tasks ('reach the bowl', 'reach the cup')" in capsys.readouterr().err
    assert importing(root, "--task", "reach the bowl") == 0
    assert [path.name for path in (root.parent / "bags").iterdir()] == ["episode_000001"]
    assert "reach the bowl" in (root.parent / "bags/episode_000001/metadata.yaml").read_text()


def changed(root: Path, **keys: Any) -> None:
    path = root / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


@pytest.mark.parametrize(
    ("keys", "refused"),
    [
        ({"codebase_version": "v2.1"}, "a LeRobotDataset of version v2.1, this reads v3: convert it"),
        ({"fps": 0}, "fps must be a number above 0"),
        ({"features": []}, "expected keys, found list"),
        ({"data_path": "../../{chunk_index}/{file_index}"}, "lies outside of the data set"),
        ({"data_path": "data/{no_such_key}"}, "an entry is damaged"),
        (
            {"features": {"action": {"dtype": "float32", "shape": [3], "names": list(NAMES)}}},
            "no feature 'cam'; there are: action",
        ),
    ],
)
def test_damaged_metadata_is_one_line(make: Make, capsys, keys: dict[str, Any], refused: str) -> None:
    root = make(steps())
    changed(root, **keys)
    assert importing(root) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert refused in line


@pytest.mark.parametrize(
    "name", ["data/chunk-000/file-000.parquet", "meta/episodes/chunk-000/file-000.parquet", "meta/info.json"]
)
def test_a_file_that_is_cut_off_or_missing_is_one_line(make: Make, capsys, name: str) -> None:
    root = make(steps())
    path = root / name
    path.write_bytes(path.read_bytes()[:100])
    assert importing(root) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    path.unlink()
    assert importing(root) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_data_set_that_does_not_say_what_it_holds_needs_a_mapping(make: Make, capsys) -> None:
    root = make(steps())
    assert run(["bags", "import", "lerobot", str(root), "--robot", "sim_arm", "--out", str(root.parent / "bags")]) == 2
    assert "does not say what its features are: give --mapping FILE" in capsys.readouterr().err
