"""`bags check` on many large bags: memory does not grow with them, time grows as they do, and progress is told.

FOSP_MANY_BAGS="2000 50" pytest -m long .../test_many_bags.py     # 2,000 bags of 50 MB
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_large_bags_take_as_much_memory_as_few_and_time_in_proportion(tmp_path: Path) -> None:
    from many_bags import measure

    count, megabytes = map(int, os.environ.get("FOSP_MANY_BAGS", "120 50").split())
    quarter, whole = measure(tmp_path / "set", count, megabytes * 1_000_000)
    print(quarter, whole)
    assert (quarter["usable"], whole["usable"]) == (count // 4, count)
    assert whole["most_mib"] < 1.15 * quarter["most_mib"]
    assert whole["processor_s"] < 1.5 * 4 * quarter["processor_s"]
    assert (whole["progress_told"], whole["last_told"]) == (count + 1, (count, count))
