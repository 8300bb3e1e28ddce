"""Describes a robot: its file, its limits, and how far ahead it has to be watched."""
