"""Play many games in lockstep, and record them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import paddle

from catch import game
from catch.fast import count_pixels
from catch.model import GAIN, Player
from modules import Geometry
from utils import generator, to_tensor

TEST_BATCH = 1000  # games; their noise is drawn batch by batch, so that sampled results depend on it


class Noise(NamedTuple):
    """All that is random while B games are played, besides the games: a pure function of its stream and key."""

    luck: np.ndarray  # (T, B) uniform in [0, 1): which action is drawn
    choices: np.ndarray  # (T, B, 2) standard normal: the location policy's noise
    anywhere: np.ndarray  # (T, B, 2) uniform in [-1, 1]: where a random eye looks


class Record(NamedTuple):
    """B games as they were played, T frames each."""

    phi: np.ndarray  # (T, B, k*g*g) what was seen
    looks: np.ndarray  # (T, B, 2) where
    paddle: np.ndarray  # (T, B) the paddle's left pixel
    truth: np.ndarray  # (T, B, 3N - 2) the game's state as the baseline is told
    actions: np.ndarray  # (T, B) 0, 1 or 2
    chosen: np.ndarray  # (T, B, 2) the next location before clipping
    log_action: np.ndarray  # (T, B) log-probability of the action
    log_look: np.ndarray  # (T, B) log-density of the choice
    end: np.ndarray  # (B,) the paddle's left pixel in the last frame
    reward: np.ndarray  # (B,) float32, 1 for a caught ball

    def of_games(self, rows: np.ndarray) -> Record:
        """Return the record of these games alone."""
        return Record(*(np.ascontiguousarray(f[rows] if f.ndim == 1 else f[:, rows]) for f in self))


def draw_noise(count: int, frames: int, stream: str, *key: int) -> Noise:
    """Draw the noise for `count` games of so many frames."""
    random = generator(stream, *key)
    return Noise(
        random.random((frames, count), dtype=np.float32),
        random.standard_normal((frames, count, 2), dtype=np.float32),
        random.random((frames, count, 2), dtype=np.float32) * 2 - 1,
    )


@paddle.no_grad()
def play(
    player: Player, games: game.Games, noise: Noise, size: int, greedy: bool = False, informed=True, overrule=None
) -> Record:
    """Play games to their end.

    Args:
        player: the networks.
        games: B games as drawn.
        noise: for N - 1 frames.
        size: N.
        greedy: whether the most probable action is taken and the eye goes to the policy's mean, or both are drawn.
        informed: whether the baseline is told where the ball will arrive.
        overrule: called with the frame, the action (B,) and the next location (B, 2) that the player chose; returns
            what is done in their place. None: the player decides.
    """
    retina, locator, D = player.sensor.retina, player.locator, player.rnn.hidden_size
    rows: list[tuple] = []
    look, paddle_left = games.look, games.paddle
    if locator.policy == "center":
        look = np.zeros_like(look)
    state = paddle.zeros([len(look), player.rnn.state_size])
    for frame in range(size - 1):
        ball = game.ball_column(games, frame, size)
        phi = count_pixels(ball, frame, paddle_left, look, retina, size) * np.float32(GAIN)
        state = player.step(to_tensor(phi), to_tensor(look), state)
        h_t = state[:, :D]
        log_probs = player.actor(h_t).numpy()  # (B, 3)
        mean = locator.mean(h_t).numpy()  # (B, 2)
        if greedy:
            action, chosen = log_probs.argmax(axis=1), mean
        else:
            action = (np.exp(log_probs).cumsum(axis=1)[:, :-1] < noise.luck[frame][:, None]).sum(axis=1)
            chosen = mean + np.float32(locator.std) * noise.choices[frame]
        if locator.policy != "learned":
            chosen = noise.anywhere[frame] if locator.policy == "random" else np.zeros_like(mean)
        if overrule:
            action, chosen = overrule(frame, action, chosen)
        log_action = np.take_along_axis(log_probs, action[:, None], axis=1)[:, 0]
        log_look = log_density(chosen, mean, locator.std)
        state_of_game = game.truth(games, frame, paddle_left, size)
        if not informed:
            state_of_game[:, size:] = 0
        rows.append((phi, look, paddle_left, state_of_game, action, chosen, log_action, log_look))
        paddle_left = game.move(paddle_left, action, size)
        look = np.clip(chosen, -1, 1)
    reward = game.caught(games, paddle_left, size).astype("float32")
    return Record(*(np.stack(values) for values in zip(*rows)), paddle_left, reward)


def log_density(chosen, mean, std: float):
    """Compute log N(chosen; mean, std**2 I) but for its constant, of (..., 2) arrays or tensors."""
    z = (chosen - mean) / std
    return -0.5 * (z * z).sum(-1)


class Result(NamedTuple):
    """The result of a player's games."""

    caught: int
    count: int
    distance: float  # mean, in pixels, from the ball to the middle of the finest patch, from the second frame on
    late_distance: float  # the same in the last quarter of each game

    @property
    def percent(self) -> float:
        """The share of balls that were caught."""
        return 100 * self.caught / self.count


def caught_line(caught: int, count: int) -> str:
    """Return the line that a test ends with."""
    return f"[*] Caught: {caught}/{count} ({100 * caught / count:.2f}%)"


def evaluate(player: Player, count: int, size: int, greedy: bool, stream: str = "catch test", seed: int = 0) -> Result:
    """Play the first `count` games of a stream and a seed: by default always the same test games.

    The noise of a batch of games is drawn by the number of its first game.
    """
    caught, distance, late_distance = 0, 0.0, 0.0
    for first in range(0, count, TEST_BATCH):
        number = min(TEST_BATCH, count - first)
        games = game.draw_games(seed, first, number, size, stream + " games")
        noise = draw_noise(number, size - 1, stream + " noise", seed, first)
        record = play(player, games, noise, size, greedy)
        caught += int(record.reward.sum())
        away = distances(record, games, player.sensor.retina.geometry, size)  # (N - 1, number)
        distance += float(away[1:].mean()) * number
        late_distance += float(away[-(size // 4) :].mean()) * number
    return Result(caught, count, distance / count, late_distance / count)


def distances(record: Record, games: game.Games, geometry: Geometry, size: int) -> np.ndarray:
    """Compute the distance (T, B) in pixels from each fixation to the ball.

    A fixation is the middle of the finest patch. Patches of an even width lie around the border of two pixels, so that
    a ball in one of those two is half a pixel away.
    """
    frames = np.arange(len(record.looks))
    ball = np.stack([game.ball_column(games, frame, size) for frame in frames])  # (T, B)
    middle = geometry.places(record.looks, (size, size))  # (T, B, 2)
    return np.hypot(middle[..., 0] - ball, middle[..., 1] - frames[:, None])
