"""Tests of the trainer: schedules, when it stops, what it evaluates, and that a training can be taken up anywhere."""

import copy
import json
import math
import os
import re
import signal
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from helpers import ROOT, easy_images, long_test, same, without_seconds

import trainer as trainer_module
from config import FLAGS, get_config
from data_loader import Split
from model import Noise, draw_noise
from ram.build import load_weights
from ram.data.ahead import prepared_ahead
from ram.evaluation import EVAL_BATCH, Evaluation, batch_size, evaluate
from ram.fast import check as fast_check
from ram.resume import COUNTS, MEASURES, check_state
from ram.schedules import learning_rate
from ram.system.signals import Interrupted
from ram.use.looking import snapshot
from trainer import NotFinite, Trainer
from utils import UserError, generator

SMALL = "--hidden_size=16 --glimpse_hidden=12 --loc_hidden=8 --num_glimpses=3 --batch_size=16 --patch_size=6".split()


class RecordingSplit(Split):
    """A split that notes which images were asked for."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.asked = []

    def batch(self, indices, epoch=0):
        self.asked.append((epoch, np.array(indices)))
        return super().batch(indices, epoch)


def make_split(name, count, seed=0, classes=10, shape=(1, 28, 28)):
    images, labels = easy_images(count, seed, classes, shape)
    return RecordingSplit(name, images, labels, np.arange(count), classes)


class Training:
    """A trainer on 72 small images with all that it saved, five steps an epoch and the last one smaller.

    What `at_step` has for the n-th step is called before it.
    """

    def __init__(self, *flags, train=None, valid=None):
        self.saved, self.best, self.logged = [], [], []
        self.config = get_config([*SMALL, "--epochs=3", *flags])
        self.trainer = Trainer(
            self.config,
            train or make_split("train", 72),
            valid or make_split("valid", 40, seed=1),
            lambda state: self.saved.append(copy.deepcopy(state)),
            lambda weights: self.best.append(copy.deepcopy(weights)),
            lambda record, _: self.logged.append(record),
        )
        self.at_step, self.step, self.real = {}, 0, self.trainer.train_step
        self.trainer.train_step = self.train_step

    def train_step(self, *batch):
        self.step += 1
        self.at_step.get(self.step, lambda: None)()
        return self.real(*batch)

    def fit(self):
        self.trainer.fit()
        return self

    @property
    def result(self):
        """What has to be equal to the bit: the last state, the best models and the log."""
        return without_seconds({"state": self.saved[-1], "best": self.best, "log": self.logged})


def steps(training, count):
    """Train for some steps outside of `fit`."""
    batches = training.trainer.batches()
    for _ in range(count):
        training.trainer.train_step(*next(batches))
        training.trainer.step += 1


def weights_of(model):
    return {name: value.numpy().copy() for name, value in model.state_dict().items()}


# ---- learning rate

BASE = ["--epochs=10", "--init_lr=0.4", "--min_lr=0.1"]


@pytest.mark.parametrize(
    "flags, progress, cuts, expected",
    [
        (["--lr_schedule=constant", "--min_lr=0"], 0, 0, 0.4),
        (["--lr_schedule=constant", "--min_lr=0"], 9.9, 3, 0.4),
        (["--lr_schedule=linear"], 0, 0, 0.4),
        (["--lr_schedule=linear"], 5, 0, 0.25),
        (["--lr_schedule=linear"], 10, 0, 0.1),
        (["--lr_schedule=linear", "--lr_decay_epochs=4"], 2, 0, 0.25),
        (["--lr_schedule=linear", "--lr_decay_epochs=4"], 7, 0, 0.1),
        (["--lr_schedule=linear", "--lr_decay_epochs=40"], 10, 0, 0.325),
        (["--lr_schedule=cosine"], 0, 0, 0.4),
        (["--lr_schedule=cosine"], 2.5, 0, 0.1 + 0.3 * (1 + math.sqrt(0.5)) / 2),
        (["--lr_schedule=cosine"], 5, 0, 0.25),
        (["--lr_schedule=cosine"], 10, 0, 0.1),
        (["--lr_schedule=cosine", "--lr_decay_epochs=5"], 6, 0, 0.1),
        (["--lr_schedule=plateau"], 9, 0, 0.4),
        (["--lr_schedule=plateau", "--lr_factor=0.5"], 9, 1, 0.2),
        (["--lr_schedule=plateau", "--lr_factor=0.5"], 9, 5, 0.1),
    ],
)
def test_learning_rate(flags, progress, cuts, expected):
    assert learning_rate(get_config([*BASE, *flags]), progress, cuts) == pytest.approx(expected)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_optimiser_follows_the_schedule_step_by_step(schedule):
    training = Training(f"--lr_schedule={schedule}", "--optimizer=sgd", "--init_lr=0.1")
    rates = []
    real = training.trainer.optimizer.step
    training.trainer.optimizer.step = lambda rate: (rates.append(rate), real(rate))
    training.fit()
    assert rates == pytest.approx([learning_rate(training.config, step / 5) for step in range(15)])
    assert [record["lr"] for record in training.logged] == pytest.approx([rates[4], rates[9], rates[14]])


def script(monkeypatch, accuracies=None, losses=None):
    """Let validation give these results, one epoch after the other."""
    results = [
        Evaluation(loss, round(accuracy * 100), 10_000)
        for accuracy, loss in zip(accuracies or [50] * len(losses), losses or [1.0] * len(accuracies))
    ]
    monkeypatch.setattr(trainer_module, "evaluate", lambda *args, **kwargs: results.pop(0))


def test_plateau_cuts_the_rate_after_epochs_without_a_lower_loss(monkeypatch):
    losses = [3, 2, 2.5, 2, 2.1, 1.9, 2, 2, 2, 2, 2, 2]
    script(monkeypatch, losses=losses)
    flags = ["--lr_schedule=plateau", "--lr_patience=2", "--lr_factor=0.5", "--init_lr=0.8", "--min_lr=0.3"]
    training = Training(*flags, f"--epochs={len(losses)}", "--optimizer=sgd").fit()
    # Losses 2.5, 2 and 2.1 bring nothing (one more than the patience): half the rate from the sixth epoch on.
    rates = [0.8] * 5 + [0.4] * 4 + [0.3] * 3
    assert [record["lr"] for record in training.logged] == pytest.approx(rates)
    for state in training.saved:
        if state["epoch"] < len(losses):
            script(monkeypatch, losses=losses[state["epoch"] :])
            again = resumed(state, *flags, f"--epochs={len(losses)}", "--optimizer=sgd")
            assert [record["lr"] for record in again.logged] == pytest.approx(rates[state["epoch"] :])


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_plateau_cuts_after_as_many_epochs_as_the_words_say(monkeypatch, patience):
    script(monkeypatch, losses=[2.0] * (patience + 4))
    flags = ["--lr_schedule=plateau", f"--lr_patience={patience}", "--lr_factor=0.5", "--init_lr=0.8"]
    rates = [record["lr"] for record in Training(*flags, f"--epochs={patience + 4}", "--optimizer=sgd").fit().logged]
    lowest, first_of_the_lower_rate = 1, next(epoch for epoch, rate in enumerate(rates, 1) if rate < 0.8)
    assert first_of_the_lower_rate - 1 - lowest == patience + 1
    (flag,) = [flag for flag in FLAGS if flag.name == "lr_patience"]
    assert "N + 1 epochs" in flag.help and "lr_patience + 1 epochs" in trainer_module.Trainer.follow_plateau.__doc__
    for page in ("training.md", "zh_CN/training.md"):
        assert "`--lr_patience` + 1 " in (ROOT / "docs" / page).read_text(encoding="utf-8")


# ---- when training stops


def test_training_stops_after_train_patience_epochs_without_a_better_model(monkeypatch, capsys):
    script(monkeypatch, accuracies=[50, 60, 55, 60, 59, 58, 57])
    training = Training("--train_patience=3", "--epochs=7").fit()
    assert len(training.logged) == 5, "60 a second time is not better"
    assert [record["best"] for record in training.logged] == [True, True, False, False, False]
    assert len(training.best) == 2 and training.trainer.best_valid_acc == 60
    assert "No improvement in 3 epochs" in capsys.readouterr().out


def test_better_model_renews_patience(monkeypatch, capsys):
    script(monkeypatch, accuracies=[50, 49, 51, 50, 52])
    assert len(Training("--train_patience=2", "--epochs=5").fit().logged) == 5
    assert "No improvement" not in capsys.readouterr().out


def test_patience_goes_on_where_it_was(monkeypatch):
    accuracies = [50, 49, 48, 47, 46, 45]
    script(monkeypatch, accuracies=list(accuracies))
    stopped = Training("--train_patience=2", "--epochs=6").fit()
    script(monkeypatch, accuracies=accuracies[3:])
    assert len(resumed(stopped.saved[-1], "--train_patience=3", "--epochs=6").logged) == 1


def test_larger_patience_revives_a_stopped_training(monkeypatch):
    accuracies = [50, 49, 48, 51, 49, 48]
    script(monkeypatch, accuracies=list(accuracies))
    stopped = Training("--train_patience=2", "--epochs=6", "--lr_schedule=constant").fit()
    assert len(stopped.logged) == 3
    script(monkeypatch, accuracies=accuracies[3:])
    revived = Training("--train_patience=3", "--epochs=6", "--lr_schedule=constant")
    revived.trainer.load_state(stopped.saved[-1])
    revived.fit()
    assert [record["epoch"] for record in revived.logged] == [4, 5, 6]
    script(monkeypatch, accuracies=list(accuracies))
    undisturbed = Training("--train_patience=3", "--epochs=6", "--lr_schedule=constant").fit()
    assert same(without_seconds(revived.saved[-1]), without_seconds(undisturbed.saved[-1]))


def test_loss_that_is_not_finite_stops_training():
    training = Training("--optimizer=sgd", "--init_lr=1e30", "--save_freq=1")
    with pytest.raises(NotFinite) as caught:
        training.fit()
    message = str(caught.value)
    assert isinstance(caught.value, UserError) and "\n" not in message
    assert re.match(r"the loss is (nan|-?inf) at step \d of epoch 1: training stopped", message)
    assert "untouched" in message
    assert all(map(all_finite, training.saved)) and training.best == training.logged == []


def all_finite(state):
    return all(np.isfinite(value).all() for value in [*state["model"].values(), *state["ema"].values()])


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["classifier.fc.bias", "locator.fc_lt.bias", "rnn.h2h.weight"])
def test_last_good_state_is_kept_when_a_weight_is_lost(name, value):
    training = Training("--save_freq=2")

    def spoil():
        weight = training.trainer.model.state_dict()[name]
        weight.set_value(np.full(weight.shape, value, np.float32))

    training.at_step = {8: spoil}  # the third step of the second epoch
    with pytest.raises(NotFinite):
        training.fit()
    assert (training.saved[-1]["epoch"], training.saved[-1]["step"]) == (1, 2)
    assert all(map(all_finite, training.saved)) and len(training.logged) == 1


def test_weights_lost_in_the_last_step_are_not_saved_either():
    training = Training()
    training.trainer.update_average = lambda: None
    training.at_step = {5: lambda: setattr(training.trainer, "update", spoil)}

    def spoil():
        training.trainer.model.classifier.fc.bias.set_value(np.full(10, np.nan, np.float32))

    with pytest.raises(NotFinite, match="classifier.fc.bias is no longer finite"):
        training.fit()
    assert training.saved == training.best == training.logged == []


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_saves_and_stops_at_the_next_step(number):
    training, before = Training(), signal.getsignal(number)
    training.at_step = {8: lambda: signal.raise_signal(number)}
    with pytest.raises(Interrupted, match="step 3 of epoch 2.*--resume=True") as caught:
        training.fit()
    assert caught.value.signum == number and isinstance(caught.value, KeyboardInterrupt)
    assert (training.saved[-1]["epoch"], training.saved[-1]["step"]) == (1, 3)
    assert signal.getsignal(number) == before, "handlers are given back"


# ---- taking a training up again


def resumed(state, *flags):
    training = Training(*flags)
    training.trainer.load_state(copy.deepcopy(state))
    return training.fit()


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--ema=0", "--num_workers=2"],
        ["--lr_schedule=plateau", "--lr_patience=0", "--std_end=0.05"],
        ["--policy=random"],
        ["--core=lstm"],
        ["--glimpse_network=conv", "--num_patches=2"],
        *long_test(
            ["--optimizer=momentum", "--clip_value=0.1"],
            ["--optimizer=sgd", "--clip_norm=1"],
            ["--optimizer=rmsprop"],
            ["--optimizer=adadelta", "--init_lr=0.5"],
        ),
    ],
    ids=" ".join,
)
def test_training_taken_up_after_any_step_ends_with_the_same_bits(flags):
    undisturbed = Training("--save_freq=1", *flags).fit()
    assert len(undisturbed.saved) == 15
    assert len({record["train_loss"] for record in undisturbed.logged}) == 3
    for state in undisturbed.saved[:-1]:
        again = resumed(state, "--save_freq=1", *flags)
        assert same(without_seconds(again.saved[-1]), without_seconds(undisturbed.saved[-1]))
        assert same(without_seconds(again.logged), without_seconds(undisturbed.logged[state["epoch"] :]))
        best = [weights for weights in undisturbed.best if weights["epoch"] > state["epoch"]]
        assert same(again.best, best)


def test_plain_rollout_goes_on_where_a_training_is_taken_up(monkeypatch):
    """The two round differently, so that which of them trains is part of the state."""
    monkeypatch.setattr(fast_check, "differing_part", lambda *args: "LocationNetwork.mean")
    undisturbed = Training("--save_freq=1").fit()
    monkeypatch.undo()
    for state in undisturbed.saved[:-1]:
        assert state["plain"]
        again = resumed(state, "--save_freq=1")
        assert same(without_seconds(again.saved[-1]), without_seconds(undisturbed.saved[-1]))
    del state["plain"]  # of a checkpoint from before that was kept
    assert not resumed(state, "--save_freq=1").saved[-1]["plain"]


def changed(moments, change):
    """A copy of an optimizer's state with something wrong in it."""
    moments = dict(moments)
    name = sorted(moments)[0]
    if change == "renamed":
        moments["another_moment1_0"] = moments.pop(name)
    elif change == "lacking":
        del moments[name]
    elif change == "too many":
        moments["linear_99.w_0_moment1_0"] = moments[name]
    elif change == "shape":
        moments[name] = np.zeros([*moments[name].shape, 2], np.float32)
    elif change == "type":
        moments[name] = moments[name].astype(np.int32)
    return {} if change == "empty" else moments


@pytest.mark.parametrize("optimizer", ["adam", "momentum", "rmsprop", "adadelta"])
@pytest.mark.parametrize("change", ["renamed", "lacking", "too many", "shape", "type", "empty"])
def test_optimizers_state_that_does_not_fit_is_found_before_the_first_step(optimizer, change):
    if (optimizer, change) == ("momentum", "lacking"):
        pytest.skip("it keeps one moment of a parameter; without, the parameter may be one that no loss reaches")
    training = Training(f"--optimizer={optimizer}", "--save_freq=1", "--epochs=1").fit()
    for state in training.saved:
        check_state(state, training.trainer.config, training.trainer.train)
    state["optimizer"] = changed(state["optimizer"], change)
    with pytest.raises(UserError, match="its optimizer's state|of its optimizer's state"):
        check_state(state, training.trainer.config, training.trainer.train)


@pytest.mark.parametrize(
    "flag",
    [
        "--optimizer=sgd",
        "--num_glimpses=1",
        "--policy=random",
        "--policy=center",
        "--core=lstm",
        "--glimpse_network=conv",
        "--location_mean=linear",
    ],
)
def test_optimizers_state_of_every_training_fits(flag):
    training = Training("--save_freq=1", "--epochs=2", flag).fit()
    for state in training.saved:
        check_state(state, training.trainer.config, training.trainer.train)


def test_every_counter_of_a_training_is_checked_before_it_is_taken_from_a_file():
    assert {*COUNTS, *MEASURES, "history"} == set(Trainer.COUNTERS)


def test_optimizers_state_of_another_optimizer_does_not_fit():
    training = Training("--epochs=1").fit()
    state = {
        **training.saved[-1],
        "optimizer": Training("--epochs=1", "--optimizer=rmsprop").fit().saved[-1]["optimizer"],
    }
    with pytest.raises(UserError, match="its optimizer's state has .*_mean_grad_0, which this model's has not"):
        check_state(state, training.trainer.config, training.trainer.train)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_training_interrupted_at_every_step_ends_with_the_same_bits():
    undisturbed, state, interruptions = Training().fit(), None, 0
    logged, best = [], []
    while True:
        training = Training()
        if state:
            training.trainer.load_state(state)
        training.at_step = {1: lambda: signal.raise_signal(signal.SIGTERM)}
        try:
            training.fit()
        except Interrupted:
            interruptions += 1
        logged, best, state = logged + training.logged, best + training.best, training.saved[-1]
        if state["epoch"] == 3:
            break
    assert interruptions == 15
    assert same(without_seconds({"state": state, "best": best, "log": logged}), undisturbed.result)


def test_state_is_plain_data():
    training = Training().fit()

    def check(value):
        if isinstance(value, dict):
            assert all(type(key) is str for key in value)
            [check(item) for item in value.values()]
        elif isinstance(value, (list, tuple)):
            [check(item) for item in value]
        else:
            assert value is None or type(value) in (bool, int, float, str, np.ndarray)

    check(training.saved[-1]), check(training.best[-1])


def test_seconds_go_on_where_they_were():
    state = Training("--save_freq=1").fit().saved[2]
    state["seconds"] = 1000.0
    assert 1000 < resumed(state).logged[0]["seconds"] < 1100


def test_longer_training_follows_the_longer_schedule():
    """Two epochs of two, and then two more: the last two have the rates of a training of four."""
    short = Training("--epochs=2").fit()
    longer = resumed(short.saved[-1], "--epochs=4")
    expected = [learning_rate(longer.config, epoch - 0.2) for epoch in (3, 4)]
    assert [record["lr"] for record in longer.logged] == pytest.approx(expected)
    assert [record["epoch"] for record in longer.trainer.history] == [1, 2, 3, 4]


def test_weights_that_do_not_fit_are_named_and_change_nothing():
    model = Training().trainer.model
    before = weights_of(model)
    other = {name: value + 1 for name, value in before.items()}
    lacking = {name: value for name, value in other.items() if name != "rnn.h2h.bias"}
    with pytest.raises(UserError, match="rnn.h2h.bias"):
        load_weights(model, lacking)
    with pytest.raises(UserError, match="unheard.of"):
        load_weights(model, {**other, "unheard.of": np.zeros(3)})
    with pytest.raises(UserError, match=r"classifier.fc.weight is \[16, 3\].*\[16, 10\]"):
        load_weights(model, {**other, "classifier.fc.weight": np.zeros((16, 3))})
    assert same(weights_of(model), before)
    load_weights(model, other)
    assert same(weights_of(model), other)


# ---- what a step does


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "momentum", "rmsprop", "adadelta"])
def test_every_optimiser_trains(optimizer):
    rate = {"sgd": "0.05", "momentum": "0.05", "adadelta": "1.0", "rmsprop": "0.003"}.get(optimizer, "0.01")
    training = Training(f"--optimizer={optimizer}", f"--init_lr={rate}", "--epochs=20", "--lr_schedule=constant").fit()
    actions = [record["loss_action"] for record in training.logged]
    assert actions[-1] < actions[0] - 0.05


def one_step(*flags):
    """Weights before and after the first step, and its gradients."""
    training = Training("--lr_schedule=constant", "--ema=0", *flags)
    before, gradients = weights_of(training.trainer.model), {}
    real = training.trainer.update

    def update():
        gradients.update({n: w.grad.numpy().copy() for n, w in training.trainer.model.named_parameters()})
        real()

    training.trainer.update = update
    steps(training, 1)
    return before, weights_of(training.trainer.model), gradients


def norm(tree):
    return math.sqrt(sum((value.astype(float) ** 2).sum() for value in tree.values()))


def test_step_of_sgd_is_its_formula():
    before, after, gradients = one_step("--optimizer=sgd", "--init_lr=0.5")
    for name in before:
        assert np.allclose(after[name], before[name] - 0.5 * gradients[name], atol=1e-6)


def test_gradient_is_clipped_by_norm_or_by_value():
    for flags, clip in (
        (["--clip_norm=0.01"], lambda gradients: {n: g * 0.01 / norm(gradients) for n, g in gradients.items()}),
        (["--clip_value=0.001"], lambda gradients: {n: np.clip(g, -0.001, 0.001) for n, g in gradients.items()}),
    ):
        before, after, gradients = one_step("--optimizer=sgd", "--init_lr=1", *flags)
        clipped = clip(gradients)
        assert norm(clipped) < 0.9 * norm(gradients)
        for name in before:
            assert np.allclose(after[name], before[name] - clipped[name], atol=1e-6)


@pytest.mark.parametrize("nesterov", [True, False])
def test_steps_of_momentum_are_their_formula(nesterov):
    training = Training("--optimizer=momentum", "--momentum=0.7", f"--nesterov={nesterov}", "--init_lr=0.1", "--ema=0")
    training.trainer.config.lr_schedule = "constant"
    weight = training.trainer.model.classifier.fc.bias
    real, velocity, expected = training.trainer.update, np.zeros(10), weight.numpy().astype(float)

    def update():
        nonlocal velocity, expected
        gradient = weight.grad.numpy()
        velocity = 0.7 * velocity + gradient
        expected = expected - 0.1 * (gradient + 0.7 * velocity if nesterov else velocity)
        real()

    training.trainer.update = update
    steps(training, 3)
    assert np.allclose(weight.numpy(), expected, atol=1e-5)


def test_weight_of_reinforce_reaches_the_locator():
    _, _, full = one_step()
    _, _, half = one_step("--reinforce_weight=0.5")
    _, _, none = one_step("--reinforce_weight=0")
    assert full["locator.fc_lt.weight"].any() and not none["locator.fc_lt.weight"].any()
    assert np.allclose(half["locator.fc_lt.weight"], full["locator.fc_lt.weight"] / 2, rtol=1e-4, atol=1e-7)


def test_share_of_reinforce_reaches_the_core():
    """The classifier's part of the gradient is the same, so what is added by half the share is half of the whole."""
    _, _, none = one_step("--reinforce_core=0")
    _, _, half = one_step("--reinforce_core=0.5")
    _, _, full = one_step("--reinforce_core=1")
    for name in ("sensor.fc1.weight", "rnn.i2h.weight"):
        added = full[name] - none[name]
        assert added.any() and np.allclose(half[name] - none[name], added / 2, rtol=1e-3, atol=1e-6)
    assert np.allclose(full["locator.fc_lt.weight"], none["locator.fc_lt.weight"], atol=1e-7)


def test_reward_may_be_the_probability_of_the_right_class():
    _, _, right = one_step("--reward=right")
    _, _, probability = one_step("--reward=probability")
    assert not np.allclose(right["baseliner.fc.weight"], probability["baseliner.fc.weight"])
    assert np.allclose(right["classifier.fc.weight"], probability["classifier.fc.weight"], atol=1e-7)


def test_smoothing_reaches_the_classification_in_its_proportion():
    """The gradient of log p's biases is p minus the target, which goes towards 1/10 as far as the flag says."""
    _, _, none = one_step()
    _, _, some = one_step("--label_smoothing=0.2")
    _, _, more = one_step("--label_smoothing=0.4")
    name = "classifier.fc.bias"
    added = some[name] - none[name]
    assert np.abs(added).max() > 1e-3 and np.allclose(more[name] - none[name], 2 * added, atol=1e-6)
    assert np.allclose(some["baseliner.fc.weight"], none["baseliner.fc.weight"], atol=1e-7), "rewards are as before"


def test_averaged_weights_follow_their_formula():
    training = Training("--ema=0.6", "--init_lr=0.1")
    expected = weights_of(training.trainer.model)
    for step in range(5):
        steps(training, 1)
        decay = min(0.6, (1 + step) / (10 + step))
        for name, weight in weights_of(training.trainer.model).items():
            expected[name] = decay * expected[name] + (1 - decay) * weight
    for name, mean in weights_of(training.trainer.averaged).items():
        assert np.allclose(mean, expected[name], atol=1e-6)
        assert not np.allclose(mean, weights_of(training.trainer.model)[name], atol=1e-4), name


def test_averaged_weights_are_evaluated_and_saved(monkeypatch):
    seen = []
    real = trainer_module.evaluate
    monkeypatch.setattr(trainer_module, "evaluate", lambda model, *rest: (seen.append(model), real(model, *rest))[1])
    training = Training("--ema=0.9").fit()
    assert all(model is training.trainer.averaged for model in seen) and len(seen) == 3
    assert same(training.saved[-1]["ema"], weights_of(training.trainer.averaged))
    assert same(training.saved[-1]["model"], weights_of(training.trainer.model))
    assert not same(training.saved[-1]["ema"], training.saved[-1]["model"])
    plain = Training("--ema=0").fit()
    assert seen[-1] is plain.trainer.model and plain.saved[-1]["ema"] is None


def test_policy_becomes_narrower_and_the_narrow_one_is_evaluated():
    training = Training("--std=0.5", "--std_end=0.1", "--epochs=2")
    widths = []
    real = training.trainer.model.rollout

    def rollout(*arguments):
        widths.append(training.trainer.model.locator.std)
        return real(*arguments)

    training.trainer.model.rollout = rollout
    training.fit()
    assert widths == pytest.approx([0.5 - 0.4 * step / 10 for step in range(10)])
    assert training.trainer.evaluated.locator.std == pytest.approx(0.1)


# ---- epochs


def test_every_image_is_shown_once_an_epoch_in_an_order_of_its_own():
    training = Training().fit()
    asked = training.trainer.train.asked
    assert [len(indices) for _, indices in asked] == 3 * [16, 16, 16, 16, 8]
    orders = [np.concatenate([indices for e, indices in asked if e == epoch]) for epoch in range(3)]
    assert all(np.array_equal(np.sort(order), np.arange(72)) for order in orders)
    assert not np.array_equal(orders[0], orders[1]) and not np.array_equal(orders[0], np.arange(72))
    unshuffled = Training("--shuffle=False").fit().trainer.train.asked
    assert np.array_equal(np.concatenate([indices for _, indices in unshuffled]), np.tile(np.arange(72), 3))


def test_record_of_an_epoch_holds_means_over_its_images():
    training = Training("--epochs=1", "--reinforce_weight=0.5")
    batches, sizes = [], [16, 16, 16, 16, 8]
    real = training.trainer.train_step
    training.trainer.train_step = lambda *batch: (batches.append(real(*batch)), batches[-1])[1]
    record = training.fit().logged[0]
    means = {name: np.average([batch[name] for batch in batches], weights=sizes) for name in batches[0]}
    assert record["train_loss"] == pytest.approx(means["loss"])
    assert record["train_acc"] == pytest.approx(100 * means["right"])
    for part in ("action", "baseline", "reinforce"):
        assert record[f"loss_{part}"] == pytest.approx(means[part])
    total = means["action"] + means["baseline"] + 0.5 * means["reinforce"]
    assert record["train_loss"] == pytest.approx(total, abs=1e-5)
    result = evaluate(training.trainer.evaluated, training.trainer.valid, 3, 3, "sampled", 1)
    assert (record["val_loss"], record["val_acc"]) == (result.loss, result.accuracy)
    assert record["val_err"] == pytest.approx(100 - record["val_acc"])
    assert record["epoch"] == 1 and record["best"] is True and record["seconds"] > 0
    assert json.loads(json.dumps(record)) == record and training.trainer.history == [record]


def test_line_of_an_epoch_is_the_seeds_with_the_time(monkeypatch, capsys):
    script(monkeypatch, accuracies=[12.34, 10], losses=[2.5, 2.6])
    Training("--epochs=2").fit()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("train loss")]
    train = r"train loss: -?\d+\.\d{3} - train acc: \d+\.\d{3} - "
    assert re.fullmatch(train + r"val loss: 2\.500 - val acc: 12\.340 - val err: 87\.660 \[\*\] \(\d+\.\ds\)", lines[0])
    assert re.fullmatch(train + r"val loss: 2\.600 - val acc: 10\.000 - val err: 90\.000 \(\d+\.\ds\)", lines[1])


@pytest.mark.parametrize(
    "flags, options",
    [
        (["--batch_size=100"], {}),
        (["--batch_size=71"], {}),
        (["--batch_size=1"], dict(train=make_split("train", 5))),
        (["--num_glimpses=1"], {}),
        (["--patch_size=40", "--num_patches=2", "--glimpse_scale=3"], {}),
        ([], dict(train=make_split("train", 20, classes=1), valid=make_split("valid", 9, classes=1))),
        (
            ["--num_patches=2"],
            dict(
                train=make_split("train", 20, classes=3, shape=(3, 9, 21)),
                valid=make_split("valid", 1, 1, 3, (3, 9, 21)),
            ),
        ),
    ],
    ids=["one batch", "last batch of one", "batches of one", "one glimpse", "large patch", "one class", "colour"],
)
def test_odd_sizes_train(flags, options):
    training = Training("--epochs=2", *flags, **options).fit()
    assert [record["epoch"] for record in training.logged] == [1, 2]
    assert all(math.isfinite(record["train_loss"]) for record in training.logged)


def test_training_learns():
    training = Training("--epochs=8", "--init_lr=0.01", "--ema=0.9", train=make_split("train", 600)).fit()
    assert training.logged[-1]["val_acc"] > 70


# ---- evaluation


class SpyModel:
    """A model that notes the rollouts it makes."""

    def __init__(self, model):
        self.model, self.rollouts = model, []

    def __getattr__(self, name):
        return getattr(self.model, name)

    def rollout(self, x, noise):
        rollout = self.model.rollout(x, noise)
        self.rollouts.append([part.numpy() for part in rollout])
        return rollout


def trained_model(*flags):
    return Training(*flags, "--init_lr=0.01").fit().trainer.evaluated


def test_evaluation_averages_the_class_probabilities_of_m_rollouts():
    count = EVAL_BATCH + 60
    model, split = trained_model(), make_split("valid", count, seed=3)
    probs = 0
    for r in range(4):
        first, choices = draw_noise(count, 3, "evaluate/valid", 9, r)
        noise = Noise(paddle.to_tensor(first), paddle.to_tensor(choices))
        probs = probs + np.exp(model.rollout(paddle.to_tensor(split.images), noise).log_probs.numpy()) / 4
    result = evaluate(model, split, 3, 4, "sampled", 9)
    assert result.count == count
    assert result.correct == (probs.argmax(1) == split.labels).sum()
    assert result.loss == pytest.approx(-np.log(probs[np.arange(count), split.labels]).mean(), rel=1e-5)
    assert result.accuracy == pytest.approx(100 * result.correct / count)
    assert evaluate(model, split, 3, 1, "sampled", 9).loss != result.loss


def test_limit_changes_nothing_for_the_images_that_are_left():
    model, seen = trained_model(), []
    for count in (EVAL_BATCH + 130, 90):
        spy, split = SpyModel(model), make_split("valid", EVAL_BATCH + 130)
        split.labels = split.labels[:count]
        evaluate(spy, split, 3, 2, "sampled", 1)
        by_rollout = [spy.rollouts[r::2] for r in range(2)]
        seen.append([[np.concatenate(parts) for parts in zip(*batches)] for batches in by_rollout])
    for whole, limited in zip(*seen):
        for a, b in zip(whole, limited):
            assert len(b) == 90 and np.allclose(a[:90], b, atol=1e-5)
    assert not np.allclose(seen[0][0][0], seen[0][1][0]), "the rollouts of an image differ"


def test_large_images_are_evaluated_by_fewer_and_with_the_same_noise():
    sizes = {(28, 28): 500, (128, 128): 500, (64, 256): 500, (129, 129): 496, (256, 256): 250, (1000, 1000): 64}
    assert {shape: batch_size((3, *shape)) for shape in sizes} == sizes
    assert batch_size((1, 40000, 40000)) == 2 and batch_size((1, 10**6, 10**6)) == 1
    model, images = trained_model(), easy_images(5, 3)[0]
    large = np.pad(images, ((0, 0), (0, 0), (800, 772), (700, 872)))  # 1,600 x 1,600: batches of 40
    spy = SpyModel(model)
    split = Split("valid", np.repeat(large, 12, axis=0), np.repeat(np.arange(5), 12), np.arange(60), 10)
    evaluate(spy, split, 3, 1, "sampled", 4)
    assert [len(rollout[0]) for rollout in spy.rollouts] == [40, 20]
    first = draw_noise(60, 3, "evaluate/valid", 4, 0)[0]
    assert np.array_equal(np.concatenate([rollout[0][:, 0] for rollout in spy.rollouts]), first)


def test_evaluation_is_a_function_of_its_arguments():
    model, split = trained_model(), make_split("valid", 60, seed=3)
    first = evaluate(model, split, 3, 2, "sampled", 1)
    paddle.seed(3), np.random.seed(3)
    assert evaluate(model, split, 3, 2, "sampled", 1) == first
    assert evaluate(model, split, 3, 2, "sampled", 2) != first
    split.name = "test"
    assert evaluate(model, split, 3, 2, "sampled", 1) != first, "each split has noise of its own"


def test_mean_locations_start_in_the_middle_and_know_no_noise():
    spy, split = SpyModel(trained_model("--std=0.5")), make_split("valid", 60, seed=3)
    results = {evaluate(spy, split, 3, M, "mean", seed) for M, seed in ((1, 1), (5, 1), (1, 2))}
    assert len(results) == 1 and len(spy.rollouts) == 3, "one rollout whatever M is"
    locations, log_pi, _, _ = spy.rollouts[0]
    assert not locations[:, 0].any() and locations[:, 1:].any()
    assert np.allclose(log_pi, -2 * np.log(0.5 * np.sqrt(2 * np.pi)), atol=1e-5), "the density is the highest there is"
    assert evaluate(spy, split, 3, 1, "sampled", 1) not in results


def test_evaluation_changes_nothing_in_the_model():
    training = Training("--ema=0")
    steps(training, 2)
    before = weights_of(training.trainer.model)
    evaluate(training.trainer.model, training.trainer.valid, 3, 2, "sampled", 1)
    assert same(weights_of(training.trainer.model), before)
    assert all(weight.grad is None or not weight.grad.numpy().any() for weight in training.trainer.model.parameters())


def test_stored_glimpses_are_those_of_the_first_validation_images():
    training = Training("--epochs=1").fit()
    glimpses = snapshot(training.trainer.evaluated, training.trainer.valid, training.config)
    assert {name: value.shape for name, value in glimpses.items()} == {
        "images": (9, 1, 28, 28),
        "labels": (9,),
        "locations": (9, 3, 2),
        "probabilities": (9, 10),
        "classes": (10,),
        "retina": (5,),
    }
    assert glimpses["retina"].tolist() == [6, 1, 1, 0, 0]
    assert np.array_equal(glimpses["images"], training.trainer.valid.images[:9])
    assert np.allclose(glimpses["probabilities"].sum(1), 1, atol=1e-5)
    assert same(glimpses, snapshot(training.trainer.evaluated, training.trainer.valid, training.config))
    spy = SpyModel(training.trainer.evaluated)
    evaluate(spy, training.trainer.valid, 3, 1, "sampled", 1)
    assert np.allclose(glimpses["locations"], spy.rollouts[0][0][:9], atol=1e-5), "the glimpses that were validated"


# ---- nothing but the settings decides


def test_threads_that_prepare_batches_change_no_bit():
    alone = Training()
    for workers in (1, 3, 16):
        threaded = Training(f"--num_workers={workers}").fit()
        alone = alone if alone.saved else alone.fit()
        assert same(threaded.result, alone.result)


@pytest.mark.parametrize("size, together", [(1000, 8), (2**21, 4), (2**23, 1), (2**30, 1)])
def test_small_batches_are_prepared_in_a_row_and_large_ones_alone(size, together):
    prepared = []
    batches = prepared_ahead(lambda part: (prepared.append(part), part)[1], list(range(20)), 0, size)
    for number in range(20):
        assert next(batches) == number
        assert len(prepared) == min(20, (number // together + 1) * together)
    assert next(batches, None) is None


def test_trainings_in_one_process_do_not_influence_each_other():
    flags = ["--random_seed=3"]
    alone = Training(*flags).fit()
    Training("--random_seed=4", "--optimizer=momentum", "--num_glimpses=2").fit()
    paddle.seed(77), np.random.seed(77)
    second = Training(*flags)
    other = Training("--random_seed=5")  # built, and never trained
    assert same(second.fit().result, alone.result)
    assert not same(weights_of(other.trainer.model), weights_of(alone.trainer.model))


def test_trainings_do_not_touch_numpys_global_random_state():
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    Training("--num_workers=2").fit()
    assert np.array_equal(np.random.get_state()[1], before)


def test_seed_decides_weights_order_and_noise():
    a, b, c = (Training(f"--random_seed={seed}") for seed in (1, 1, 2))
    assert same(weights_of(a.trainer.model), weights_of(b.trainer.model))
    assert not same(weights_of(a.trainer.model), weights_of(c.trainer.model))
    assert same(a.fit().result, b.fit().result)
    c.fit()
    assert not np.array_equal(a.trainer.train.asked[0][1], c.trainer.train.asked[0][1])


def test_noise_differs_from_step_to_step_and_epoch_to_epoch():
    training, seen = Training("--epochs=2"), []
    real = training.trainer.model.rollout
    training.trainer.model.rollout = lambda x, noise: (seen.append(noise.first.numpy()), real(x, noise))[1]
    training.fit()
    assert len({noise.tobytes() for noise in seen}) == len(seen) == 10


def test_generators_differ_by_name_and_numbers():
    keys = [("a", 1), ("b", 1), ("a", 2), ("a", 1, 1), ("a", 1, 2), ("a", 2, 1), ("a",)]
    draws = {generator(*key).integers(2**62) for key in keys}
    assert len(draws) == len(keys) and generator("a", 1).integers(2**62) in draws


def test_a_stopped_training_says_with_which_flags_it_goes_on():
    """Where patches lie is adopted from the file of --weights, and is part of the run's name."""
    config = get_config(["--weights=FILE"])
    stopped = SimpleNamespace(remedies=lambda: [], step=3, epoch=0, config=config)
    with pytest.raises(Interrupted, match="same command with --resume=True and without --weights$"):
        Trainer.interrupt(stopped, signal.SIGINT)
    config.crop_offset = 1
    with pytest.raises(Interrupted, match="same command with --resume=True --crop_offset=1 and without --weights$"):
        Trainer.interrupt(stopped, signal.SIGINT)
