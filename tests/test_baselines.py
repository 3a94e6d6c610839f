"""Tests of the paper's baselines: what they compute, and that all commands work with them as they do with RAM."""

import json
import re

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from helpers import easy_images, folders, same
from PIL import Image

import main
from config import LOOKING, MODELS, build_parser, get_config, run_name
from data_loader import Split
from model import Noise, RecurrentAttention, draw_noise
from ram.baselines import Baseline
from ram.evaluation import evaluate
from ram.presets import PRESETS
from ram.runs import checkpoint
from ram.system.signals import Interrupted, StopRequest
from trainer import Trainer, hybrid_loss
from utils import UserError

NAMES = [name for name in MODELS if name != "ram"]
DEFAULTS = {action.dest: action.default for action in build_parser()._actions}


def make(name, shape=(1, 28, 28), classes=10, **options):
    model = Baseline(name, shape, classes, **options)
    model.initialize(1)
    return model


def weights_of(model):
    return {name: value.numpy().copy() for name, value in model.state_dict().items()}


def relu(x):
    return np.maximum(x, 0)


def log_softmax(x):
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def numpy_forward(name, weights, x):
    """The same networks in NumPy, the convolution filter by filter: x (B, C, H, W) in [0, 1] to log_probs."""
    w = list(weights.values())
    if name == "conv":
        steps = [(x.shape[axis] - 10) // 5 + 1 for axis in (2, 3)]
        maps = np.zeros((len(x), 8, *steps))
        for f in range(8):
            for row in range(steps[0]):
                for column in range(steps[1]):
                    patch = x[:, :, 5 * row : 5 * row + 10, 5 * column : 5 * column + 10]
                    maps[:, f, row, column] = (patch * w[0][f]).sum((1, 2, 3)) + w[1][f]
        h = relu(relu(maps).reshape(len(x), -1) @ w[2] + w[3])
    else:
        h = relu(relu(x.reshape(len(x), -1) @ w[0] + w[1]) @ w[2] + w[3])
    return log_softmax(h @ w[4] + w[5])


# ---- the networks


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 33, 41)])
def test_network_is_what_the_paper_says(name, shape):
    model, (images, _) = make(name, shape), easy_images(5, 0, shape=shape)
    for number, bias in enumerate(model.parameters()):  # a bias of zero would hide that it is forgotten
        if len(bias.shape) == 1:
            bias.set_value(np.random.default_rng(number).normal(size=bias.shape).astype("float32"))
    expected = numpy_forward(name, weights_of(model), images / 255)
    assert np.allclose(model.rollout(paddle.to_tensor(images)).log_probs.numpy(), expected, atol=1e-4)
    floats = paddle.to_tensor((images / 255).astype("float32"))
    assert np.allclose(model.rollout(model.prepare(floats)).log_probs.numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("name, units", [("fc64", 64), ("fc256", 256)])
def test_layers_have_the_units_of_their_name(name, units):
    shapes = [list(weight.shape) for weight in make(name, (1, 60, 60)).parameters()]
    assert shapes == [[3600, units], [units], [units, units], [units], [units, 10], [10]]


def test_convolution_has_fewer_units_on_the_larger_canvas_as_in_the_paper():
    sizes = {}
    for side, units in ((28, 256), (60, 256), (100, 86)):
        model = make("conv", (1, side, side))
        assert model.classifier.fc.weight.shape[0] == units
        sizes[side] = sum(weight.size for weight in model.parameters())
    assert sizes[100] == pytest.approx(sizes[60], rel=0.01), "about as many weights on both"


def test_pixels_are_normalised_as_rams_are():
    images = paddle.to_tensor(easy_images(4, 0)[0])
    plain, shifted = make("fc64"), make("fc64", pixel_mean=0.1, pixel_std=0.3)
    expected = plain.rollout((images.astype("float32") / 255 - 0.1) / 0.3).log_probs
    assert np.allclose(shifted.rollout(images).log_probs.numpy(), expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_first_weights_are_glorots_and_come_from_the_seed(name):
    one, again, other = make(name), make(name), Baseline(name, (1, 28, 28), 10)
    other.initialize(2)
    assert same(weights_of(one), weights_of(again)) and not same(weights_of(one), weights_of(other))
    for weight in weights_of(one).values():
        if weight.ndim == 1:
            assert not weight.any()
            continue
        fans = {2: sum(weight.shape), 4: (8 + 1) * 10 * 10}[weight.ndim]
        limit = np.sqrt(6 / fans)
        assert 0.9 * limit < np.abs(weight).max() <= limit


@pytest.mark.parametrize("name", NAMES)
def test_loss_is_the_cross_entropy_and_reaches_every_weight(name):
    images, labels = map(paddle.to_tensor, easy_images(6, 0, shape=(1, 28, 28)))
    model = make(name)
    rollout = model.rollout(images)
    assert [list(part.shape) for part in rollout] == [[6, 0, 2], [6, 0], [6, 0], [6, 10]]
    loss, parts = hybrid_loss(rollout, labels, 1.0)
    assert float(loss) == pytest.approx(float(F.nll_loss(rollout.log_probs, labels)))
    assert float(parts["baseline"]) == float(parts["reinforce"]) == 0
    loss.backward()
    assert all(weight.grad.numpy().any() for weight in model.parameters())


# ---- training and evaluation


def make_split(name, count, seed=0):
    images, labels = easy_images(count, seed)
    return Split(name, images, labels, np.arange(count), 10)


def make_trainer(*flags, save=lambda _: None):
    config = get_config(["--batch_size=16", "--epochs=3", "--init_lr=0.01", "--ema=0.9", *flags])
    return Trainer(config, make_split("train", 72), make_split("valid", 40, 1), save, lambda *_: None, lambda *_: None)


@pytest.mark.parametrize("name", NAMES)
def test_evaluation_makes_one_rollout_whatever_m_is(name, monkeypatch):
    model, split, calls = make(name), make_split("valid", 60), []
    real = Baseline.rollout
    monkeypatch.setattr(Baseline, "rollout", lambda *arguments: calls.append(None) or real(*arguments))
    results = {evaluate(model, split, 6, M, "sampled", seed) for M, seed in ((1, 1), (10, 1), (10, 2))}
    assert len(results) == 1 and len(calls) == 3 and results.pop().rollouts == 1


def test_evaluation_of_ram_says_how_many_rollouts_it_made():
    model = RecurrentAttention(8, 1, 1, 1, 8, 8, 0.1, 8, 10)
    split = make_split("valid", 20)
    made = [evaluate(model, split, 2, M, locations, 1).rollouts for M, locations in ((3, "sampled"), (3, "mean"))]
    assert made == [3, 1]


@pytest.mark.parametrize("name", NAMES)
def test_training_learns(name):
    trainer = make_trainer(f"--model={name}", "--epochs=6", "--init_lr=0.003")
    for split in (trainer.train, trainer.valid):  # a class is a place that is lit
        split.images //= 8
        for image, label in zip(split.images, split.labels):
            image[:, 14 * (label // 5) :, 5 * (label % 5) :][:, :14, :5] = 255
    history = trainer.fit()
    assert history[-1]["val_acc"] > 90 > history[0]["train_acc"]
    assert all(record["loss_action"] == record["train_loss"] for record in history)


@pytest.mark.parametrize("name", NAMES)
def test_training_taken_up_at_a_step_ends_with_the_same_bits(name):
    whole, states = make_trainer(f"--model={name}"), []
    whole.fit()
    stopped = make_trainer(f"--model={name}", save=states.append)
    batches = stopped.batches()
    with StopRequest() as stop:
        for _ in range(3):
            means = stopped.train_step(*next(batches))
            stopped.step += 1
            stopped.sums.update(16, **means)
        stop.signum = 2
        with pytest.raises(Interrupted):
            stopped.train_epoch(stop)
    again = make_trainer(f"--model={name}")
    again.load_state(states[-1])
    again.fit()
    for ours, theirs in zip(again.models(), whole.models()):
        assert same(weights_of(ours), weights_of(theirs))
    assert [r["val_loss"] for r in again.history] == [r["val_loss"] for r in whole.history]


# ---- flags and commands


def test_name_tells_model_and_data():
    names = {
        "fc256_mnist": ["--model=fc256"],
        "conv_cluttered_mnist_60x4_pixelstd0.3": ["--model=conv", "--preset=cluttered60"],
        "conv_cluttered_mnist_100x8_pixelstd0.3": ["--model=conv", "--preset=cluttered100-random"],
        "fc64_fashion_mnist_pixelmean0.5": ["--model=fc64", "--dataset=fashion_mnist", "--pixel_mean=0.5"],
        "ram_6_8x8_1": ["--model=ram"],
    }
    for name, flags in names.items():
        assert run_name(get_config(flags)) == name


def test_flags_about_looking_are_refused():
    for name in LOOKING:
        words = {"policy": "random", "locations": "mean", "core": "lstm", "baseline": "learned", "reward": "right"}
        words |= {"core_init": "glorot", "location_mean": "linear", "glimpse_network": "conv"}
        value = words.get(name, "1")
        with pytest.raises(UserError, match=f"--model=conv .* it has no --{name}$"):
            get_config(["--model=conv", f"--{name}={value}"])
    get_config(["--model=conv", "--M=3", "--valid_M=2", "--ema=0", "--augment_shift=1"])


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_gives_a_baseline_its_data_and_recipe_alone(preset):
    config, flags = get_config([f"--preset={preset}", "--model=fc64"]), PRESETS[preset].flags
    for name, default in DEFAULTS.items():
        if name not in ("help", "preset", "model"):
            assert getattr(config, name) == (default if name in LOOKING else flags.get(name, default))


@pytest.fixture
def place(tmp_path, tiny_mnist):
    """Runs main.py's `main` with files in a folder of its own, and returns what it prints."""
    with tiny_mnist.registered():
        yield lambda *flags: main.main(get_config([*folders(tmp_path, tiny_mnist.folder), "--use_gpu=False", *flags]))


@pytest.mark.parametrize("name", NAMES)
def test_baseline_is_trained_resumed_and_tested_by_the_usual_commands(name, place, tmp_path, capsys):
    place(f"--model={name}", "--epochs=1")
    place(f"--model={name}", "--epochs=2", "--resume")
    best, run = tmp_path / "ckpt" / f"{name}_mnist_model_best.pdparams", f"{name}_mnist"
    log = [json.loads(line) for line in (tmp_path / "logs" / f"{run}.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in log] == [1, 2] and not list(tmp_path.rglob("*.npz"))
    capsys.readouterr()
    lines = rf"\[\*\] mnist test, M=1, no locations, epoch \d, {re.escape(str(best))}\n\[\*\] Test Acc: \d+/100 .*\n"
    place(f"--model={name}", "--is_train=False")
    expected = capsys.readouterr().out
    assert re.fullmatch(lines, expected)
    place(f"--weights={best}", "--is_train=False", "--random_seed=4")
    assert capsys.readouterr().out == expected, "a file says which model it holds"
    assert checkpoint.read(str(best))["settings"]["model"] == name


def test_other_training_than_the_preset_s_is_named_without_flags_about_looking(place, capsys):
    named = ["--preset=translated", "--model=fc64"]
    place(*named, "--epochs=1")
    capsys.readouterr()
    place(*named, "--is_train=False")
    assert "--preset=translated trains: --epochs=1 (not 250)\n" in capsys.readouterr().out


def test_weights_of_another_model_are_refused(place, tmp_path):
    place("--model=fc64", "--epochs=1")
    weights = f"--weights={tmp_path / 'ckpt' / 'fc64_mnist_model_best.pdparams'}"
    for flags, message in (
        ([weights, "--is_train=False", "--model=conv"], r"--model=conv \(there: fc64\)"),
        ([weights, "--model=conv"], "nothing but biases in the weights fits this model"),
        ([weights, "--epochs=1"], "nothing but biases in the weights fits this model"),
        (
            [weights, "--is_train=False", "--dataset=cluttered_mnist"],
            "pdparams cannot be used: .* in the weights and",
        ),
    ):
        with pytest.raises(UserError, match=message):
            place(*flags)


def test_noise_is_not_looked_at():
    images = paddle.to_tensor(easy_images(4, 0)[0])
    model = make("fc64")
    noises = [Noise(*map(paddle.to_tensor, draw_noise(4, 3, "train", seed))) for seed in (1, 2)]
    first, second = (model.rollout(images, noise).log_probs.numpy() for noise in noises)
    assert np.array_equal(first, second)


@pytest.mark.parametrize("name", ["fc64", "conv"])
def test_own_images_are_predicted_without_a_path(name, tmp_path, tiny_mnist, capsys):
    flags = [f"--model={name}", *folders(tmp_path, tiny_mnist.folder)]
    with tiny_mnist.registered():
        main.main(get_config([*flags, "--epochs=1", "--batch_size=16"]))
    image = tmp_path / "own.png"
    Image.fromarray(tiny_mnist.arrays["test_images"][0]).save(image)
    capsys.readouterr()
    assert main.main(get_config([*flags, "--json", "--fit=False", "--predict", str(image)])) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["path"] == [] and sum(record["probabilities"]) == pytest.approx(1)
    assert Image.open(record["picture"]).size == (448, 448)


def test_images_that_the_convolution_does_not_fit_into_are_refused():
    for shape in ((1, 9, 28), (3, 300, 1)):
        with pytest.raises(UserError, match=f"at least 10x10 pixels; these have {shape[1]}x{shape[2]}"):
            Baseline("conv", shape, 10)
    Baseline("conv", (1, 10, 10), 10)
