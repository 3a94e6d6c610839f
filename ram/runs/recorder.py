"""Record a training: checkpoints, and after each epoch a line in the log and the model's glimpses."""

from __future__ import annotations

from ram.runs import checkpoint
from ram.runs.files import RunFiles
from ram.runs.settings import settings
from utils import JsonLines


class Recorder:
    """Write the files of a training.

    Args:
        config: settings; glimpses are stored every plot_freq epochs, and use_visualdl adds a log for VisualDL.
        files: where the run keeps its files.
        valid: the validation split, whose first images are looked at.

    Raises:
        UserError: VisualDL is needed and not installed.
    """

    def __init__(self, config, files: RunFiles, valid):
        self.config, self.files, self.valid, self.visualdl = config, files, valid, None
        if config.use_visualdl or config.use_tensorboard:
            from ram.draw.visualdl import VisualDLLog

            self.visualdl = VisualDLLog(files.scalars, files.name)

    def save(self, state: dict) -> None:
        """Write the whole state of the training, and keep the file before."""
        checkpoint.write_latest(self.files.latest, {"settings": settings(self.config), **state})

    def save_best(self, weights: dict) -> None:
        """Write the weights of the best epoch so far."""
        checkpoint.write(self.files.best, {"settings": settings(self.config), **weights})

    def log(self, record: dict, model) -> None:
        """Add an epoch's figures to the log, and store the glimpses of the model that was validated."""
        JsonLines(self.files.log).append(record)
        weights, picture, epoch = None, None, record["epoch"]
        if self.config.plot_freq and epoch % self.config.plot_freq == 0:
            if self.visualdl:
                weights = {name: weight.numpy() for name, weight in model.state_dict().items()}
            if self.config.model == "ram":
                picture = self.store_glimpses(model, epoch)
        if self.visualdl:
            self.visualdl.write(record, weights, picture)

    def store_glimpses(self, model, epoch: int):
        """Store the model's glimpses; return them as a picture (H, W, 3) for VisualDL, or None without it."""
        from ram.draw.snapshots import save_glimpses
        from ram.use.looking import snapshot

        glimpses = snapshot(model, self.valid, self.config)
        save_glimpses(self.files.plots, epoch, glimpses)
        if self.visualdl:
            from ram.draw.visualdl import draw

            return draw(glimpses, epoch, model.sensor.retina.geometry)
        return None
