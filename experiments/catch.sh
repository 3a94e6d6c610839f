#!/usr/bin/env bash
# Catch, the paper's section 4.2: every row of the table in docs/catch.md, its curve and its film.
# Usage: bash experiments/catch.sh [flags of `python -m catch` for all its commands]
# `bash experiments/catch.sh --frames=200000 --num_games=1000` is a quick try.
# What came out, and how long it took, stands in docs/catch.md, where it was run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

play() { # print the command as one would type it, and run it
  printf '\n$ python -m catch %s\n' "$*"
  python -m catch "$@"
}

row() { # a training, to the end from wherever it is, and its test games
  play --resume=auto "$@"
  play --is_train=False "$@"
}

python -m catch.bounds
for seed in 1 2 3; do
  row --random_seed="$seed" "$@"
done
for eye in --policy=random --policy=center --full_screen=True; do
  row "$eye" "$@"
done
mkdir -p plots
python -m catch.curve plots/catch.png logs/catch_seed1.jsonl logs/catch_seed2.jsonl logs/catch_seed3.jsonl
play --watch=plots/catch.gif "$@"
