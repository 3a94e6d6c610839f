#!/usr/bin/env bash
# The paper's baselines, trained on the same data by the same recipe as RAM. One rollout is all they have.
# Usage: bash experiments/baselines.sh [flags of main.py for all its commands]
# One seed each; --num_runs=3 trains three.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

for task in mnist translated cluttered60 cluttered100 fashion; do
  for model in fc64 fc256 conv; do
    train --preset="$task" --model="$model" "$@"
    main --preset="$task" --model="$model" "$@" --is_train=False
  done
done
