#!/usr/bin/env bash
# Run mypy --strict over every package.
set -eu
cd "$(dirname "$0")/.."
packages=()
MYPYPATH=
for setup in src/*/setup.py; do
    folder=$(dirname "$setup")
    packages+=(-p "$(basename "$folder")")
    MYPYPATH=$MYPYPATH:$folder
done
MYPYPATH=${MYPYPATH#:} exec mypy "${packages[@]}"
