"""Steps that an operator overrode, and steps that the safety monitor changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from fosp_core.bag_types import message_folder
from fosp_core.decisions import WhoDrives
from fosp_learner.finetuning.interventions import (
    Drivers,
    Intervention,
    RecordedVerdict,
    label_interventions,
    recorded_verdicts,
)

STAMPS = np.arange(4, dtype=np.int64)


def verdicts(*passed_on: float, changed: bool = False, limited: bool = False) -> dict[int, RecordedVerdict]:
    return {
        stamp: RecordedVerdict(np.array([value, 0.0], np.float32), changed, limited)
        for stamp, value in enumerate(passed_on)
    }


def executed(*first_axis: float) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.stack([np.array(first_axis), np.zeros(len(first_axis))], 1).astype(np.float32)


def labels(actions: tuple[float, ...], told: dict[int, RecordedVerdict]) -> list[int]:
    return label_interventions(executed(*actions), STAMPS, told, 0.15).tolist()


def test_what_was_let_through_and_executed_is_as_proposed() -> None:
    assert labels((0.5, 0.5, 0.5, 0.0), verdicts(0.5, 0.5, 0.5, 0.5)) == [Intervention.NONE] * 4


def test_the_way_from_one_verdict_to_the_next_is_no_override() -> None:
    assert labels((0.1, 0.6, -0.2, 0.0), verdicts(0.5, 0.9, -0.8, 0.0)) == [Intervention.NONE] * 4


def test_an_action_that_nobody_let_through_is_an_override() -> None:
    told = verdicts(0.5, 0.5, 0.5, 0.5)
    assert labels((0.5, -0.6, 0.5, 0.0), told) == [
        Intervention.NONE,
        Intervention.OPERATOR,
        Intervention.NONE,
        Intervention.NONE,
    ]


def test_where_hard_limits_were_at_work_nothing_is_said_of_an_operator() -> None:
    assert labels((0.5, -0.6, 0.5, 0.0), verdicts(0.5, 0.5, 0.5, 0.5, limited=True)) == [Intervention.NONE] * 4


def test_what_the_monitor_changed_is_told_apart() -> None:
    assert labels((0.5, 0.5, 0.5, 0.0), verdicts(0.5, 0.5, 0.5, 0.5, changed=True))[:3] == [Intervention.MONITOR] * 3


@pytest.mark.parametrize("told", [{}, {2: RecordedVerdict(np.zeros(2, np.float32), False, False)}])
def test_without_a_verdict_nobody_proposed_anything_else(told: dict[int, RecordedVerdict]) -> None:
    assert labels((0.9, 0.9, 0.0, 0.0), told)[:2] == [Intervention.NONE] * 2


def drivers(*told: tuple[int, WhoDrives]) -> Drivers:
    return Drivers(np.array([when for when, _ in told], np.int64), np.array([who for _, who in told], np.uint8))


def test_the_message_says_who_drove_whatever_was_executed() -> None:
    stamps = 100 * STAMPS
    told = {int(100 * stamp): verdict for stamp, verdict in verdicts(0.5, 0.5, 0.5, 0.5).items()}
    drove = drivers((10, WhoDrives.POLICY), (150, WhoDrives.OPERATOR), (205, WhoDrives.NOBODY))
    labels = label_interventions(executed(-0.9, 0.5, 0.0, 0.0), stamps, told, 0.15, drove).tolist()
    assert labels == [Intervention.NONE, Intervention.OPERATOR, Intervention.OPERATOR, Intervention.NONE]
    later = drivers((10, WhoDrives.POLICY), (110, WhoDrives.NOBODY))
    assert label_interventions(executed(0.5, 0.0, 0.0, 0.0), stamps, told, 0.15, later).tolist() == [
        Intervention.NONE,
        Intervention.MONITOR,
        Intervention.MONITOR,
        Intervention.NONE,
    ]


def test_a_person_drives_on_where_no_frame_was_judged() -> None:
    drove = drivers((5, WhoDrives.OPERATOR))
    assert (
        label_interventions(executed(0.9, 0.9, 0.9, 0.0), 100 * STAMPS, {}, 0.15, drove).tolist()[:3]
        == [Intervention.OPERATOR] * 3
    )


def test_verdicts_that_do_not_tell_who_drove_leave_it_to_the_guess() -> None:
    drove = drivers((0, WhoDrives.UNKNOWN), (2, WhoDrives.UNKNOWN))
    told = verdicts(0.5, 0.5, 0.5, 0.5)
    assert label_interventions(executed(0.5, -0.6, 0.5, 0.0), STAMPS, told, 0.15, drove).tolist()[1] == (
        Intervention.OPERATOR
    )


def test_a_bag_from_before_the_field_does_not_tell_who_drove(tmp_path: Path) -> None:
    text = (message_folder() / "SafetyVerdict.msg").read_text()
    before = "\n".join(line for line in text.splitlines() if not line.startswith(("uint8 SOURCE_", "uint8 source")))
    assert {len(old_and_new(tmp_path / name, definition)) for name, definition in (("old", before), ("new", text))} == {
        0,
        1,
    }


def old_and_new(folder: Path, definition: str) -> set[int]:
    """Who drove, by a bag with one verdict of this definition."""
    name = "fosp_msgs/msg/SafetyVerdict"
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg(definition, name))
    zeros = {"string": "", "bool": False, "float32[]": np.zeros(3, np.float32)}
    values: dict[str, Any] = {}
    for line in definition.splitlines():
        kind, _, rest = line.partition(" ")
        if kind and "#" not in kind and "=" not in rest.split("#")[0]:
            values[rest.split()[0]] = zeros.get(kind, 3)
    moment = store.types["builtin_interfaces/msg/Time"](sec=1, nanosec=0)
    values |= {"decided": moment, "header": store.types["std_msgs/msg/Header"](stamp=moment, frame_id="")}
    message = store.types[name](**values)
    with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/fosp/verdict", name, typestore=store)
        writer.write(connection, 1, store.serialize_cdr(message, name))
    return recorded_verdicts(folder, 3)[1].between(0, 2_000_000_000)
