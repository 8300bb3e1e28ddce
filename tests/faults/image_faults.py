"""Faults of the camera."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import effects
import pictures
from effects import Effect, broken_image, tampered
from fault import FROZEN_S, NOVEL_S, PACE_S, PERIOD_S, PROPOSAL_TIMEOUT_S, REPEATED_S, SURPRISE_S, harmless, latch, stop
from relay import every_second, nothing, stamped, twice

from fosp_core import topics


def _picture(change: Callable[..., Any]) -> Effect:
    return tampered(topics.COLOR_IMAGE, lambda: pictures.shown(change))


IMAGES = (
    stop("images dropped", "DEADLINE", tampered(topics.COLOR_IMAGE, lambda: nothing), PROPOSAL_TIMEOUT_S),
    stop(
        "images delayed by 300 ms",
        ("DEADLINE", "STALE_IMAGE"),
        effects.delayed(topics.COLOR_IMAGE, 0.3),
        PROPOSAL_TIMEOUT_S,
    ),
    harmless("every second image dropped", tampered(topics.COLOR_IMAGE, every_second)),
    stop("a camera of 13 Hz", "DEADLINE", tampered(topics.COLOR_IMAGE, effects.every_third), PACE_S),
    harmless("images twice", tampered(topics.COLOR_IMAGE, lambda: twice)),
    latch(
        "images frozen, with new stamps", ("CAMERA", "IMAGE"), effects.frozen(topics.COLOR_IMAGE), FROZEN_S, quick=True
    ),
    stop("images black", ("CAMERA", "IMAGE"), tampered(topics.COLOR_IMAGE, lambda: broken_image("black")), PERIOD_S),
    stop("images white", ("CAMERA", "IMAGE"), tampered(topics.COLOR_IMAGE, lambda: broken_image("white")), PERIOD_S),
    stop(
        "images too bright: surprise",
        ("CAMERA", "SURPRISE"),
        tampered(topics.COLOR_IMAGE, lambda: broken_image("bright")),
        SURPRISE_S,
    ),
    stop(
        "images too small", "DEADLINE", tampered(topics.COLOR_IMAGE, lambda: broken_image("small")), PROPOSAL_TIMEOUT_S
    ),
    stop(
        "images of another size",
        "DEADLINE",
        tampered(topics.COLOR_IMAGE, lambda: broken_image("large")),
        PROPOSAL_TIMEOUT_S,
    ),
    stop(
        "images of an unknown encoding",
        "DEADLINE",
        tampered(topics.COLOR_IMAGE, lambda: broken_image("encoding")),
        PROPOSAL_TIMEOUT_S,
    ),
    stop("images cut off", "DEADLINE", tampered(topics.COLOR_IMAGE, lambda: broken_image("cut")), PROPOSAL_TIMEOUT_S),
    stop("images of swapped channels", "CAMERA", _picture(pictures.swapped), NOVEL_S, quick=True),
    stop("images mirrored", "CAMERA", _picture(pictures.mirrored), NOVEL_S),
    stop("images upside down", "CAMERA", _picture(pictures.upside_down), NOVEL_S),
    stop("a hand on the lens, dark", "CAMERA", _picture(pictures.hand_dark), NOVEL_S),
    stop("a hand on the lens, blurred", "CAMERA", _picture(pictures.hand_blurred), NOVEL_S),
    stop("images half black", "CAMERA", _picture(pictures.half_black), NOVEL_S),
    latch(
        "images of a second ago under new stamps",
        ("CAMERA", "IMAGE"),
        tampered(topics.COLOR_IMAGE, lambda: pictures.old(1.0)),
        REPEATED_S,
    ),
    latch(
        "the last three images again and again",
        "CAMERA",
        tampered(topics.COLOR_IMAGE, lambda: pictures.repeated(3)),
        REPEATED_S + 3 * PERIOD_S,
        quick=True,
    ),
    latch(
        "images frozen but for a clock", "CAMERA", tampered(topics.COLOR_IMAGE, pictures.clock), REPEATED_S + PERIOD_S
    ),
    stop(
        "images stamped 1 s ago",
        ("DEADLINE", "STALE_IMAGE"),
        tampered(topics.COLOR_IMAGE, lambda: stamped(-1.0)),
        PROPOSAL_TIMEOUT_S,
    ),
    stop(
        "images stamped in 1 s",
        ("DEADLINE", "STALE_IMAGE"),
        tampered(topics.COLOR_IMAGE, lambda: stamped(1.0)),
        PROPOSAL_TIMEOUT_S,
    ),
    stop(
        "images with zero stamps",
        ("DEADLINE", "STALE_IMAGE"),
        tampered(topics.COLOR_IMAGE, lambda: stamped(None)),
        PROPOSAL_TIMEOUT_S,
    ),
)
