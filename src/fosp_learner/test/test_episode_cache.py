"""The cache on disk: complete or not there at all, and no burden on memory."""

import os
import resource
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import CameraSpec, ObservationSpec
from fosp_learner.data.bags import Episode
from fosp_learner.data.dataset import Dataset, EpisodeIndex, load_bags
from fosp_learner.data.episode_cache import ArrayWriter, new_cache, open_cache
from fosp_learner.data.samplers import SequenceSampler

SMALL = ObservationSpec(cameras=(CameraSpec(height=16, width=16),))
ARRAYS = ("images", "action", "reward", "cost", "is_terminal")
PERIOD_S = 0.05
KEY = "0" * 64
WriteBag = Callable[..., Path]


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """No file of this process may grow beyond `limit` bytes, as on a disk that has no more room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def write(target: Path, episodes: Iterable[Episode]) -> None:
    with new_cache(target, ARRAYS) as writer:
        assert writer is not None
        for episode in episodes:
            length = len(episode.reward)
            writer.append(episode, vars(EpisodeIndex(episode.name, writer.rows, length, True, False)))


def test_an_array_that_grew_is_the_file_that_numpy_would_have_saved(tmp_path: Path):
    whole = np.arange(12 * 3, dtype=np.float32).reshape(12, 3)
    writer = ArrayWriter(tmp_path / "grown.npy")
    for part in (whole[:1], whole[1:7], whole[7:]):
        writer.append(part)
    writer.finish()
    np.save(tmp_path / "saved.npy", whole)
    assert (tmp_path / "grown.npy").read_bytes() == (tmp_path / "saved.npy").read_bytes()


@pytest.mark.slow
def test_several_processes_write_the_same_cache_bit_for_bit(write_bag: WriteBag, robot: RobotConfig, tmp_path: Path):
    for i in range(6):
        write_bag(f"episode_{i}", frames=5 + 4 * i, lost=(9, 10, 11, 12) if i == 4 else (), cost_at=3 * (i % 2))
    alone, together = (
        load_bags([tmp_path / "bags"], SMALL, robot, PERIOD_S, tmp_path / f"cache_{n}", workers=n) for n in (1, 2)
    )
    assert alone.key == together.key
    assert alone.episodes == together.episodes
    for name in ("images.npy", "action.npy", "reward.npy", "cost.npy", "is_terminal.npy", "index.json"):
        assert (tmp_path / "cache_1" / alone.key / name).read_bytes() == (
            tmp_path / "cache_2" / alone.key / name
        ).read_bytes()


def test_a_full_disk_is_one_line_and_leaves_nothing(write_bag: WriteBag, robot: RobotConfig, tmp_path: Path):
    bag, cache = write_bag(frames=201), tmp_path / "cache"
    with full_disk(50_000), pytest.raises(UserError, match="no space left for the cache") as caught:
        load_bags([bag], SMALL, robot, PERIOD_S, cache)
    assert "\n" not in str(caught.value)
    assert list(cache.iterdir()) == []
    assert load_bags([bag], SMALL, robot, PERIOD_S, cache).steps == 100


def test_a_crash_half_way_leaves_no_cache(episodes: list[Episode], tmp_path: Path):
    def broken() -> Iterator[Episode]:
        yield episodes[0]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write(tmp_path / KEY, broken())
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_but_not_what_is_being_written(episodes: list[Episode], tmp_path: Path):
    left = tmp_path / f".{'1' * 64}"
    left.mkdir()
    (left / "images.npy").write_bytes(b"half")
    with new_cache(tmp_path / f"{'2' * 64}", ARRAYS) as going_on:
        assert going_on is not None
        assert not left.exists()
        write(tmp_path / KEY, episodes)
        assert {path.name for path in tmp_path.iterdir()} == {f".{'2' * 64}", KEY}
        going_on.append(episodes[0], {"length": len(episodes[0].reward)})
    assert {path.name for path in tmp_path.iterdir()} == {"2" * 64, KEY}


def test_whoever_wants_a_cache_that_is_being_written_waits_and_uses_it(episodes: list[Episode], tmp_path: Path):
    second: list[object] = []

    def also() -> None:
        with new_cache(tmp_path / KEY, ARRAYS) as writer:
            second.append(writer)

    thread = threading.Thread(target=also)
    with new_cache(tmp_path / KEY, ARRAYS) as writer:
        assert writer is not None
        thread.start()
        writer.append(episodes[0], {"length": len(episodes[0].reward)})
        assert second == []
    thread.join(timeout=10)
    assert second == [None]
    assert [path.name for path in tmp_path.iterdir()] == [KEY]


def test_a_cache_whose_files_do_not_fit_each_other_is_one_line(episodes: list[Episode], tmp_path: Path):
    write(tmp_path / KEY, episodes)
    os.truncate(tmp_path / KEY / "images.npy", 5000)
    with pytest.raises(UserError, match=r"damaged cache .* remove this folder") as caught:
        open_cache(tmp_path / KEY, ARRAYS)
    assert "\n" not in str(caught.value)


def test_bags_of_different_image_sizes_are_refused(write_bag: WriteBag, robot: RobotConfig, tmp_path: Path):
    write_bag("a")
    write_bag("b", size=(48, 64))
    with pytest.raises(UserError, match="images are 32x24 in a, but 64x48 in b") as caught:
        load_bags([tmp_path / "bags"], SMALL, robot, PERIOD_S, tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_bags_that_change_while_they_are_read_are_refused(write_bag: WriteBag, robot: RobotConfig, tmp_path: Path):
    bag = write_bag()

    def goes_on(done: int, total: int) -> None:
        with next(bag.glob("*.mcap")).open("ab") as file:
            file.write(b"more")

    with pytest.raises(UserError, match="changed while they were read"):
        load_bags([bag], SMALL, robot, PERIOD_S, tmp_path / "cache", progress=goes_on)
    assert list((tmp_path / "cache").iterdir()) == []


def resident_mib() -> float:
    """Memory of this process, mapped files included."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_ten_times_the_data_takes_no_more_memory(make_episode: Callable[..., Episode], tmp_path: Path):
    """8 MiB and 80 MiB of images: written, and then drawn from until every row was seen."""
    episode = make_episode(71, 0, size=64)
    taken = []
    for times in (10, 100):
        before = resident_mib()
        write(tmp_path / str(times), [episode] * times)
        arrays, index = open_cache(tmp_path / str(times), ARRAYS)
        data = Dataset(**arrays, episodes=tuple(EpisodeIndex(**entry) for entry in index), key="")
        sampler = SequenceSampler(data, 64, seed=0)
        largest = 0.0
        for _ in range(times):
            sampler.batch(2)
            largest = max(largest, resident_mib())
        taken.append(largest - before)
    assert taken[1] < taken[0] + 8, taken
