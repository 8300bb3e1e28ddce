"""The failure policy as data: for every failure the robot's reaction, its time limit, and how motion resumes.

safety_page.py writes docs/safety.md from this table. The tests of this package and tests/faults show each row.
"""

from __future__ import annotations

from fosp_core.decisions import Decision, Reason
from fosp_safety_monitor.page.failure import AGAIN, RESET, Failure
from fosp_safety_monitor.page.robot_failures import ROBOT_FAILURES

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
        RESET,
    ),
    Failure(
        "A latent or an action has the wrong size, or a proposal has no candidates, more than 256, or chooses one that "
        "does not exist.",
        Decision.LATCH,
        (Reason.WRONG_SHAPE,),
        "at once",
        RESET,
    ),
    Failure(
        "A latent or a proposal comes from a model that is not loaded, or the two come from different models.",
        Decision.LATCH,
        (Reason.MODEL_ID,),
        "at once",
        RESET,
    ),
    Failure(
        "A critic output is outside its calibrated range.",
        Decision.STOP,
        (Reason.CRITIC_RANGE,),
        "at once",
        AGAIN,
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
        AGAIN + "; a node that is restarted, or was silent for {heartbeat_gap_s}, latches",
    ),
    Failure(
        "A proposal comes without a latent of its frame and step, or its latent is old.",
        Decision.STOP,
        (Reason.STALE_LATENT,),
        "{proposal_timeout_s} after the last judged proposal; {latent_timeout_s} after the latent",
        AGAIN,
    ),
    Failure(
        "The camera frame of a proposal is old, has no stamp, or is stamped in the future.",
        Decision.STOP,
        (Reason.STALE_IMAGE,),
        "at once for a new proposal; {image_timeout_s} after the image stamp for the proposal in force",
        AGAIN,
    ),
    Failure(
        "The robot state or the pose is missing, old, not finite, without a stamp, stamped in the future, or in "
        "another frame.",
        Decision.STOP,
        (Reason.STALE_ROBOT_STATE,),
        "{robot_state_timeout_s}",
        AGAIN,
    ),
    Failure(
        "Missing proposals, or an old latent, camera frame or robot state, have stopped the robot for {stale_latch_s}.",
        Decision.LATCH,
        (Reason.STALE_TOO_LONG,),
        "the robot stands already",
        RESET,
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
        AGAIN + ", once the mean of 20 decisions is fast enough",
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
        AGAIN,
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
        f"{AGAIN}; if the camera keeps its new size, deactivate and activate the encoder",
    ),
    # -- clocks
    Failure(
        "The ROS clock jumps by {clock_jump_s} in either direction (an NTP step, a suspended machine).",
        Decision.STOP,
        (Reason.CLOCK,),
        "the next command",
        f"{AGAIN}, with stamps of the new time",
    ),
    Failure(
        "Simulated time stands still or runs backwards.",
        Decision.STOP,
        (Reason.DEADLINE, Reason.CLOCK),
        "{proposal_timeout_s}, on the monotonic clock",
        AGAIN,
    ),
    Failure(
        "Simulated time jumps ahead by more than the timeout of the image, the robot state or the pose.",
        Decision.STOP,
        (Reason.STALE_IMAGE, Reason.STALE_ROBOT_STATE),
        "the next command; a smaller jump is allowed, because simulated time may come in steps",
        f"{AGAIN}, with stamps of the new time",
    ),
    # -- the computer and the network
    Failure(
        "The processor is overloaded: the nodes or the command thread come late.",
        Decision.STOP,
        (Reason.DEADLINE, Reason.HELD_UP),
        "{proposal_timeout_s} after the last proposal; the robot's `command_timeout_s` after the last command. Late "
        "ticks are a warning on `/diagnostics` before that",
        AGAIN,
    ),
    Failure(
        "The network fails between the monitor and the other nodes, or between the monitor and the robot.",
        Decision.STOP,
        (Reason.DEADLINE, Reason.STALE_ROBOT_STATE, Reason.ESTOP),
        "the limit of the first input that is missing; a robot that receives no commands stops by its own "
        "`command_timeout_s`",
        f"{AGAIN}; a silent emergency stop latches and needs a reset",
    ),
    *ROBOT_FAILURES,
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
        "commands begin at zero, and " + AGAIN,
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
