"""What a node costs, as `fosp bench` reads it."""

import os

import pytest

from fosp_cli.bench.weight import ProcessCost, cpu_percent, flame_graphs, process_cost
from fosp_core.errors import UserError


def test_the_share_of_a_core_is_the_processor_time_over_the_time_that_passed():
    before = {"encoder": ProcessCost(1.0, 50.0, 90.0), "policy": ProcessCost(4.0, 50.0, 90.0)}
    after = {"encoder": ProcessCost(2.5, 50.0, 90.0), "policy": ProcessCost(4.0, 50.0, 90.0)}
    assert cpu_percent(before, after, 10.0) == {"encoder": 15.0, "policy": 0.0}


def test_a_process_tells_its_own_cost():
    cost = process_cost(os.getpid())
    assert cost.cpu_s > 0.0
    assert 1.0 < cost.pss_mb <= cost.rss_mb


def test_flame_graphs_without_py_spy_are_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="pip install py-spy"):
        flame_graphs(tmp_path, tmp_path / "out", 1.0)
