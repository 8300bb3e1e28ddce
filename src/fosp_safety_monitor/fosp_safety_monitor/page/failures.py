"""The failure policy as data: for every failure what the robot does, within how long, and how it goes on.

docs/safety.md is written from this (safety_page.py); what a row says is what tests/faults and test/ show.
"""

from __future__ import annotations

from dataclasses import dataclass

from fosp_core.decisions import Decision, Reason


@dataclass(frozen=True)
class Failure:
    """One row. `within` names the parameter that grants the time, in braces, or says it in words."""

    what: str
    decision: Decision
    reasons: tuple[Reason, ...]
    within: str
    then: str


_AGAIN = "goes on when every check has held for {release_s}"
_RESET = "reset"

FAILURES: tuple[Failure, ...] = (
    # -- what is proposed
    Failure(
        "the proposed action is too risky (q_h above eps), another candidate is not",
        Decision.SUBSTITUTE,
        (Reason.INFEASIBLE,),
        "at once",
        "goes on with the next proposal",
    ),
    Failure(
        "every candidate is too risky",
        Decision.RECOVER,
        (Reason.NO_FEASIBLE,),
        "at once",
        "the least risky one, at {recover_scale} of its speed at eps, falling to {recover_scale_least} at risk 1",
    ),
    Failure(
        "the risk comes close to eps (from {slow_down_share} of it on)",
        Decision.PASS,
        (Reason.SLOW_DOWN,),
        "at once",
        "slower, in proportion, down to {recover_scale} of the speed at eps",
    ),
    Failure(
        "proposals in a row are vetoed, {veto_latch_count}: a policy held in front of an obstacle",
        Decision.LATCH,
        (Reason.VETOES,),
        "at once",
        f"{_RESET}, once a proposal would pass",
    ),
    Failure(
        "NaN or infinity in a latent, an action, or what the critic says; the critic fails",
        Decision.LATCH,
        (Reason.NOT_FINITE,),
        "at once",
        _RESET,
    ),
    Failure(
        "wrong size of latent or action; no candidate, or more than 256; a choice that is not there",
        Decision.LATCH,
        (Reason.WRONG_SHAPE,),
        "at once",
        _RESET,
    ),
    Failure(
        "a latent or proposal of a model that is not loaded, or of another than its latent",
        Decision.LATCH,
        (Reason.MODEL_ID,),
        "at once",
        _RESET,
    ),
    Failure(
        "a critic output outside of the range it was calibrated in",
        Decision.STOP,
        (Reason.CRITIC_RANGE,),
        "at once",
        _AGAIN,
    ),
    Failure(
        "surprise above its limit in {surprise_recover_count} of the last {surprise_window}",
        Decision.RECOVER,
        (Reason.SURPRISE,),
        "at once",
        "goes on when they have left the window",
    ),
    Failure(
        "... in {surprise_stop_count} of the last {surprise_window}",
        Decision.STOP,
        (Reason.SURPRISE,),
        "at once",
        "goes on when they have left the window",
    ),
    Failure(
        "a proposal repeats or precedes the frame judged last",
        Decision.PASS,
        (Reason.ORDER,),
        "ignored",
        "the last verdict stands; the proposal neither moves the robot nor keeps it moving",
    ),
    # -- who is late
    Failure(
        "policy, encoder or camera dies, hangs, slows down, or its messages get lost",
        Decision.STOP,
        (Reason.DEADLINE,),
        "{proposal_timeout_s} after the last proposal",
        _AGAIN,
    ),
    Failure(
        "proposals come, but no latent of their frame and step; or the latent was received long ago",
        Decision.STOP,
        (Reason.STALE_LATENT,),
        "{proposal_timeout_s}; {latent_timeout_s} after the latent",
        _AGAIN,
    ),
    Failure(
        "the camera frame behind a proposal is old, has a zero stamp or one in the future",
        Decision.STOP,
        (Reason.STALE_IMAGE,),
        "at once; while it is followed, {image_timeout_s} after its stamp",
        _AGAIN,
    ),
    Failure(
        "joint states, odometry or pose are missing, old, stamped zero or in the future, not finite, in another frame",
        Decision.STOP,
        (Reason.STALE_ROBOT_STATE,),
        "{robot_state_timeout_s}",
        _AGAIN,
    ),
    Failure(
        "one of these four lasts for {stale_latch_s}",
        Decision.LATCH,
        (Reason.STALE_TOO_LONG,),
        "it stands still already",
        _RESET,
    ),
    Failure(
        "a node comes back: another process under its name, or the same after {heartbeat_gap_s} of silence",
        Decision.LATCH,
        (Reason.NODE_RESTARTED,),
        "it stands still already",
        "reset; respawning never resumes motion by itself",
    ),
    # -- what the camera shows
    Failure(
        "the image of a camera stays the same to the pixel for {frozen_image_steps} while the robot moves: it froze",
        Decision.LATCH,
        (Reason.IMAGE,),
        "{frozen_image_steps}; below a fifth of full speed once it went as far as a fifth would take it in these",
        "reset, once the image changes",
    ),
    Failure(
        "the image shows nothing (contrast below {least_contrast}): black, white, a covered lens",
        Decision.STOP,
        (Reason.IMAGE,),
        "at once",
        _AGAIN,
    ),
    Failure(
        "images of an encoding without colour, smaller than the model's, of another size than before, or cut off",
        Decision.STOP,
        (Reason.DEADLINE,),
        "the encoder makes no latent of them: {proposal_timeout_s} after the last proposal",
        f"{_AGAIN}; where the camera keeps another size, activate the encoder anew",
    ),
    # -- clocks
    Failure(
        "the ROS clock jumps by {clock_jump_s}, forwards or back (NTP step, suspended machine)",
        Decision.STOP,
        (Reason.CLOCK,),
        "the next command",
        f"{_AGAIN}, all stamps being of the new time",
    ),
    Failure(
        "simulated time stands still, or runs backwards",
        Decision.STOP,
        (Reason.DEADLINE, Reason.CLOCK),
        "{proposal_timeout_s} (receipts are timed by the monotonic clock)",
        _AGAIN,
    ),
    Failure(
        "simulated time jumps ahead, by more than the timeouts of image, robot state or pose",
        Decision.STOP,
        (Reason.STALE_IMAGE, Reason.STALE_ROBOT_STATE),
        "the next command (a smaller jump is none: simulated time may come in steps)",
        f"{_AGAIN}, all stamps being of the new time",
    ),
    # -- the machine and the network
    Failure(
        "the processor is starved: nodes come late, or the command thread does",
        Decision.STOP,
        (Reason.DEADLINE, Reason.HELD_UP),
        "{proposal_timeout_s} after the last proposal; the robot's own `command_timeout_s` after the last command. "
        "Before that, late ticks are a warning on /diagnostics",
        _AGAIN,
    ),
    Failure(
        "the network is lost between the monitor and the others, or between it and the robot",
        Decision.STOP,
        (Reason.DEADLINE, Reason.STALE_ROBOT_STATE, Reason.ESTOP),
        "as for whoever is not heard of any more; a robot that hears nothing stops by its own `command_timeout_s`",
        "as for whoever was not heard of; a configured emergency stop that was silent has latched",
    ),
    # -- people and strangers
    Failure(
        "the emergency stop is pressed (the robot's `estop_topic`), or `~/estop` is called",
        Decision.LATCH,
        (Reason.ESTOP,),
        "the next command",
        "reset, once it is released",
    ),
    Failure(
        "a configured emergency stop falls silent",
        Decision.LATCH,
        (Reason.ESTOP,),
        "{estop_timeout_s}",
        "reset, once it is heard of again and is not pressed",
    ),
    Failure(
        "somebody else publishes on the command topic: a rogue node, a second monitor",
        Decision.LATCH,
        (Reason.FOREIGN_COMMAND,),
        "0.05 s after its discovery",
        "reset, once it is gone. **Its commands cannot be silenced from here**: the monitor sends zero, the other what "
        "it likes, and most robots obey whoever spoke last. Access control (SROS 2) or the robot must keep it out",
    ),
    Failure(
        "a robot that takes target poses does not follow: blocked, switched off, or pushed further than `target_lead`",
        Decision.LATCH,
        (Reason.NOT_FOLLOWING,),
        "at once; the target ends within `target_lead` of the robot",
        "reset, once it is back at the target; or deactivate, activate and reset: then the target begins at the robot",
    ),
    Failure(
        "the pose stays the same to the last bit for {frozen_pose_s} while the robot is told to move more than 10 mm: "
        "a driver that froze, or a robot that is blocked",
        Decision.LATCH,
        (Reason.NOT_FOLLOWING,),
        "{frozen_pose_s}",
        "reset; it shows in motion alone, so a robot whose pose is still frozen is stopped again after as long",
    ),
    # -- the monitor itself
    Failure(
        "active, but nothing was judged yet; the emergency stop was never heard of",
        Decision.STOP,
        (Reason.NOT_READY, Reason.ESTOP),
        "never moved",
        "waits, does not latch",
    ),
    Failure(
        "the command stream is held up for longer than the robot's `command_timeout_s`",
        Decision.STOP,
        (Reason.HELD_UP,),
        "the robot's own watchdog",
        "begins at zero, " + _AGAIN,
    ),
)
