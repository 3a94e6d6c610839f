"""Whoever edits a network sees the edit train: the fast rollout serves only while it computes what modules.py says."""

import itertools

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from helpers import long_test
from paddle import nn
from test_trainer import Training

import modules
from config import get_config
from model import Glimpse, Noise, RecurrentAttention, draw_noise
from ram.build import build_model
from ram.fast import rollout as fast
from ram.fast.check import UNKNOWN, alike, compare, differing_part
from trainer import hybrid_loss


def make(core="relu", mean="tanh", **more):
    """A small model, images, labels and noise."""
    model = RecurrentAttention(6, 2, 2, 1, 12, 8, 0.2, 16, 5, core=core, location_mean=mean, reinforce_core=0.1, **more)
    model.initialize(3)
    rng = np.random.default_rng(0)
    images = paddle.to_tensor(rng.integers(0, 256, (7, 1, 20, 24), dtype=np.uint8))
    labels = paddle.to_tensor(rng.integers(0, 5, 7))
    return model, images, labels, Noise(*map(paddle.to_tensor, draw_noise(7, 4, "test", 1)))


def part_of(model, images, labels, noise):
    return differing_part(model, images, noise, lambda rollout: hybrid_loss(rollout, labels, 1.0)[0])


def test_only_what_is_finite_can_differ():
    """Else a training whose numbers run off would blame the fast rollout before it says so."""
    finite, nan, inf = (paddle.to_tensor([1.0, value]) for value in (1.0, float("nan"), float("inf")))
    assert alike(nan, nan) and alike(inf, inf) and alike(nan, finite)
    assert alike(finite, finite) and not alike(finite, nan) and not alike(finite, inf)


@pytest.mark.parametrize("core", ["relu", "lstm"])
@pytest.mark.parametrize("mean", ["tanh", "linear"])
@pytest.mark.parametrize("policy", ["learned", "random", "center"])
@pytest.mark.parametrize("glimpse", ["fc", "conv"])
def test_no_part_differs_as_long_as_nothing_is_edited(core, mean, policy, glimpse):
    more = {"policy": policy, "glimpse_network": glimpse, "pixel_mean": 0.2, "pixel_std": 0.5, "first_reach": 0.5}
    model, *rest = make(core, mean, **more)
    before = {name: weight.numpy().copy() for name, weight in model.state_dict().items()}
    assert part_of(model, *rest) is None
    assert all(np.array_equal(weight.numpy(), before[name]) for name, weight in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters()), "the check leaves no gradient behind"


def twice(function):
    return lambda self, *arguments: 2 * function(self, *arguments)


def with_tanh(self, x, l_t_prev):
    phi = self.retina.foveate(x, l_t_prev)
    return F.tanh(self.fc3(F.relu(self.fc1(phi))) + self.fc4(F.relu(self.fc2(l_t_prev))))


def clipped_closer(self, h_t, noise):
    chosen = self.choose(h_t, noise)
    return self.log_pi(h_t, chosen), paddle.clip(chosen, -0.1, 0.1)


def half_way(self, x, noise, along=None):
    """`RecurrentAttention.walk`, but half of the way to what is chosen."""
    x, T = self.normalize(x), noise.choices.shape[1] + 1
    led = 0 if along is None else along.shape[1]
    l_t = along[:, 0] if led else self.first_location(noise)
    state = paddle.zeros([x.shape[0], self.rnn.state_size])
    for t in range(T):
        state = self.step(x, l_t, state)
        h_t = state[:, : self.rnn.hidden_size]
        log_pi, chosen = (None, None) if t == T - 1 else self.locator(h_t, noise.choices[:, t])
        yield Glimpse(l_t, h_t, log_pi, chosen)
        if t < T - 1:
            l_t = along[:, t + 1] if t + 1 < led else 0.5 * chosen


EDITS = {
    "Retina.foveate": (modules.Retina, "foveate", twice(modules.Retina.foveate)),
    "GlimpseNetwork.forward": (modules.GlimpseNetwork, "forward", with_tanh),
    "CoreNetwork.forward": (modules.CoreNetwork, "forward", twice(modules.CoreNetwork.forward)),
    "LocationNetwork.mean": (modules.LocationNetwork, "mean", twice(modules.LocationNetwork.mean)),
    "LocationNetwork.forward": (modules.LocationNetwork, "forward", clipped_closer),
    "RecurrentAttention.walk": (RecurrentAttention, "walk", half_way),
    "the rollout's log_pi": (modules.LocationNetwork, "log_pi", twice(modules.LocationNetwork.log_pi)),
}


@pytest.mark.parametrize("part", EDITS)
def test_edit_of_a_part_is_named(monkeypatch, part):
    monkeypatch.setattr(*EDITS[part])
    assert part_of(*make()) == part


def test_edit_of_the_convolutional_glimpse_network_is_named(monkeypatch):
    forward = modules.ConvGlimpseNetwork.forward
    monkeypatch.setattr(modules.ConvGlimpseNetwork, "forward", twice(forward))
    assert part_of(*make(glimpse_network="conv")) == "ConvGlimpseNetwork.forward"


def test_edit_of_the_number_of_glimpses_is_named(monkeypatch):
    walk = RecurrentAttention.walk
    monkeypatch.setattr(RecurrentAttention, "walk", lambda *arguments: itertools.islice(walk(*arguments), 3))
    assert part_of(*make()) == "RecurrentAttention.walk"


def test_edit_that_changes_gradients_alone_is_named(monkeypatch):
    mean = modules.LocationNetwork.mean
    monkeypatch.setattr(modules.LocationNetwork, "mean", lambda self, h_t: mean(self, h_t.detach()))
    assert part_of(*make()).startswith("the gradient of ")


def test_layers_of_other_names_or_shapes_take_the_plain_rollout(monkeypatch):
    """Not a traceback; and the plain rollout computes what was edited."""

    def other_name(self, g_t, h_t_prev):
        return F.relu(self.input(g_t) + self.h2h(h_t_prev))

    def other_shape(self, g_t, h_t_prev):
        return F.relu((self.i2h(g_t) + self.h2h(h_t_prev)).chunk(2, axis=1)[0])

    model, *rest = make()
    model.rnn.h2h = nn.Linear(16, 16, bias_attr=False)
    assert part_of(model, *rest).startswith(UNKNOWN)
    for forward, layers in (
        (other_name, {"i2h": None, "input": nn.Linear(20, 16)}),
        (other_shape, {"i2h": nn.Linear(20, 32), "h2h": nn.Linear(16, 32)}),
    ):
        monkeypatch.setattr(modules.CoreNetwork, "forward", forward)
        model, images, labels, noise = make()
        for name, layer in layers.items():
            setattr(model.rnn, name, layer)
        assert part_of(model, images, labels, noise).startswith(UNKNOWN)
        assert model.plain_rollout(images, noise).log_probs.shape == [7, 5]


def test_networks_of_other_classes_take_the_plain_rollout():
    model, *rest = make()
    model.rnn = type("MyCore", (modules.CoreNetwork,), {})(20, 16)
    assert part_of(model, *rest) == UNKNOWN
    model, images, _, noise = make()
    model.sensor.fc1 = nn.Sequential(model.sensor.fc1, nn.LayerNorm(12))
    assert part_of(model, images, None, noise) == UNKNOWN
    assert model.prepare(images) is images, "and every rollout is the plain one"
    for other in (nn.Conv2D(16, 32, 5, padding=2), nn.Sequential(nn.Conv2D(16, 32, 3, padding=1))):
        model, *rest = make(glimpse_network="conv")
        model.sensor.conv2 = other
        assert part_of(model, *rest) == UNKNOWN


@pytest.mark.parametrize("part", EDITS)
def test_edits_train(monkeypatch, capsys, part):
    """Two steps with the edit are two steps of the plain rollout with the edit, and not those without it."""

    def weights(training):
        return np.concatenate([weight.numpy().ravel() for weight in training.trainer.model.parameters()])

    def trained(plain):
        training = Training("--epochs=1", "--limit=32", "--num_patches=2", "--glimpse_scale=2")
        training.trainer.model.fast = training.trainer.averaged.fast = not plain
        training.fit()
        return weights(training)

    untouched = trained(plain=False)
    assert "differs from the fast rollout" not in capsys.readouterr().out
    monkeypatch.setattr(*EDITS[part])
    edited, plain = trained(plain=False), trained(plain=True)
    assert f"[*] {part} differs from the fast rollout: the plain one trains" in capsys.readouterr().out
    np.testing.assert_array_equal(edited, plain)
    assert np.abs(edited - untouched).max() > 1e-4


def test_edit_that_changes_nothing_yet_trains_from_the_epoch_in_which_it_does(monkeypatch, capsys):
    forward = modules.CoreNetwork.forward
    limited = lambda self, g_t, h_t_prev: paddle.clip(forward(self, g_t, h_t_prev), max=1e3)  # noqa: E731
    monkeypatch.setattr(modules.CoreNetwork, "forward", limited)
    training = Training("--epochs=2", "--limit=32")
    model, steps = training.trainer.model, training.trainer.steps_per_epoch

    def reach_the_limit():
        assert model.fast, "until now"
        model.rnn.i2h.weight.set_value(1e5 * model.rnn.i2h.weight)

    training.at_step[steps + 1] = reach_the_limit
    training.fit()
    assert "[*] CoreNetwork.forward differs from the fast rollout: the plain one trains" in capsys.readouterr().out
    assert not model.fast and not training.trainer.averaged.fast


def test_tests_and_predictions_of_an_edited_network_are_plain(monkeypatch, capsys):
    monkeypatch.setattr(*EDITS["GlimpseNetwork.forward"])
    from ram.build import check_rollout

    model = build_model(get_config([]), (1, 28, 28), 10)
    model.initialize(1)
    check_rollout(model, (1, 28, 28), 6)
    assert not model.fast and "GlimpseNetwork.forward differs" in capsys.readouterr().out


@long_test()
def test_unit_within_rounding_of_zero_is_no_difference():
    """A unit of fc1 that is at zero but for rounding for one image is active in one of the two rollouts alone."""
    model, images, labels, noise = make()
    scene = fast.prepare(model, images)
    with paddle.no_grad():
        tape = fast.walk(model, scene, noise)
        plain = model.sensor.fc1(model.sensor.retina.foveate(images.astype("float32") / 255, tape.l[0]))
    found = 0
    for unit in range(12):
        for image in range(0, 7, 3):
            model.sensor.fc1.bias.set_value(np.eye(12, dtype="float32")[unit] * -float(plain[image, unit]))
            loss = lambda rollout: hybrid_loss(rollout, labels, 1.0)[0]  # noqa: E731
            found += compare(model, images, noise, loss) is not None
            assert differing_part(model, images, noise, loss) is None
    assert found
