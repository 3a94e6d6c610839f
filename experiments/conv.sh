#!/usr/bin/env bash
# RAM with a convolutional glimpse network, on every task.
# Usage: bash experiments/conv.sh [flags of main.py for all its commands]
# One seed each; --num_runs=3 trains three.
# Results and times of those that were run: docs/results.md.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

for task in mnist translated cluttered60 cluttered100 fashion; do
  row --preset="$task-conv" "$@"
done
