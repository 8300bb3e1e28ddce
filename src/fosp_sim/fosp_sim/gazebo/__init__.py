"""The tasks in Gazebo: world files, topics, services and episodes."""
