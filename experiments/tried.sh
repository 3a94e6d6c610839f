#!/usr/bin/env bash
# Recipes that were trained in full length beside the presets: on MNIST, with convolutions in clutter, on Fashion-MNIST.
# The validation counts; the test set is not used.
# Usage: bash experiments/tried.sh [flags of main.py for all its commands]
# One seed each; the presets they are compared with are trained by mnist.sh, cluttered60.sh, conv.sh and fashion.sh.
# Results: docs/results.md.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

variant() { # $1: its name; then its flags
  apart train "tried/$@"
}

variant mnist-50 --epochs=50 "$@"
variant mnist-wider --epochs=50 --glimpse_hidden=256 --hidden_size=384 --batch_size=64 "$@"
variant mnist-first-near --epochs=50 --first_reach=0.3 "$@"
variant mnist-first-in-the-middle --epochs=50 --first_reach=0 "$@"
variant mnist-std-0.3 --epochs=50 --std=0.3 --std_end=0.05 "$@"
variant mnist-rate-2e-3 --epochs=50 --init_lr=2e-3 "$@"
variant mnist-half-of-reinforce --epochs=50 --reinforce_core=0.5 "$@"
variant mnist-conv --preset=mnist-conv --epochs=50 "$@"
variant mnist-conv-wider --preset=mnist-conv --epochs=50 --glimpse_hidden=256 "$@"
variant mnist-100 --epochs=100 "$@"
variant mnist-std-end-0.02 --std_end=0.02 "$@"
variant mnist-600 --epochs=600 "$@"

conv="--preset=cluttered60-conv --epochs=80 --augment_share=1" # all images augmented
variant cluttered60-conv-sharp-clutter $conv --augment_clutter=False "$@"
variant cluttered60-conv-blurred $conv "$@"

variant fashion-12x12 --preset=fashion --patch_size=12 --num_patches=2 --label_smoothing=0.1 --std_end=0.2 --augment_shift=1 "$@"
