#!/usr/bin/env bash
# Exit 0 when the service does its work: `healthy.sh graph` (every node is active), `healthy.sh topic NAME`
# (it is published), `healthy.sh node NAME` (it is there).
set -eo pipefail
source /opt/ros/jazzy/setup.bash
source /opt/fosp/setup.bash
case $1 in
    graph) timeout 8 ros2 service call /lifecycle_manager/is_active std_srvs/srv/Trigger | grep -q 'success=True' ;;
    topic) timeout 8 ros2 topic echo --once --no-arr "$2" >/dev/null ;;
    node) timeout 8 ros2 node list --no-daemon | grep -qx "$2" ;;
    *) exit 2 ;;
esac
