"""From rosbag2 folders to batches: storage, topics, alignment, cache, samplers."""
