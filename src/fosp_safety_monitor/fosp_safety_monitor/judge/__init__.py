"""Judges latents, proposals and the robot's inputs, by pure functions on frozen values."""
