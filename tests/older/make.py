"""Train on the code before `ram/` existed, for tests/test_older.py: once to the end, and once interrupted.

    git worktree add ../before 5e3a788 && cd ../before && PYTHONPATH=.:tests python PATH/TO/tests/older/make.py

The files beside this one came from it. `undisturbed.npz` has the weights after two epochs that nothing interrupted.
"""

import os
import shutil
import signal
import tempfile
from pathlib import Path

import checkpoint
import numpy as np
from helpers import TinyMnist

import main
import trainer
from config import get_config
from utils import Interrupted

FLAGS = (
    "--hidden_size=4 --glimpse_hidden=4 --loc_hidden=4 --patch_size=4 --num_glimpses=2 --batch_size=16 --limit=64 "
    "--epochs=2 --init_lr=0.01 --plot_freq=0 --use_gpu=False"
).split()
RUN = "ram_2_4x4_1_h4_g4_l4"

here = Path(__file__).resolve().parent
os.chdir(tempfile.mkdtemp())
with TinyMnist(Path("data")).registered():
    main.main(get_config(FLAGS))
    state = checkpoint.read(f"ckpt/{RUN}_ckpt.pdparams")
    np.savez_compressed(
        here / "undisturbed.npz", **{f"{part}/{k}": v for part in ("model", "ema") for k, v in state[part].items()}
    )
    real, steps = trainer.Trainer.train_step, []

    def train_step(self, *batch):
        steps.append(None)
        if len(steps) == 6:  # the second of four in the second epoch
            signal.raise_signal(signal.SIGINT)
        return real(self, *batch)

    trainer.Trainer.train_step = train_step
    try:
        main.main(get_config(FLAGS))
    except Interrupted as error:
        print(error)
for name in (f"ckpt/{RUN}_ckpt.pdparams", f"ckpt/{RUN}_model_best.pdparams", f"ckpt/{RUN}_params.json"):
    shutil.copy(name, here)
shutil.copy(f"logs/{RUN}.jsonl", here)
