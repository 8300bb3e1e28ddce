"""What a person sees and does at a terminal: recording demonstrations, and the status of a running graph."""
