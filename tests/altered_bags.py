"""Messages of bags in other formats, and MCAP files as other writers make them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import lz4.frame
import numpy as np

from fosp_core.bag_types import typestore

Message = tuple[str, str, int, Any]
"""Topic, type, time in ns and content of one message."""


def images_as(extension: str) -> Callable[[Message], list[Message]]:
    """Replace raw images with JPEG or PNG on image_transport's topic."""
    compressed = typestore().types["sensor_msgs/msg/CompressedImage"]

    def change(message: Message) -> list[Message]:
        topic, kind, when, content = message
        if kind != "sensor_msgs/msg/Image":
            return [message]
        pixels = content.data.reshape(content.height, content.width, 3)
        _, packed = cv2.imencode(extension, np.ascontiguousarray(pixels[..., ::-1]))
        picture = compressed(content.header, f"rgb8; {extension[1:]} compressed bgr8", packed.reshape(-1))
        return [(f"{topic}/compressed", "sensor_msgs/msg/CompressedImage", when, picture)]

    return change


def text(value: str) -> bytes:
    return struct.pack("<I", len(value.encode())) + value.encode()


def record(opcode: int, body: bytes) -> bytes:
    return struct.pack("<BQ", opcode, len(body)) + body


def write_mcap(everything: list[Message], path: Path, chunk: str | None) -> None:
    """As libmcap does with few settings: no index, messages out of order; `chunk` None: not in chunks."""
    content, channels = b"", dict[str, int]()
    for topic, kind, when, message in reversed(everything):
        if topic not in channels:
            number = channels[topic] = len(channels) + 1
            definition, _ = typestore().generate_msgdef(kind, ros_version=2)
            content += record(3, struct.pack("<H", number) + text(kind) + text("ros2msg") + text(definition))
            content += record(4, struct.pack("<HH", number, number) + text(topic) + text("cdr") + text(""))
        data = bytes(typestore().serialize_cdr(message, kind))
        content += record(5, struct.pack("<HIQQ", channels[topic], 0, when, when) + data)
    if chunk is not None:
        packed = lz4.frame.compress(content) if chunk == "lz4" else content
        head = struct.pack("<QQQI", 0, 2**62, len(content), zlib.crc32(content))
        content = record(6, head + text(chunk) + struct.pack("<Q", len(packed)) + packed)
    magic = b"\x89MCAP0\r\n"
    end = record(15, struct.pack("<I", 0)) + record(2, struct.pack("<QQI", 0, 0, 0)) + magic
    path.write_bytes(magic + record(1, text("ros2") + text("libmcap 1.0")) + content + end)
