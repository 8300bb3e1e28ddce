"""From what the messages of one frame say to the parts of its way; `fosp bench` measures them on the live graph."""

import pytest

from fosp_cli.bench.hops import Chain

WRITTEN = {"image": 0.0001, "latent": 0.0025, "proposal": 0.004, "verdict": 0.0049, "command": 0.0052}
TOOK = {"image": 0.0, "latent": 0.002, "proposal": 0.001, "verdict": 0.0006}


def test_the_parts_of_the_way_leave_no_gap_and_sum_up_to_the_whole_way():
    hops = Chain(dict(WRITTEN), dict(TOOK)).hops()
    assert hops is not None
    assert sum(hops.values()) == pytest.approx(WRITTEN["command"])
    assert hops["encoder"] == 0.002
    assert hops["frame -> encoder"] == pytest.approx(0.0004)
    assert hops["latent -> policy"] == pytest.approx(0.0005)
    assert hops["proposal -> monitor"] == pytest.approx(0.0003)
    assert hops["command sent"] == pytest.approx(0.0003)


@pytest.mark.parametrize("missing", WRITTEN)
def test_a_way_of_which_a_message_is_missing_is_not_counted(missing):
    written = {name: at_s for name, at_s in WRITTEN.items() if name != missing}
    assert Chain(written, dict(TOOK)).hops() is None
