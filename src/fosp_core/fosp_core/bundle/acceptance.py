"""Which calibrations a robot accepts: what must hold for every bundle, and what a person may accept in words."""

from __future__ import annotations

from fosp_core.errors import UserError
from fosp_core.specs import Calibration, Manifest

ALPHA_CEILING = 0.2
"""A promise to miss no more than a share `alpha` of the steps before a violation is none when alpha is greater."""


def calibration_faults(calibration: Calibration, eps_ceiling: float) -> list[str]:
    """Return what makes a calibration unfit for a robot, in words, whatever a person accepts; empty when it is fit."""
    found = []
    if calibration.episodes == 0:
        found.append("its thresholds were calibrated on no episode; calibrate it on validation episodes")
    if calibration.violating_episodes > calibration.episodes:
        found.append(
            f"its calibration counts {calibration.violating_episodes} violating episodes among {calibration.episodes}"
        )
    if calibration.eps > eps_ceiling:
        found.append(
            f"its eps of {calibration.eps:.3g} is above the robot's eps_ceiling of {eps_ceiling:g}: it would allow "
            "actions of that risk; calibrate it anew, or raise eps_ceiling in the robot file if you know why"
        )
    return found


def unsupported_because(calibration: Calibration) -> str:
    """Return why the data do not support the promised miss rate, in words; empty when they do.

    A manifest that says `supported: true` is held against its own figures: conformal risk control cannot support a
    miss rate of alpha with fewer than 1 / alpha - 1 violating episodes, nor with a bound above alpha.
    """
    count, alpha = calibration.violating_episodes, calibration.alpha
    if not calibration.supported:
        return f"{count} violating episodes do not support a miss rate of at most {alpha:g}"
    if alpha > ALPHA_CEILING:
        return f"it promises a miss rate of at most {alpha:g} only, and {ALPHA_CEILING:g} is the most that counts"
    if (count + 1) * alpha < 1 - 1e-9:
        return f"it says that it is supported, but {count} violating episodes cannot support alpha {alpha:g}"
    if calibration.miss_rate_bound > alpha + 1e-9:
        bound = calibration.miss_rate_bound
        return f"it says that it is supported, but its bound of the miss rate, {bound:.3g}, is above alpha {alpha:g}"
    return ""


def require_supported(manifest: Manifest, accepted: bool, how: str) -> None:
    """Raise UserError when the calibration is unsupported and nobody accepted that; `how` says how it is accepted."""
    why = unsupported_because(manifest.calibration)
    if why and not accepted:
        raise UserError(
            f"bundle {manifest.id[:12]}: its calibration is unsupported ({why}); record more violating episodes and "
            f"train again, or accept it in words: {how}"
        )
