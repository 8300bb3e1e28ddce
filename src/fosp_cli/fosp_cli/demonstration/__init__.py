"""Recording demonstrations from the terminal: pre-flight, session, keyboard."""
