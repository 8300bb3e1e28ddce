"""Real nodes as processes of their own, over real DDS, for the tests of the live graph."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fosp_bringup.environment import settings
from fosp_core.processes import CONTROL_PRIORITY

STOP_TIMEOUT_S = 10.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that has a ROS domain of its own: it starts real nodes and measures times."""
    for item in items:
        if "ros_environment" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.live)


@dataclass(frozen=True)
class RosEnvironment:
    """A DDS domain that no other test shares, and the environment variables of a process in it."""

    domain_id: int
    variables: dict[str, str]


@dataclass
class NodeProcess:
    """A node that a test started; its output is captured from the first byte."""

    module: str
    process: subprocess.Popen[bytes]
    log_file: Path

    @property
    def log(self) -> str:
        """The output so far, stdout and stderr."""
        return self.log_file.read_text(errors="replace")

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL to its process group, as if it crashed."""
        self._signal(signal.SIGKILL)
        self.process.wait(STOP_TIMEOUT_S)

    def stop(self, signum: int = signal.SIGINT) -> int:
        """Ask it to end and return its exit code; killed when it does not."""
        self._signal(signum)
        try:
            return self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def _signal(self, signum: int) -> None:
        if self.running:
            os.killpg(self.process.pid, signum)


@dataclass
class GraphProbe:
    """A node inside of the test, spun in a thread of its own: publish, subscribe and call services through it."""

    client: Any
    received: dict[str, list[Any]] = field(default_factory=dict)
    """Topic -> messages of it so far, in order."""

    @property
    def node(self) -> Any:
        return self.client.node

    def listen(self, message_type: Any, topic: str, profile: Any) -> list[Any]:
        """The list that messages of `topic` are appended to from now on."""
        messages = self.received.setdefault(topic, [])
        self.node.create_subscription(message_type, topic, messages.append, profile)
        return messages

    def call(self, service_type: Any, name: str, request: Any, timeout_s: float = 10.0) -> Any:
        """Answer of a service; AssertionError when it does not come in time."""
        answer = self.client.call(service_type, name, request, timeout_s)
        assert answer is not None, f"no answer of {name} within {timeout_s} s"
        return answer

    def transition(self, node_name: str, transition: int, timeout_s: float = 20.0) -> bool:
        """Ask a managed node for a lifecycle transition (lifecycle_msgs/Transition constant); whether it succeeded."""
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(self.call(ChangeState, f"{node_name}/change_state", request, timeout_s).success)


def wait_for(condition: Callable[[], Any], timeout_s: float = 10.0, what: str = "") -> Any:
    """The first true value of `condition`, polled every 5 ms; AssertionError when none comes within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s} s for {what or getattr(condition, '__name__', condition)}")
        time.sleep(0.005)


@pytest.fixture
def wait_until() -> Callable[..., Any]:
    """`wait_until(condition, timeout_s=10, what="")`: the condition's first true value, or AssertionError."""
    return wait_for


@contextmanager
def reserved_domain() -> Iterator[int]:
    """A random ROS domain that no other test on this machine has reserved."""
    for domain_id in random.SystemRandom().sample(range(1, 101), 100):
        with (Path(tempfile.gettempdir()) / f"fosp_test_domain_{domain_id}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield domain_id
            return
    raise RuntimeError("every ROS domain is reserved by some test")


@pytest.fixture
def domain_id() -> Iterator[int]:
    with reserved_domain() as domain_id:
        yield domain_id


@pytest.fixture
def ros_environment(monkeypatch: pytest.MonkeyPatch, domain_id: int) -> RosEnvironment:
    """A ROS domain for the processes of one test and for the test itself; the transports of a robot."""
    variables = {
        "ROS_DOMAIN_ID": str(domain_id),
        # Limited to LOCALHOST, rmw_fastrtps would ignore the choice of transports; the domain keeps tests apart.
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET",
        **settings(),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return RosEnvironment(domain_id, {**os.environ, **variables})


@pytest.fixture
def start_node(ros_environment: RosEnvironment, tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    """`start_node(module, *ros_args)` runs a node in its own session and ends it after the test.

    A name without a dot is a program of this folder.
    """
    started: list[NodeProcess] = []

    def start(module: str, *ros_args: str) -> NodeProcess:
        log_file = tmp_path / f"{len(started)}_{module.rsplit('.', 1)[-1]}.log"
        program = ["-m", module] if "." in module else [str(Path(__file__).with_name(f"{module}.py"))]
        command = [sys.executable, *program, *(("--ros-args", *ros_args) if ros_args else ())]
        with log_file.open("wb") as output:
            process = subprocess.Popen(
                command,
                env={**ros_environment.variables, "ROS_LOG_DIR": str(tmp_path / "ros_log")},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started.append(NodeProcess(module, process, log_file))
        return started[-1]

    yield start
    for node in reversed(started):
        if node.running:
            try:
                node.stop()
            except subprocess.TimeoutExpired:
                print(f"{node.module} did not end on SIGINT")
        print(f"--- {node.module} ---\n{node.log}")


@pytest.fixture
def graph(ros_environment: RosEnvironment) -> Iterator[GraphProbe]:
    """A node of the test in the test's domain, spinning in a thread."""
    from fosp_cli.graph_client import GraphClient

    with GraphClient("probe", domain_id=ros_environment.domain_id) as client:
        client.spin_in_thread(CONTROL_PRIORITY)  # it stands for the robot: a busy machine must not make it late
        yield GraphProbe(client)


@pytest.fixture
def arm(graph: GraphProbe) -> Iterator[Any]:
    """An arm that obeys its commands, with its camera (recording_rig.Arm)."""
    from recording_rig import Arm

    arm = Arm(graph)
    yield arm
    arm.end()


@pytest.fixture
def record(ros_environment: RosEnvironment, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """`record(*arguments)`: `fosp record` in a process of its own (recording_rig.Command); ended after the test."""
    from recording_rig import Command

    started: list[Command] = []

    def start(*arguments: object) -> Command:
        started.append(Command([str(a) for a in arguments], ros_environment.variables, tmp_path))
        return started[-1]

    yield start
    for command in started:
        if command.process.poll() is None:
            os.kill(command.process.pid, signal.SIGINT)
            command.process.wait(30)
        print(command.log)
