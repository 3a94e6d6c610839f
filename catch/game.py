"""The game of Catch (paper, section 4.2): many games at once, as NumPy arrays.

A ball of one pixel falls through a binary screen of N x N pixels, one row per frame, and bounces off the walls left and
right. A paddle of two pixels moves along the bottom row, at most one pixel per frame. The reward is 1 if the paddle is
under the ball when the ball arrives in the bottom row, else 0, and there is no other.

Everything is a pure function of (seed, game): game number 7 of a seed is the same in every batch. B games are played in
lockstep, since each has N frames. In frames 0 to N-2 the player looks and acts; frame N-1 shows the outcome.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from utils import generator

LEFT, STAY, RIGHT = range(3)  # the actions
PADDLE = 2  # pixels
BLOCK = 256  # games that are drawn together
FINE = 2**20  # columns and slopes are multiples of 1/FINE, so that sums of them are exact


class Games(NamedTuple):
    """B games as they are drawn; a ball's column is a real number, pixel c covers [c, c + 1)."""

    start: np.ndarray  # (B,) the ball's column in frame 0, in [0, N)
    slope: np.ndarray  # (B,) columns per frame, in [-1, 1]
    paddle: np.ndarray  # (B,) int64, the paddle's left pixel in frame 0, from 0 to N - PADDLE
    look: np.ndarray  # (B, 2) float32, the first fixation, in [-1, 1]


def draw_games(seed: int, first: int, count: int, size: int, stream: str = "catch games") -> Games:
    """Draw games number `first` to `first + count - 1` of a seed.

    The ball's column is uniform over the top row, its angle uniform between 45 degrees to the left and to the right,
    the paddle's place and the first fixation are uniform over all there are.

    Args:
        seed: seed of all games.
        first: number of the first game.
        count: B.
        size: N.
        stream: name of the random stream; games for training and for testing come from two.
    """
    begin, end = first // BLOCK, -(-(first + count) // BLOCK)
    blocks = [_draw_block(generator(stream, seed, block), size) for block in range(begin, end)]
    rows = slice(first - begin * BLOCK, first - begin * BLOCK + count)
    return Games(*(np.concatenate(parts)[rows] for parts in zip(*blocks)))


def _draw_block(random: np.random.Generator, size: int) -> Games:
    start = np.floor(random.uniform(0, size, BLOCK) * FINE) / FINE
    slope = np.rint(np.tan(np.radians(random.uniform(-45, 45, BLOCK))) * FINE) / FINE
    paddle = random.integers(0, size - PADDLE, BLOCK, endpoint=True)
    look = random.uniform(-1, 1, (BLOCK, 2)).astype("float32")
    return Games(start, slope, paddle, look)


def ball_column(games: Games, frame: int, size: int) -> np.ndarray:
    """Compute the pixel column (B,) of each ball; its row is `frame`.

    Unfolded at the walls, the ball's path is a straight line: 0 to N runs to the right, N to 2N back to the left.
    """
    line = np.mod(games.start + games.slope * frame, 2 * size)
    return np.minimum(np.minimum(line, 2 * size - line), size - 1 / FINE).astype("int64")


def move(paddle: np.ndarray, action: np.ndarray, size: int) -> np.ndarray:
    """Move each paddle (B,) by its action (B,); the walls stop it."""
    return np.clip(paddle + action - STAY, 0, size - PADDLE)


def caught(games: Games, paddle: np.ndarray, size: int) -> np.ndarray:
    """Tell (B,) whether each paddle is under its ball in the last frame."""
    offset = ball_column(games, size - 1, size) - paddle
    return (offset >= 0) & (offset < PADDLE)


def screens(ball: np.ndarray, frame: int, paddle: np.ndarray, size: int) -> np.ndarray:
    """Draw the screens (B, 1, N, N), float32 with values 0 and 1, of balls in this row and of paddles."""
    pixels = np.zeros((len(ball), 1, size, size), "float32")
    rows = np.arange(len(ball))
    pixels[rows, 0, frame, ball] = 1
    for part in range(PADDLE):
        pixels[rows, 0, size - 1, paddle + part] = 1
    return pixels


def truth(games: Games, frame: int, paddle: np.ndarray, size: int) -> np.ndarray:
    """Describe the state of each game to a baseline: which frame it is, and how far off the ball will arrive.

    Returns:
        (B, 3N - 2) float32, two numbers of which are 1: the frame's, from 0 to N-1, and that of the distance from the
        paddle's left pixel to the column of the ball in the last frame, from -(N-2) to N-1.
    """
    state = np.zeros((len(paddle), 3 * size - 2), "float32")
    state[:, frame] = 1
    offset = ball_column(games, size - 1, size) - paddle  # (B,)
    state[np.arange(len(paddle)), size + offset + size - PADDLE] = 1
    return state
