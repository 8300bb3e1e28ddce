"""Reads recorded bags, finished or cut off, whatever wrote them: folders and files, without ROS."""
