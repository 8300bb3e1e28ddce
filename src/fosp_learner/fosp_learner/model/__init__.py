"""The networks and losses of FOSP: world model, critics, actor."""
