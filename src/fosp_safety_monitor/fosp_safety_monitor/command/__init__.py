"""Sends the command stream to the robot, and converts the messages of the monitor."""
