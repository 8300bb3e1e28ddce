"""A bag whose every moment is known: four seconds in which a robot is vetoed, marked, and stopped by its operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fosp_core.bag_types import BagWriter, typestore
from fosp_core.decisions import Decision, Reason, WhoDrives

RATE_HZ = 20
SECONDS = 4.0
BEGIN_NS = 1_700_000_000_000_000_000
VETOED_S, STOPPED_S, MARKED_S, TAKEN_OVER_S, PRESSED_S = (1.0, 1.5), (2.5, 3.0), 2.0, 3.2, 3.5
NOTE = "the gripper slipped"
CAMERA, WRIST = "/camera/color/image_raw", "/wrist/color/image_raw"


def brightness(index: int) -> int:
    """Return the value of every pixel of a frame."""
    return 20 + 2 * index


def decision_at(when_s: float) -> tuple[Decision, Reason]:
    """Return what was decided at a moment."""
    if VETOED_S[0] <= when_s < VETOED_S[1]:
        return Decision.SUBSTITUTE, Reason.INFEASIBLE
    if STOPPED_S[0] <= when_s < STOPPED_S[1]:
        return Decision.STOP, Reason.STALE_IMAGE
    return Decision.PASS, Reason.OK


def write_told_bag(
    folder: Path, cameras: tuple[str, ...] = (CAMERA, WRIST), seconds: float = SECONDS, size: tuple[int, int] = (48, 64)
) -> Path:
    """Write the bag, and return its folder. Without cameras it is one of a black box that saw none."""
    writer = BagWriter(folder.parent / f".partial_{folder.name}")
    kinds = {
        **dict.fromkeys(cameras, "sensor_msgs/msg/Image"),
        "/fosp/verdict": "fosp_msgs/msg/SafetyVerdict",
        "/fosp/safety_event": "fosp_msgs/msg/SafetyEvent",
        "/fosp/feedback": "fosp_msgs/msg/StepFeedback",
        "/fosp/mark": "std_msgs/msg/String",
        "/arm/twist_command": "geometry_msgs/msg/TwistStamped",
        "/joint_states": "sensor_msgs/msg/JointState",
    }
    for topic, kind in kinds.items():
        writer.add_topic(topic, kind)

    def put(topic: str, when_s: float, **fields: Any) -> None:
        when_ns = BEGIN_NS + round(when_s * 1e9)
        data = typestore().serialize_cdr(_filled(kinds[topic], when_ns, fields), kinds[topic])
        writer.write(topic, when_ns, data)

    for index in range(round(seconds * RATE_HZ) + 1):
        when_s = index / RATE_HZ
        for camera in cameras:
            pixels = np.full((*size, 3), brightness(index) % 256, np.uint8)
            shape = {"height": size[0], "width": size[1], "step": size[1] * 3}
            put(camera, when_s, **shape, encoding="rgb8", data=pixels.reshape(-1))
        decision, reason = decision_at(when_s)
        put(
            "/fosp/verdict",
            when_s,
            decision=int(decision),
            reason=int(reason),
            reason_text=f"verdict {index}",
            step=index,
            q_h=0.3 if decision is Decision.SUBSTITUTE else 0.05,
            eps=0.2,
            source=int(WhoDrives.OPERATOR if when_s >= TAKEN_OVER_S else WhoDrives.POLICY),
        )
        put("/arm/twist_command", when_s, x=0.1 if decision is not Decision.STOP else 0.0)
        put("/fosp/feedback", when_s, episode=3, is_first=index == 0, cost=float(index in (30, 31)))
    put("/fosp/safety_event", 0.1, kind=7, text="an operator engaged at the console")
    put("/fosp/mark", MARKED_S, data=NOTE)
    put("/fosp/safety_event", PRESSED_S, kind=2, reason=int(Reason.ESTOP), text="the emergency stop is pressed")
    writer.note({"robot": "sim_arm", "task": "safe_reach"})
    writer.finish(folder)
    return folder


def _filled(kind: str, when_ns: int, fields: dict[str, Any]) -> Any:
    """Return a message of a type with some fields set, and everything else zero."""
    types = typestore().types
    stamp = types["builtin_interfaces/msg/Time"](sec=when_ns // 10**9, nanosec=when_ns % 10**9)

    def zero(name: str) -> Any:
        if name == "std_msgs/msg/Header":
            return types[name](stamp=stamp, frame_id="")
        if name == "builtin_interfaces/msg/Time":
            return stamp
        given = {"x": fields["x"]} if name == "geometry_msgs/msg/Vector3" and "x" in fields else {}
        return types[name](**{field: given.get(field, value(kind)) for field, kind in typestore().fielddefs[name][1]})

    def value(description: Any) -> Any:
        sort, what = int(description[0]), description[1]
        if sort == 1:
            return {"string": "", "bool": False}.get(what[0], 0)
        if sort == 2:
            return zero(what)
        element = what[0][1] if sort in (3, 4) else None
        name = element[0] if isinstance(element, tuple) else element
        return [] if name == "string" else np.zeros(what[1] if sort == 3 else 0, _NUMPY.get(str(name), np.float64))

    definition = dict(typestore().fielddefs[kind][1])
    return types[kind](**{name: fields[name] if name in fields else value(part) for name, part in definition.items()})


_NUMPY = {"float32": np.float32, "float64": np.float64, "uint8": np.uint8}
