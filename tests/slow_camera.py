"""A camera_node whose device takes 2 s to tell its temperature, as one on a busy USB bus does."""

import time

from fosp_perception.camera import recorded_source
from fosp_perception.camera_node import main


def slowly(self: object) -> dict[str, str]:
    time.sleep(2.0)
    return {"temperature_c": "41"}


for kind in vars(recorded_source).values():
    if isinstance(kind, type) and "details" in vars(kind):
        kind.details = slowly
main()
