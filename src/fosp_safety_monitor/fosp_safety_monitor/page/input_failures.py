"""The failure policy for proposals, latents, images and the robot's state, as data."""

from __future__ import annotations

from fosp_core.decisions import Decision, Reason
from fosp_safety_monitor.page.failure import AFTER_A_STOP, AGAIN, RESET, Failure, monitor_test

INPUT_FAILURES: tuple[Failure, ...] = (
    # -- proposals
    Failure(
        "The proposed action is too risky (q_h above eps), but another candidate is not.",
        Decision.SUBSTITUTE,
        (Reason.INFEASIBLE,),
        "at once",
        "the next proposal is judged anew",
        checks=("choose",),
        faults=("risky proposals, a safe candidate",),
    ),
    Failure(
        "Every candidate is too risky.",
        Decision.RECOVER,
        (Reason.NO_FEASIBLE,),
        "at once",
        "the least risky candidate is executed, at {recover_scale} of its speed when its risk is eps and at "
        "{recover_scale_least} when its risk is 1; a simulator's robot that `coasts` gets the whole of it, as its way "
        "out is its own thrust",
        checks=(
            "choose",
            "speed_scale",
        ),
        faults=("risky proposals, no safe candidate",),
    ),
    Failure(
        "The risk of the proposed action lies between {slow_down_share} of eps and eps.",
        Decision.PASS,
        (Reason.SLOW_DOWN,),
        "at once",
        "the action is executed more slowly, in proportion, down to {recover_scale} of its speed at eps",
        checks=("speed_scale",),
        faults=("proposals close to the risk allowed",),
    ),
    Failure(
        "{veto_latch_count} in a row the proposals were vetoed for their risk, a critic out of its range or surprise: "
        "an obstacle holds up the policy.",
        Decision.LATCH,
        (Reason.VETOES,),
        "at once",
        "reset, once a proposal passes the checks again",
        checks=("check_vetoes",),
        faults=("risky proposals in a row",),
    ),
    Failure(
        "A latent, an action or a critic output holds NaN or infinity, or the critic fails.",
        Decision.LATCH,
        (Reason.NOT_FINITE,),
        "at once",
        RESET,
        checks=(
            "check_latent",
            "check_proposal",
            "check_actions",
            "check_critic",
            "CommandStream.tick_now",
        ),
        faults=(
            "latents with NaN",
            "proposals with NaN",
            "proposals with infinity",
            "a gripper command with NaN",
        ),
        tests=(monitor_test("monitor", "a_critic_that_raises_latches_and_says_why"),),
    ),
    Failure(
        "A latent, an action or a critic output has the wrong size, or a proposal has no candidates, more than 256, or "
        "chooses one that does not exist.",
        Decision.LATCH,
        (Reason.WRONG_SHAPE,),
        "at once",
        RESET,
        checks=(
            "check_latent",
            "check_proposal",
            "check_actions",
            "check_critic",
        ),
        faults=(
            "latents of another size",
            "proposals without candidates",
            "proposals of two axes",
            "proposals choose what is not there",
            "a proposal without the gripper's value",
        ),
    ),
    Failure(
        "A latent or a proposal comes from a model that is not loaded, or the two come from different models.",
        Decision.LATCH,
        (Reason.MODEL_ID,),
        "at once",
        RESET,
        checks=(
            "check_latent",
            "check_proposal",
        ),
        faults=(
            "latents of another model",
            "proposals of another model",
        ),
    ),
    Failure(
        "A critic output is outside its calibrated range.",
        Decision.STOP,
        (Reason.CRITIC_RANGE,),
        "at once",
        AGAIN,
        checks=("check_critic",),
        faults=("proposals of 1e6: critic out of range",),
    ),
    Failure(
        "The surprise was above its limit in {surprise_recover_count} of the last {surprise_window}.",
        Decision.RECOVER,
        (Reason.SURPRISE,),
        "at once",
        "full speed resumes when fewer steps of the window are above the limit",
        checks=("check_surprise",),
        tests=(monitor_test("decision_on_proposals", "surprise_in_several_steps_of_the_window_recovers"),),
    ),
    Failure(
        "The surprise was above its limit in {surprise_stop_count} of the last {surprise_window}.",
        Decision.STOP,
        (Reason.SURPRISE,),
        "at once",
        "motion resumes when fewer steps of the window are above the limit",
        checks=("check_surprise",),
        faults=("images too bright: surprise",),
    ),
    Failure(
        "A proposal repeats the frame that was judged last, or an earlier one.",
        Decision.PASS,
        (Reason.ORDER,),
        "at once",
        "the proposal is ignored: it neither moves the robot nor keeps it moving, and the last verdict stays in force",
        checks=("check_order",),
        faults=(
            "one proposal again and again",
            "proposals four and four in the wrong order",
        ),
    ),
    # -- silence and delay
    Failure(
        "The policy, the encoder or the camera dies, hangs or slows down, or its messages are lost or late.",
        Decision.STOP,
        (Reason.DEADLINE, Reason.STALE_LATENT, Reason.STALE_IMAGE),
        "{proposal_timeout_s} after the last judged proposal",
        AGAIN + "; a node that is restarted, or was silent for {heartbeat_gap_s}, latches",
        checks=(
            "check_proposal_age",
            "hold",
        ),
        faults=(
            "sigkill policy_node, started anew",
            "sigkill encoder_node, started anew",
            "sigstop policy_node 0.3 s",
            "sigstop sim_node: robot and camera 0.3 s",
            "proposals dropped",
            "the policy falls silent while the gripper closes",
            "proposals delayed by 300 ms",
            "images dropped",
            "images delayed by 300 ms",
            "latents dropped",
            "latents delayed by 300 ms",
            "one proposal again and again",
            "proposals four and four in the wrong order",
        ),
    ),
    Failure(
        "A proposal comes without a latent of its frame and step, or its latent is old.",
        Decision.STOP,
        (Reason.STALE_LATENT,),
        "{proposal_timeout_s} after the last judged proposal; {latent_timeout_s} after the latent",
        AGAIN,
        checks=(
            "check_latent_age",
            "check_proposal_age",
        ),
        faults=("proposals stamped in 1 s, without latents",),
    ),
    Failure(
        "The camera frame of a proposal is old, has no stamp, or is stamped in the future. (The encoder makes no "
        "latent of a frame without a stamp or from the future, so such a camera is a missing one.)",
        Decision.STOP,
        (Reason.STALE_IMAGE, Reason.DEADLINE),
        "at once for a new proposal; {image_timeout_s} after the image stamp for the proposal in force; "
        "{proposal_timeout_s} when no new one comes",
        AGAIN,
        checks=("check_image", "check_proposal_age"),
        faults=(
            "images delayed by 300 ms",
            "latents delayed by 300 ms",
            "images stamped 1 s ago",
            "images stamped in 1 s",
            "images with zero stamps",
        ),
    ),
    Failure(
        "The robot state or the pose is missing, old, not finite, without a stamp, stamped in the future, or in "
        "another frame.",
        Decision.STOP,
        (Reason.STALE_ROBOT_STATE,),
        "{robot_state_timeout_s}",
        AGAIN,
        checks=(
            "check_robot_state",
            "robot_state_received",
            "pose_received",
        ),
        faults=(
            "joint states dropped",
            "joint states delayed by 300 ms",
            "joint states stamped 1 s ago",
            "joint states stamped in 1 s",
            "joint states with zero stamps",
            "joint states with NaN",
            "joint states with NaN in a velocity",
            "joint states with an infinite effort",
            "tool pose dropped",
            "tool pose in another frame",
            "tool pose with NaN",
            "odometry dropped",
            "odometry with NaN in its twist",
            "odometry with NaN in its orientation",
            "sigstop sim_node: robot and camera 0.3 s",
        ),
    ),
    Failure(
        "Missing or slow decisions, or an old latent, camera frame or robot state, have stopped the robot for "
        "{stale_latch_s}.",
        Decision.LATCH,
        (Reason.STALE_TOO_LONG,),
        AFTER_A_STOP,
        RESET,
        checks=("check_staleness_duration",),
        faults=("proposals dropped for 5 s",),
    ),
    Failure(
        "A node comes back: another process has its name, or the same process was silent for {heartbeat_gap_s}.",
        Decision.LATCH,
        (Reason.NODE_RESTARTED,),
        AFTER_A_STOP,
        "reset: a respawned node never resumes motion by itself",
        checks=(
            "_came_back",
            "latch",
        ),
        faults=(
            "sigkill policy_node, started anew",
            "sigkill encoder_node, started anew",
            "sigstop policy_node 1 s",
            "sigstop encoder_node 1 s",
            "the encoder's network goes wrong in memory",
            "the policy's network goes wrong in memory",
        ),
    ),
    Failure(
        "Decisions come more slowly than the model was trained for, by more than a quarter over 20 decisions: the "
        "camera or the computer is too slow.",
        Decision.STOP,
        (Reason.DEADLINE,),
        "20 decisions",
        AGAIN + ", once the mean of 20 decisions is fast enough; after {stale_latch_s} it latches",
        checks=("check_pace",),
        faults=("a camera of 13 Hz",),
    ),
    Failure(
        "The latent stays the same to the last bit for {frozen_image_steps} under new steps while the robot moves: the "
        "encoder repeats itself.",
        Decision.LATCH,
        (Reason.STALE_LATENT,),
        "{frozen_image_steps}; longer below a fifth of full speed, as for frozen images",
        "reset, once the latent changes",
        checks=("check_latent_changes",),
        faults=("latents frozen under new steps",),
    ),
    # -- images
    Failure(
        "The image of a camera stays the same to the pixel for {frozen_image_steps} while the robot moves.",
        Decision.LATCH,
        (Reason.IMAGE,),
        "{frozen_image_steps}; longer below a fifth of full speed: until the robot has travelled the distance of "
        "these steps at a fifth of full speed",
        "reset, once the image changes",
        checks=(
            "check_frozen",
            "FrozenImage.after",
        ),
        faults=("images frozen, with new stamps", "images of a second ago under new stamps"),
    ),
    Failure(
        "The image shows nothing: its contrast is below {least_contrast}, as with a covered lens.",
        Decision.STOP,
        (Reason.IMAGE,),
        "at once",
        AGAIN,
        checks=("check_contrast",),
        faults=(
            "images black",
            "images white",
        ),
    ),
    Failure(
        "The camera does not show what the model knows, by the reference of its bundle: red and blue swapped, "
        "mirrored, turned, dim, covered, or unlike every training frame.",
        Decision.STOP,
        (Reason.CAMERA,),
        "as many novel frames as the bundle's manifest says; before the first motion at once",
        "motion resumes after {known_frames} in a row that the model knows",
        checks=(
            "check_camera",
            "CameraWatch.after",
        ),
        faults=(
            "images black",
            "images white",
            "images too bright: surprise",
            "images of swapped channels",
            "images mirrored",
            "images upside down",
            "a hand on the lens, dark",
            "a hand on the lens, blurred",
            "images half black",
        ),
    ),
    Failure(
        "The image does not show the motion that was executed, or shows earlier frames again: its content is old, "
        "looped, frozen but for a clock, or mirrored; or the robot is blocked.",
        Decision.LATCH,
        (Reason.CAMERA,),
        "as many steps as the bundle's manifest says; 4 of 6 steps in motion for frames that are shown again",
        "reset; if the content is still old, the next motion latches again",
        checks=(
            "check_camera",
            "CameraWatch.after",
        ),
        faults=(
            "images frozen, with new stamps",
            "images of a second ago under new stamps",
            "the last three images again and again",
            "images frozen but for a clock",
        ),
    ),
    Failure(
        "Images have an encoding without colour, are smaller than the model's, change their size, or are cut off.",
        Decision.STOP,
        (Reason.DEADLINE,),
        "{proposal_timeout_s} after the last proposal, because the encoder makes no latent of them",
        f"{AGAIN}; if the camera keeps its new size, deactivate and activate the encoder",
        checks=("check_proposal_age",),
        faults=(
            "images too small",
            "images of another size",
            "images of an unknown encoding",
            "images cut off",
        ),
    ),
)
