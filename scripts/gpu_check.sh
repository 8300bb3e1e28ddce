#!/usr/bin/env bash
# Check training and inference on this machine's NVIDIA GPU in less than ten minutes, and print one table (Markdown).
# Needs torch built for CUDA, and onnxruntime-gpu for the providers of ONNX Runtime.
# Exit codes: 0 all passed, 1 a check failed, 2 there is no GPU (one line says so).
set -eu
cd "$(dirname "$0")/.."
if [ ! -x .venv/bin/python ]; then
    echo "fosp: there is no .venv here; run make setup first" >&2
    exit 2
fi
. scripts/env.sh
exec python -m fosp_cli.bench.gpu
