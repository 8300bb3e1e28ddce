"""Nodes that record: episodes, feedback and the black box."""
