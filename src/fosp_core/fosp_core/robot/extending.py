"""Reads the content of a robot file, which may extend another one: `extends: ur5e`, or a path beside the file.

A variant writes what differs. Mappings are merged key by key; every other value, lists among them, replaces that of the
file that is extended. `name` is never inherited, because bundles and commissioning records belong to it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fosp_core.errors import UserError, did_you_mean
from fosp_core.robot.urdf import PACKAGE_SCHEME
from fosp_core.specs import read_yaml

EXTENDS = "extends"


def read_robot_content(path: Path) -> Any:
    """Return the content of a robot file, with that of the files that it extends; raise UserError with the fault.

    A `self_filter` that names a file is replaced by the list that the YAML file of that name holds, beside the file
    that names it. A relative `urdf` that is inherited is resolved beside the file that
    names it, too.
    """
    return expanded(read_yaml(path), path)


def expanded(content: Any, path: Path) -> Any:
    """Return `content`, as the file at `path` holds it, with that of the files that it extends; UserError as above."""
    return _expanded(content, path, ())


def _expanded(content: Any, path: Path, children: tuple[Path, ...]) -> Any:
    """Return the same; `children` are the files that extend this one, the first of them first."""
    if not isinstance(content, dict):
        return content
    if isinstance(content.get("self_filter"), str):
        content = {**content, "self_filter": _shapes(path, content["self_filter"])}
    if EXTENDS not in content:
        return content
    if "name" not in content:
        raise UserError(f"{path}: name is missing: a robot that extends another one needs a name of its own")
    parent = _parent(content[EXTENDS], path)
    chain = (*children, path.resolve())
    if parent.resolve() in chain:
        names = " extends ".join(file.name for file in (*chain, parent))
        raise UserError(f"{path}: {EXTENDS} goes round in a circle: {names}")
    base = _expanded(read_yaml(parent), parent, chain)
    if not isinstance(base, dict):
        raise UserError(f"{parent}: expected a mapping of keys, found {type(base).__name__} ({path} extends it)")
    urdf = base.get("urdf")
    if isinstance(urdf, str) and urdf and not urdf.startswith(PACKAGE_SCHEME):
        base = {**base, "urdf": str(parent.resolve().parent / Path(urdf).expanduser())}
    return _merged(base, {key: value for key, value in content.items() if key != EXTENDS})


def _parent(given: object, path: Path) -> Path:
    """Return the file that is extended: a path from the folder of `path`, or the name of a shipped robot."""
    if not isinstance(given, str) or not given:
        raise UserError(f"{path}: {EXTENDS} must be the name of a shipped robot, or a path such as ../ur5e.yaml")
    if given.endswith((".yaml", ".yml")) or "/" in given:
        parent = path.parent / Path(given).expanduser()
        if not parent.is_file():
            raise UserError(f"{path}: {EXTENDS}: {given}: no such robot file beside it")
        return parent
    shipped = shipped_robots()
    if not (shipped / f"{given}.yaml").is_file():
        known = sorted(file.stem for file in shipped.glob("*.yaml") if "." not in file.stem)
        raise UserError(
            f"{path}: {EXTENDS}: no robot '{given}' is shipped{did_you_mean(given, known)}; "
            f"known: {', '.join(known)}; for a file write its path"
        )
    return shipped / f"{given}.yaml"


def shipped_robots() -> Path:
    """Return the folder of the shipped robot files, in the checkout or in the installed share folder."""
    checkout = Path(__file__).resolve().parents[4] / "config" / "robots"
    if checkout.is_dir():
        return checkout
    from ament_index_python.packages import get_package_share_directory

    return Path(get_package_share_directory("fosp_bringup")) / "config" / "robots"


def _shapes(path: Path, name: str) -> list[Any]:
    shapes = read_yaml(path.parent / name)
    if not isinstance(shapes, list) or not shapes:
        raise UserError(f"{path}: self_filter: {name} must hold a list of boxes and capsules")
    return shapes


def _merged(base: dict[Any, Any], own: dict[Any, Any]) -> dict[Any, Any]:
    """Return `base` with the values of `own` in place of its own; mappings are merged key by key."""
    merged = dict(base)
    for key, value in own.items():
        before = base.get(key)
        merged[key] = _merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return merged
