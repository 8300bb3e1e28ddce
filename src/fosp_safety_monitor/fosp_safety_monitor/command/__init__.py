"""The command stream: the robot side of the monitor."""
