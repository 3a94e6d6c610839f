#!/usr/bin/env bash
# RAM on Fashion-MNIST; the paper has no such table.
# Usage: bash experiments/fashion.sh [flags of main.py for all its commands]
# One seed; --num_runs=3 trains three.
# What came out, and how long it took, stands in docs/results.md, where it was run.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

row --preset=fashion "$@"
