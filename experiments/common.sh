# Functions of the scripts that call main.py. They run in the repository's folder, wherever they are called from, and
# pass their own flags to every command: `bash experiments/mnist.sh --epochs=1 --limit=500` is a quick try.
#
# A script that is started again goes on where it stopped: finished trainings are only tested again. Where a
# training has the same name but other settings, as after a quick try, it is moved to ckpt/old, and a new one begins.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

main() { # print the command as it is typed, and run it
  printf '\n$ python main.py %s\n' "$*"
  python main.py "$@"
}

train() { # to the last epoch, from the start or where it stopped
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
