#!/usr/bin/env bash
# RAM with a convolutional glimpse network, on every task.
# Usage: bash experiments/conv.sh [flags of main.py for all its commands]
# Three seeds in clutter, else one.
# Results and times of those that were run: docs/results.md.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

for task in mnist translated fashion; do
  row --preset="$task-conv" "$@"
done
for task in cluttered60 cluttered100; do
  row --preset="$task-conv" --num_runs=3 "$@"
done
