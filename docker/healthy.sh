#!/usr/bin/env bash
# Exit with 0 when a service is healthy: `healthy.sh graph` (every node is active), `healthy.sh topic NAME` (something
# publishes it), `healthy.sh node NAME` (the node is in the graph).
set -eo pipefail
source /opt/ros/jazzy/setup.bash
source /opt/fosp/setup.bash
case $1 in
    graph) timeout 8 ros2 service call /lifecycle_manager/is_active std_srvs/srv/Trigger | grep -q 'success=True' ;;
    topic) timeout 8 ros2 topic echo --once --no-arr "$2" >/dev/null ;;
    node) timeout 8 ros2 node list --no-daemon | grep -qx "$2" ;;
    *) exit 2 ;;
esac
