"""The price of one message in rclpy, from serialisation to callback, without anything of this stack's own.

A process of its own receives the messages with a callback that does nothing. Messages come at 100 Hz, one at a time, so
that each wakes the receiver, as on a robot. Times are processor time: waiting and other work do not lengthen them.
"""

from __future__ import annotations

import array
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import TwistStamped
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image, JointState

from fosp_bringup.environment import environment
from fosp_cli.evaluation.live_graph import RunFailed
from fosp_core.ros import qos
from fosp_core.ros.image_message import fill_image
from fosp_core.ros.lifecycle import events_executor
from fosp_msgs.msg import ActionCandidate, ActionProposal, Latent

_PERIOD_S = 0.01
_TIMEOUT_S = 30.0
_TOPIC = "message_costs"
_HEIGHT, _WIDTH, _DETER, _STOCH, _CANDIDATES, _AXES, _JOINTS = 480, 640, 512, 256, 10, 6, 7


@dataclass(frozen=True)
class MessageCost:
    """Processor time of one message, us."""

    serialise: float
    publish: float
    """The call of publish(), serialisation included."""
    deserialise: float
    receive: float
    """All that the receiving process does for it, deserialisation included: socket, wake-up, callback."""


def _image() -> Image:
    image = Image()
    fill_image(image, np.zeros((_HEIGHT, _WIDTH, 3), np.uint8))
    return image


def _latent() -> Latent:
    return Latent(deter=array.array("f", [0.5] * _DETER), stoch=array.array("f", [0.5] * _STOCH))


def _proposal() -> ActionProposal:
    candidates = [ActionCandidate(action=array.array("f", [0.5] * _AXES)) for _ in range(_CANDIDATES)]
    return ActionProposal(candidates=candidates)


def _joint_state() -> JointState:
    values = [0.5] * _JOINTS
    return JointState(name=[f"joint_{i}" for i in range(_JOINTS)], position=values, velocity=values, effort=values)


KINDS: dict[str, tuple[Callable[[], Any], QoSProfile]] = {
    "Image 640x480": (_image, qos.IMAGE_SOURCE),
    "Latent": (_latent, qos.STEP),
    "ActionProposal": (_proposal, qos.STEP),
    "JointState": (_joint_state, qos.COMMAND),
    "TwistStamped": (TwistStamped, qos.COMMAND),
}
"""Messages of the control path by name: how one is made, and the quality of service of its publisher."""


def message_costs(count: int) -> dict[str, dict[str, float]]:
    """Return the cost of `count` messages of each kind by name, us for one; raise RunFailed when nobody receives."""
    os.environ.update(environment())  # this process is a DDS participant as well
    return {name: {part: round(value, 1) for part, value in asdict(_cost(name, count)).items()} for name in KINDS}


def _cost(name: str, count: int) -> MessageCost:
    make, profile = KINDS[name]
    message, kind = make(), type(make())
    packed = serialize_message(message)
    serialise = _us(lambda: serialize_message(message), count)
    deserialise = _us(lambda: deserialize_message(packed, kind), count)
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("message_costs", context=context)
    publisher = node.create_publisher(kind, _TOPIC, profile)
    command = [sys.executable, "-m", "fosp_cli.bench.message_costs", name, str(count)]
    receiver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())
    try:
        deadline, spent_s, sent = time.monotonic() + _TIMEOUT_S + 2.0 * count * _PERIOD_S, 0.0, 0
        while receiver.poll() is None:
            if time.monotonic() > deadline:
                raise RunFailed(f"nobody received {count} messages of the kind {name}")
            if publisher.get_subscription_count() > 0:
                begin_s = time.thread_time()
                publisher.publish(message)
                spent_s, sent = spent_s + time.thread_time() - begin_s, sent + 1
            time.sleep(_PERIOD_S)
        out, _ = receiver.communicate()
        if receiver.returncode != 0:
            raise RunFailed(f"the receiver of {name} ended with {receiver.returncode}")
    finally:
        receiver.kill()
        receiver.wait()
        node.destroy_node()
        rclpy.shutdown(context=context)
    return MessageCost(serialise, 1e6 * spent_s / sent, deserialise, float(json.loads(out)))


def _us(call: Callable[[], Any], count: int) -> float:
    begin_s = time.thread_time()
    for _ in range(count):
        call()
    return 1e6 * (time.thread_time() - begin_s) / count


def _receive(name: str, count: int) -> None:
    """Receive `count` messages after the first one, and print the processor time of this process for each, us."""
    make, profile = KINDS[name]
    received, begin_s = 0, 0.0

    def count_it(_: Any) -> None:
        nonlocal received, begin_s
        received += 1
        if received == 1:
            begin_s = time.process_time()

    rclpy.init()
    node = rclpy.create_node("receiver")
    node.create_subscription(type(make()), _TOPIC, count_it, profile)
    executor = events_executor()
    executor.add_node(node)
    while received <= count:
        executor.spin_once(timeout_sec=0.1)
    print(json.dumps(1e6 * (time.process_time() - begin_s) / count), flush=True)
    os._exit(0)  # nothing is left to tidy up


if __name__ == "__main__":
    _receive(sys.argv[1], int(sys.argv[2]))
