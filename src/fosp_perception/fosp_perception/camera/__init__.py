"""Image sources of the camera node: RealSense, OpenCV, recordings."""
