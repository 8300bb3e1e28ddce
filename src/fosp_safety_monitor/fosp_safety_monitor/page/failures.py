"""The failure policy as data: for every failure the robot's reaction, its time limit, and how motion resumes.

safety_page.py writes docs/safety.md from this table. The tests of this package and tests/faults show each row.
"""

from __future__ import annotations

from dataclasses import dataclass

from fosp_core.decisions import Decision, Reason


@dataclass(frozen=True)
class Failure:
    """One row of the table. A parameter's name in braces stands for its default value and its name."""

    what: str
    decision: Decision
    reasons: tuple[Reason, ...]
    within: str
    """Time from the failure until braking begins."""
    then: str
    """Condition under which motion resumes."""


_AGAIN = "motion resumes when every check has held for {release_s}"
_RESET = "reset"

FAILURES: tuple[Failure, ...] = (
    # -- proposals
    Failure(
        "The proposed action is too risky (q_h above eps), but another candidate is not.",
        Decision.SUBSTITUTE,
        (Reason.INFEASIBLE,),
        "at once",
        "the next proposal is judged anew",
    ),
    Failure(
        "Every candidate is too risky.",
        Decision.RECOVER,
        (Reason.NO_FEASIBLE,),
        "at once",
        "the least risky candidate is executed, at {recover_scale} of its speed when its risk is eps and at "
        "{recover_scale_least} when its risk is 1",
    ),
    Failure(
        "The risk of the proposed action lies between {slow_down_share} of eps and eps.",
        Decision.PASS,
        (Reason.SLOW_DOWN,),
        "at once",
        "the action is executed more slowly, in proportion, down to {recover_scale} of its speed at eps",
    ),
    Failure(
        "The risk was too high for {veto_latch_count} in a row: an obstacle holds up the policy.",
        Decision.LATCH,
        (Reason.VETOES,),
        "at once",
        "reset, once a proposal would pass",
    ),
    Failure(
        "A latent, an action or a critic output holds NaN or infinity, or the critic fails.",
        Decision.LATCH,
        (Reason.NOT_FINITE,),
        "at once",
        _RESET,
    ),
    Failure(
        "A latent or an action has the wrong size, or a proposal has no candidates, more than 256, or chooses one that "
        "does not exist.",
        Decision.LATCH,
        (Reason.WRONG_SHAPE,),
        "at once",
        _RESET,
    ),
    Failure(
        "A latent or a proposal comes from a model that is not loaded, or the two come from different models.",
        Decision.LATCH,
        (Reason.MODEL_ID,),
        "at once",
        _RESET,
    ),
    Failure(
        "A critic output is outside its calibrated range.",
        Decision.STOP,
        (Reason.CRITIC_RANGE,),
        "at once",
        _AGAIN,
    ),
    Failure(
        "The surprise was above its limit in {surprise_recover_count} of the last {surprise_window}.",
        Decision.RECOVER,
        (Reason.SURPRISE,),
        "at once",
        "full speed resumes when fewer steps of the window are above the limit",
    ),
    Failure(
        "The surprise was above its limit in {surprise_stop_count} of the last {surprise_window}.",
        Decision.STOP,
        (Reason.SURPRISE,),
        "at once",
        "motion resumes when fewer steps of the window are above the limit",
    ),
    Failure(
        "A proposal repeats the frame that was judged last, or an earlier one.",
        Decision.PASS,
        (Reason.ORDER,),
        "at once",
        "the proposal is ignored: it neither moves the robot nor keeps it moving, and the last verdict stays in force",
    ),
    # -- silence and delay
    Failure(
        "The policy, the encoder or the camera dies, hangs or slows down, or its messages are lost.",
        Decision.STOP,
        (Reason.DEADLINE,),
        "{proposal_timeout_s} after the last proposal",
        _AGAIN + "; a node that is restarted, or was silent for {heartbeat_gap_s}, latches",
    ),
    Failure(
        "A proposal comes without a latent of its frame and step, or its latent is old.",
        Decision.STOP,
        (Reason.STALE_LATENT,),
        "{proposal_timeout_s} after the last judged proposal; {latent_timeout_s} after the latent",
        _AGAIN,
    ),
    Failure(
        "The camera frame of a proposal is old, has no stamp, or is stamped in the future.",
        Decision.STOP,
        (Reason.STALE_IMAGE,),
        "at once for a new proposal; {image_timeout_s} after the image stamp for the proposal in force",
        _AGAIN,
    ),
    Failure(
        "The robot state or the pose is missing, old, not finite, without a stamp, stamped in the future, or in "
        "another frame.",
        Decision.STOP,
        (Reason.STALE_ROBOT_STATE,),
        "{robot_state_timeout_s}",
        _AGAIN,
    ),
    Failure(
        "Missing proposals, or an old latent, camera frame or robot state, have stopped the robot for {stale_latch_s}.",
        Decision.LATCH,
        (Reason.STALE_TOO_LONG,),
        "the robot stands already",
        _RESET,
    ),
    Failure(
        "A node comes back: another process has its name, or the same process was silent for {heartbeat_gap_s}.",
        Decision.LATCH,
        (Reason.NODE_RESTARTED,),
        "the robot stands already",
        "reset: a respawned node never resumes motion by itself",
    ),
    Failure(
        "Decisions come more slowly than the model was trained for, by more than a quarter over 20 decisions: the "
        "camera or the computer is too slow.",
        Decision.STOP,
        (Reason.DEADLINE,),
        "20 decisions",
        _AGAIN + ", once the mean of 20 decisions is fast enough",
    ),
    Failure(
        "The latent stays the same to the last bit for {frozen_image_steps} under new steps while the robot moves: the "
        "encoder repeats itself.",
        Decision.LATCH,
        (Reason.STALE_LATENT,),
        "{frozen_image_steps}; longer below a fifth of full speed, as for frozen images",
        "reset, once the latent changes",
    ),
    # -- images
    Failure(
        "The image of a camera stays the same to the pixel for {frozen_image_steps} while the robot moves.",
        Decision.LATCH,
        (Reason.IMAGE,),
        "{frozen_image_steps}; longer below a fifth of full speed: until the robot has travelled the distance of "
        "these steps at a fifth of full speed",
        "reset, once the image changes",
    ),
    Failure(
        "The image shows nothing: its contrast is below {least_contrast}, as with a covered lens.",
        Decision.STOP,
        (Reason.IMAGE,),
        "at once",
        _AGAIN,
    ),
    Failure(
        "The camera does not show what the model knows, by the reference of its bundle: red and blue swapped, "
        "mirrored, turned, dim, covered, or unlike every training frame.",
        Decision.STOP,
        (Reason.CAMERA,),
        "as many novel frames as the bundle's manifest says; before the first motion at once",
        "motion resumes after {known_frames} in a row that the model knows",
    ),
    Failure(
        "The image does not show the motion that was executed, or shows earlier frames again: its content is old, "
        "looped, frozen but for a clock, or mirrored; or the robot is blocked.",
        Decision.LATCH,
        (Reason.CAMERA,),
        "as many steps as the bundle's manifest says; 4 of 6 steps in motion for frames that are shown again",
        "reset; if the content is still old, the next motion latches again",
    ),
    Failure(
        "Images have an encoding without colour, are smaller than the model's, change their size, or are cut off.",
        Decision.STOP,
        (Reason.DEADLINE,),
        "{proposal_timeout_s} after the last proposal, because the encoder makes no latent of them",
        f"{_AGAIN}; if the camera keeps its new size, deactivate and activate the encoder",
    ),
    # -- clocks
    Failure(
        "The ROS clock jumps by {clock_jump_s} in either direction (an NTP step, a suspended machine).",
        Decision.STOP,
        (Reason.CLOCK,),
        "the next command",
        f"{_AGAIN}, with stamps of the new time",
    ),
    Failure(
        "Simulated time stands still or runs backwards.",
        Decision.STOP,
        (Reason.DEADLINE, Reason.CLOCK),
        "{proposal_timeout_s}, on the monotonic clock",
        _AGAIN,
    ),
    Failure(
        "Simulated time jumps ahead by more than the timeout of the image, the robot state or the pose.",
        Decision.STOP,
        (Reason.STALE_IMAGE, Reason.STALE_ROBOT_STATE),
        "the next command; a smaller jump is allowed, because simulated time may come in steps",
        f"{_AGAIN}, with stamps of the new time",
    ),
    # -- the computer and the network
    Failure(
        "The processor is overloaded: the nodes or the command thread come late.",
        Decision.STOP,
        (Reason.DEADLINE, Reason.HELD_UP),
        "{proposal_timeout_s} after the last proposal; the robot's `command_timeout_s` after the last command. Late "
        "ticks are a warning on `/diagnostics` before that",
        _AGAIN,
    ),
    Failure(
        "The network fails between the monitor and the other nodes, or between the monitor and the robot.",
        Decision.STOP,
        (Reason.DEADLINE, Reason.STALE_ROBOT_STATE, Reason.ESTOP),
        "the limit of the first input that is missing; a robot that receives no commands stops by its own "
        "`command_timeout_s`",
        f"{_AGAIN}; a silent emergency stop latches and needs a reset",
    ),
    # -- people and other nodes
    Failure(
        "The emergency stop is pressed (any of the robot's `estop_topics`), or `~/estop` is called.",
        Decision.LATCH,
        (Reason.ESTOP,),
        "the next command",
        "reset, once the emergency stop is released",
    ),
    Failure(
        "One of the emergency stops falls silent.",
        Decision.LATCH,
        (Reason.ESTOP,),
        "{estop_timeout_s}",
        "reset, once the emergency stop sends again and is released",
    ),
    Failure(
        "Another node publishes on the command topic, such as a second monitor.",
        Decision.LATCH,
        (Reason.FOREIGN_COMMAND,),
        "0.05 s after its discovery",
        "reset, once the other node is gone; before the first motion it is a STOP. **The monitor cannot "
        "silence the other node**: both publish, and most robots obey the last command. Keep it out by access"
        " control (SROS 2) or on the robot",
    ),
    Failure(
        "A command that the monitor did not send arrives on the command topic, from a node that may be gone again.",
        Decision.LATCH,
        (Reason.FOREIGN_COMMAND,),
        "the next command after its receipt",
        "reset, once the other node is gone. A command that reaches the robot before the other node and the monitor "
        "have discovered each other is not heard, nor is a plain Twist that equals a lost command of the monitor",
    ),
    Failure(
        "A second node publishes the robot state, the pose, an emergency stop, latents, proposals, feedback or images; "
        "or another node takes the place of the one that published them.",
        Decision.LATCH,
        (Reason.FOREIGN_INPUT,),
        "0.05 s after its discovery; 0.5 s if the number of publishers stays the same",
        "reset, once it is gone; before the first motion it is a STOP. A driver that was killed counts until the "
        "discovery drops it, up to 20 s; a node with heartbeats does not. The nodes that publish when the monitor is "
        "activated are those that may; `state_publishers` of the robot file allows more than one for the robot state",
    ),
    # -- the robot
    Failure(
        "A robot that takes target poses does not follow: it is blocked, switched off, or pushed beyond `target_lead`.",
        Decision.LATCH,
        (Reason.NOT_FOLLOWING,),
        "at once; the target ends within `target_lead` of the robot",
        "reset, once the robot is back at the target; or deactivate, activate and reset, and the target begins at the "
        "robot",
    ),
    Failure(
        "The pose of an arm that takes twists stays the same to the last bit for {frozen_pose_s} while the arm is "
        "commanded to move more than 10 mm: its driver froze, or the robot is blocked.",
        Decision.LATCH,
        (Reason.NOT_FOLLOWING,),
        "{frozen_pose_s}",
        "reset; if the pose is still frozen, the next motion latches again",
    ),
    Failure(
        "The measured motion contradicts the commands by more than {motion_tolerance_s} at the speed limit and "
        "{motion_tolerance_share} of the commanded distance, for every lag that the robot's `response_s` and "
        "`dead_time_s` allow: the robot goes the wrong way, along other axes, too fast, too late or not at all. A "
        "contact that holds it up is one of these.",
        Decision.LATCH,
        (Reason.MOTION,),
        "0.4 s at full speed; windows of 0.15, 0.5 and 2 s see slower motion later",
        "reset, once the robot stands",
    ),
    Failure(
        "The robot moves although it is told to stand. While it is latched, every verdict and `/diagnostics` (ERROR) "
        "say that it moves although it is latched.",
        Decision.LATCH,
        (Reason.MOTION,),
        "0.5 s at 5 cm/s; a drift of less than the tolerance in 10 s is not seen. **The monitor cannot stop a robot "
        "that moves without being told to**: use the emergency stop",
        "reset, once the robot stands",
    ),
    Failure(
        "The measured pose is outside of the workspace by more than {workspace_margin_m}. A robot that begins outside "
        "may come in, but go no further out.",
        Decision.LATCH,
        (Reason.OUTSIDE_WORKSPACE,),
        "the next command",
        "reset, once the robot is back; or deactivate, activate and reset, to come in from where the robot is",
    ),
    # -- consent
    Failure(
        "No operator has engaged since activation, since the last latch, or since a pause of the robot: the command "
        "stream was held up, the robot was not ready, or its state was missing for {robot_pause_s}.",
        Decision.STOP,
        (Reason.NOT_ENGAGED,),
        "at once; the robot does not move unasked",
        "an operator calls `~/engage` (`fosp engage`), and the speed grows within {ramp_in_s}",
    ),
    Failure(
        "An operator calls `~/disengage` (`fosp disengage`).",
        Decision.STOP,
        (Reason.NOT_ENGAGED,),
        "the next command",
        "engage",
    ),
    Failure(
        "The enabling switch (the robot's `enabling`) is released, silent for its `timeout_s`, malformed, or repeats "
        "one message for its `repeat_s`.",
        Decision.STOP,
        (Reason.NOT_ENGAGED,),
        "the next command after the message or the time",
        "press it again (after a silence or a repetition: let go first), then engage",
    ),
    Failure(
        "No episode runs: before the first one, between two, and after one that ended, by a violation too.",
        Decision.STOP,
        (Reason.NO_EPISODE,),
        "the next command",
        "`fosp/reset_episode` begins an episode; with `episodes: not_used` the robot moves without one",
    ),
    Failure(
        "The feedback of the running episode falls silent, or holds NaN.",
        Decision.STOP,
        (Reason.NO_EPISODE,),
        "{feedback_timeout_s}",
        "the feedback of the same episode comes again, or another episode begins",
    ),
    Failure(
        "A topic of the robot's `ready` says that the robot cannot be commanded, is silent for its `timeout_s`, or has "
        "no publisher any more.",
        Decision.STOP,
        (Reason.ROBOT_NOT_READY,),
        "the next command; of a publisher that died, once it is gone from the graph (DDS takes up to 20 s)",
        "engage, once the robot is ready",
    ),
    Failure(
        "The force on `wrench_topic` has changed by more than `protective_force_n` since an operator engaged.",
        Decision.LATCH,
        (Reason.FORCE,),
        "the next command",
        "reset, once the force is gone, then engage",
    ),
    Failure(
        "The wrench is missing, stale or NaN, or the same to the last bit for {frozen_force_s}: its sensor froze or is "
        "at the end of its range.",
        Decision.STOP,
        (Reason.FORCE,),
        "{robot_state_timeout_s}; NaN: the next command",
        _AGAIN,
    ),
    # -- the monitor
    Failure(
        "The monitor is active, but nothing was judged yet, or the emergency stop has never sent anything.",
        Decision.STOP,
        (Reason.NOT_READY, Reason.ESTOP),
        "the robot has not moved yet",
        "motion begins when the inputs are there; this stop does not latch",
    ),
    Failure(
        "The command stream is held up for longer than the robot's `command_timeout_s`.",
        Decision.STOP,
        (Reason.HELD_UP,),
        "the robot's own watchdog",
        "commands begin at zero, and " + _AGAIN,
    ),
    Failure(
        "The critic's session does not give its golden outputs any more (memory or provider are at fault), or its "
        "self-test does not come to its end for 15 s.",
        Decision.LATCH,
        (Reason.SELF_TEST,),
        "every loaded critic is tested in turn, one every 2 s",
        "deactivate, clean up and configure the monitor, which loads the model anew, then reset; check the computer "
        "first. A self-test that was only late: reset, once it has come to its end",
    ),
    Failure(
        "The session of the encoder or of the policy does not give its golden outputs any more, or its self-test does "
        "not come to its end for 15 s: the node falls silent, and `/diagnostics` shows ERROR.",
        Decision.STOP,
        (Reason.DEADLINE, Reason.STALE_LATENT),
        "{proposal_timeout_s} after the last proposal",
        "configure that node anew",
    ),
)
