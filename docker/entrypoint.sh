#!/usr/bin/env bash
# Sources ROS and the workspace, then becomes the command.
set -eo pipefail
source /opt/ros/jazzy/setup.bash
source /opt/fosp/setup.bash
export PATH=/opt/fosp/lib/fosp_cli:$PATH
exec "$@"
