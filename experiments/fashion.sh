#!/usr/bin/env bash
# RAM on Fashion-MNIST; the paper has no such table.
# Usage: bash experiments/fashion.sh [flags of main.py for all its commands]
# One seed; --num_runs=3 trains three.
# Results and times of those that were run: docs/results.md.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

row --preset=fashion "$@"
