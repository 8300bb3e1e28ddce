"""Recording of demonstrations by a person: pre-flight check and session."""
