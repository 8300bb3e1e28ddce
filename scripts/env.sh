# Sourced, not run: the environment of a checkout. Everything runs from src/ (only fosp_msgs needs a build).
# On a robot with ROS 2 from apt use colcon's own install/setup.bash instead.
fosp_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
fosp_python=$(ls -d "$fosp_root"/.venv/lib/python3.* | head -1)
fosp_python=${fosp_python##*/}
# The ROS wheels re-execute Python once and leave these behind; another environment's values break ours.
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
