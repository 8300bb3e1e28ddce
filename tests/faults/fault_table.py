"""The table: each row a fault, what the safety monitor is to decide, and within how long the robot is to be told zero.

`timeout_s` is what the configuration grants before the fault counts as one (docs/safety.md); 150 ms come on top of it
for noticing and braking. A row without a stop is one that must not disturb the robot, or slow it down only. Rows of one
subject are in one module; page/*failures.py of the safety monitor name the rows, and test_failure_policy.py holds both
against each other.
"""

from __future__ import annotations

from arm_faults import ARMED
from command_faults import COMMAND, IDENTITY
from consent_faults import CONSENT
from fault import Fault
from gripper_faults import GRIPPED
from image_faults import IMAGES
from model_faults import JUDGES, LATENTS, PROPOSALS
from process_faults import CLOCKS, ENDS, NETWORK, PROCESSES
from robot_faults import BASE, PLAYED, ROBOT
from takeover_faults import OPERATED
from zone_faults import CELLED, ZONED

FAULTS: tuple[Fault, ...] = (
    *COMMAND,
    *IDENTITY,
    *PROPOSALS,
    *LATENTS,
    *IMAGES,
    *ROBOT,
    *CONSENT,
    *PLAYED,
    *BASE,
    *ZONED,
    *CELLED,
    *ARMED,
    *OPERATED,
    *GRIPPED,
    *PROCESSES,
    *CLOCKS,
    *NETWORK,
    *JUDGES,
    *ENDS,
)
