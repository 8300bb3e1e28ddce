"""Protective zones: what sensors measure near the robot, whatever a model says. No ROS, no models, no images."""
