"""Safety monitor of fosp: the last node before the robot."""
