#!/usr/bin/env bash
# The worth of the parts of the recipes, on MNIST and in clutter, in full length: the rows of docs/results.md, which were
# measured in short runs (experiments/short.sh), and a few more. The validation counts; the test set is not used.
# Usage: bash experiments/ablation.sh [flags of main.py for all its commands]
# One seed each; --num_runs=3 trains three.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

variant() { # $1: its name; then its flags
  apart train "ablation/$@"
}

variant mnist "$@"
variant mnist-none-of-these-three --core_init=glorot --reinforce_core=0 --reward=right "$@"
variant mnist-core-drawn --core_init=glorot "$@"
variant mnist-locator-alone --reinforce_core=0 "$@"
variant mnist-reward-right --reward=right "$@"
variant mnist-no-mean-of-weights --ema=0 "$@"
variant mnist-no-augmentation --augment_shift=0 --augment_rotate=0 --augment_scale=0 --augment_shear=0 "$@"
variant mnist-constant-rate --lr_schedule=constant "$@"
variant mnist-std-0.05 --std=0.05 "$@"
variant mnist-std-0.15 --std=0.15 "$@"
variant mnist-random --policy=random "$@"
variant mnist-center --policy=center "$@"

none="--reinforce_core=0 --reward=right" # of the two changes to REINFORCE
first=--first_reach=1
for task in cluttered60 cluttered100; do
  variant $task --preset=$task "$@"
  variant $task-neither --preset=$task $none "$@"
  variant $task-pixels-as-they-are --preset=$task $none --pixel_std=1 "$@"
  variant $task-first-anywhere --preset=$task $none --pixel_std=1 $first "$@"
done
variant cluttered60-locator-alone --preset=cluttered60 --reinforce_core=0 "$@"
variant cluttered60-reward-right --preset=cluttered60 --reward=right "$@"
variant cluttered60-relu --preset=cluttered60 --core=relu --hidden_size=256 "$@"
variant cluttered100-reach-38 --preset=cluttered100 $none --pixel_std=1 --unit_pixels=38 "$@"
for what in 128 256; do
  variant cluttered60-glimpse-$what --preset=cluttered60 $none $first --pixel_std=1 \
    --glimpse_hidden=$what --loc_hidden=128 --hidden_size=256 "$@"
done
# Rows that were not measured in short runs.
variant cluttered60-std-0.2 --preset=cluttered60 --std=0.2 --std_end=0.05 "$@"
variant cluttered60-random --preset=cluttered60-random "$@"
variant cluttered60-center --preset=cluttered60 --policy=center "$@"
