"""encoder_node whose networks go wrong on a signal (corruptible.py)."""

from corruptible import run_corruptible

if __name__ == "__main__":
    run_corruptible("fosp_perception.encoder_node")
