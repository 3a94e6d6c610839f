#!/usr/bin/env bash
# What the parts of the recipes are worth, on MNIST and in clutter: each is left out alone, then several at once.
# Usage: bash experiments/ablation.sh [flags of main.py for all its commands]
# One seed each; --num_runs=3 trains three.
# What the same rows are worth in short runs stands in docs/results.md.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

variant() { # $1: its name; then its flags
  apart row "ablation/$@"
}

variant mnist --preset=mnist "$@"
variant mnist-no-augmentation --preset=mnist --augment_shift=0 --augment_rotate=0 --augment_scale=0 \
  --augment_shear=0 "$@"
variant mnist-no-mean-of-weights --preset=mnist --ema=0 "$@"
variant mnist-constant-rate --preset=mnist --lr_schedule=constant "$@"
variant mnist-std-0.15 --preset=mnist --std=0.15 "$@"
variant mnist-std-0.05 --preset=mnist --std=0.05 "$@"
variant mnist-core-drawn --preset=mnist --core_init=glorot "$@"
variant mnist-locator-alone --preset=mnist --reinforce_core=0 "$@"
variant mnist-reward-right --preset=mnist --reward=right "$@"
variant mnist-none-of-these-three --preset=mnist --core_init=glorot --reinforce_core=0 --reward=right "$@"
variant mnist-random --preset=mnist --policy=random "$@"
variant mnist-center --preset=mnist --policy=center "$@"
variant cluttered60 --preset=cluttered60 "$@"
variant cluttered60-locator-alone --preset=cluttered60 --reinforce_core=0 "$@"
variant cluttered60-reward-right --preset=cluttered60 --reward=right "$@"
variant cluttered60-neither --preset=cluttered60 --reinforce_core=0 --reward=right "$@"
variant cluttered60-first-anywhere --preset=cluttered60 --first_reach=1 "$@"
variant cluttered60-pixels-as-they-are --preset=cluttered60 --pixel_std=1 "$@"
variant cluttered60-narrow --preset=cluttered60 --glimpse_hidden=128 --loc_hidden=128 --hidden_size=256 "$@"
variant cluttered60-relu --preset=cluttered60 --core=relu "$@"
variant cluttered60-std-0.2 --preset=cluttered60 --std=0.2 --std_end=0.05 "$@"
variant cluttered60-random --preset=cluttered60-random "$@"
variant cluttered60-center --preset=cluttered60 --policy=center "$@"
variant cluttered100 --preset=cluttered100 "$@"
variant cluttered100-neither --preset=cluttered100 --reinforce_core=0 --reward=right "$@"
