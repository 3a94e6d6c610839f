"""Log a training for VisualDL: `visualdl --logdir=logs` shows the log in a browser while the training goes on.

Every epoch has its scalars; every --plot_freq epochs, the paths of nine held-out images and a histogram of each weight.
"""

from __future__ import annotations

import contextlib
import io
import os

import numpy as np

from utils import UserError, file_access

NEEDED = "--use_visualdl needs VisualDL: python -m pip install visualdl==2.5.3"
BUCKETS = 40  # of a histogram


class VisualDLLog:
    """A log of one file per run, since VisualDL shows one file per folder; it is open only while an epoch is written.

    Args:
        folder: where the file is, or will be.
        run: name of the run.

    Raises:
        UserError: VisualDL is not installed.
    """

    def __init__(self, folder: str, run: str):
        try:
            import visualdl  # noqa: F401 - before an epoch of training, not after it
        except ImportError as error:
            raise UserError(NEEDED + ("" if error.name == "visualdl" else f" ({error})")) from None
        self.folder, self.name = folder, f"vdlrecords.{run}.log"  # VisualDL recognizes its files by the first word
        self.trimmed = False

    def write(self, record: dict, weights: dict[str, np.ndarray] | None = None, picture: np.ndarray | None = None):
        """Add an epoch.

        Args:
            record: the figures of the epoch, each of which becomes a scalar.
            weights: arrays by name, for histograms.
            picture: (H, W, 3) uint8.

        Raises:
            UserError: the log cannot be written.
        """
        from visualdl import LogWriter

        epoch = record["epoch"]
        with file_access("write to", self.folder):
            if not self.trimmed:
                trim(os.path.join(self.folder, self.name), epoch)
                self.trimmed = True
            with contextlib.redirect_stdout(io.StringIO()):  # LogWriter prints every time that the file exists
                writer = LogWriter(logdir=self.folder, file_name=self.name)
            with writer:
                for name, value in record.items():
                    if name not in ("epoch", "best"):
                        writer.add_scalar(tag=name, value=float(value), step=epoch)
                for name, values in (weights or {}).items():
                    if np.isfinite(values).all():
                        values = values.astype("float64").ravel()
                        wide = np.ptp(values) > 1e-6 * np.abs(values).max()  # else there is nothing to divide
                        writer.add_histogram(tag=name, values=values, step=epoch, buckets=BUCKETS if wide else 1)
                if picture is not None:
                    writer.add_image(tag="glimpses", img=picture, step=epoch)


def draw(glimpses: dict[str, np.ndarray], epoch: int, geometry) -> np.ndarray:
    """Draw the arrays of `ram.use.looking.snapshot` as a picture (H, W, 3); geometry is the retina's."""
    from ram.draw.figures import snapshot_figure  # with matplotlib, which a log without pictures does not need
    from ram.draw.snapshots import snapshot_of
    from ram.draw.style import to_pixels

    return to_pixels(snapshot_figure(snapshot_of(glimpses, epoch), geometry, f"held-out images, epoch {epoch}"))


def trim(path: str, epoch: int) -> None:
    """Cut off what a resumed run is going to write again: epochs from `epoch` on, and an incomplete record.

    A record is its length in eight bytes, and a protocol buffer whose values have the epoch as their id.
    """
    if not os.path.exists(path):
        return
    from google.protobuf.message import DecodeError
    from visualdl.proto.record_pb2 import Record

    with open(path, "r+b") as file:
        data, whole = file.read(), 0
        while whole + 8 <= len(data):
            end = whole + 8 + int.from_bytes(data[whole : whole + 8], "little")
            if end > len(data):
                break
            try:
                record = Record.FromString(data[whole + 8 : end])
            except DecodeError:
                raise UserError(f"{path} is damaged: move it away, and a new one is begun") from None
            if any(value.id >= epoch for value in record.values):
                break
            whole = end
        file.truncate(whole)
