"""Compute how much can be caught: by chance, and by a perfect player who sees every pixel of every frame.

python -m catch.bounds
"""

from __future__ import annotations

import numpy as np

from catch import game
from catch.play import caught_line
from ram.system.command import command_line
from ram.system.parsing import Parser
from utils import generator

STARTS, ANGLES = 32, 721  # the perfect player's grid of paths: starts per pixel, and angles


def random_player(games: game.Games, size: int, seed: int = 0) -> np.ndarray:
    """Play every action with the same probability; return (B,) whether the ball was caught."""
    paddle = games.paddle
    for action in generator("catch chance", seed).integers(0, 3, (size - 1, len(paddle))):
        paddle = game.move(paddle, action, size)
    return game.caught(games, paddle, size)


def perfect_share(size: int, starts: int = STARTS, angles: int = ANGLES) -> float:
    """Compute the share of balls that the best possible player catches who sees all pixels, but not the angle.

    The player knows the frames so far, which rule out all paths that pass through other pixels. So its state is the
    sequence of the ball's pixels and the place of the paddle, and its best action follows backwards from the end:

        V(pixels 0..t, paddle) = max over actions of the mean over pixels t+1 of V(pixels 0..t+1, paddle + action)

    The mean is taken over a fine grid of starts and angles.

    Args:
        size: N.
        starts: grid points per pixel of the top row.
        angles: grid points from -45 to 45 degrees.
    """
    start, angle = np.meshgrid(
        (np.arange(size * starts) + 0.5) / starts,
        np.radians(((np.arange(angles) + 0.5) / angles - 0.5) * 90),
        indexing="ij",
    )
    nothing = np.zeros(start.size)
    paths = game.Games(start.ravel(), np.tan(angle).ravel(), nothing, nothing)
    columns = [game.ball_column(paths, frame, size) for frame in range(size)]  # N times (paths,)
    seen = [np.unique(columns[0], return_inverse=True)[1]]  # per frame, which sequence of pixels a path has made so far
    for column in columns[1:-1]:
        seen.append(np.unique(seen[-1] * size + column, return_inverse=True)[1])

    places = np.arange(size - game.PADDLE + 1)  # of the paddle
    moved = [game.move(places, action, size) for action in (game.LEFT, game.STAY, game.RIGHT)]
    arrivals = np.zeros((seen[-1].max() + 1, size))  # of the paths of each sequence, the number that end in each column
    np.add.at(arrivals, (seen[-1], columns[-1]), 1)
    value = sum(arrivals[:, part : part + len(places)] for part in range(game.PADDLE))  # (sequences, places): caught
    for frame in reversed(range(size - 1)):
        value = np.max([value[:, to] for to in moved], axis=0)  # the action in this frame
        if frame:
            parent = np.zeros(len(value), "int64")
            parent[seen[frame]] = seen[frame - 1]
            merged = np.zeros((seen[frame - 1].max() + 1, len(places)))
            np.add.at(merged, parent, value)
            value = merged
    return float(value.sum(axis=0).mean() / start.size)


def main(size: int = 24, count: int = 10_000) -> None:
    """Print what random actions catch of the test games, and what a perfect player catches on average."""
    games = game.draw_games(0, 0, count, size, "catch test games")
    caught = int(random_player(games, size).sum())
    print(f"[*] Random actions\n{caught_line(caught, count)}")
    print(f"[*] A perfect player who sees all catches {100 * perfect_share(size):.2f}%")


if __name__ == "__main__":
    command_line("catch.bounds", lambda: Parser(prog="catch.bounds").parse_args() and main())
