"""The failure policy for people, other nodes and the robot itself, as data."""

from __future__ import annotations

from fosp_core.decisions import Decision, Reason
from fosp_safety_monitor.page.failure import AGAIN, Failure

ROBOT_FAILURES: tuple[Failure, ...] = (
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
        AGAIN,
    ),
)
