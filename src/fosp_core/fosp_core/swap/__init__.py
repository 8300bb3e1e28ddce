"""The hot swap: a new model takes over between two decisions, and is rolled back if it does worse."""
