"""The environment of the processes of a graph, and of every listener to it."""

from __future__ import annotations

import os

from fosp_bringup.paths import share
from fosp_core.processes import TRAINING_ALLOCATOR

PROFILE, LOOPBACK_PROFILE = "fastdds.xml", "fastdds_loopback.xml"
"""Profiles of Fast DDS in config/: of a robot's graph, and of one that stays on this machine."""

PROFILE_VARIABLE, OLD_PROFILE_VARIABLE = "FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"
"""Variables that name the profile: Fast DDS 3 reads the first, and Fast DDS 2 the second alone."""
FAST_DDS_2 = ("humble", "iron", "jazzy")
"""Distributions of ROS with Fast DDS 2. Later ones warn of its variable in every process, or do not know it."""


def settings(stays_here: bool = False) -> dict[str, str]:
    """Return the environment variables that every process of the graph, and every listener to it, needs.

    With `stays_here` its participants use the loopback interface only: nothing reaches the network, while participants
    of this machine with other settings still hear them.
    """
    profile = str(share() / "config" / (LOOPBACK_PROFILE if stays_here else PROFILE))
    old = {OLD_PROFILE_VARIABLE: profile} if os.environ.get("ROS_DISTRO", "jazzy") in FAST_DDS_2 else {}
    return {
        # No shared memory: a process that is killed while it holds a segment can block publish() in all others for
        # seconds, the command stream included. The sizes: with the default ones images get lost.
        # Where the discovery range is LOCALHOST, rmw_fastrtps uses shared memory whatever is set here.
        "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4?max_msg_size=65KB&sockets_size=4MB",
        PROFILE_VARIABLE: profile,
        **old,
        # One thread for the computations of each node: more would compete for the cores of the command stream.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        # Each log line is passed on at once, also into a pipe.
        "PYTHONUNBUFFERED": "1",
        "RCUTILS_LOGGING_BUFFERED_STREAM": "0",
    }


def environment(stays_here: bool = False) -> dict[str, str]:
    """Return the whole environment of a process of the stack; variables that the caller has set win over settings().

    A profile of the stack itself is not the caller's: it is the one that `stays_here` asks for. The allocator
    of a command that trains is left out: a node that inherits its settings never gives memory back.
    """
    own = {str(share() / "config" / name) for name in (PROFILE, LOOPBACK_PROFILE)}
    given = {name: value for name, value in os.environ.items() if TRAINING_ALLOCATOR.get(name) != value}
    for name in (PROFILE_VARIABLE, OLD_PROFILE_VARIABLE):
        if stays_here and given.get(name) in own:
            del given[name]
    return {**settings(stays_here), **given}
