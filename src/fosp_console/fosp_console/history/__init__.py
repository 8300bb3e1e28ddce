"""The browser's view of what was recorded: the timeline of a bag or a black box, its frames, and clips of it."""
