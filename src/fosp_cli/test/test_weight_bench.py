"""The cost of a node, as `fosp bench` reads it."""

import os

import pytest

from fosp_cli.bench.endurance import Sample, growth, sample
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


def test_growth_is_counted_after_the_warm_up():
    warming = [Sample(float(i), 50.0 + 10.0 * i, 20 + i, 9) for i in range(10)]
    steady = [Sample(10.0 + i, 200.0 + 0.2 * i, 30, 9 + i // 9) for i in range(10)]
    grown = growth([*warming, *steady])
    assert grown == {"mb": 200.9, "percent": pytest.approx(0.9, abs=0.01), "files": 0, "threads": 1}


def test_this_process_tells_what_it_holds():
    held = sample(os.getpid(), 0.0)
    with open(os.devnull):
        assert sample(os.getpid(), 1.0).files == held.files + 1
    assert held.threads >= 1
    assert held.rss_mb > 1.0
