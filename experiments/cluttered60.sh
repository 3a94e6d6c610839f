#!/usr/bin/env bash
# RAM on cluttered MNIST 60x60 with 4 pieces, glimpses of 12x12 pixels at 3 scales: rows of table 2 of the paper.
# Usage: bash experiments/cluttered60.sh [flags of main.py for all its commands]
# One seed each; --num_runs=3 trains three.
# Results and times of those that were run: docs/results.md.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

row --preset=cluttered60 "$@"        # 8 glimpses
row --preset=cluttered60-random "$@" # 8 glimpses at random places: the worth of learning where to look
for glimpses in 6 4; do
  row --preset=cluttered60 --num_glimpses="$glimpses" "$@"
done
