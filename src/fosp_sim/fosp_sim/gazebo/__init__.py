"""The tasks in Gazebo: world files, interface, processes and episodes."""
