#!/usr/bin/env bash
# RAM on MNIST, glimpses of 8x8 pixels: the rows of table 1a of the paper.
# Usage: bash experiments/mnist.sh [flags of main.py for all its commands]
# Six glimpses are trained with three seeds, the other numbers with one.
# Results and times of those that were run: docs/results.md.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

row --preset=mnist --num_runs=3 "$@" # 6 glimpses
row --preset=mnist7 "$@"             # 7 glimpses
for glimpses in 5 4 3 2; do
  row --preset=mnist --num_glimpses="$glimpses" "$@"
done

# What is recipe, what is model: six glimpses without augmentation, then without averaged weights, too.
unaugmented=(--augment_shift=0 --augment_rotate=0 --augment_scale=0 --augment_shear=0)
apart row mnist_unaugmented --preset=mnist --num_runs=3 "${unaugmented[@]}" "$@"
apart row mnist_plain --preset=mnist --num_runs=3 "${unaugmented[@]}" --ema=0 "$@"
