#!/usr/bin/env bash
# RAM on translated MNIST 60x60, glimpses of 12x12 pixels at 3 scales: the rows of table 1b of the paper.
# Usage: bash experiments/translated.sh [flags of main.py for all its commands]
# One seed each; --num_runs=3 trains three.
# Results and times of those that were run: docs/results.md.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

row --preset=translated "$@" # 8 glimpses
for glimpses in 6 4; do
  row --preset=translated --num_glimpses="$glimpses" "$@"
done
