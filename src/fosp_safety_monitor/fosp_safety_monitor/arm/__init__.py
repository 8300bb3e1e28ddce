"""An arm's own limits: joints, singularities, its links and boxes around them, and its tool's orientation. No ROS."""
