"""The golden vectors are re-run on the sessions that decide: what changes or hangs is found."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from tiny_bundle import write_tiny_bundle

from fosp_core.bundle.bundle import MODELS, Bundle, load_bundle
from fosp_core.bundle.onnx_session import OnnxModel
from fosp_core.bundle.self_testing import LiveSession, SelfTest, failure_of, sessions_to_test
from fosp_core.robot.config import read_robot

ARM = read_robot(Path(__file__).parents[3] / "config" / "robots" / "sim_arm.yaml")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    write_tiny_bundle(folder, ARM)
    return load_bundle(folder, provider="cpu")


class Failing:
    """A session that gives the outputs of a real one for the first `good` runs, and then what `then` makes of them."""

    provider = "CPU"

    def __init__(self, model: OnnxModel, good: int, then: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._model, self._good, self._then = model, good, then

    def run(self, **inputs: Any) -> dict[str, Any]:
        self._good -= 1
        found = self._model.run(**inputs)
        return found if self._good >= 0 else self._then(found)


def failing(session: LiveSession, good: int, then: Callable[[dict[str, Any]], dict[str, Any]]) -> LiveSession:
    return LiveSession(session.name, cast(OnnxModel, Failing(session.model, good, then)), session.vectors)


def shifted(outputs: dict[str, Any]) -> dict[str, Any]:
    return {name: value + np.float32(0.01) for name, value in outputs.items()}


def raising(outputs: dict[str, Any]) -> dict[str, Any]:
    raise RuntimeError("the device is gone\nwith a second line")


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_the_sessions_of_a_loaded_bundle_pass(bundle: Bundle) -> None:
    assert [failure_of(session) for session in sessions_to_test(bundle, MODELS)] == ["", "", ""]


@pytest.mark.parametrize(
    ("then", "said"),
    [
        (shifted, r"critic of \w{12} fails its self-test: output '\w+' is off by 0.0\d+ \(tolerance 0.002\) on CPU"),
        (lambda outputs: {name: value * np.nan for name, value in outputs.items()}, "off by inf"),
        (lambda outputs: {name: value[..., :0] for name, value in outputs.items()}, "off by inf"),
        (lambda outputs: {}, "fails its self-test"),
        (raising, r"fails its self-test \(the device is gone\)$"),
    ],
)
def test_other_outputs_than_the_golden_ones_are_a_failure(bundle: Bundle, then: Any, said: str) -> None:
    import re

    (session,) = sessions_to_test(bundle, ("critic",))
    assert re.search(said, failure_of(failing(session, 0, then)))


def test_a_session_that_goes_wrong_after_some_runs_is_found_and_not_believed_again(bundle: Bundle) -> None:
    encoder, critic = sessions_to_test(bundle, ("encoder", "critic"))
    wrong = True
    turning = failing(critic, 3, lambda outputs: shifted(outputs) if wrong else outputs)
    test = SelfTest(lambda: (encoder, turning), period_s=0.001)
    wait_for(lambda: test.tests >= 4)
    wait_for(lambda: test.fault(time.monotonic()))
    wrong = False
    count = test.tests
    wait_for(lambda: test.tests > count + 4)
    assert "critic" in test.fault(time.monotonic()), "a memory that was wrong once"
    test.close()


def test_a_test_that_hangs_counts_as_failed_and_one_that_was_only_late_is_forgiven(bundle: Bundle) -> None:
    (session,) = sessions_to_test(bundle, ("critic",))
    going_on = threading.Event()

    def hang(outputs: dict[str, Any]) -> dict[str, Any]:
        going_on.wait(30.0)
        return outputs

    test = SelfTest(lambda: (failing(session, 0, hang),), period_s=0.001, limit_s=0.2)
    wait_for(lambda: "not come to its end" in test.fault(time.monotonic()))
    going_on.set()
    wait_for(lambda: not test.fault(time.monotonic()))
    test.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("sessions", [lambda: (), lambda: 1 / 0])
def test_where_nothing_can_be_tested_the_test_has_failed(sessions: Any) -> None:
    test = SelfTest(sessions, period_s=0.001, limit_s=0.05)
    wait_for(lambda: test.fault(time.monotonic()))
    test.close()
