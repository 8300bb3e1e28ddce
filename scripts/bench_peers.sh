#!/usr/bin/env bash
# Measure a full training step against those of public DreamerV3 implementations, one step each by turns: a table and
# runs/peers/peers.json. sheeprl comes from the package index, into runs/peers/venv. dreamerv3-torch is on no index:
# clone it outside of this repository, and let DREAMERV3_TORCH name the folder. Options: scripts/bench_peers.sh --help
# Exit code 2, with one line that says why, when something that is needed is not there.
set -eu
cd "$(dirname "$0")/.."
if [ ! -x .venv/bin/python ]; then
    echo "fosp: there is no .venv here; run make setup first" >&2
    exit 2
fi
. scripts/env.sh
peers=runs/peers/venv
if ! cat scripts/peers/*.txt | cmp -s - "$peers/installed.txt"; then
    echo "installing the peers into $peers (a few minutes on first use)" >&2
    mkdir -p "$peers"
    python -m venv "$peers"
    pip=(env -u PYTHONPATH "$peers/bin/python" -m pip --quiet --disable-pip-version-check install)
    if ! { "${pip[@]}" -r scripts/peers/requirements.txt && "${pip[@]}" --no-deps -r scripts/peers/sheeprl.txt; }; then
        echo "fosp: the peers cannot be installed from the package index of this machine" >&2
        exit 2
    fi
    cat scripts/peers/*.txt > "$peers/installed.txt"
fi
exec python -m fosp_cli.bench.peers "$@"
