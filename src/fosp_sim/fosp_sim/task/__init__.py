"""The tasks: scenarios, scenes, MuJoCo worlds, cameras, feedback."""
