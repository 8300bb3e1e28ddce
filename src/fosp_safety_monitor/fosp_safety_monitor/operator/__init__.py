"""Shows the operator what the monitor does, and guards a person who drives."""
