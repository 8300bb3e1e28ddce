"""From the times of proposals, verdicts and commands to latencies; `fosp bench` measures the node itself."""

import pytest

from fosp_cli.bench.monitor import Timing


def test_a_latency_ends_with_the_first_command_after_the_verdict():
    timing = Timing({1: 10.0, 2: 10.05}, {1: 10.001, 2: 10.0512}, [9.99, 10.0, 10.01, 10.0511, 10.0513])
    assert timing.latencies_s() == pytest.approx([0.01, 0.0013])


def test_a_proposal_that_was_not_answered_or_followed_has_none():
    timing = Timing({1: 10.0, 2: 10.05, 3: 10.1}, {1: 10.001, 3: 10.101}, [10.002])
    assert timing.latencies_s() == pytest.approx([0.002])
