#!/usr/bin/env bash
# Run tests on the wheels of another ROS distribution, Python or numpy, in an environment of its own:
#     [PYTHON=python3.13] [NUMPY=1.26.4] other_ros.sh NAME [PYTEST_ARGUMENT...]
# NAME is a distribution whose wheels are on PyPI: jazzy or kilted. The files of this checkout that git does not ignore are
# copied to a folder below runs/ros, that distribution's wheels and what a simulated robot runs on (without torch) are installed
# there, the messages are built, and pytest runs, by default the unit tests that need no torch. The environment is kept:
# the second run takes no time to set up.
set -eu -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
name=${1:?usage: [PYTHON=python3.13] [NUMPY=1.26.4] other_ros.sh NAME [PYTEST_ARGUMENT...]}
shift
version=${PYTHON:-}
version=${version##*/}
copy=$PWD/runs/ros/$name${version:+-$version}${NUMPY:+-numpy-$NUMPY}
mkdir -p "$copy/log"
# What is left of an earlier copy goes, or a file that was deleted here would still be tested there.
find "$copy" -mindepth 1 -maxdepth 1 ! -name .venv ! -name install ! -name build ! -name log ! -name runs -exec rm -rf {} +
git ls-files -z --cached --others --exclude-standard | grep -zv '/built/' \
    | tar -c --null -T - --ignore-failed-read 2> /dev/null | tar -x -C "$copy"
cd "$copy"

# The lists name Jazzy's packages; constraints.txt pins Jazzy's versions of them, constraints-NAME.txt another's.
sed -i "s/^ros-jazzy-/ros-$name-/" requirements/ros.txt requirements/messages.txt
pins=(-c requirements/constraints.txt)
if [ "$name" != jazzy ]; then
    sed -i '/^ros-/d' requirements/constraints.txt
    pins+=(-c "requirements/constraints-$name.txt")
    # What was split or taken away after Jazzy.
    sed -i "s/^ros-$name-ament-cmake-ros$/&\n&-core/; /-\(domain-coordinator\|\(python\|fastrtps\)-cmake-module\)$/d" \
        requirements/messages.txt
fi
if [ -n "${NUMPY:-}" ]; then
    # The wheels of ROS were built with numpy 2 and run on 1.26 as well; OpenCV's newest need 2.
    sed -i "s/^numpy==.*/numpy==$NUMPY/" requirements/ros.txt
    sed -i '/^opencv-python-headless==/d' requirements/constraints.txt
fi
[ -x .venv/bin/python ] || "${PYTHON:-python3}" -m venv .venv
python=.venv/bin/python
lists=(ros robot messages sim console dev)
fits() { [ -e "$1" ] && [ "$(cat "$1")" = "$2" ]; } # fits STAMP HASH: whether a part was made from these files
wanted=$(cat requirements/*.txt | sha256sum)
if ! fits .venv/.installed "$wanted"; then
    parts=()
    for part in "${lists[@]}"; do parts+=(-r "requirements/$part.txt"); done
    $python -m pip --disable-pip-version-check install --quiet "${parts[@]}" onnx "${pins[@]}"
    $python scripts/relocate_wheel_cmake.py
    echo "$wanted" > .venv/.installed
fi
. scripts/env.sh
export ROS_DISTRO=$name
wanted=$(find src/fosp_msgs -type f | sort | xargs cat | sha256sum)
if ! fits install/.messages "$wanted"; then
    # Without MAKEFLAGS colcon tells make to wait while others load the machine, on a busy one for ever.
    MAKEFLAGS=-j$(nproc) colcon --log-base log build --merge-install --event-handlers console_direct- \
        --base-paths src/fosp_msgs src/fosp_msgs/tf2_msgs src/fosp_msgs/control_msgs \
        --cmake-args -DCMAKE_POLICY_VERSION_MINIMUM=3.5 -DBUILD_TESTING=OFF "-DPython3_EXECUTABLE=$PWD/$python" \
        > log/messages.txt 2>&1 || { tail -40 log/messages.txt >&2; exit 1; }
    echo "$wanted" > install/.messages
fi
python -c "import fosp_msgs.msg, numpy, rclpy, os, sys
print('ROS', os.environ['ROS_DISTRO'], 'Python', sys.version.split()[0], 'numpy', numpy.__version__, rclpy.__file__)"
if [ $# -eq 0 ]; then set -- src -m "not slow and not long" --ignore=src/fosp_learner; fi
OMP_NUM_THREADS=1 exec pytest -q "$@"
