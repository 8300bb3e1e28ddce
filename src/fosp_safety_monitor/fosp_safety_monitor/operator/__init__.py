"""The operator: events, diagnostics, markers, and the guard of a person who drives."""
