"""Another graph under the same names: two would command one robot, answer each other's services and mix up their bags.

A graph of this user on this machine is found by a file that it locks, at once and whatever it does; a graph of another
user or machine by its heartbeats, which are listened to for a moment.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import re
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from fosp_bringup.environment import environment
from fosp_core import topics
from fosp_core.errors import UserError

LISTEN_S = 1.0
"""Time to listen for heartbeats, s. Participants announce themselves every 0.1 s at first, and nodes beat as often."""
ORIGIN_S = 1.5
"""Time to wait for the diagnostics of a graph that was heard, s: once per second they name host and process."""
MANAGER = "lifecycle_manager"
"""Node that brings the graph up, and whose diagnostics tell whose graph it is."""
HOST, PROCESS = "host", "process"
"""Keys of the lifecycle manager's diagnostics."""
AUTOMATIC = "auto"
MOST_DOMAIN = 232
"""Largest ROS domain whose ports exist."""
_AUTOMATIC_DOMAINS = range(1, 102)
"""Domains to choose from: their ports are below those that Linux hands out."""


@dataclass(frozen=True)
class Neighbour:
    """A graph that runs already."""

    host: str
    pid: int
    command: str = ""
    """Its command line, where it is known."""

    def __str__(self) -> str:
        command = f", '{self.command}'" if self.command else ""
        return f"on {self.host} (process {self.pid}{command})"


def ros_domain() -> int:
    """Return the ROS domain of this environment; UserError when it is no number that ROS takes."""
    text = os.environ.get("ROS_DOMAIN_ID", "") or "0"
    if not text.isdigit() or int(text) > MOST_DOMAIN:
        raise UserError(f"ROS_DOMAIN_ID must be a whole number from 0 to {MOST_DOMAIN}, got '{text}'")
    return int(text)


def choose_domain(text: str, folder: Path | None = None) -> int:
    """Put the ROS domain `text` into this environment, and return it: a number, or AUTOMATIC for one that is free.

    An empty text leaves the environment as it is.
    """
    if text == AUTOMATIC:
        free = (d for d in random.SystemRandom().sample(_AUTOMATIC_DOMAINS, len(_AUTOMATIC_DOMAINS)))
        domain = next((d for d in free if not _graphs_of(d, folder or lock_folder())), None)
        if domain is None:
            raise UserError("a graph runs in every ROS domain: give --domain N")
        os.environ["ROS_DOMAIN_ID"] = str(domain)
    elif text:
        os.environ["ROS_DOMAIN_ID"] = text
    return ros_domain()


@contextlib.contextmanager
def sole_graph(
    namespace: str = "", stays_here: bool = False, folder: Path | None = None, listen_s: float = LISTEN_S
) -> Iterator[None]:
    """Hold the names of a stack in `namespace` and this ROS domain, for as long as the context lasts.

    The process that holds them already may enter again. UserError names host and process of a graph that has them.
    With `stays_here` only this machine is listened to, and the environment of this process is that of such a graph.
    """
    os.environ.update(environment(stays_here))
    domain, name = ros_domain(), namespace.strip("/")
    path = _lock_path(domain, name, folder or lock_folder())
    if path in _held:
        yield
        return
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context(_open(path))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise _refusal(domain, name, _written(path)) from None
        _write(lock, Neighbour(socket.gethostname(), os.getpid(), _own_command()))
        stack.callback(_held.discard, path)
        _held.add(path)
        other = heard_graph(name, listen_s) if listen_s > 0 else None
        if other is not None:
            raise _refusal(domain, name, other)
        yield


_held: set[Path] = set()
"""Locks of this process."""


def lock_folder() -> Path:
    """Return the folder of the locks of this user."""
    folder = Path(tempfile.gettempdir()) / f"fosp_graphs_{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise UserError(f"{folder} belongs to another user: remove it, or set TMPDIR")
    return folder


def heard_graph(namespace: str, listen_s: float = LISTEN_S) -> Neighbour | None:
    """Return the graph whose nodes beat in `namespace` of this ROS domain, or None when none is heard."""
    import rclpy
    from diagnostic_msgs.msg import DiagnosticArray
    from rclpy.executors import SingleThreadedExecutor

    from fosp_core.ros import qos
    from fosp_msgs.msg import Heartbeat

    beats: list[Any] = []
    told: list[Neighbour] = []
    manager = f"{f'/{namespace}' if namespace else ''}/{MANAGER}"

    def on_diagnostics(message: Any) -> None:
        for status in message.status:
            values = {value.key: value.value for value in status.values}
            if names_node(status.name, manager) and values.get(PROCESS, "").isdigit():
                told.append(Neighbour(values.get(HOST, "a host that it does not tell"), int(values[PROCESS])))

    context = rclpy.Context()
    rclpy.init(args=[], context=context)  # those of this process are of `ros2 launch`, and no remap rules
    node = rclpy.create_node("neighbour_watch", namespace=namespace or None, context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        node.create_subscription(Heartbeat, topics.HEARTBEAT, beats.append, qos.STEP)
        node.create_subscription(DiagnosticArray, topics.DIAGNOSTICS, on_diagnostics, qos.STEP)
        until = time.monotonic() + listen_s
        while not beats and time.monotonic() < until:
            executor.spin_once(timeout_sec=0.05)
        until = time.monotonic() + ORIGIN_S
        while beats and not told and time.monotonic() < until:
            executor.spin_once(timeout_sec=0.05)
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown(context=context)
    if told:
        return told[0]
    return Neighbour("a host that it does not tell", beats[0].pid) if beats else None


def names_node(name: str, node: str) -> bool:
    """Return whether the status `name` of /diagnostics is of `node`, a full name; a name without '/' is of the root."""
    of = name.partition(":")[0]
    return (of if of.startswith("/") else f"/{of}") == node


def _refusal(domain: int, namespace: str, other: Neighbour | None) -> UserError:
    where = f"ROS domain {domain}" + (f", namespace '{namespace}'" if namespace else "")
    return UserError(
        f"another graph runs in {where} {other or 'on this machine'}: end it first, or start with --domain auto "
        "(ROS_DOMAIN_ID for a launch file), or in a --namespace of its own"
    )


def _lock_path(domain: int, namespace: str, folder: Path) -> Path:
    return folder / f"{domain}.{re.sub(r'[^A-Za-z0-9_]', '.', namespace)}.lock"


def _graphs_of(domain: int, folder: Path) -> list[Path]:
    """Return the locks of a domain that are held."""
    return [path for path in folder.glob(f"{domain}.*.lock") if path in _held or _is_held(path)]


def _is_held(path: Path) -> bool:
    with _open(path) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def _open(path: Path) -> IO[str]:
    return path.open("a+", encoding="utf-8")


def _write(lock: IO[str], own: Neighbour) -> None:
    lock.truncate(0)
    lock.write(json.dumps(vars(own)))
    lock.flush()


def _written(path: Path) -> Neighbour | None:
    with contextlib.suppress(ValueError, TypeError, OSError):
        return Neighbour(**json.loads(path.read_text()))
    return None


def _own_command() -> str:
    return " ".join(["fosp" if sys.argv[0].endswith("cli.py") else Path(sys.argv[0]).name, *sys.argv[1:]])[:120]
