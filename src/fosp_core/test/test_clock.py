import pytest

from fosp_core.clock import FUTURE_TOLERANCE_S, Now, Received, age

NOW = Now(ros_s=1000.0, monotonic_s=50.0)


def test_a_message_within_both_limits_is_fresh():
    assert age(Received(999.95, 49.95), NOW, 0.1).stale_because == ""


def test_a_message_is_stale_by_its_stamp_though_just_received():
    assert "by its stamp" in age(Received(999.8, 50.0), NOW, 0.1).stale_because


def test_a_message_is_stale_by_receipt_though_its_stamp_is_fresh():
    assert "received" in age(Received(1000.0, 49.8), NOW, 0.1).stale_because


def test_a_future_stamp_is_stale():
    assert "future" in age(Received(1000.0 + 2 * FUTURE_TOLERANCE_S, 50.0), NOW, 0.1).stale_because


@pytest.mark.parametrize(
    "received", [None, Received(float("nan"), 50.0), Received(1000.0, float("nan")), Received(0.0, 50.0)]
)
def test_missing_nan_and_zero_stamps_are_stale(received):
    assert age(received, NOW, 0.1).stale_because


def test_a_receipt_after_now_is_stale():
    assert age(Received(1000.0, 51.0), NOW, 0.1).stale_because
