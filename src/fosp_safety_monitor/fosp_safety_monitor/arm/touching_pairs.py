"""Pairs of links that touch in every position of an arm's joints, as lines for `ignored_pairs` of the robot file.

python -m fosp_safety_monitor.arm.touching_pairs ROBOT_FILE [URDF]

A pair that touches in some positions only is a real collision, and is told beside, with the share of positions.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from fosp_core.errors import UserError
from fosp_core.robot.arm_limits import SelfCollision
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.robot.urdf import read_urdf
from fosp_safety_monitor.arm.model import ArmModel, model_of

POSITIONS = 2000
"""Number of random positions of the joints. What touches in all of them is part of the shapes."""
_WITHOUT_LIMIT = np.pi


def shares_of_touching(model: ArmModel, positions: int = POSITIONS, seed: int = 0) -> dict[str, float]:
    """Return, for each pair that touches, the share of random positions within the joints' limits in which it does."""
    rng, touched = np.random.default_rng(seed), Counter[str]()
    lower = np.where(np.isfinite(model.lower), model.lower, -_WITHOUT_LIMIT)
    upper = np.where(np.isfinite(model.upper), model.upper, _WITHOUT_LIMIT)
    others = {name: 0.0 for name in model.needed if name not in model.names}
    for _ in range(positions):
        model.place({**others, **dict(zip(model.names, rng.uniform(lower, upper).tolist(), strict=True))})
        distances = model.distances()
        touching = distances.values + distances.kept < 0.0
        touched.update({pair for pair, touches in zip(distances.pairs, touching, strict=True) if touches})
    return {pair: count / positions for pair, count in touched.most_common()}


def without_ignored(robot: RobotConfig) -> RobotConfig:
    """Return the robot with every pair of its links compared, and without boxes."""
    if robot.joints is None:
        raise UserError(f"robot '{robot.name}' has no joints in its file")
    joints = robot.joints.model_copy(update={"self_collision": SelfCollision(), "boxes": ()})
    return robot.model_copy(update={"joints": joints})


def main() -> int:
    """Print the pairs; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("robot", type=Path, help="robot file with `joints`")
    parser.add_argument("urdf", nargs="?", default="", help="URDF, where the robot file names none")
    options = parser.parse_args()
    try:
        robot = without_ignored(read_robot(options.robot))
        location = options.urdf or robot.urdf
        if not location:
            raise UserError(f"{options.robot}: names no urdf, so give one")
        folder = Path() if options.urdf else options.robot.parent
        shares = shares_of_touching(model_of(robot, read_urdf(location, folder), location, folder))
    except UserError as error:
        print(f"fosp: {error}", file=sys.stderr)
        return 2
    print("ignored_pairs:")
    for pair, share in shares.items():
        first, _, second = pair.partition(" and ")
        print(f"  {'-' if share == 1.0 else f'# in {share:.1%} of the positions:'} [{first}, {second}]")
    return 0


if __name__ == "__main__":
    sys.exit(main())
