"""Paths of configurations and models, in the checkout or in the installed share folder."""

from __future__ import annotations

from pathlib import Path

from fosp_core.errors import UserError, did_you_mean


def share() -> Path:
    """Return the folder that holds config/, launch/ and models/."""
    checkout = Path(__file__).resolve().parents[3]
    if (checkout / "config" / "robots").is_dir():
        return checkout
    from ament_index_python.packages import get_package_share_directory

    return Path(get_package_share_directory("fosp_bringup"))


def robot_files() -> list[Path]:
    """Return the robot files in config/robots, sorted, without the commissioning records that lie beside them."""
    return sorted(path for path in (share() / "config" / "robots").glob("*.yaml") if "." not in path.stem)


def robot_path(name: str) -> Path:
    """Return a robot file, given by name (config/robots/NAME.yaml) or by path; UserError lists the known names."""
    return _named(name, share() / "config" / "robots", "robot")


def feedback_path(name: str) -> Path:
    """Return feedback rules, by name (config/feedback/NAME.yaml) or by path; UserError lists the known names."""
    return _named(name, share() / "config" / "feedback", "feedback")


def teleop_path(name: str) -> Path:
    """Return the mapping of a device, by name (config/teleop/NAME.yaml) or by path; UserError lists the known names."""
    return _named(name, share() / "config" / "teleop", "teleop")


def scenario_path(name: str) -> Path:
    """Return a scenario file, by name (config/scenarios/NAME.yaml) or by path; UserError lists the known names."""
    return _named(name, share() / "config" / "scenarios", "scenario")


def _named(name: str, folder: Path, kind: str) -> Path:
    if name.endswith((".yaml", ".yml")) or "/" in name:
        if not Path(name).is_file():
            raise UserError(f"{name}: no such {kind} file")
        return Path(name)
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = sorted(p.stem for p in folder.glob("*.yaml") if "." not in p.stem)
        raise UserError(f"no {kind} '{name}'{did_you_mean(name, known)}; there are: {', '.join(known)}")
    return path
