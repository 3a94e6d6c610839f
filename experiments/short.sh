#!/usr/bin/env bash
# The short ablations of docs/results.md: twenty epochs of MNIST, ten of paper-mnist, paper-translated and in clutter, six of paper-cluttered60,
# 150 on 3,000 images of Fashion-MNIST.
# The validation counts; the test set is not used.
# Usage: bash experiments/short.sh [flags of main.py for all its commands]
# One seed each. On two cores MNIST's take two minutes each, the others three to seven.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

variant() { # $1: its name; then its flags
  apart train "short/$@"
}

variant mnist --epochs=20 "$@"
variant mnist-none-of-these-three --epochs=20 --core_init=glorot --reinforce_core=0 --reward=right "$@"
variant mnist-core-drawn --epochs=20 --core_init=glorot "$@"
variant mnist-locator-alone --epochs=20 --reinforce_core=0 "$@"
variant mnist-reward-right --epochs=20 --reward=right "$@"
variant mnist-no-mean-of-weights --epochs=20 --ema=0 "$@"
variant mnist-no-augmentation --epochs=20 --augment_shift=0 --augment_rotate=0 --augment_scale=0 --augment_shear=0 "$@"
variant mnist-constant-rate --epochs=20 --lr_schedule=constant "$@"
variant mnist-std-0.05 --epochs=20 --std=0.05 "$@"
variant mnist-std-0.15 --epochs=20 --std=0.15 "$@"
variant mnist-random --epochs=20 --policy=random "$@"
variant mnist-center --epochs=20 --policy=center "$@"

paper="--preset=paper-mnist --epochs=10"
fast="--init_lr=0.01 --reinforce_weight=0.01" # the location network learns as fast, all else three times as fast
variant paper $paper "$@"
variant paper-weight-1 $paper --reinforce_weight=1 "$@"
variant paper-std-0.11 $paper --std=0.11 "$@"
variant paper-std-0.11-core-drawn $paper --std=0.11 --core_init=glorot "$@"
variant paper-fast $paper --std=0.11 $fast "$@"
variant paper-fast-std-0.05 $paper --std=0.05 $fast "$@"
variant paper-fast-core-drawn $paper --std=0.11 --core_init=glorot $fast "$@"
variant paper-fast-std-0.22 $paper --std=0.22 --init_lr=0.01 "$@"

translated="--preset=paper-translated --epochs=10"
variant paper-translated $translated "$@"
variant paper-translated-weight-0.1 $translated --reinforce_weight=0.1 "$@"
variant paper-translated-weight-0.3 $translated --reinforce_weight=0.3 "$@"
variant paper-translated-fast-std-0.22 $translated --std=0.22 --init_lr=0.01 "$@"
variant paper-translated-pixels-divided $translated --pixel_std=0.3 "$@"

cluttered="--preset=paper-cluttered60 --epochs=6"
near="$cluttered --first_reach=0.3"
variant paper-cluttered60 $cluttered "$@"
variant paper-cluttered60-std-0.3 $cluttered --std=0.3 --reinforce_weight=0.1 --core_init=glorot "$@"
variant paper-cluttered60-near $near "$@"
variant paper-cluttered60-near-pixels-divided $near --pixel_std=0.3 "$@"
variant paper-cluttered60-near-weight-0.1 $near --pixel_std=0.3 --reinforce_weight=0.1 "$@"
variant paper-cluttered60-near-probability $near --pixel_std=0.3 --reinforce_weight=0.1 --reward=probability --reinforce_core=0.5 "$@"

none="--reinforce_core=0 --reward=right" # of the two changes to REINFORCE
first=--first_reach=1
for task in cluttered60 cluttered100; do
  variant $task --preset=$task --epochs=10 "$@"
  variant $task-neither --preset=$task $none --epochs=10 "$@"
  variant $task-pixels-as-they-are --preset=$task $none --pixel_std=1 --epochs=10 "$@"
done
variant cluttered60-first-anywhere --preset=cluttered60 $none $first --pixel_std=1 --epochs=10 "$@"
variant cluttered100-first-anywhere --preset=cluttered100 $none --pixel_std=1 $first --epochs=10 "$@"
variant cluttered60-locator-alone --preset=cluttered60 --reinforce_core=0 --epochs=10 "$@"
variant cluttered60-reward-right --preset=cluttered60 --reward=right --epochs=10 "$@"
variant cluttered60-relu --preset=cluttered60 --core=relu --hidden_size=256 --epochs=10 "$@"
variant cluttered100-reach-38 --preset=cluttered100 $none --pixel_std=1 --unit_pixels=38 --epochs=10 "$@"
for what in 128 256; do
  variant cluttered60-glimpse-$what --preset=cluttered60 $none $first --pixel_std=1 \
    --glimpse_hidden=$what --loc_hidden=128 --hidden_size=256 --epochs=10 "$@"
done

fashion="--preset=fashion --limit=3000 --epochs=150"
variant fashion $fashion "$@"
variant fashion-hard-labels $fashion --label_smoothing=0 "$@"
variant fashion-shift-1 $fashion --augment_shift=1 "$@"
variant fashion-turned-and-zoomed $fashion --augment_rotate=5 --augment_scale=0.1 "$@"
variant fashion-not-mirrored $fashion --augment_flip=False "$@"
variant fashion-std-0.1 $fashion --std_end=0.1 "$@"
variant fashion-12x12 $fashion --patch_size=12 --num_patches=2 "$@"
variant fashion-8-glimpses $fashion --num_glimpses=8 "$@"
