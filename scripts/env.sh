# The environment of a checkout, to be sourced. Everything runs from src/; only fosp_msgs needs a build.
# On a robot with ROS 2 from apt source colcon's install/setup.bash instead.
fosp_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
fosp_python=$(ls -d "$fosp_root"/.venv/lib/python3.* | head -1)
fosp_python=${fosp_python##*/}
# The ROS wheels restart Python once and set these variables; values of another environment break this one.
unset _ROS_WHEELS_BOOTSTRAP_COMPLETE PYTHONHOME
export VIRTUAL_ENV=$fosp_root/.venv
export PATH=$VIRTUAL_ENV/bin:$PATH
export AMENT_PREFIX_PATH=$fosp_root/install:$VIRTUAL_ENV
export CMAKE_PREFIX_PATH=$VIRTUAL_ENV
export LD_LIBRARY_PATH=$fosp_root/install/lib
fosp_path=
for package in "$fosp_root"/src/*/; do
    [ -e "$package/setup.py" ] && fosp_path=$fosp_path${package%/}:
done
export PYTHONPATH=$fosp_path$fosp_root/install/lib/$fosp_python/site-packages
export ROS_DISTRO=jazzy
unset fosp_root fosp_python fosp_path package
