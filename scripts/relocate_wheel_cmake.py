"""Point the CMake files of the ROS wheels at this machine's Python and numpy headers.

The wheels were built on another machine and name its include folders, so building `fosp_msgs` against them would fail.
Running this script again changes nothing.
"""

import re
import sys
import sysconfig
from pathlib import Path

import numpy

PYTHON_INCLUDE = re.compile(r"/opt/python/cp3\d+-cp3\d+/include/python3\.\d+")
NUMPY_INCLUDE = re.compile(r"/opt/python/cp3\d+-cp3\d+/lib/python3\.\d+/site-packages/numpy/_?core/include")

for path in Path(sys.prefix, "share").rglob("*.cmake"):
    text = path.read_text()
    mended = NUMPY_INCLUDE.sub(numpy.get_include(), text)
    mended = PYTHON_INCLUDE.sub(sysconfig.get_path("include"), mended)
    if mended != text:
        path.write_text(mended)
