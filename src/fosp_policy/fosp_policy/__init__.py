"""The policy of fosp: safe policy expansion, and teleoperation by a person."""
