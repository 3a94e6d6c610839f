#!/usr/bin/env bash
# Earlier systems by their own recipes: one path, no augmentation, no averaged weights.
# Usage: bash experiments/reproductions.sh [flags of main.py for all its commands]
# One seed each; --num_runs=3 trains three.
# Results and times of those that were run: docs/results.md.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

for preset in paddle-mnist paper-mnist paper-mnist7 keras-mnist paper-translated paper-cluttered60 paper-cluttered100 \
  keras-translated; do
  apart row $preset --preset=$preset "$@" # some have a run name in common
done
