#!/usr/bin/env bash
# Source ROS and the workspace, then run the command in place of this shell.
set -eo pipefail
source /opt/ros/jazzy/setup.bash
source /opt/fosp/setup.bash
export PATH=/opt/fosp/lib/fosp_cli:$PATH
exec "$@"
