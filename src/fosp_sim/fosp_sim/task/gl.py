"""The one import of mujoco: it reads the GL backend from the environment when it is imported.

Without a display it would look for X and fail, so EGL is chosen (OSMesa where there is no EGL).
"""

from __future__ import annotations

import ctypes.util
import os

if "MUJOCO_GL" not in os.environ and not os.environ.get("DISPLAY"):
    os.environ["MUJOCO_GL"] = "egl" if ctypes.util.find_library("EGL") else "osmesa"
# llvmpipe's worker threads only cost time at these sizes.
os.environ.setdefault("LP_NUM_THREADS", "0")

import mujoco

__all__ = ["mujoco"]
