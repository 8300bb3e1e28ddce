#!/usr/bin/env bash
# Set this checkout up, part by part:  set_up.sh run|messages|arm|all
#   run       what a simulated robot runs on, from requirements/run.lock with hashes: `make demo` needs no more
#   messages  fosp_msgs, and tf2_msgs and control_msgs, which the wheels lack: unpacked where built ones fit this machine, else built,
#             which takes a compiler
#   arm       Pinocchio, for limits of an arm's joints (`joints` of the robot file)
#   all       training, cameras, tests and lint as well
# A part that is there already costs nothing. Two set-ups at the same time wait for each other.
set -eu -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=.venv
python=$venv/bin/python
log=log/set_up.txt
mkdir -p log
exec 9> log/.set_up.lock
flock 9

say() { echo "fosp: $*" >&2; }

make_venv() {
    python3 -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
        || { say "needs Python 3.11 to 3.13, found $(python3 -V 2>&1 || echo none)"; exit 2; }
    # A set-up that was broken off, or a Python without ensurepip, leaves a .venv without a working pip.
    if [ -x $python ] && [ -f $venv/pyvenv.cfg ] && $python -m pip --version > /dev/null 2>&1; then return; fi
    if [ -L $venv ]; then say "$venv is a link to an environment without a working pip: mend or remove it"; exit 2; fi
    if [ -e $venv ]; then
        say "$venv is half-made, from a set-up that was broken off: it is made anew"
        rm -rf $venv
    fi
    if ! python3 -m venv $venv > $log 2>&1; then
        rm -rf $venv
        package=$(python3 -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
        say "cannot make $venv: $(tail -1 $log)"
        say "on Debian or Ubuntu:  sudo apt-get install -y python3-venv   (or $package)"
        exit 2
    fi
}

# size_mb: size of .venv. pip may take a file away while it is counted, which is no fault.
size_mb() {
    du -sm $venv/ 2> /dev/null | cut -f1 || true
}

# install WHAT EXPECTED_MB ARGUMENTS...: pip, with its progress by the size of .venv, and its output in the log.
install() {
    what=$1 expected=$2
    shift 2
    before=$(size_mb) begin=$SECONDS shown=-60
    say "installing $what into $venv: about $expected MB (output in $log)"
    $python -m pip --disable-pip-version-check install "$@" > $log 2>&1 &
    pip=$!
    trap 'kill $pip 2> /dev/null' EXIT
    while kill -0 $pip 2> /dev/null; do
        sleep 1
        took=$((SECONDS - begin)) done_mb=$(($(size_mb) - before))
        if [ -t 2 ] && [ "${TERM:-dumb}" != dumb ]; then
            printf '\r  %d of about %d MB, %d s \033[K' $done_mb "$expected" $took >&2
        elif [ $((took - shown)) -ge 15 ]; then
            shown=$took
            echo "  $done_mb of about $expected MB, $took s" >&2
        fi
    done
    trap - EXIT
    if [ -t 2 ] && [ "${TERM:-dumb}" != dumb ]; then printf '\r\033[K' >&2; fi
    if ! wait $pip; then
        tail -5 $log >&2
        say "pip could not install $what; the whole output is in $log. Run the same command again to go on"
        exit 1
    fi
    say "installed: $(($(size_mb) - before)) MB in $((SECONDS - begin)) s"
}

needs() { # needs STAMP FILES...: whether a part is missing or older than what it is made from
    stamp=$1
    shift
    [ -e "$stamp" ] || return 0
    for file in "$@"; do [ "$file" -nt "$stamp" ] && return 0; done
    return 1
}

run() {
    make_venv
    # An environment that was set up in one piece, before there were parts, has them all.
    if ! needs $venv/.run requirements/run.lock || ! needs $venv/.installed requirements/*.txt; then return; fi
    scripts/system_packages.sh run
    install "what a simulated robot runs on" 820 --no-compile --require-hashes -r requirements/run.lock
    touch $venv/.run
}

arm() {
    run
    if ! needs $venv/.arm requirements/arm.txt || ! needs $venv/.installed requirements/*.txt; then return; fi
    install "limits of an arm's joints" 420 -r requirements/arm.txt -c requirements/constraints.txt
    touch $venv/.arm
}

all() {
    run
    if ! needs $venv/.installed requirements/*.txt; then return; fi
    scripts/system_packages.sh all
    parts=()
    for part in ros robot messages realsense learner sim console lerobot arm dev; do parts+=(-r requirements/$part.txt); done
    install "training, cameras, tests and lint" 2700 "${parts[@]}" -c requirements/constraints.txt
    $python scripts/relocate_wheel_cmake.py
    touch $venv/.installed
}

messages() {
    run
    if ! needs install/.messages src/fosp_msgs/CMakeLists.txt src/fosp_msgs/package.xml src/fosp_msgs/msg/* \
        src/fosp_msgs/srv/* src/fosp_msgs/tf2_msgs/CMakeLists.txt src/fosp_msgs/control_msgs/CMakeLists.txt; then return; fi
    if ! $python scripts/built_messages.py unpack; then
        scripts/system_packages.sh messages
        if needs $venv/.installed requirements/*.txt; then
            install "what builds fosp_msgs (no built ones fit this machine)" 400 -r requirements/messages.txt \
                -r requirements/ros.txt -c requirements/constraints.txt
        fi
        $python scripts/relocate_wheel_cmake.py
        say "building fosp_msgs"
        . scripts/env.sh
        colcon --log-base log build --merge-install --base-paths src/fosp_msgs src/fosp_msgs/tf2_msgs src/fosp_msgs/control_msgs \
            --event-handlers console_direct- --cmake-args \
            -DCMAKE_POLICY_VERSION_MINIMUM=3.5 -DBUILD_TESTING=OFF "-DPython3_EXECUTABLE=$PWD/$python" \
            > log/messages.txt 2>&1 || { tail -40 log/messages.txt >&2; exit 1; }
    fi
    touch install/.messages
}

case ${1:-} in
    run | messages | arm | all) $1 ;;
    *) say "usage: set_up.sh run|messages|arm|all"; exit 2 ;;
esac
