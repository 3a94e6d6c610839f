#!/usr/bin/env bash
# Earlier systems by their own recipes: one path, no augmentation, no averaged weights.
# Usage: bash experiments/reproductions.sh [flags of main.py for all its commands]
# Three seeds of paddle-mnist, one of the others.
# Results and times of those that were run: docs/results.md.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

apart row paddle-mnist --preset=paddle-mnist --num_runs=3 "$@"
for preset in paper-mnist paper-mnist7 keras-mnist paper-translated paper-cluttered60 paper-cluttered100 \
  keras-translated; do
  apart row $preset --preset=$preset "$@" # some have a run name in common
done
