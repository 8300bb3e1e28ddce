"""Conversion between bags and LeRobotDatasets (v3: parquet and MP4)."""
