"""The smallest networks that have all parts, for tests that train or export some in milliseconds."""

from fosp_learner.config import NetworkConfig

TINY = NetworkConfig(recurrent=8, variables=4, classes=4, cnn_depth=2, units=8, keypoints=4, keypoint_values=2)
