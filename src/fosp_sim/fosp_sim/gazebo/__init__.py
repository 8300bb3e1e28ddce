"""The tasks in Gazebo: world files, server, bridge, episodes."""
