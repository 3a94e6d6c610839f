#!/usr/bin/env bash
# RAM on cluttered MNIST 100x100 with 8 pieces, glimpses of 12x12 pixels at 4 scales: rows of table 2 of the paper.
# Usage: bash experiments/cluttered100.sh [flags of main.py for all its commands]
# One seed each; --num_runs=3 trains three.
# Results and times of those that were run: docs/results.md.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

row --preset=cluttered100 "$@"        # 8 glimpses
row --preset=cluttered100-random "$@" # 8 glimpses at random places: the worth of learning where to look
for glimpses in 6 4; do
  row --preset=cluttered100 --num_glimpses="$glimpses" "$@"
done
