"""The tables of parameters, held against the running nodes, and the page that is written from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import DescribeParameters, GetParameters, ListParameters, SetParameters

from fosp_bringup.stack import default_bundle
from fosp_cli.parameters_page import NODES, parameters_page, table_of
from fosp_core.ros.parameters import ANY_TIME, AT_START, OF_ROS, NodeParameter

ROOT = Path(__file__).resolve().parents[1]
ROBOT = ROOT / "config/robots/sim_arm.yaml"
SCENARIO = ROOT / "config/scenarios/safe_reach.yaml"
BRIEF = ("gazebo_server", "gazebo_bridge")
"""Processes whose node only reads its parameters and is gone then."""
TYPES = {
    str: ParameterType.PARAMETER_STRING,
    bool: ParameterType.PARAMETER_BOOL,
    int: ParameterType.PARAMETER_INTEGER,
    float: ParameterType.PARAMETER_DOUBLE,
    tuple: ParameterType.PARAMETER_STRING_ARRAY,
}
FIELDS = {str: "string_value", bool: "bool_value", int: "integer_value", float: "double_value"}


def described_robot(folder: Path) -> Path:
    """Return a robot file that names a URDF."""
    (folder / "robot.urdf").write_text('<robot name="arm"><link name="base_link"/></robot>')
    (folder / "robot.yaml").write_text(f"{ROBOT.read_text()}urdf: robot.urdf\n")
    return folder / "robot.yaml"


def arguments(executable: str, folder: Path) -> dict[str, str]:
    """Return the parameters that a node cannot start without."""
    robot = str(ROBOT)
    return {
        "lifecycle_manager": {"nodes": "[nobody]", "autostart": "false"},
        "robot_description_node": {"robot": str(described_robot(folder))},
        "sim_node": {"scenario": str(SCENARIO), "robot": robot},
        "gazebo_node": {"scenario": str(SCENARIO), "robot": robot},
        "black_box_node": {"out": str(folder / "box"), "robot": robot},
        "bundle_receiver": {"folder": str(folder / "received"), "robot": robot},
        "learner_node": {
            "robot": robot,
            "bundle": str(default_bundle("safe_reach")),
            "run": str(folder / "run"),
        },
    }.get(executable, {})


def module_of(executable: str) -> str:
    """Return the module of a node's process."""
    return NODES[executable].replace("node_parameters", "safety_monitor_node")


def node_of(executable: str) -> str:
    """Return the name of a node: the guard takes that of the monitor."""
    return "safety_monitor_node" if executable == "operator_guard_node" else executable


def test_the_page_is_what_the_tables_would_write_now() -> None:
    assert (ROOT / "docs/parameters.md").read_text() == parameters_page()


def test_every_node_of_the_repository_has_a_table() -> None:
    nodes = {path.stem for path in ROOT.glob("src/*/*/*_node.py")} - {"simulator_node"}
    assert nodes <= set(NODES)


def test_no_other_code_declares_parameters() -> None:
    found = [path for path in ROOT.glob("src/*/*/**/*.py") if "declare_parameter(" in path.read_text()]
    assert [path.name for path in found] == ["parameters.py"]


@pytest.mark.parametrize("executable", NODES)
def test_a_table_is_complete(executable: str) -> None:
    table = table_of(executable)
    assert len({row.name for row in table}) == len(table)
    for row in table:
        assert row.meaning.endswith("."), row.name
        if row.lower is not None and row.upper is not None:
            assert row.lower <= row.default <= row.upper  # type: ignore[operator]
        assert not row.choices or row.default in row.choices


@pytest.mark.parametrize("executable", NODES)
def test_ros2_param_describe_tells_meaning_and_range_of_every_parameter(executable: str) -> None:
    for row in table_of(executable):
        told = row.descriptor()
        assert len(told.description) > 20, row.name
        assert len(told.floating_point_range) == (type(row.default) is float), row.name
        assert len(told.integer_range) == (type(row.default) is int), row.name
        assert not row.choices or all(choice in told.description for choice in row.choices), row.name


def test_a_row_of_a_number_without_bounds_is_no_row() -> None:
    with pytest.raises(ValueError, match="need both bounds"):
        NodeParameter("rate_hz", 30.0, "Rate.")


ALWAYS = ("safety_monitor_node", "encoder_node", "feedback_node", "sim_node")
"""Nodes that `make test` starts; `make test-all` starts every one."""


def some_always(nodes: Iterable[str]) -> list[Any]:
    """Return the nodes, of which all but those of ALWAYS take long together."""
    return [node if node in ALWAYS else pytest.param(node, marks=pytest.mark.long) for node in nodes]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("executable", some_always(node for node in NODES if node not in BRIEF))
def test_a_running_node_has_the_parameters_of_its_table_and_no_others(
    executable: str, start_node: Callable[..., Any], graph: Any, tmp_path: Path
) -> None:
    if executable == "gazebo_node":
        pytest.importorskip("ros_gz_interfaces.msg")
    given = arguments(executable, tmp_path)
    pairs = [part for name, value in given.items() for part in ("-p", f"{name}:={value}")]
    process = start_node(module_of(executable), *pairs)
    node, table = node_of(executable), {row.name: row for row in table_of(executable)}
    listed = graph.call(ListParameters, f"{node}/list_parameters", ListParameters.Request(), 60.0).result.names
    own = sorted(name for name in listed if name not in OF_ROS and not name.startswith("qos_overrides."))
    assert own == sorted(table), process.log

    names = list(table)
    described = graph.call(DescribeParameters, f"{node}/describe_parameters", DescribeParameters.Request(names=names))
    values = graph.call(GetParameters, f"{node}/get_parameters", GetParameters.Request(names=names)).values
    for seen, value, row in zip(described.descriptors, values, table.values(), strict=True):
        assert seen.type == TYPES[type(row.default)], row.name
        assert seen.description == row.description, row.name
        assert seen.read_only == (row.changes == AT_START), row.name
        bounds = [(r.from_value, r.to_value) for r in (*seen.floating_point_range, *seen.integer_range)]
        assert bounds == ([] if row.lower is None else [(row.lower, row.upper)]), row.name
        if row.name not in given and not isinstance(row.default, tuple):
            assert getattr(value, FIELDS[type(row.default)]) == row.default, row.name

    def set_to(name: str, value: ParameterValue) -> Any:
        request = SetParameters.Request(parameters=[Parameter(name=name, value=value)])
        return graph.call(SetParameters, f"{node}/set_parameters", request).results[0]

    for value, row in zip(values, table.values(), strict=True):
        if row.changes == AT_START:
            answer = set_to(row.name, value)
            assert not answer.successful, row.name
            assert "read-only" in answer.reason, row.name
        elif row.changes == ANY_TIME:
            assert set_to(row.name, value).successful, row.name
    yes = ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=True)
    assert not set_to("nobody_declared_this", yes).successful
    managed = executable not in (
        "lifecycle_manager",
        "black_box_node",
        "bundle_receiver",
        "learner_node",
        "console_node",
        "robot_description_node",
    )
    managed = managed and "sim" not in executable and "gazebo" not in executable
    assert set_to("use_sim_time", yes).successful == managed, "an inactive managed node may, others may not"


@pytest.mark.parametrize("executable", some_always(["encoder_node", "camera_node", "lifecycle_manager", "sim_node"]))
def test_a_misspelt_parameter_ends_a_node_with_one_line(
    executable: str, start_node: Callable[..., Any], wait_until: Callable[..., Any], tmp_path: Path
) -> None:
    pairs = [part for name, value in arguments(executable, tmp_path).items() for part in ("-p", f"{name}:={value}")]
    process = start_node(module_of(executable), *pairs, "-p", "robto:=there")
    wait_until(lambda: not process.running, 30.0, "its end")
    assert process.process.returncode == 2
    (line,) = process.log.splitlines()
    assert f"unknown parameter 'robto' of {executable}; allowed: " in line


@pytest.mark.parametrize(
    ("executable", "argument", "said"),
    [
        (
            "camera_node",
            "source:=webcam",
            "'source' must be one of realsense, opencv, bag, folder, got 'webcam'",
        ),
        ("camera_node", "rate_hz:=0.0", "parameter 'rate_hz' must be in [0.01, 1000] Hz, got 0.0"),
        (
            "camera_node",
            "rate_hz:=fast",
            "parameter 'rate_hz' must be a number with a decimal point, in [0.01, 1000] Hz",
        ),
        ("policy_node", "candidates:=0", "parameter 'candidates' must be a whole number in [1, 256], got 0"),
        ("policy_node", "prefer_means:=1", "parameter 'prefer_means' must be true or false, got 1"),
        ("encoder_node", "provider:=tpu", "parameter 'provider' must be one of auto, cuda, cpu, got 'tpu'"),
    ],
)
def test_a_value_that_is_not_allowed_ends_a_node_with_one_line(
    executable: str, argument: str, said: str, start_node: Callable[..., Any], wait_until: Callable[..., Any]
) -> None:
    process = start_node(module_of(executable), "-p", argument)
    wait_until(lambda: not process.running, 30.0, "its end")
    assert process.process.returncode == 2
    (line,) = process.log.splitlines()
    assert said in line
