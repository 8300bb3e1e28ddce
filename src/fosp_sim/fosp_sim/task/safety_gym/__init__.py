"""The five tasks of the paper: a point or a car reaches goals, presses buttons or pushes a box, past hazards."""
