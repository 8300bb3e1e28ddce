#!/usr/bin/env bash
# Install the Debian or Ubuntu packages that are missing when run as root; otherwise print the command that installs them.
set -eu
packages=(libegl1 libgl1 libgl1-mesa-dri libusb-1.0-0 gcc g++ make)
# `ign sdf` checks the worlds for Gazebo. Ubuntu has no such package; without it the tests that need it are skipped.
if [ "$(id -u)" -eq 0 ] && grep -q '^ID=debian' /etc/os-release; then
    packages+=(ignition-tools libsdformat-dev sdformat-sdf)
fi
# The tests open the console in a real browser; without one they are skipped. Ubuntu has Chromium as a snap alone.
if [ "$(id -u)" -eq 0 ] && grep -q '^ID=debian' /etc/os-release; then
    packages+=(chromium)
fi
missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
echo "missing system packages: ${missing[*]}"
if [ "$(id -u)" -ne 0 ]; then
    echo "fosp: run this once, then try again:  sudo apt-get install -y ${missing[*]}" >&2
    exit 2
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
