"""Recording demonstrations at a terminal, and the status line of a running graph."""
