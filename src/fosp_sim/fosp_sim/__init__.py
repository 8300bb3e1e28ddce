"""Simulated tasks in MuJoCo and Gazebo: environments, demonstrators and simulator nodes."""
