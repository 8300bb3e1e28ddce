"""The task safe_pick: an arm with two fingers carries an object over obstacles to a tray."""
