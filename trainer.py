"""Train RAM: the loss, the step, the epoch, what is saved of a training, and when it stops.

A training is a pure function of its settings: order, shifts and noise come from (seed, epoch) and (seed, step), so what
a checkpoint has to hold is the weights, the optimizer's moments, a few counters, and whether the plain rollout trains
(`Trainer.state`).
"""

from __future__ import annotations

import math
import signal
import time

import numpy as np
import paddle
import paddle.nn.functional as F
from tqdm import tqdm

from data_loader import epoch_order
from model import Noise, RecurrentAttention, Rollout, draw_noise
from ram.baselines import Baseline
from ram.build import arrays, build_model, load_fitting, load_weights
from ram.data.ahead import prepared_ahead
from ram.evaluation import evaluate
from ram.fast.check import check_training, first_images, train_plainly
from ram.optimizer import Optimizer, build_optimizer
from ram.schedules import class_weights, learning_rate, location_std, update_average
from ram.system import processes
from ram.system.signals import Interrupted, StopRequest
from utils import Mean, UserError, image_tensor, to_tensor

SAVE_SECONDS = 10  # between checkpoints within an epoch, unless --save_freq is given


class NotFinite(UserError):
    """The loss or a weight became NaN or infinite."""

    def __init__(self, what: str, step: int, epoch: int):
        super().__init__(
            f"{what} step {step} of epoch {epoch}: training stopped, the last checkpoint is untouched; "
            "a lower --init_lr or --clip_norm=5 may help"
        )


def hybrid_loss(
    rollout: Rollout,
    labels: paddle.Tensor,
    reinforce_weight: float,
    reward: str = "right",
    smoothing: float = 0.0,
    weights: paddle.Tensor | None = None,
) -> tuple[paddle.Tensor, dict]:
    """Compute the paper's hybrid loss (section 3.2): classification, the baseline's regression, and REINFORCE.

    Which weights a term trains is decided in the model, see `LocationNetwork` and `BaselineNetwork`.

    Args:
        rollout: of its fields, log_probs (B, classes), log_pi and baselines (B, T-1) are used.
        labels: (B,) int64.
        reinforce_weight: weight of the REINFORCE term.
        reward: the one reward of all choices of a rollout. "right": 1 if the most probable class after the last
            glimpse is the right one, else 0. "probability": that of the right class, which is the expectation of 1 or
            0 if the class is drawn from the action network's distribution, without the noise of drawing it.
        smoothing: share of the classification's target, at least 0 and below 1, that is spread over all classes
            (Szegedy et al. 2016, section 7); rewards are computed without it.
        weights: (classes,), by which the classification term weighs each image's class; None: all alike.

    Returns:
        The loss, a scalar, and its parts as scalars: "action", "baseline", "reinforce", and "right", the share of
        images whose most probable class is the right one.
    """
    log_probs = rollout.log_probs.detach()
    right = (log_probs.argmax(axis=1) == labels).astype(log_probs.dtype)  # (B,)
    nll = F.nll_loss(rollout.log_probs, labels, reduction="none")  # (B,)
    target = nll if not smoothing else (1 - smoothing) * nll - smoothing * rollout.log_probs.mean(axis=1)  # (B,)
    action = target.mean() if weights is None else (weights.gather(labels) * target).mean()
    if rollout.log_pi.shape[1] == 0:  # a single glimpse, or a baseline: nothing is chosen, so nothing is reinforced
        zero = paddle.zeros([], action.dtype)
        return action, {"action": action, "baseline": zero, "reinforce": zero, "right": right.mean()}
    rewards = right if reward == "right" else paddle.exp(-nll.detach())  # (B,)
    returns = rewards.unsqueeze(1)  # (B, 1)
    baseline = ((rollout.baselines - returns) ** 2).mean()
    advantage = returns - rollout.baselines.detach()  # (B, T-1)
    reinforce = -(rollout.log_pi * advantage).sum(axis=1).mean()
    loss = action + baseline + reinforce_weight * reinforce
    return loss, {"action": action, "baseline": baseline, "reinforce": reinforce, "right": right.mean()}


class Trainer:
    """Train a model; a training can be stopped and resumed at every step.

    Args:
        config: settings, see config.py.
        train, valid: splits, see `data_loader.Split`.
        save: called with the whole state as plain data, at the end of every epoch and now and then within one.
        save_best: called with the model's state whenever validation accuracy is better than ever.
        log: called with the record of each epoch, a dictionary of numbers, and the model that was validated.
    """

    COUNTERS = "epoch step seconds best_valid_acc epochs_since_best lowest_loss epochs_since_lower cuts history".split()

    def __init__(self, config, train, valid, save, save_best, log):
        self.config, self.train, self.valid = config, train, valid
        self.save, self.save_best, self.log = save, save_best, log
        with paddle.utils.unique_name.guard():  # optimizer state is keyed by parameter names: the same in every run
            self.model = build_model(config, train.image_shape, train.num_classes)
            self.model.initialize(config.random_seed)
            self.parameters = self.model.parameters()  # finding them takes long
            self.optimizer = Optimizer(build_optimizer(config, self.parameters))
        self.checked_in: int | None = None  # the epoch in which the fast rollout was compared last
        self.averaged = None
        if config.ema > 0:
            self.averaged = build_model(config, train.image_shape, train.num_classes)
            self.averaged.set_state_dict(self.model.state_dict())
            self.pairs = list(zip(self.averaged.parameters(), self.parameters))
        self.stop, self.any_stop = StopRequest(), False  # a signal to this process; whether any process got one
        self.class_weights = class_weights(config, train)
        self.steps_per_epoch = math.ceil(len(train) / config.batch_size)
        self.epoch, self.step = 0, 0  # epochs done, and steps done of the epoch under way
        self.sums, self.seconds = Mean(), 0.0  # of the epoch under way
        self.best_valid_acc, self.epochs_since_best = -1.0, 0
        self.lowest_loss, self.epochs_since_lower, self.cuts = math.inf, 0, 0  # plateau schedule
        self.history: list[dict] = []

    def train_step(self, images: np.ndarray, labels: np.ndarray, count: int | None = None) -> dict[str, float]:
        """Run one step: forward, backward, update.

        Args:
            images: (B, C, H, W) uint8, this process's share of the batch, see `processes.share`.
            labels: (B,) int64.
            count: images of the whole batch, over all processes; None: these are all.

        Returns:
            The means over the whole batch.
        """
        share = processes.share(count or len(labels))
        loss, parts = self.forward(images, labels, share.rows, count)
        means = paddle.stack([loss.detach()] + [part.detach() for part in parts.values()])
        if processes.world() == 1:
            loss.backward()
        else:
            (loss * share.weight).backward()
            means, self.any_stop = processes.join(self.parameters, means * share.weight, self.stop.signum is not None)
        values = means.tolist()
        if not math.isfinite(values[0]):
            raise NotFinite(f"the loss is {values[0]} at", self.step + 1, self.epoch + 1)
        self.update()
        return dict(zip(["loss", *parts], values))

    @property
    def plain(self) -> bool:
        """Whether the plain rollout trains, since the fast one was found to differ."""
        return self.model.samples and not self.model.fast

    @property
    def global_step(self) -> int:
        """Steps done since the training began."""
        return self.epoch * self.steps_per_epoch + self.step

    @property
    def progress(self) -> float:
        """Epochs done, with the part of the one under way."""
        return self.global_step / self.steps_per_epoch

    def forward(
        self, images: np.ndarray, labels: np.ndarray, rows: slice = slice(None), count: int | None = None
    ) -> tuple[paddle.Tensor, dict]:
        """Roll out each image with the noise of this step, and compute the loss: see `hybrid_loss`.

        Where the images are only some rows of a batch of `count`, they get the noise of these rows.
        """
        c = self.config
        noise = draw_noise(count or len(labels), c.num_glimpses, "train", c.random_seed, self.global_step)
        x, y, noise = image_tensor(images), to_tensor(labels), Noise(*(to_tensor(part[rows]) for part in noise))
        self.model.set_std(location_std(c, self.progress))
        if self.checked_in != self.epoch:  # whoever edits a network in modules.py sees the edit train
            few = first_images(x)
            n = few.shape[0]
            part = Noise(noise.first[:n], noise.choices[:n])
            check_training(self.models(), few, part, lambda rollout: self.loss(rollout, y[:n])[0])
            self.checked_in = self.epoch
        return self.loss(self.model.rollout(x, noise), y)

    def loss(self, rollout: Rollout, labels: paddle.Tensor) -> tuple[paddle.Tensor, dict]:
        """Compute the hybrid loss that the config describes."""
        c = self.config
        return hybrid_loss(rollout, labels, c.reinforce_weight, c.reward, c.label_smoothing, self.class_weights)

    def update(self) -> None:
        """Move the weights along the gradient, and the averaged weights towards them."""
        self.optimizer.step(learning_rate(self.config, self.progress, self.cuts))
        if self.averaged is not None:
            # The mean's memory grows with the training until it is `ema`.
            decay = min(self.config.ema, (1 + self.global_step) / (10 + self.global_step))
            update_average(self.pairs, decay)

    def batches(self):
        """Yield this process's share of the rest of the epoch's batches; see `prepared_ahead`."""
        order = epoch_order(len(self.train), self.config.random_seed, self.epoch, self.config.shuffle)
        size, epoch = self.config.batch_size, self.epoch
        parts = [order[i * size : (i + 1) * size] for i in range(self.step, self.steps_per_epoch)]
        parts = [part[processes.share(len(part)).rows] for part in parts]
        bytes_each = size * math.prod(self.train.image_shape)
        return prepared_ahead(lambda part: self.train.batch(part, epoch), parts, self.config.num_workers, bytes_each)

    def train_epoch(self, stop: StopRequest) -> None:
        """Train to the end of the epoch under way, or until any process is asked to stop."""
        self.stop = stop
        self.model.train()
        saved, began, before = time.monotonic(), time.monotonic(), self.seconds
        total, size = len(self.train), self.config.batch_size
        with tqdm(total=total, initial=self.step * size, unit="img", leave=False, **processes.bar()) as progress:
            for images, labels in self.batches():
                count = min(size, total - self.step * size)
                means = self.train_step(images, labels, count)
                del images, labels  # before the next are made: they may be large
                self.step += 1
                self.sums.update(count, **means)
                self.seconds = before + time.monotonic() - began
                progress.update(count)
                if self.step % self.config.print_freq == 0:
                    means = f"loss: {self.sums['loss']:.3f} - acc: {100 * self.sums['right']:.3f}"
                    progress.set_postfix_str(means, refresh=False)
                every = self.config.save_freq
                due = self.step % every == 0 if every else time.monotonic() - saved >= SAVE_SECONDS
                signum = self.stop_signal()
                if (due and self.step < self.steps_per_epoch) or signum:
                    self.save(self.state())
                    saved = time.monotonic()
                self.interrupt(signum)

    def stop_signal(self) -> int | None:
        """Return the signal that stops the training, None without one; all processes agree on whether there is one."""
        if processes.world() == 1:
            return self.stop.signum
        return (self.stop.signum or signal.SIGTERM) if self.any_stop else None

    def interrupt(self, signum: int | None) -> None:
        """Raise Interrupted if a signal came; the state has been saved before."""
        if not signum:
            return
        if self.remedies():
            raise Interrupted(signum, "[!] Stopped; the training was finished, and is saved")
        changes = "--resume=True"
        if self.config.weights:
            if "crop_offset" not in self.config.explicit and self.config.crop_offset:  # adopted from the file
                changes += f" --crop_offset={self.config.crop_offset}"
            changes += " and without --weights"
        raise Interrupted(
            signum,
            f"[!] Stopped at step {self.step} of epoch {self.epoch + 1} and saved; "
            f"to go on, give the same command with {changes}",
        )

    @property
    def evaluated(self) -> RecurrentAttention | Baseline:
        """The model that validation and test use: the averaged one if there is one."""
        model = self.model if self.averaged is None else self.averaged
        model.set_std(location_std(self.config, self.config.epochs))
        return model

    def models(self) -> list[RecurrentAttention | Baseline]:
        """Return the trained model, and the averaged one if there is one."""
        return [self.model] if self.averaged is None else [self.model, self.averaged]

    def fit(self) -> list[dict]:
        """Train until the last epoch, or until `train_patience` epochs brought no better validation accuracy.

        Returns:
            The record of every epoch.

        Raises:
            NotFinite: if the loss or a weight is no longer a number.
            Interrupted: if a signal came; the state was saved.
        """
        c = self.config
        with StopRequest() as stop:
            while self.epoch < c.epochs and not self.patience_is_out():
                rate = learning_rate(c, self.progress, self.cuts)
                print(f"\nEpoch: {self.epoch + 1}/{c.epochs} - LR: {rate:.6f}")
                self.train_epoch(stop)
                self.end_epoch()
                # This also holds all processes until the first has saved.
                self.any_stop = processes.total(np.array([float(stop.signum is not None)])).any()
                self.interrupt(self.stop_signal())
        if self.epoch < c.epochs:
            print(f"[!] No improvement in {c.train_patience} epochs, stopping training.")
        return self.history

    def remedies(self) -> list[str]:
        """Name the flags that have to be larger for a finished training to go on; none for an unfinished one."""
        ended = {"--epochs": self.epoch >= self.config.epochs, "--train_patience": self.patience_is_out()}
        return [flag for flag, has_ended in ended.items() if has_ended]

    def patience_is_out(self) -> bool:
        """Tell whether validation accuracy has not improved for train_patience epochs."""
        return self.epochs_since_best >= self.config.train_patience

    def end_epoch(self) -> None:
        """Validate, record the epoch, and save: the state last, so that a run killed before repeats the rest."""
        self.check_weights()
        c, began = self.config, time.monotonic()
        rate = learning_rate(c, self.epoch + (self.step - 1) / self.steps_per_epoch, self.cuts)
        result = evaluate(self.evaluated, self.valid, c.num_glimpses, c.valid_M, c.locations, c.random_seed)
        if not math.isfinite(result.loss):
            raise NotFinite(f"the validation loss is {result.loss} after", self.step, self.epoch + 1)
        is_best = result.accuracy > self.best_valid_acc
        self.seconds += time.monotonic() - began
        record = {
            "epoch": self.epoch + 1,
            "train_loss": self.sums["loss"],
            "train_acc": 100 * self.sums["right"],
            "loss_action": self.sums["action"],
            "loss_baseline": self.sums["baseline"],
            "loss_reinforce": self.sums["reinforce"],
            "val_loss": result.loss,
            "val_acc": result.accuracy,
            "val_err": result.error,
            "lr": rate,
            "best": is_best,
            "seconds": round(self.seconds, 3),
        }
        self.epochs_since_best = 0 if is_best else self.epochs_since_best + 1
        self.best_valid_acc = max(self.best_valid_acc, result.accuracy)
        self.follow_plateau(result.loss)
        self.history.append(record)
        self.epoch, self.step, self.sums, self.seconds = self.epoch + 1, 0, Mean(), 0.0
        if is_best:
            self.save_best(self.weights())
        self.log(record, self.evaluated)
        self.save(self.state())
        print(
            f"train loss: {record['train_loss']:.3f} - train acc: {record['train_acc']:.3f} "
            f"- val loss: {record['val_loss']:.3f} - val acc: {record['val_acc']:.3f} "
            f"- val err: {record['val_err']:.3f}{' [*]' if is_best else ''} ({record['seconds']:.1f}s)"
        )

    def follow_plateau(self, valid_loss: float) -> None:
        """Cut the rate after lr_patience + 1 epochs in a row without a lower validation loss, as PyTorch counts."""
        if valid_loss < self.lowest_loss:
            self.lowest_loss, self.epochs_since_lower = valid_loss, 0
            return
        self.epochs_since_lower += 1
        if self.epochs_since_lower > self.config.lr_patience:
            self.cuts, self.epochs_since_lower = self.cuts + 1, 0

    def check_weights(self) -> None:
        """Raise NotFinite if a weight is not: behind a ReLU, which makes 0 of NaN, the loss does not show it."""
        for name, weight in self.model.state_dict().items():
            if not np.isfinite(weight.numpy()).all():
                raise NotFinite(f"{name} is no longer finite after", self.step, self.epoch + 1)

    def weights(self) -> dict:
        """Return the model as plain data: weights, averaged weights (None without averaging), and what they fit."""
        self.check_weights()
        return {
            "model": arrays(self.model.state_dict()),
            "ema": None if self.averaged is None else arrays(self.averaged.state_dict()),
            "epoch": self.epoch,
            "best_valid_acc": self.best_valid_acc,
            **self.train.description(),
        }

    def state(self) -> dict:
        """Return all that a training has to remember, as plain data."""
        counters = {name: getattr(self, name) for name in self.COUNTERS}
        others = {"sums": dict(self.sums.state), "optimizer": self.optimizer.state(), "plain": self.plain}
        return {**self.weights(), **counters, **others}

    def start_from(self, weights: dict[str, np.ndarray]) -> str:
        """Load what fits of a model's weights before the first step; describe the rest, which is drawn anew."""
        return [load_fitting(model, weights) for model in self.models()][0]

    def load_state(self, state: dict) -> None:
        """Load a state that `state` returned.

        Raises:
            UserError: if the state belongs to another model or optimizer.
        """
        load_weights(self.model, state["model"])
        if self.averaged is not None:
            load_weights(self.averaged, state["ema"])
        self.optimizer.load(state["optimizer"])
        if state.get("plain"):
            train_plainly(self.models())
        for name in self.COUNTERS:
            setattr(self, name, state[name])
        self.history = list(self.history)
        self.sums = Mean(state["sums"])
