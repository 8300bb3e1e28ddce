"""A recorder_node whose disk takes 3 s to close a bag."""

import time

from fosp_core.bag_types import BagWriter
from fosp_recording.recorder_node import main

finish = BagWriter.finish


def slowly(self: BagWriter, *arguments: object) -> None:
    time.sleep(3.0)
    finish(self, *arguments)


BagWriter.finish = slowly
main()
