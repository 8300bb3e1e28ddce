"""MuJoCo tasks, demonstrators, simulator node and evaluation of fosp."""
