"""Does one thing on a failing disk (failing_disk.c, preloaded) again and again, each time with a later first failure.

    python failing_disk_runs.py WHAT ERRNO FOLDER BAGS

WHAT is recorder, black_box, cache or buffer. One line of JSON says for each operation of the disk and each run how many
calls failed, what was raised, and what is wrong with what is there afterwards. The last run of each operation is the
first one in which nothing failed.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from fosp_core.bag.storage import BagStorage
from fosp_core.errors import UserError
from fosp_core.robot.config import read_robot
from fosp_core.specs import CameraSpec, ObservationSpec
from fosp_learner.data.bags import find_bags, read_bag
from fosp_learner.data.dataset import load_bags, open_dataset
from fosp_learner.finetuning.online_buffer import OnlineBuffer
from fosp_recording.black_box import PREFIX, Heard, make_room, write_box
from fosp_recording.episode_recorder import EpisodeRecorder, Record, Topic

DISK = ctypes.CDLL(None)
ROBOT = read_robot(Path(__file__).parents[1] / "config" / "robots" / "sim_arm.yaml")
SMALL = ObservationSpec(cameras=(CameraSpec(height=16, width=16),))
IMAGE = Topic("/camera/color/image_raw", "sensor_msgs/msg/CompressedImage")
FEEDBACK = Topic("/fosp/feedback", "fosp_msgs/msg/StepFeedback")
MS = 1_000_000
START = 1_700_000_000_000 * MS
FRAMES, BYTES = 12, 200_000
OPERATIONS = ("write", "fsync", "rename", "open")


def digest(folder: Path) -> str:
    """A hash of all files below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in files)).hexdigest()


def whole(bag: Path, messages: int) -> bool:
    """True when a bag holds all its messages and says so."""
    storage = BagStorage(bag)
    return storage.finished and sum(1 for _ in storage.messages(lambda topic: True)) == messages


class OfRecorder:
    """An episode beside one that is finished already; afterwards another recorder takes over."""

    def __init__(self, folder: Path, bags: Path) -> None:
        self._out = folder
        self._record(EpisodeRecorder(folder, [IMAGE, FEEDBACK], compress=False), 0)
        self._before = digest(folder / "episode_000000")
        self._recorder = EpisodeRecorder(folder, [IMAGE, FEEDBACK], compress=False)

    def run(self) -> None:
        self._record(self._recorder, 1000)

    def _record(self, recorder: EpisodeRecorder, at: int) -> None:
        for frame in range(FRAMES):
            stamp = START + (at + 25 * frame) * MS
            recorder.message(Record(IMAGE, bytes(BYTES), stamp, stamp))
            recorder.message(Record(FEEDBACK, bytes(64), stamp, stamp))
            recorder.feedback(stamp, frame == 0, frame == FRAMES - 1, 0)
        recorder.close()

    def judge(self, failed: bool) -> list[str]:
        faults = []
        if digest(self._out / "episode_000000") != self._before:
            faults.append("the episode before is changed")
        done = self._out / "episode_000001"
        if done.exists() and not whole(done, 2 * FRAMES):
            faults.append("an episode that is not whole is called complete")
        if failed and done.exists():
            faults.append("told as failed, and complete")
        if failed != self._recorder.failed:
            faults.append("the recorder does not know that it failed")
        self._recorder.message(Record(IMAGE, bytes(BYTES), START, START))  # it takes no more, without a word
        self._record(EpisodeRecorder(self._out, [IMAGE, FEEDBACK], compress=False), 5000)
        if not whole(max(self._out.glob("episode_*")), 2 * FRAMES):
            faults.append("the recorder after it does not work")
        return faults


class OfBlackBox:
    """A box beside one that is there."""

    def __init__(self, folder: Path, bags: Path) -> None:
        self._out = folder
        self._heard = [Heard("/estop", START + k * MS, bytes(BYTES), k * 1e-3) for k in range(FRAMES)]
        self._write("1")
        self._before = digest(folder / f"{PREFIX}1")

    def _write(self, name: str) -> None:
        make_room(self._out, 10**9)
        write_box(self._out / f"{PREFIX}{name}", self._heard, {"/estop": "std_msgs/msg/Bool"}, {"cause": "test"})
        make_room(self._out, 10**9)

    def run(self) -> None:
        try:
            self._write("2")
        except OSError as error:
            raise UserError(str(error)) from None  # the node logs it

    def judge(self, failed: bool) -> list[str]:
        faults = [] if digest(self._out / f"{PREFIX}1") == self._before else ["the box before is changed"]
        done = self._out / f"{PREFIX}2"
        if done.exists() and not whole(done, FRAMES):
            faults.append("half a box")
        self._write("3")
        return faults


class OfCache:
    """The cache of the bags, which is made anew afterwards."""

    def __init__(self, folder: Path, bags: Path) -> None:
        self._cache, self._bags = folder, bags
        self._expected = [e for bag in find_bags([bags]) for e in read_bag(bag, SMALL, ROBOT, 0.05).episodes]

    def _load(self) -> Any:
        return load_bags([self._bags], SMALL, ROBOT, 0.05, self._cache, workers=1)

    def run(self) -> None:
        self._load()

    def judge(self, failed: bool) -> list[str]:
        found = [path for path in self._cache.glob("[0-9a-f]*") if path.is_dir()]
        sound = all(np.array_equal(open_dataset(path).images, self._images()) for path in found)
        faults = [] if sound else ["a cache that is not whole"]
        if not np.array_equal(self._load().images, self._images()):
            faults.append("the cache made afterwards is wrong")
        return faults

    def _images(self) -> Any:
        return np.concatenate([episode.images for episode in self._expected])


class OfBuffer:
    """Experience: an episode beside one that is there."""

    def __init__(self, folder: Path, bags: Path) -> None:
        (self._episode, *_) = read_bag(find_bags([bags])[0], SMALL, ROBOT, 0.05).episodes
        self._folder = folder
        self._marks = np.zeros(len(self._episode.reward), np.uint8)
        self._buffer = self._open()
        self._append(self._buffer, "1")

    def _open(self) -> OnlineBuffer:
        return OnlineBuffer(self._folder, SMALL.shape, ROBOT.action.size)

    def _append(self, buffer: OnlineBuffer, name: str) -> None:
        buffer.append(self._episode, self._marks, name, 0, False)

    def run(self) -> None:
        self._append(self._buffer, "2")

    def judge(self, failed: bool) -> list[str]:
        again = self._open()
        names = [entry.digest for entry in again.entries]
        faults = [] if names in (["1"], ["1", "2"]) and (failed or "2" in names) else [f"holds {names}"]
        self._append(again, "3")
        data = self._open().dataset(0, False)
        assert data is not None
        expected = np.concatenate([self._episode.images] * (len(names) + 1))
        return faults if np.array_equal(data.images, expected) else [*faults, "rows are mixed up"]


RUNS: dict[str, Any] = {"recorder": OfRecorder, "black_box": OfBlackBox, "cache": OfCache, "buffer": OfBuffer}


def runs_of(what: str, operation: str, error: int, folder: Path, bags: Path) -> list[dict[str, Any]]:
    """The outcome of each run, up to the first in which nothing failed."""
    outcomes: list[dict[str, Any]] = []
    while not outcomes or outcomes[-1]["hits"]:
        place = folder / f"{operation}_{len(outcomes)}"
        place.mkdir()
        run, said = RUNS[what](place, bags), ""
        DISK.failing_disk(str(place).encode(), operation.encode(), len(outcomes), error)
        try:
            run.run()
        except UserError as caught:
            said = str(caught)
        except BaseException as caught:
            said = f"{type(caught).__name__}\n{caught}"
        hits = DISK.failing_disk_hits()
        DISK.failing_disk(b"", b"", 0, 0)
        outcomes.append({"hits": hits, "error": said, "faults": run.judge(bool(said))})
    return outcomes


def main() -> None:
    what, error, folder, bags = sys.argv[1:]
    print(json.dumps({name: runs_of(what, name, int(error), Path(folder), Path(bags)) for name in OPERATIONS}))


if __name__ == "__main__":
    main()
