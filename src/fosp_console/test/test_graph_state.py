"""Messages become the contents of the page, and a slow client loses frames alone."""

from __future__ import annotations

import asyncio
import json
import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from fosp_console.frames import LARGEST, frame_message
from fosp_console.graph_state import PAST_VERDICTS, GraphState
from fosp_console.outbox import Outbox


def stamp(seconds: float) -> Any:
    return SimpleNamespace(sec=int(seconds), nanosec=int(seconds % 1 * 1e9))


def verdict(step: int = 1, decision: int = 0, **changes: Any) -> Any:
    values = {
        "step": step, "decision": decision, "source": 2, "reason": 0, "reason_text": "fine", "q_h": 0.1, "q_h_out": 0.1,
        "v_h": math.nan, "eps": 0.2, "surprise": 1.0, "surprise_limit": 8.0, "image_age_s": 0.01,
        "robot_state_age_s": math.inf, "decision_s": 0.001, "speed_scale": 1.0, "limited": False, "shadow": False,
        "candidate": 0, "action_in": [0.1, 0.2], "action_out": [0.1, 0.2], "model_id": "abc",
        "header": SimpleNamespace(stamp=stamp(step)), "decided": stamp(step + 0.02),
    }  # fmt: skip
    return SimpleNamespace(**{**values, **changes})


def event(kind: int, text: str, at: float = 1.0) -> Any:
    return SimpleNamespace(kind=kind, reason=13, text=text, stamp=stamp(at), node="/monitor")


def state_of(state: GraphState) -> Any:
    return json.loads(state.everything())["state"]


def test_a_veto_is_urgent_and_a_number_that_is_none_is_null() -> None:
    state = GraphState()
    assert not state.verdict(verdict(source=3))
    assert state.verdict(verdict(2, decision=3, reason=10_000, reason_text="x" * 9999))
    told = json.loads(state.changes())["verdicts"]
    assert [row["decision"] for row in told] == ["PASS", "STOP"]
    assert [row["source"] for row in told] == ["OPERATOR", "POLICY"]
    assert told[0]["v_h"] is None
    assert told[0]["state_age_s"] is None
    assert told[1]["reason"] == "unknown (10000)"
    assert len(told[1]["text"]) == 400
    assert state.changes() == ""


def test_the_figures_of_a_step_come_together_whichever_message_was_late() -> None:
    state = GraphState()
    latent = SimpleNamespace(step=1, novelty=0.5, inconsistency=0.1, inference_s=0.004)
    state.latent(latent)
    state.limits(2.0, 3.0)
    state.verdict(verdict(1))
    state.verdict(verdict(2))
    rows = json.loads(state.changes())["verdicts"]
    assert [row["novelty"] for row in rows] == [0.5, 0.5]
    assert rows[0]["novelty_limit"] == 2.0


def test_a_latch_is_known_until_a_reset_ends_it_with_what_speaks_against_it() -> None:
    state = GraphState()
    state.event(event(2, "latched until reset: a cause"))
    state.event(event(4, "refused, it is still pressed"))
    told = state_of(state)
    assert told["latch"]["cause"] == "a cause"
    assert told["refusal"]["text"] == "refused, it is still pressed"
    state.event(event(3, "latch ended"))
    assert state_of(state)["latch"] is None
    assert state_of(state)["refusal"] is None


def test_an_episode_is_summed_up_from_its_feedback() -> None:
    state = GraphState()

    def feed(**changes: Any) -> None:
        values = {"episode": 3, "is_first": False, "is_last": False, "reward": 1.0, "cost": 0.0, "success": False,
                  "distance": math.nan, "header": SimpleNamespace(stamp=stamp(5.0))}  # fmt: skip
        state.feedback(SimpleNamespace(**{**values, **changes}))

    feed(is_first=True, reward=0.0)
    feed(cost=0.5)
    feed(cost=1.0)
    feed(is_last=True, success=True)
    told = state_of(state)["episode"]
    assert told["return"] == 3.0
    assert told["violations"] == 2
    assert told["success"]
    assert not told["running"]
    assert told["distance"] is None
    feed(episode=4, is_first=True, reward=0.0)
    assert state_of(state)["episode"]["violations"] == 0


def test_what_a_page_is_given_at_first_is_bounded() -> None:
    state = GraphState()
    for step in range(2 * PAST_VERDICTS):
        state.verdict(verdict(step))
    for number in range(200):
        state.diagnostics(
            SimpleNamespace(
                status=[SimpleNamespace(level=b"\x02", name=f"n{number}", message="m", hardware_id="", values=[])]
            ),
            1.0,
        )
    told = json.loads(state.everything())
    assert len(told["verdicts"]) == PAST_VERDICTS
    assert len(told["state"]["diagnostics"]) == 64


def test_a_slow_client_loses_frames_and_gets_the_newest() -> None:
    async def run() -> None:
        outbox = Outbox()
        for number in range(100):
            outbox.put_frame(0, bytes([number]))
        outbox.put_frame(1, b"other")
        outbox.put_text("a")
        await asyncio.wait_for(outbox.wait(), 1.0)
        assert outbox.take() == (["a"], [bytes([99]), b"other"])
        assert outbox.lost_frames == 99
        assert outbox.take() == ([], [])

    asyncio.run(run())


def test_a_client_that_is_far_behind_gets_an_account_of_everything_in_place_of_old_news() -> None:
    outbox = Outbox(most_texts=3)
    for number in range(5):
        outbox.put_text(str(number))
    assert outbox.behind
    assert outbox.take()[0] == []
    outbox.put_text("lost, too")
    outbox.caught_up()
    outbox.put_text("new")
    assert outbox.take()[0] == ["new"]


def test_a_frame_carries_its_stamp_and_a_large_picture_is_made_smaller() -> None:
    import struct

    import cv2

    data = frame_message(2, 12.5, np.full((1200, 1600, 3), (200, 10, 10), np.uint8))
    (length,) = struct.unpack_from("<I", data)
    header = json.loads(data[4 : 4 + length])
    assert header == {"camera": 2, "stamp": 12.5, "width": 1600, "height": 1200}
    picture = cv2.imdecode(np.frombuffer(data[4 + length :], np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (600, LARGEST, 3)
    assert picture[300, 400, 2] > 150 > picture[300, 400, 0], "red stays red"
