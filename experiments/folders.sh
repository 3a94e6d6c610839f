#!/usr/bin/env bash
# Own data sets, the table of docs/data.md. Needs scikit-learn and scikit-image.
# Usage: bash experiments/folders.sh [flags of main.py for all its commands]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[[ -d data/folders ]] || python experiments/make_folders.py data/folders

row --dataset=folder --data_dir=data/folders/digits --patch_size=4 --augment_shift=1 --epochs=100 "$@"
row --dataset=folder --data_dir=data/folders/photos --epochs=30 "$@"
row --dataset=folder --data_dir=data/folders/grey --epochs=30 "$@"
