"""Where the time from a camera frame to the command goes, from what the messages of the running graph say."""

from __future__ import annotations

import struct
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any

from geometry_msgs.msg import TwistStamped
from sensor_msgs.msg import Image

from fosp_cli.evaluation.metrics import percentiles_ms
from fosp_cli.graph_client import GraphClient
from fosp_core import topics
from fosp_core.processes import CONTROL_PRIORITY
from fosp_core.robot.config import RobotConfig
from fosp_core.ros import qos
from fosp_core.ros.stamps import nanoseconds
from fosp_msgs.msg import ActionProposal, Latent, SafetyVerdict

_STAMP = struct.Struct("<4xII")
"""Layout of the stamp at the begin of a serialised message whose first field is a header (CDR, little-endian)."""


@dataclass
class Chain:
    """The times of one camera frame on its way, s after its stamp; it is complete when a command has followed.

    `written` are the times at which DDS took a message over, `took` the durations that nodes state in their messages.
    """

    written: dict[str, float] = field(default_factory=dict)
    took: dict[str, float] = field(default_factory=dict)

    def hops(self) -> dict[str, float] | None:
        """Return the duration of each part of the way in its order, s; None while a message is missing."""
        if not {"image", "latent", "proposal", "verdict", "command"} <= self.written.keys():
            return None
        at, took = self.written, self.took
        return {
            "stamp -> frame sent": at["image"],
            "frame -> encoder": at["latent"] - took["latent"] - at["image"],
            "encoder": took["latent"],
            "latent -> policy": at["proposal"] - took["proposal"] - at["latent"],
            "policy": took["proposal"],
            "proposal -> monitor": at["verdict"] - took["verdict"] - at["proposal"],
            "verdict": took["verdict"],
            "command sent": at["command"] - at["verdict"],
        }


class ChainWatch(GraphClient):
    """Watches the topics from camera to command, as the robot's own nodes do, in a thread of its own."""

    def __init__(self, robot: RobotConfig) -> None:
        super().__init__("chain_watch")
        self._chains: dict[int, Chain] = {}
        self._commands_ns: list[int] = []
        create = self.node.create_subscription
        create(Image, robot.image_topic(topics.COLOR_IMAGE), self._image, qos.IMAGE, raw=True)
        create(Latent, topics.LATENT, self._latent, qos.STEP)
        create(ActionProposal, topics.PROPOSAL, self._proposal, qos.STEP)
        create(SafetyVerdict, topics.VERDICT, self._verdict, qos.STEP)
        create(TwistStamped, robot.command_topic, self._command, qos.RECORD)
        self.spin_in_thread(CONTROL_PRIORITY)

    def hops_ms(self) -> dict[str, dict[str, float]]:
        """Return the percentiles of each part of the way, ms, and of the whole way to the command."""
        durations: dict[str, list[float]] = {}
        for stamp_ns, chain in list(self._chains.items()):
            decided_s = chain.written.get("verdict")
            if decided_s is not None:
                following = bisect_left(self._commands_ns, stamp_ns + round(decided_s * 1e9))
                if following < len(self._commands_ns):
                    chain.written["command"] = (self._commands_ns[following] - stamp_ns) * 1e-9
            hops = chain.hops()
            if hops is not None:
                for name, seconds in {**hops, "stamp -> command sent": sum(hops.values())}.items():
                    durations.setdefault(name, []).append(seconds)
        return {name: percentiles_ms(seconds) for name, seconds in durations.items()}

    def _wrote(self, name: str, stamp_ns: int, at_ns: int, took_s: float = 0.0) -> None:
        chain = self._chains.setdefault(stamp_ns, Chain())
        chain.written[name], chain.took[name] = (at_ns - stamp_ns) * 1e-9, took_s

    def _image(self, message: bytes, info: Any) -> None:
        seconds, nanosec = _STAMP.unpack_from(message)
        self._wrote("image", seconds * 10**9 + nanosec, info["source_timestamp"])

    def _latent(self, message: Latent, info: Any) -> None:
        self._wrote("latent", nanoseconds(message.header.stamp), info["source_timestamp"], message.inference_s)

    def _proposal(self, message: ActionProposal, info: Any) -> None:
        self._wrote("proposal", nanoseconds(message.header.stamp), info["source_timestamp"], message.inference_s)

    def _verdict(self, message: SafetyVerdict) -> None:
        if len(message.action_in):
            decided_ns = nanoseconds(message.decided)
            self._wrote("verdict", nanoseconds(message.header.stamp), decided_ns, message.decision_s)

    def _command(self, message: TwistStamped, info: Any) -> None:
        self._commands_ns.append(info["source_timestamp"])
