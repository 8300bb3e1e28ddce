"""Episodes of recorded bags as arrays, memory-mapped from a cache that is keyed by the content of the bags."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fosp_core.bag.files import METADATA, files_of, find_bags
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.specs import ObservationSpec
from fosp_learner.data.bag_sets import OneLens, one_size
from fosp_learner.data.bags import BagReading, BagReport, Episode, content_of, read_bags
from fosp_learner.data.episode_cache import CacheWriter, new_cache, open_cache
from fosp_learner.data.odd_ones import odd_ones, shown_rows, traits_of

CACHE_VERSION = 6
"""Part of the cache key; raise it when the meaning of the arrays changes."""
_READ_OF_ROBOT = {
    *("command_topic", "action", "command_timeout_s", "camera_frame_rate_hz"),
    *("kind", "pose_topic", "state_topic", "state_type", "coasts", "response_s", "dead_time_s"),
}
"""Keys of a robot file that decide how its bags are read and what is refused of them."""
_ARRAYS = ("images", "action", "reward", "cost", "is_terminal")
KEYS = "keys"
"""Folder of the cache that notes the keys of bags that were read before."""
_KEY_LENGTH = 64
_NUMBER = re.compile(r"\d+(\.\d+)?")
_STANDS = 0.01
"""Change of a gripper's setpoint, of 2 for its whole stroke, up to which it stands."""
FileState = tuple[Path, int, int, int]
"""Path of a file, its size, and the times when its content and its inode changed, ns."""


@dataclass(frozen=True)
class EpisodeIndex:
    """Place of one episode in the concatenated arrays."""

    name: str
    start: int
    length: int
    success: bool
    """The goal was reached without any violation."""
    violates: bool
    content: str = ""
    """Hash of images, actions, rewards and costs; empty where it is not known."""
    shows_hazards: bool = False
    """Contact was sought, slowly, to show what is dangerous: nothing to imitate."""
    remarks: str = ""
    """Oddities of its bag, one remark per line, with the first episode of the bag alone."""


@dataclass(frozen=True)
class Dataset:
    """All rows of all episodes, one after the other; see Episode for the meaning of a row."""

    images: NDArray[np.uint8]
    """(N, cameras, H, W, 3)."""
    action: NDArray[np.float32]
    """(N, A) executed after the row."""
    reward: NDArray[np.float32]
    cost: NDArray[np.float32]
    is_terminal: NDArray[np.bool_]
    episodes: tuple[EpisodeIndex, ...]
    key: str
    """Content hash of bags and specs."""
    corrected: NDArray[np.bool_] | None = None
    """(N,) An operator, who took over from the policy, drove after the row; None: nobody did."""
    gripper: bool = False
    """The last value of an action is the setpoint of a gripper."""

    @property
    def folder(self) -> Path | None:
        """Folder of the arrays on disk; None for a data set in memory."""
        filename = getattr(self.images, "filename", None)
        return Path(filename).parent if filename else None

    @property
    def steps(self) -> int:
        """Number of transitions."""
        return sum(e.length - 1 for e in self.episodes)

    @cached_property
    def reached(self) -> NDArray[np.bool_]:
        """(N,) True in the last row of each episode that reached its goal without a violation."""
        reached = np.zeros(len(self.reward), np.bool_)
        reached[[e.start + e.length - 1 for e in self.episodes if e.success]] = True
        return reached

    @cached_property
    def followed(self) -> NDArray[np.float32]:
        """(N, A) what an actor learns to do after the row: the executed action, but of a gripper where it goes.

        The setpoint of a gripper moves at a limited rate. Half-way it says little of what was wanted, and an actor that
        follows it stops there: its answer to fingers half closed would be to hold them so.
        """
        if not self.gripper:
            return self.action
        followed = np.array(self.action)
        for e in self.episodes:
            rows = slice(e.start, e.start + e.length - 1)
            followed[rows, -1] = ends_of_ramps(followed[rows, -1])
        return followed

    @property
    def tells_success(self) -> bool:
        """True if some episodes succeed and some do not."""
        return len({e.success for e in self.episodes}) == 2

    def take_images(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return a copy of the images of `rows` (...): (..., cameras, H, W, 3) uint8.

        It unmaps the pages of the cache that it read, so that the process stays as small with a large data set as with
        a small one.
        """
        taken = self.images[rows]
        if isinstance(self.images.base, mmap.mmap):
            self.images.base.madvise(mmap.MADV_DONTNEED)
        return taken

    def of(self, episodes: Sequence[EpisodeIndex]) -> Dataset:
        """Return the same rows with these episodes alone."""
        return replace(self, episodes=tuple(episodes))

    def unseen(self, seen: Collection[str]) -> Dataset:
        """Return the same rows with the episodes alone whose content is not among those `seen`."""
        return self.of([episode for episode in self.episodes if episode.content not in seen])

    @property
    def copies(self) -> int:
        """Number of episodes that are there already: of a bag that was copied, or recorded from a playback again."""
        known = [episode.content for episode in self.episodes if episode.content]
        return len(known) - len(set(known))

    @property
    def remarks(self) -> tuple[str, ...]:
        """Oddities of the bags, the most frequent first: of how many it is said, and what of the first one."""
        said: dict[str, list[str]] = {}
        for episode in self.episodes:
            for remark in episode.remarks.splitlines():
                said.setdefault(_NUMBER.sub("0", remark), []).append(f"{episode.name}: {remark}")
        return tuple(_told(said))

    def odd(self, cameras: Sequence[str]) -> Iterator[str]:
        """Yield a line for each way in which episodes differ from the others as a mistake does; see odd_ones.py."""
        traits = []
        for e in self.episodes:
            rows = shown_rows(e.start, e.length)
            of = slice(e.start, e.start + e.length)
            traits.append(traits_of(self.take_images(rows), self.reward[of], self.cost[of]))
        said: dict[str, list[str]] = {}
        for e, lines in zip(self.episodes, odd_ones(traits, cameras), strict=True):
            for line in lines:
                said.setdefault(_NUMBER.sub("0", line), []).append(f"{e.name}: {line}")
        yield from _told(said)

    def share(self, flag: str) -> float:
        """Return the share of episodes with `flag` (success or violates)."""
        return float(np.mean([getattr(e, flag) for e in self.episodes]))


def _told(said: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield of how many bags each thing is said, and what of the first one, the most frequent first."""
    for found in sorted(said.values(), key=len, reverse=True):
        yield f"{len(found)} bag{'s' if len(found) > 1 else ''}, first {found[0]}"


def ends_of_ramps(setpoint: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return for each value (N,) of a setpoint where it goes: the last value of the rise or fall that it is in.

    A value that has not moved from the one before is where it goes.
    """
    moves = np.zeros(len(setpoint), np.int64)
    change = np.diff(setpoint)
    moves[1:] = np.sign(change) * (np.abs(change) > _STANDS)
    turns = np.append(np.flatnonzero(np.diff(moves)), len(setpoint) - 1)
    ends = turns[np.searchsorted(turns, np.arange(len(setpoint)))]
    return np.where(moves == 0, setpoint, setpoint[ends])


def from_episodes(episodes: Sequence[Episode], key: str = "", gripper: bool = False) -> Dataset:
    """Return a data set in memory; `gripper` as in the data set. UserError without any episode."""
    if not episodes:
        raise UserError("no episodes to train on")
    starts = np.cumsum([0] + [len(e.reward) for e in episodes])
    index = tuple(_index(e, int(start)) for e, start in zip(episodes, starts, strict=False))
    return Dataset(
        images=np.concatenate([e.images for e in episodes]),
        action=np.concatenate([e.action for e in episodes]),
        reward=np.concatenate([e.reward for e in episodes]),
        cost=np.concatenate([e.cost for e in episodes]),
        is_terminal=np.concatenate([e.is_terminal for e in episodes]),
        episodes=index,
        key=key,
        gripper=gripper,
    )


def load_bags(
    folders: Sequence[Path],
    observation: ObservationSpec,
    robot: RobotConfig,
    period_s: float,
    cache: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
    workers: int | None = None,
) -> Dataset:
    """Return the data set of all bags below `folders`, from the cache if they were read before with these specs.

    `progress(done, total)` counts bags. They are read in `workers` processes, by default in as many as pay off; the
    result is the same to the bit. UserError names the first bag that cannot be used, or says that the disk is full.
    """
    bags = find_bags(folders)
    before = _state(bags)
    note = _Note(cache, before, _described(observation, robot, period_s))
    key = note.key() or dataset_key(bags, observation, robot, period_s)
    target = cache / key
    if not target.is_dir():
        with new_cache(target, _ARRAYS) as writer:
            if writer is not None:
                with closing(read_bags(bags, observation, robot, period_s, workers)) as readings:
                    _write(writer, _counted(readings, len(bags), progress))
                if _state(bags) != before:
                    raise UserError("bags changed while they were read; wait until the recording is finished")
    note.write(key)
    return open_dataset(target, robot.gripper is not None)


def open_dataset(cached: Path, gripper: bool = False) -> Dataset:
    """Return the data set of one folder of the cache, which is named by its key; `gripper` as in the data set."""
    arrays, index = open_cache(cached, _ARRAYS)
    return Dataset(**arrays, episodes=tuple(EpisodeIndex(**entry) for entry in index), key=cached.name, gripper=gripper)


def dataset_key(bags: Sequence[Path], observation: ObservationSpec, robot: RobotConfig, period_s: float) -> str:
    """Return the hex sha256 of the bags' content and of everything that decides how they are read."""
    digest = hashlib.sha256(_described(observation, robot, period_s))
    for bag in bags:
        for path in _read_files(bag):
            digest.update(bag.name.encode())
            with path.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


class _Note:
    """File of the cache with the key of unchanged bags, so that gigabytes need not be hashed again."""

    def __init__(self, cache: Path, state: list[FileState], described: bytes) -> None:
        seen = json.dumps([(str(path.absolute()), *rest) for path, *rest in state])
        self._cache = cache
        self._path = cache / KEYS / hashlib.sha256(described + seen.encode()).hexdigest()

    def key(self) -> str:
        """Return the noted key; empty when there is none, or its arrays are gone."""
        try:
            key = self._path.read_text()
        except OSError:
            return ""
        return key if len(key) == _KEY_LENGTH and (self._cache / key).is_dir() else ""

    def write(self, key: str) -> None:
        with suppress(OSError):  # without it the bags are read again, no more
            self._path.parent.mkdir(parents=True, exist_ok=True)
            staging = self._path.with_suffix(f".{os.getpid()}")
            staging.write_text(key)
            staging.replace(self._path)


def _described(observation: ObservationSpec, robot: RobotConfig, period_s: float) -> bytes:
    """Return everything but the bags that decides what the arrays hold."""
    specs = {
        "version": CACHE_VERSION,
        "observation": observation.model_dump(mode="json"),
        "images": [robot.image_topic(camera.topic) for camera in observation.cameras],
        "robot": robot.model_dump(mode="json", include=_READ_OF_ROBOT),
        "period_s": period_s,
    }
    return json.dumps(specs, sort_keys=True).encode()


def split(dataset: Dataset, share: float, seed: int, seen: Collection[str] = ()) -> tuple[Dataset, Dataset]:
    """Return training and validation episodes, disjoint, with the same share of violating ones.

    Copies of an episode are on its side: what calibrates must not have been trained on. So is an episode whose content
    is among those `seen`, by networks that were trained before. UserError when there are too few episodes to divide.
    """
    rng = np.random.default_rng(seed)
    first = {e.content or str(i): i for i, e in reversed(list(enumerate(dataset.episodes)))}
    same = [first[e.content or str(i)] for i, e in enumerate(dataset.episodes)]
    new = [e.content not in seen for e in dataset.episodes]
    if not any(new):
        raise UserError("the bundle was trained on all of these episodes: none is left to calibrate on; record more")
    validation: set[int] = set()
    for violates in (False, True):
        every = [i for i, e in enumerate(dataset.episodes) if e.violates == violates and same[i] == i]
        group = [i for i in every if new[i]]
        count = round(share * len(every))
        if len(every) > 1:
            count = min(max(count, 1), len(every) - 1, len(group))
        validation |= {group[i] for i in rng.permutation(len(group))[:count]}
    validation = {i for i, original in enumerate(same) if original in validation}
    if not 0 < len(validation) < len(dataset.episodes):
        raise UserError(f"{len(dataset.episodes)} episodes cannot be split for training and validation; record more")
    training = [e for i, e in enumerate(dataset.episodes) if i not in validation]
    held_out = [e for i, e in enumerate(dataset.episodes) if i in validation]
    return dataset.of(training), dataset.of(held_out)


def draw_episodes(
    dataset: Dataset, count: int, violating_share: float, rng: np.random.Generator
) -> tuple[EpisodeIndex, ...]:
    """Return `count` random episodes in random order, of which `violating_share` violate if there are so many."""
    shuffled = [dataset.episodes[i] for i in rng.permutation(len(dataset.episodes))]
    violating = [index for index in shuffled if index.violates]
    others = [index for index in shuffled if not index.violates]
    first = min(len(violating), max(int(violating_share * count), count - len(others), 0))
    chosen = {index.start for index in (*violating[:first], *others[: max(count - first, 0)])}
    return tuple(index for index in shuffled if index.start in chosen)


def mean_image(dataset: Dataset, limit: int = 2000) -> NDArray[np.float32]:
    """Return the mean of evenly spread rows, (cameras, H, W, 3) in [0, 1]."""
    rows = np.concatenate([e.start + np.arange(e.length) for e in dataset.episodes])
    chosen = rows[:: max(1, len(rows) // limit)]
    return (dataset.take_images(chosen).mean(0) / 255.0).astype(np.float32)


def _index(episode: Episode, start: int) -> EpisodeIndex:
    success = episode.success and not episode.violates
    return EpisodeIndex(episode.name, start, len(episode.reward), success, episode.violates)


def _write(writer: CacheWriter, readings: Iterator[BagReading]) -> None:
    """Append the episodes to the cache as they come."""
    first: BagReport | None = None
    lenses = OneLens()
    for reading in readings:
        first = first or reading.report
        one_size([first, reading.report])
        lenses.check(reading.report)
        remarks = "\n".join(" ".join(note.split()) for note in reading.report.notes)
        for number, episode in enumerate(reading.episodes):
            index = _index(episode, writer.rows)
            content = content_of(episode.images, episode.action, episode.reward, episode.cost)
            entry = replace(index, content=content, remarks="" if number else remarks)
            writer.append(episode, vars(entry))


def _counted(readings: Iterator[BagReading], total: int, progress: Callable[[int, int], None]) -> Iterator[BagReading]:
    """Pass readings on and report the progress."""
    progress(0, total)
    for done, reading in enumerate(readings, 1):
        yield reading
        progress(done, total)


def _state(bags: Sequence[Path]) -> list[FileState]:
    """Return the state of every file that the key depends on. The time of the inode cannot be set by hand."""
    files = (path for bag in bags for path in _read_files(bag))
    stats = ((path, path.stat()) for path in files)
    return [(path, found.st_size, found.st_mtime_ns, found.st_ctime_ns) for path, found in stats]


def _read_files(bag: Path) -> list[Path]:
    """Return the files that decide what a bag gives; its metadata is one, since it says how much there must be."""
    metadata = (bag if bag.is_dir() else bag.parent) / METADATA
    return [*files_of(bag), *([metadata] if metadata.is_file() else [])]
