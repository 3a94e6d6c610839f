"""Film games: the screen with the frames of the retina, and what the retina sees."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageColor, ImageDraw

from catch import game
from catch.model import GAIN, Player
from catch.play import Record, draw_noise, play
from ram.draw.files import MARK

PIXEL = 12  # pixels of the film on a side of one of the screen
CELL = 18  # on a side of a patch's cell
MARGIN = 16
GAMES = 6  # that are filmed, beginning with the first test game
MILLISECONDS, HOLD = 120, 900  # that a frame is shown, and the last of each game
PAPER, SHADES = "#FFFFFF", ("#1B1B1B", "#888888", "#C0C0C0", "#F4F4F4")  # of cells with 0 to 3 lit pixels
EDGES = ("#E69F00", "#56B4E9", "#CC79A7", "#009E73", "#0072B2", "#D55E00", "#F0E442", "#BBBBBB")  # finest patch first
WON, LOST = "#009E73", "#D55E00"
COLORS = (PAPER, *SHADES, *EDGES)


def film(player: Player, size: int, count: int = GAMES) -> bytes:
    """Play the first test games greedily and return them as an endless GIF.

    Every frame shows the screen, a frame around what each patch of the retina reads, and the patches, finest first. The
    last frame of a game has a border: green where the ball was caught, else red.
    """
    games = game.draw_games(0, 0, count, size, "catch test games")
    record = play(player, games, draw_noise(count, size - 1, "catch film"), size, greedy=True)
    pictures = [draw(player, games, record, number, frame, size) for number in range(count) for frame in range(size)]
    durations = [HOLD if frame == size - 1 else MILLISECONDS for _ in range(count) for frame in range(size)]
    palette = Image.new("P", (1, 1))
    palette.putpalette([value for color in COLORS for value in ImageColor.getrgb(color)])
    pictures = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    buffer = io.BytesIO()
    more = {"append_images": pictures[1:], "duration": durations, "loop": 0, "optimize": False, "comment": MARK}
    pictures[0].save(buffer, format="GIF", save_all=True, **more)
    return buffer.getvalue()


def draw(player: Player, games: game.Games, record: Record, number: int, frame: int, size: int) -> Image.Image:
    """Draw one frame of one game; in the last one nobody looks any more.

    Args:
        player: its retina gives the places of the patches.
        games, record: how they began, and how they were played.
        number: of the game among them.
        frame: from 0 to N-1.
        size: N.
    """
    retina = player.sensor.retina
    panel = [MARGIN + size * PIXEL + 2 * MARGIN, MARGIN]  # the corner of the first patch
    width = panel[0] + retina.g * CELL + MARGIN
    height = max(size * PIXEL, retina.k * (retina.g * CELL + MARGIN) - MARGIN) + 2 * MARGIN
    picture = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(picture)
    last = frame == size - 1
    ball = int(game.ball_column(games, frame, size)[number])
    paddle_left = int(record.end[number] if last else record.paddle[frame, number])
    _square(pen, MARGIN, MARGIN, size * PIXEL, SHADES[0])
    for column in range(paddle_left, paddle_left + game.PADDLE):
        _square(pen, MARGIN + column * PIXEL, MARGIN + (size - 1) * PIXEL, PIXEL, SHADES[-1])
    _square(pen, MARGIN + ball * PIXEL, MARGIN + frame * PIXEL, PIXEL, SHADES[-1])
    if last:
        color = WON if record.reward[number] else LOST
        end = MARGIN + size * PIXEL
        pen.rectangle([MARGIN - 5, MARGIN - 5, end + 4, end + 4], outline=color, width=4)
        return picture
    corners = retina.geometry.corners(record.looks[frame, number], (size, size))  # (k, 2)
    patches = np.rint(record.phi[frame, number] / GAIN).reshape(retina.k, retina.g, retina.g)
    for j in reversed(range(retina.k)):
        outline = EDGES[j % len(EDGES)]
        left, top = (int(corners[j, axis]) * PIXEL + MARGIN for axis in (0, 1))
        side = retina.g * retina.s**j * PIXEL
        pen.rectangle([left - 1, top - 1, left + side, top + side], outline=outline, width=2)
    pen.rectangle([panel[0] - MARGIN, 0, width, height], fill=PAPER)  # over frames that reach beyond the screen
    for j in range(retina.k):
        left, top = panel[0], panel[1] + j * (retina.g * CELL + MARGIN)
        for row, column in np.ndindex(retina.g, retina.g):
            shade = SHADES[int(patches[j, row, column])]
            _square(pen, left + column * CELL, top + row * CELL, CELL, shade)
        side = retina.g * CELL
        pen.rectangle([left - 2, top - 2, left + side + 1, top + side + 1], outline=EDGES[j % len(EDGES)], width=2)
    return picture


def _square(pen: ImageDraw.ImageDraw, left: int, top: int, side: int, fill) -> None:
    pen.rectangle([left, top, left + side - 1, top + side - 1], fill=fill)
