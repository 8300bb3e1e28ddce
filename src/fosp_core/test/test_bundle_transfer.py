"""Bundles in pieces over a channel that loses, repeats, reorders and damages; real bundles, real files."""

from __future__ import annotations

import dataclasses
import random
import zlib
from pathlib import Path

import pytest
from tiny_bundle import write_tiny_bundle

from fosp_core.bundle.bundle import load_bundle
from fosp_core.bundle.signature import generate_key, read_private_key, sign_id
from fosp_core.bundle.transfer import (
    MOST_ATTEMPTS,
    MOST_DAMAGED,
    PATIENCE_S,
    PAUSE_S,
    IncomingBundle,
    OutgoingBundle,
    PieceRequest,
    received,
)
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig, read_robot

ROBOT = Path(__file__).parents[3] / "config" / "robots" / "sim_arm.yaml"


@pytest.fixture
def robot() -> RobotConfig:
    return read_robot(ROBOT)


@pytest.fixture
def outgoing(tmp_path: Path, robot: RobotConfig) -> OutgoingBundle:
    write_tiny_bundle(tmp_path / "bundle", robot)
    return OutgoingBundle(tmp_path / "bundle", 1)


def transfer(outgoing: OutgoingBundle, incoming: IncomingBundle, loss: float = 0.0, pieces: int = 100_000) -> float:
    """Exchange messages until all is there, or `pieces` have been sent; the time that it took, s."""
    rng, now_s = random.Random(0), 0.0
    while pieces > 0:
        requests = incoming.requests(now_s)
        rng.shuffle(requests)
        for request in requests:
            data = outgoing.chunk(request)
            assert data is not None
            if pieces == 0:
                return now_s
            pieces -= 1
            fate = rng.random()
            if fate < loss:
                continue
            crc = zlib.crc32(data) ^ (1 if fate < 2 * loss else 0)
            for _ in range(2 if fate > 1 - loss else 1):
                incoming.receive(request.file, request.offset, data, crc)
        if not requests and incoming.progress == 1.0:
            return now_s
        now_s += 0.5 * PATIENCE_S
    return now_s


def test_a_bundle_arrives_whole_over_a_bad_channel(
    outgoing: OutgoingBundle, tmp_path: Path, robot: RobotConfig
) -> None:
    incoming = IncomingBundle(outgoing.offer, tmp_path / "robot", robot)
    assert incoming.finish() is None
    transfer(outgoing, incoming, loss=0.3)
    path = incoming.finish()
    assert path is not None
    assert load_bundle(path, robot).manifest.id == outgoing.offer.model_id
    assert received(tmp_path / "robot", outgoing.offer.model_id) == path


def test_half_a_transfer_leaves_nothing_that_could_be_taken_for_a_bundle_and_is_gone_on_with(
    outgoing: OutgoingBundle, tmp_path: Path
) -> None:
    incoming = IncomingBundle(outgoing.offer, tmp_path / "robot")
    transfer(outgoing, incoming, pieces=1)
    assert 0 < incoming.progress < 1
    assert received(tmp_path / "robot", outgoing.offer.model_id) is None
    assert [path.name for path in (tmp_path / "robot").iterdir() if not path.name.startswith(".")] == []
    again = IncomingBundle(outgoing.offer, tmp_path / "robot")
    transfer(outgoing, again)
    assert again.finish() is not None


def test_damaged_bytes_with_a_right_checksum_are_fetched_again(outgoing: OutgoingBundle, tmp_path: Path) -> None:
    incoming = IncomingBundle(outgoing.offer, tmp_path / "robot")
    for request in incoming.requests(0.0):
        wrong = bytes(request.length)
        incoming.receive(request.file, request.offset, wrong, zlib.crc32(wrong))
    assert incoming.finish() is None
    transfer(outgoing, incoming)
    assert incoming.finish() is not None


def test_a_sender_that_is_silent_is_asked_now_and_then_until_it_is_there_again(
    outgoing: OutgoingBundle, tmp_path: Path
) -> None:
    incoming = IncomingBundle(outgoing.offer, tmp_path / "robot")
    for attempt in range(MOST_ATTEMPTS):
        assert incoming.requests(2.0 * attempt * PATIENCE_S)
    assert not incoming.silent
    end_s = 2.0 * MOST_ATTEMPTS * PATIENCE_S
    assert incoming.requests(end_s) == []
    assert incoming.silent
    assert incoming.requests(end_s + 0.9 * PAUSE_S) == []
    (first, *_) = incoming.requests(end_s + PAUSE_S)
    data = outgoing.chunk(first)
    assert data is not None
    incoming.receive(first.file, first.offset, data, zlib.crc32(data))
    assert not incoming.silent
    transfer(outgoing, incoming)
    assert incoming.finish() is not None


def test_a_file_that_is_damaged_at_the_sender_is_not_fetched_for_ever(outgoing: OutgoingBundle, tmp_path: Path) -> None:
    incoming = IncomingBundle(outgoing.offer, tmp_path / "robot")

    def damaged() -> None:
        for step in range(10 * MOST_DAMAGED):
            for request in incoming.requests(2.0 * step * PATIENCE_S):
                wrong = bytes(request.length)
                incoming.receive(request.file, request.offset, wrong, zlib.crc32(wrong))

    with pytest.raises(UserError, match="damaged again and again"):
        damaged()


def test_an_offer_that_is_not_what_it_says_is_refused_before_anything_is_asked_for(
    outgoing: OutgoingBundle, tmp_path: Path
) -> None:
    offer = outgoing.offer
    wrong = {
        "does not give this id": dataclasses.replace(offer, model_id="f" * 64),
        "not valid JSON": dataclasses.replace(offer, manifest=b"{"),
        "not those of the manifest": dataclasses.replace(offer, sizes={**offer.sizes, "../evil": 1}),
        "larger than": dataclasses.replace(offer, sizes=dict.fromkeys(offer.sizes, 1 << 40)),
    }
    for line, bad in wrong.items():
        with pytest.raises(UserError, match=line):
            IncomingBundle(bad, tmp_path / "robot")


def test_what_was_not_offered_cannot_be_had(outgoing: OutgoingBundle) -> None:
    assert outgoing.chunk(PieceRequest("../bundle/manifest.json", 0, 10)) is None
    assert outgoing.chunk(PieceRequest("critic.onnx", 1 << 40, 10)) is None


def test_the_signature_comes_along_and_counts(tmp_path: Path, robot: RobotConfig) -> None:
    key = generate_key(tmp_path / "key.pem")
    trusting = robot.model_copy(update={"bundle_keys": (key,)})
    manifest = write_tiny_bundle(tmp_path / "bundle", robot)
    unsigned = IncomingBundle(OutgoingBundle(tmp_path / "bundle", 1).offer, tmp_path / "robot", trusting)
    transfer(OutgoingBundle(tmp_path / "bundle", 1), unsigned)
    with pytest.raises(UserError):
        unsigned.finish()
    sign_id(tmp_path / "bundle", manifest.id, read_private_key(tmp_path / "key.pem"))
    outgoing = OutgoingBundle(tmp_path / "bundle", 2)
    signed = IncomingBundle(outgoing.offer, tmp_path / "robot", trusting)
    transfer(outgoing, signed)
    assert signed.finish() is not None
