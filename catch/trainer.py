"""Learn to play: one REINFORCE loss for actions and locations, from the final reward alone (paper, section 3.2).

A training is a pure function of its settings: games come from (seed, game), noise and order from (seed, step). What a
checkpoint has to hold is the weights, Adam's moments and the number of the step.
"""

from __future__ import annotations

import math
import time

import numpy as np
import paddle
from tqdm import tqdm

from catch.game import draw_games
from catch.model import Player
from catch.play import Record, draw_noise, evaluate, log_density, play
from ram.build import arrays, check_fitting, load_weights
from ram.optimizer import Optimizer
from ram.system import processes
from ram.system.signals import Interrupted, StopRequest
from utils import UserError, generator, to_tensor

RECORDS = 40  # times that a training is evaluated
VALID_GAMES = 2000  # that are played for it, other ones than those of the test
SAVE_SECONDS = 30  # between checkpoints, unless --save_freq is given


def advantages(values: np.ndarray, reward: np.ndarray, trace: float) -> np.ndarray:
    """Compute how much better than expected each choice turned out (Schulman et al. 2016, with a discount of 1).

        delta_t = b_{t+1} - b_t, where b_T is the reward
        A_t = delta_t + trace * A_{t+1}

    With trace = 1 this is the paper's R - b_t; with less, what later choices add counts less.

    Args:
        values: baselines b_t (T, B).
        reward: R (B,).
        trace: from 0 to 1.
    """
    result = np.zeros_like(values)
    after, advantage = reward, np.zeros_like(reward)
    for t in reversed(range(len(values))):
        advantage = after - values[t] + trace * advantage
        result[t], after = advantage, values[t]
    return result


def normalized(advantage: np.ndarray) -> np.ndarray:
    """Shift and scale numbers to mean 0 and standard deviation 1."""
    return (advantage - advantage.mean()) / (advantage.std() + 1e-6)


def clipped(ratio: paddle.Tensor, advantage: paddle.Tensor, clip: float) -> paddle.Tensor:
    """Compute the mean of what choices gain by becoming `ratio` times as likely (Schulman et al. 2017, equation 7).

    In the first minibatch all ratios are 1, and the gradient is REINFORCE's. Later, a choice that has become `clip`
    more likely, or less, than it was when it was made has no more gradient in that direction.
    """
    return paddle.minimum(ratio * advantage, paddle.clip(ratio, 1 - clip, 1 + clip) * advantage).mean()


def reinforce_loss(player: Player, record: Record, config) -> tuple[paddle.Tensor, dict]:
    """Compute the loss of games that were played: REINFORCE for actions and locations, and the baseline's regression.

    Args:
        player: the networks, whose weights may have changed since.
        record: T frames of B games.
        config: gives trace, clip_ratio and entropy.

    Returns:
        The loss, a scalar, and its parts as scalars: "action", "location", "baseline" and "entropy".
    """
    T, B = record.actions.shape
    tensors = {name: to_tensor(getattr(record, name).reshape(T * B, -1)) for name in ("phi", "looks", "truth")}
    h = player.states(tensors["phi"], tensors["looks"], T)  # (T*B, D)
    b = player.baseliner(h, tensors["truth"])  # (T*B,)
    values = b.numpy().reshape(T, B)
    advantage = advantages(values, record.reward, config.trace)  # (T, B)
    baseline = ((b - to_tensor((values + advantage).reshape(-1))) ** 2).mean()

    weight = normalized(advantage)
    log_probs = player.actor(h)  # (T*B, 3)
    taken = np.zeros((T * B, 3), "float32")
    taken[np.arange(T * B), record.actions.reshape(-1)] = 1
    log_action = (log_probs * to_tensor(taken)).sum(axis=1)
    ratio = paddle.exp(log_action - to_tensor(record.log_action.reshape(-1)))
    action = -clipped(ratio, to_tensor(weight.reshape(-1)), config.clip_ratio)
    entropy = -(paddle.exp(log_probs) * log_probs).sum(axis=1).mean()

    location = paddle.zeros([])
    if player.locator.policy == "learned":
        weight[-1] = 0  # nobody looks where the eye goes after the last frame
        log_look = log_density(to_tensor(record.chosen.reshape(T * B, 2)), player.locator.mean(h), player.locator.std)
        ratio = paddle.exp(log_look - to_tensor(record.log_look.reshape(-1)))
        location = -clipped(ratio, to_tensor(weight.reshape(-1)), config.clip_ratio)
    loss = action + location + baseline - config.entropy * entropy
    return loss, {"action": action, "location": location, "baseline": baseline, "entropy": entropy}


class Trainer:
    """Trains a player, and can be stopped and taken up again after every batch of games.

    Args:
        config: settings, see catch/config.py.
        save: called with the whole state as plain data, now and then and at the end.
        log: called with every record of the history.
    """

    def __init__(self, config, save, log):
        self.config, self.save, self.log = config, save, log
        with paddle.utils.unique_name.guard():  # the optimizer's state is keyed by parameter names
            self.player = Player(config)
            self.player.initialize(config.random_seed)
            adam = paddle.optimizer.Adam(
                config.init_lr,
                epsilon=1e-5,
                parameters=self.player.parameters(),
                grad_clip=paddle.nn.ClipGradByGlobalNorm(config.clip_norm),
                use_multi_tensor=True,
            )
        self.optimizer = Optimizer(adam)
        self.step, self.seconds, self.history = 0, 0.0, []
        self.frames_per_step = config.batch_size * config.size
        self.steps = config.frames // self.frames_per_step
        self.caught = 0.0  # of the balls of the last batch

    def fit(self) -> list[dict]:
        """Train to the end.

        Returns:
            The history.

        Raises:
            UserError: the loss is no longer a number.
            Interrupted: a signal asked to stop; the state was saved.
        """
        saved = time.monotonic()
        bar = {"total": self.steps * self.frames_per_step, "unit": "frame", "unit_scale": True, "leave": False}
        with StopRequest() as stop, tqdm(**bar, **processes.bar()) as progress:
            progress.update(self.step * self.frames_per_step)
            while self.step < self.steps:
                began = time.monotonic()
                self.train_step()
                self.seconds += time.monotonic() - began
                progress.update(self.frames_per_step)
                if self.step * RECORDS // self.steps > (self.step - 1) * RECORDS // self.steps:
                    self.evaluate()
                every = self.config.save_freq
                due = self.step % every == 0 if every else time.monotonic() - saved >= SAVE_SECONDS
                if due or stop.signum or self.step == self.steps:
                    self.save(self.state())
                    saved = time.monotonic()
                if stop.signum:
                    raise Interrupted(
                        stop.signum,
                        f"[!] Stopped after {self.step} of {self.steps} batches and saved; to go on, give the same "
                        "command with --resume=True",
                    )
        return self.history

    def train_step(self) -> None:
        """Play a batch of games and learn from it: `passes` times, in minibatches of whole games."""
        c = self.config
        games = draw_games(c.random_seed, self.step * c.batch_size, c.batch_size, c.size)
        noise = draw_noise(c.batch_size, c.size - 1, "catch noise", c.random_seed, self.step)
        record = play(self.player, games, noise, c.size, informed=c.baseline == "informed")
        rate = c.init_lr * (1 - self.step / self.steps)
        order = generator("catch order", c.random_seed, self.step)
        for _ in range(c.passes):
            rows = order.permutation(c.batch_size)
            for first in range(0, c.batch_size, c.minibatch):
                part = record.of_games(rows[first : first + c.minibatch])
                loss, parts = reinforce_loss(self.player, part, c)
                loss.backward()
                self.optimizer.step(rate)
        self.parts = {name: float(value) for name, value in parts.items()}
        self.caught = 100 * float(record.reward.mean())
        self.step += 1
        if not math.isfinite(sum(self.parts.values())):
            raise self.not_finite("the loss")

    def not_finite(self, what: str) -> UserError:
        """Make the error that something is no longer a number."""
        return UserError(
            f"{what} is no longer a number after {self.step} batches: training stopped, the last checkpoint is "
            "untouched; a lower --init_lr may help"
        )

    def evaluate(self) -> None:
        """Play validation games, and note, log and print how that went."""
        c = self.config
        sampled, greedy = (
            evaluate(self.player, VALID_GAMES, c.size, greedy, "catch valid", c.random_seed) for greedy in (False, True)
        )
        record = {
            "step": self.step,
            "frames": self.step * self.frames_per_step,
            "train": self.caught,
            "sampled": sampled.percent,
            "greedy": greedy.percent,
            "distance": greedy.distance,
            **self.parts,
            "seconds": round(self.seconds, 1),
        }
        self.history.append(record)
        self.log(record)
        print(
            f"{record['frames'] / 1e6:6.2f}M frames - caught: {sampled.percent:.2f}% sampled, {greedy.percent:.2f}% "
            f"greedy - {greedy.distance:.2f} pixels from eye to ball - entropy: {self.parts['entropy']:.3f} "
            f"({self.seconds:.0f}s)"
        )

    def state(self) -> dict:
        """Return all that training has to remember, as plain data; raise UserError if a weight is not finite."""
        model = arrays(self.player.state_dict())
        if not all(np.isfinite(weight).all() for weight in model.values()):  # a ReLU hides NaN from the loss
            raise self.not_finite("a weight")
        return {
            "model": model,
            "optimizer": self.optimizer.state(),
            "step": self.step,
            "frames": self.step * self.frames_per_step,
            "seconds": self.seconds,
            "history": self.history,
        }

    def load_state(self, state: dict) -> None:
        """Take up a state that `state` made."""
        load_weights(self.player, state["model"])
        self.optimizer.load(state["optimizer"])
        self.step, self.seconds, self.history = state["step"], state["seconds"], list(state["history"])


def check_state(state: dict, trainer: Trainer, path: str) -> None:
    """Raise UserError unless a checkpoint holds what `Trainer.state` makes; its checksum does not say who wrote it."""
    moments, step, history = (state.get(name) for name in ("optimizer", "step", "history"))
    known = type(step) is int and 0 <= step <= trainer.steps and isinstance(history, (list, tuple))
    known = known and all(isinstance(record, dict) for record in history)
    known = known and isinstance(moments, dict) and all(type(moment) is np.ndarray for moment in moments.values())
    known = known and (bool(moments) or step == 0)
    if not known or type(state.get("seconds")) is not float:
        raise UserError(f"{path} cannot be resumed: it holds no state of a training")
    try:
        check_fitting(trainer.player, state.get("model"))
    except UserError as error:
        raise UserError(f"{path} cannot be resumed: {error}") from None
