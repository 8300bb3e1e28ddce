#!/usr/bin/env bash
# Install the Debian or Ubuntu packages that are missing when run as root; otherwise print the command that installs them.
#   system_packages.sh run|messages|all: rendering; a compiler besides; cameras, and what tests need, besides
set -eu
packages=(libegl1 libgl1 libgl1-mesa-dri)
case ${1:-all} in
    run) ;;
    messages) packages=(gcc g++ make) ;;
    *)
        packages+=(libusb-1.0-0 gcc g++ make)
        # `ign sdf` checks the worlds for Gazebo. Ubuntu has no such package; without it the tests that need it are skipped.
        if [ "$(id -u)" -eq 0 ] && grep -q '^ID=debian' /etc/os-release; then
            packages+=(ignition-tools libsdformat-dev sdformat-sdf)
            # The tests open the console in a real browser; without one they are skipped. Ubuntu has Chromium as a snap alone.
            packages+=(chromium)
        fi
        ;;
esac
command -v dpkg-query > /dev/null || { echo "fosp: no Debian or Ubuntu: see that these are there: ${packages[*]}" >&2; exit 0; }
missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
echo "missing system packages: ${missing[*]}" >&2
if [ "$(id -u)" -ne 0 ]; then
    echo "fosp: run this once, then try again:  sudo apt-get install -y ${missing[*]}" >&2
    exit 2
fi
echo "fosp: installing them with apt-get" >&2
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
