"""Write pictures to files, and replace only files that carry the mark of earlier pictures."""

from __future__ import annotations

import contextlib
import io
import os
import zipfile
import zlib

import numpy as np

from ram.runs import checkpoint
from utils import UserError, file_access, make_folder

MARK = b"made by visualize.py"  # in every picture, whichever command made it
DPI = 150  # of still pictures; films have 100


def is_foreign(path: str) -> bool:
    """Tell whether there is something at a path that is no earlier picture: it has no mark, or is a link or a folder.

    Raises:
        UserError: it cannot be read.
    """
    if not os.path.lexists(path):
        return False
    if os.path.islink(path) or not os.path.isfile(path):
        return True
    with file_access("read", path), open(path, "rb") as file:
        return MARK not in file.read()


def replace(path: str, data: bytes) -> None:
    """Write a picture, in place of an earlier one with the mark.

    Raises:
        UserError: the picture cannot be written, or what is there is no earlier picture.
    """
    make_folder(os.path.dirname(path) or ".")
    if is_foreign(path):
        raise UserError(f"{path} was not made by this command: move it away, or name another file")
    checkpoint.write_bytes(path, data)


def write(path: str, data: bytes) -> None:
    """Write a picture as `replace` does, and tell where."""
    replace(path, data)
    print(f"[*] Wrote {path}")


def png(figure, dpi: int) -> bytes:
    """Return a figure as the content of a PNG with the mark."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Comment": MARK.decode()})
    return buffer.getvalue()


def write_png(path: str, figure) -> None:
    """Write a figure as a PNG."""
    from ram.draw.style import plain_text  # with matplotlib, which reading does not need

    plain_text(figure)
    write(path, png(figure, DPI))


def write_gif(path: str, figures, milliseconds: int, hold: int) -> None:
    """Write figures as the frames of an endless film.

    Args:
        path: the file.
        figures: all of one size.
        milliseconds: how long a frame is shown.
        hold: how long the last one is.
    """
    from PIL import Image

    from ram.draw.style import evenly_spaced, to_pixels

    frames = [Image.fromarray(to_pixels(figure)) for figure in figures]
    some = np.concatenate([np.asarray(frames[i]) for i in evenly_spaced(len(frames), 12)])
    # MAXCOVERAGE also keeps colors that cover little.
    palette = Image.fromarray(some).quantize(colors=128, method=Image.Quantize.MAXCOVERAGE)
    frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    durations = [milliseconds] * (len(frames) - 1) + [hold]
    buffer = io.BytesIO()
    more = {"append_images": frames[1:], "duration": durations, "loop": 0, "comment": MARK}
    frames[0].save(buffer, format="GIF", save_all=True, **more)
    write(path, buffer.getvalue())


@contextlib.contextmanager
def content_of(path: str, kind: str):
    """Turn the exceptions of unexpected content in the block into the one line `PATH holds no KIND: reason`.

    Raises:
        UserError: the content is damaged, or laid out in another way.
    """
    other_layout = (TypeError, IndexError, AttributeError)
    try:
        yield
    except UserError:  # the message is complete already
        raise
    except UnicodeDecodeError:
        raise UserError(f"{path} holds no {kind}: it is no text") from None
    except KeyError as error:
        raise UserError(f"{path} holds no {kind}: {error} is missing") from None
    except other_layout:
        raise UserError(f"{path} holds no {kind}: it is laid out in another way") from None
    except (OSError, ValueError, OverflowError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} holds no {kind}: {error}") from None
