"""The fosp command line and the parts that only it uses."""
