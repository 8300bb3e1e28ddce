"""The simulated tasks: registry, scenario files, scenes, MuJoCo worlds, rendering and privileged controllers."""
