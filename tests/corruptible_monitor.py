"""safety_monitor_node whose networks go wrong on a signal (corruptible.py)."""

from corruptible import run_corruptible

if __name__ == "__main__":
    run_corruptible("fosp_safety_monitor.safety_monitor_node")
