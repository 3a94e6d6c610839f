# What the scripts of this folder share. They run in the repository's folder, whatever folder they are called from, and
# hand their own flags to every command: `bash experiments/mnist.sh --epochs=1 --limit=500` is a quick try.
#
# A script that is started again goes on where it stopped: trainings that are finished are only tested again. Where a
# training has the same name but other settings, as after a quick try, it is moved to ckpt/old, and a new one begins.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

main() { # print the command as one would type it, and run it
  printf '\n$ python main.py %s\n' "$*"
  python main.py "$@"
}

train() { # to the end, from wherever it is
  main --resume=auto "$@"
}

apart() { # $1: train or row; $2: folders that a variant has for itself, since most share a run name; then its flags
  local what=$1 folder=$2
  shift 2
  $what "$@" --ckpt_dir="./ckpt/$folder" --logs_dir="./logs/$folder" --plots_dir="./plots/$folder"
}

row() { # a row of a table: a training, and its test error with M=10 and M=1
  train "$@"
  main "$@" --is_train=False --M=10
  main "$@" --is_train=False --M=1
}
