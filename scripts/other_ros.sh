#!/usr/bin/env bash
# Run tests on the wheels of another ROS distribution, in an environment of its own:  other_ros.sh kilted [PYTEST_ARGUMENT...]
# It copies the tracked files of this checkout to runs/ros/NAME, installs that distribution's wheels and what a simulated robot
# runs on (without torch) there, builds the messages, and runs pytest, by default the unit tests that need no torch. The
# environment is kept: the second run takes no time to set up.
set -eu -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
name=${1:?usage: other_ros.sh NAME [PYTEST_ARGUMENT...]}
shift
copy=$PWD/runs/ros/$name
mkdir -p "$copy/log"
git ls-files -z | grep -zv '/built/' | rsync -a --files-from=- --from0 ./ "$copy/" 2> /dev/null \
    || git ls-files -z | grep -zv '/built/' | xargs -0 cp --parents -t "$copy"
cd "$copy"

# The lists name Jazzy's packages; the pins of its other parts (ros-..., without a distribution) are Jazzy's, too.
sed -i "s/^ros-jazzy-/ros-$name-/" requirements/ros.txt requirements/messages.txt
for part in domain-coordinator fastrtps-cmake-module python-cmake-module; do
    sed -i "s/^ros-$name-$part$/ros-$part/" requirements/messages.txt
done
sed -i '/^ros-/d' requirements/constraints.txt
[ -x .venv/bin/python ] || python3 -m venv .venv
python=.venv/bin/python
lists=(ros robot messages sim console dev)
if [ ! -e .venv/.installed ]; then
    parts=()
    for part in "${lists[@]}"; do parts+=(-r "requirements/$part.txt"); done
    $python -m pip --disable-pip-version-check install --quiet "${parts[@]}" -c requirements/constraints.txt
    $python scripts/relocate_wheel_cmake.py
    touch .venv/.installed
fi
. scripts/env.sh
export ROS_DISTRO=$name
if [ ! -e install/.messages ]; then
    for folder in src/fosp_msgs src/fosp_msgs/tf2_msgs src/fosp_msgs/control_msgs; do
        colcon --log-base log build --merge-install --paths $folder --event-handlers console_direct- \
            --cmake-args -DCMAKE_POLICY_VERSION_MINIMUM=3.5 -DBUILD_TESTING=OFF "-DPython3_EXECUTABLE=$PWD/$python" \
            > log/messages.txt 2>&1 || { tail -40 log/messages.txt >&2; exit 1; }
    done
    touch install/.messages
fi
python -c "import fosp_msgs.msg, rclpy, os; print('ROS', os.environ['ROS_DISTRO'], 'with', rclpy.__file__)"
if [ $# -eq 0 ]; then set -- src -m "not slow and not long" --ignore=src/fosp_learner; fi
OMP_NUM_THREADS=1 exec pytest -q "$@"
