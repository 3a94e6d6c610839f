"""What a training leaves behind: checkpoints, and after each epoch a line in the log and what the model looked at."""

from __future__ import annotations

from ram.runs import checkpoint
from ram.runs.files import RunFiles
from ram.runs.settings import settings
from utils import JsonLines


class Recorder:
    """Keep what a training leaves behind.

    Args:
        config: settings; plot_freq says after how many epochs glimpses are stored, use_visualdl whether VisualDL gets
            a log, too.
        files: where the run keeps its files.
        valid: the validation split, whose first images are looked at.

    Raises:
        UserError: VisualDL is asked for and not installed.
    """

    def __init__(self, config, files: RunFiles, valid):
        self.config, self.files, self.valid, self.visualdl = config, files, valid, None
        if config.use_visualdl or config.use_tensorboard:
            from ram.draw.visualdl import VisualDLLog

            self.visualdl = VisualDLLog(files.scalars, files.name)

    def save(self, state: dict) -> None:
        """Write the whole state of the training, and keep the one before."""
        checkpoint.write_latest(self.files.latest, {"settings": settings(self.config), **state})

    def save_best(self, weights: dict) -> None:
        """Write the weights of the best epoch so far."""
        checkpoint.write(self.files.best, {"settings": settings(self.config), **weights})

    def log(self, record: dict, model) -> None:
        """Add an epoch's figures to the log, and what the model that was validated looks at."""
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
        """Store what the model looks at; return it as a picture (H, W, 3) where VisualDL wants one, else None."""
        from ram.draw.snapshots import save_glimpses
        from ram.use.looking import snapshot

        glimpses = snapshot(model, self.valid, self.config)
        save_glimpses(self.files.plots, epoch, glimpses)
        if self.visualdl:
            from ram.draw.visualdl import draw

            return draw(glimpses, epoch, model.sensor.retina.geometry)
        return None
