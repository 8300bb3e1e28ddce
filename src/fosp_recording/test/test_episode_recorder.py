"""One bag per episode, whatever order messages come in."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from fosp_core.bag_types import typestore
from fosp_core.errors import UserError
from fosp_core.robot.config import read_robot
from fosp_learner.data.bags import bag_metadata, find_bags
from fosp_recording.episode_recorder import EpisodeRecorder, Record, RecordingError, Topic, has_header, stamp_of

IMAGE = Topic("/camera/color/image_raw", "sensor_msgs/msg/Image")
FEEDBACK = Topic("/fosp/feedback", "fosp_msgs/msg/StepFeedback")
TWIST = Topic("/cmd_vel", "geometry_msgs/msg/Twist")
MS = 1_000_000
START = 1_700_000_000_000 * MS


def header(stamp_ns: int) -> Any:
    types = typestore().types
    stamp = types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return types["std_msgs/msg/Header"](stamp=stamp, frame_id="camera")


def image(ms: int, late_ms: int = 3) -> Record:
    """A frame stamped `ms` after START and received `late_ms` later."""
    pixels = np.random.default_rng(abs(ms)).integers(0, 255, 4 * 6 * 3, np.uint8)
    message = typestore().types[IMAGE.type](
        header=header(START + ms * MS), height=4, width=6, encoding="rgb8", is_bigendian=0, step=18, data=pixels
    )
    data = bytes(typestore().serialize_cdr(message, IMAGE.type))
    receipt = START + (ms + late_ms) * MS
    return Record(IMAGE, data, receipt, stamp_of(data, IMAGE.type, receipt))


def tell(recorder: EpisodeRecorder, ms: int, first: bool = False, last: bool = False, episode: int = 0) -> None:
    """Feedback stamped `ms` after START, received 1 ms later."""
    message = typestore().types[FEEDBACK.type](
        header=header(START + ms * MS), episode=episode, is_first=first, reward=0.0, cost=0.0, terminal=last,
        is_last=last, success=False, distance=0.5,
    )  # fmt: skip
    data = bytes(typestore().serialize_cdr(message, FEEDBACK.type))
    recorder.message(Record(FEEDBACK, data, START + (ms + 1) * MS, START + ms * MS))
    recorder.feedback(START + ms * MS, first, last, episode)


def stamps(bag: Path, topic: str = IMAGE.name) -> list[int]:
    """Stamps of a topic in a bag, ms after START."""
    with AnyReader([bag], default_typestore=typestore()) as reader:
        messages: list[Any] = [
            typestore().deserialize_cdr(data, connection.msgtype)
            for connection, _, data in reader.messages([c for c in reader.connections if c.topic == topic])
        ]
    return [(m.header.stamp.sec * 10**9 + m.header.stamp.nanosec - START) // MS for m in messages]


def recorder_in(out: Path) -> EpisodeRecorder:
    return EpisodeRecorder(out, [IMAGE, FEEDBACK])


def names(out: Path) -> list[str]:
    return sorted(path.name for path in out.iterdir() if not path.name.startswith("."))


def test_each_episode_is_one_bag_with_its_frames_and_nothing_of_its_neighbours(tmp_path: Path) -> None:
    recorder = recorder_in(tmp_path)
    for episode in range(2):
        for step in range(4):
            at = 1000 * episode + 25 * step
            tell(recorder, at, first=step == 0, last=step == 3, episode=episode)
            recorder.message(image(at))
        recorder.message(image(1000 * episode + 100))
        recorder.tick(START + (1000 * episode + 500) * MS)
    assert names(tmp_path) == ["episode_000000", "episode_000001"]
    for episode in range(2):
        assert stamps(tmp_path / f"episode_{episode:06d}") == [1000 * episode + 25 * step for step in range(4)]


def test_the_first_frame_is_kept_when_it_comes_before_the_feedback_that_begins_the_episode(tmp_path: Path) -> None:
    recorder = recorder_in(tmp_path)
    recorder.message(image(-25, late_ms=0))
    recorder.message(image(0, late_ms=0))
    tell(recorder, 0, first=True)
    tell(recorder, 25, last=True)
    recorder.close()
    assert stamps(tmp_path / "episode_000000") == [0]
    assert stamps(tmp_path / "episode_000000", FEEDBACK.name) == [0, 25]


def test_the_last_frame_is_kept_when_it_comes_after_the_feedback_that_ends_the_episode(tmp_path: Path) -> None:
    recorder = recorder_in(tmp_path)
    tell(recorder, 0, first=True)
    tell(recorder, 25, last=True)
    recorder.message(image(25))
    recorder.message(image(50))
    recorder.tick(START + 200 * MS)
    assert recorder.recording, "within the grace period it waits"
    recorder.tick(START + 300 * MS)
    assert not recorder.recording
    assert stamps(tmp_path / "episode_000000") == [25]


def test_an_episode_cut_short_is_kept_under_another_name(tmp_path: Path) -> None:
    recorder = recorder_in(tmp_path)
    tell(recorder, 0, first=True)
    recorder.message(image(0))
    tell(recorder, 500, first=True)
    tell(recorder, 525, last=True)
    recorder.close()
    assert names(tmp_path) == ["episode_000001", "incomplete_000000"]


def test_nothing_is_recorded_outside_of_episodes(tmp_path: Path) -> None:
    recorder = recorder_in(tmp_path)
    recorder.message(image(0))
    tell(recorder, 0)
    recorder.close()
    assert names(tmp_path) == []


def test_an_episode_has_no_name_before_it_is_complete(tmp_path: Path) -> None:
    recorder = recorder_in(tmp_path)
    tell(recorder, 0, first=True)
    assert names(tmp_path) == []


def test_a_running_episode_is_put_aside_where_nothing_is_trained_on_it(tmp_path: Path) -> None:
    recorder = EpisodeRecorder(tmp_path, [IMAGE, FEEDBACK])
    assert recorder.discard() is None
    tell(recorder, 0, first=True)
    recorder.message(image(0))
    discarded = recorder.discard()
    assert discarded == tmp_path / ".discarded" / "incomplete_000000"
    assert stamps(discarded) == [0]
    assert not recorder.recording
    tell(recorder, 20, last=True)
    recorder.tick(START + 1000 * MS)
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == []
    with pytest.raises(UserError, match="no bag here"):
        find_bags([tmp_path])


def test_the_last_finished_episode_is_put_aside_once_and_its_number_is_not_used_again(tmp_path: Path) -> None:
    recorder = EpisodeRecorder(tmp_path, [IMAGE, FEEDBACK])
    for episode in range(2):
        tell(recorder, 1000 * episode, first=True, episode=episode)
        tell(recorder, 1000 * episode + 20, last=True, episode=episode)
        recorder.tick(START + (1000 * episode + 900) * MS)
    assert recorder.discard() == tmp_path / ".discarded" / "episode_000001"
    assert recorder.discard() is None
    assert (tmp_path / "episode_000000").is_dir()
    again = EpisodeRecorder(tmp_path, [FEEDBACK])
    tell(again, 5000, first=True)
    tell(again, 5020, last=True)
    again.close()
    assert (tmp_path / "episode_000002").is_dir()


def test_a_bag_says_which_robot_it_is_of(tmp_path: Path) -> None:
    recorder = EpisodeRecorder(tmp_path, [FEEDBACK], metadata={"robot": "ur5e"})
    tell(recorder, 0, first=True)
    tell(recorder, 20, last=True)
    recorder.close()
    assert bag_metadata(tmp_path / "episode_000000")["robot"] == "ur5e"


def test_numbers_go_on_where_an_earlier_run_ended(tmp_path: Path) -> None:
    for _ in range(2):
        recorder = recorder_in(tmp_path)
        tell(recorder, 0, first=True)
        tell(recorder, 25, last=True)
        recorder.close()
    assert names(tmp_path) == ["episode_000000", "episode_000001"]


def test_a_bag_lists_its_topics_types_and_counts(tmp_path: Path) -> None:
    recorder = recorder_in(tmp_path)
    tell(recorder, 0, first=True, episode=7)
    recorder.message(image(0))
    tell(recorder, 25, last=True, episode=7)
    recorder.close()
    with AnyReader([tmp_path / "episode_000000"]) as reader:
        assert {c.topic: (c.msgtype, c.msgcount) for c in reader.connections} == {
            IMAGE.name: (IMAGE.type, 1),
            FEEDBACK.name: (FEEDBACK.type, 2),
        }


def test_a_topic_found_in_the_middle_of_an_episode_is_recorded_from_then_on(tmp_path: Path) -> None:
    recorder = recorder_in(tmp_path)
    tell(recorder, 0, first=True)
    recorder.add_topic(TWIST)
    data = bytes(typestore().serialize_cdr(twist(), TWIST.type))
    recorder.message(Record(TWIST, data, START + 10 * MS, START + 10 * MS))
    tell(recorder, 25, last=True)
    recorder.close()
    with AnyReader([tmp_path / "episode_000000"]) as reader:
        assert TWIST.name in {c.topic for c in reader.connections}


def twist() -> Any:
    vector = typestore().types["geometry_msgs/msg/Vector3"]
    return typestore().types[TWIST.type](linear=vector(x=1.0, y=0.0, z=0.0), angular=vector(x=0.0, y=0.0, z=0.0))


def test_stamps_are_read_from_the_header_and_are_the_receipt_where_there_is_none() -> None:
    assert image(40).stamp_ns == START + 40 * MS
    assert not has_header(TWIST.type)
    assert stamp_of(bytes(typestore().serialize_cdr(twist(), TWIST.type)), TWIST.type, 123) == 123


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(UserError, match="my_msgs/msg/Thing"):
        has_header("my_msgs/msg/Thing")


def test_a_full_disk_stops_the_recording_with_one_error_and_leaves_no_half_bag(tmp_path: Path) -> None:
    recorder = EpisodeRecorder(tmp_path, [IMAGE, FEEDBACK], compress=False)
    tell(recorder, 0, first=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, hard))
    try:
        with pytest.raises(RecordingError, match="recording stopped"):
            record_frames(recorder, 20_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert recorder.failed
    recorder.message(image(30_000))
    tell(recorder, 30_000, first=True)
    recorder.close()
    assert names(tmp_path) == []
    assert list((tmp_path / ".partial").iterdir()) == []


def record_frames(recorder: EpisodeRecorder, count: int) -> None:
    for i in range(count):
        recorder.message(image(i))


def test_what_a_killed_recorder_left_is_neither_touched_nor_overwritten(tmp_path: Path) -> None:
    killed = recorder_in(tmp_path)
    tell(killed, 0, first=True)
    lines: list[str] = []
    recorder = EpisodeRecorder(tmp_path, [IMAGE, FEEDBACK], log=lines.append)
    tell(recorder, 0, first=True)
    tell(recorder, 25, last=True)
    recorder.close()
    assert names(tmp_path) == ["episode_000001"]
    assert (tmp_path / ".partial" / "episode_000000").is_dir()
    assert "unfinished" in lines[0]


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RecordingError, match="file"):
        recorder_in(tmp_path / "file" / "bags")


def test_the_decision_period_that_bags_note_is_a_time_or_the_one_of_the_bundle() -> None:
    from fosp_recording.recorder_node import period_of

    assert (period_of("0.08"), period_of("0.08", 0.05), period_of("", 0.05), period_of("")) == (0.08, 0.08, 0.05, None)
    for text in ("0", "-0.05", "nan", "inf", "60", "fast"):
        with pytest.raises(UserError, match="decision_period_s"):
            period_of(text)


def test_a_camera_that_the_robot_file_names_by_its_topic_alone_is_recorded_and_required() -> None:
    from fosp_recording.recorded_topics import camera_topics, required_topics

    config = Path(__file__).parents[3] / "config" / "robots"
    point, turtlebot = (read_robot(config / f"{name}.yaml") for name in ("sim_point", "turtlebot3"))
    back = {"back/color/image_raw": "sensor_msgs/msg/Image", "back/color/camera_info": "sensor_msgs/msg/CameraInfo"}
    assert back.items() <= camera_topics(point).items()
    assert required_topics(point)[:2] == ("camera/color/image_raw", "back/color/image_raw")
    assert required_topics(turtlebot)[:1] == ("camera/image_raw",)
    assert len(camera_topics(turtlebot)) == 2
