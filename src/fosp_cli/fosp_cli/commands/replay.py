"""`fosp replay`: a bag on the topics that it was recorded from, in its own rhythm."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def replay(
    bag: Annotated[Path, typer.Argument(help="Bag folder.", metavar="BAG")],
    rate: Annotated[float, typer.Option(help="Times the recorded speed.")] = 1.0,
    stamps: Annotated[
        str, typer.Option(help="now: stamps move to the present, their distances stay; recorded: as in the bag.")
    ] = "now",
    topics: Annotated[
        list[str] | None, typer.Option("--topic", help="Only this topic; may be given again.", metavar="NAME")
    ] = None,
) -> int:
    """Publish a bag on its real topics with the original spacing, for whoever listens: a learner, a recorder, a viewer.

    Refused while anything listens to the bag's command topic that could be a robot, unless --topic names that topic.
    """
    import os

    from fosp_bringup.stack import environment
    from fosp_cli.replay import play
    from fosp_core.errors import UserError

    if not 0.01 <= rate <= 100.0:
        raise UserError(f"--rate must be from 0.01 to 100, got {rate:g}")
    if stamps not in ("now", "recorded"):
        raise UserError(f"--stamps must be now or recorded, got '{stamps}'")
    os.environ.update(environment())
    count, late_s = play(bag, rate, stamps == "now", tuple(topics or ()))
    print(f"{bag}: {count} messages, at worst {late_s * 1e3:.1f} ms late")
    return 0
