"""Notes that a recorder leaves in the metadata of a bag (`custom_data`), beside task and robot."""

SCENE_NOTE = "scene"
"""Note in a bag's metadata: the kind of scenes, in the words of the person who recorded."""
SHOWS_NOTE = "shows"
"""Note in a bag's metadata: what an episode was made to show, HAZARDS or nothing."""
HAZARDS = "hazards"
"""Slow approaches in which contact is sought, to show what is dangerous."""
