"""Model bundles, ONNX sessions, action specs, topics, clocks and the lifecycle base class of fosp."""
