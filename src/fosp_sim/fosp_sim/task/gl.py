"""The only import of mujoco, which reads the GL backend from the environment while it is imported.

Without a display the default backend looks for X and fails, so EGL is chosen here, or OSMesa where EGL is missing.
"""

from __future__ import annotations

import ctypes.util
import os

if "MUJOCO_GL" not in os.environ and not os.environ.get("DISPLAY"):
    os.environ["MUJOCO_GL"] = "egl" if ctypes.util.find_library("EGL") else "osmesa"
# Worker threads of llvmpipe slow rendering down at these image sizes.
os.environ.setdefault("LP_NUM_THREADS", "0")

import mujoco

__all__ = ["mujoco"]
