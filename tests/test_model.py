"""Tests of the model: the whole forward and the hybrid loss in NumPy, and where the paper sends gradients."""

from typing import NamedTuple

import numpy as np
import paddle
import pytest
from helpers import long_test

from model import Noise, RecurrentAttention, Rollout, draw_noise
from trainer import hybrid_loss
from utils import UserError

F32 = np.float32


class Case(NamedTuple):
    """A model, a batch of images for it, and noise."""

    model: RecurrentAttention
    images: np.ndarray
    labels: np.ndarray
    noise: tuple


def make_case(
    B=6,
    T=4,
    channels=1,
    height=14,
    width=14,
    g=4,
    k=1,
    s=2,
    h_g=10,
    h_l=6,
    D=12,
    classes=5,
    std=0.3,
    seed=1,
    mean="tanh",
    glimpse="fc",
):
    """Random images and noise, and a model all of whose weights and biases matter."""
    random = np.random.default_rng(seed)
    model = RecurrentAttention(
        g, k, s, channels, h_g, h_l, std, D, classes, location_mean=mean, glimpse_network=glimpse
    )
    model.initialize(seed)
    for weight in model.parameters():
        if len(weight.shape) == 1:
            weight.set_value(random.uniform(0, 0.3, weight.shape).astype(F32))
    images = random.integers(0, 256, (B, channels, height, width)).astype(np.uint8)
    noise = random.uniform(-1, 1, (B, 2)).astype(F32), random.standard_normal((B, T - 1, 2)).astype(F32)
    return Case(model, images, random.integers(0, classes, B), noise)


def tensors(noise):
    return Noise(*map(paddle.to_tensor, noise))


def roll(case, images=None, noise=None):
    images = case.images if images is None else images
    return case.model.rollout(paddle.to_tensor(images), tensors(noise or case.noise))


def values(rollout):
    return [part.numpy() for part in rollout]


# ---- forward


@pytest.mark.parametrize(
    "changes",
    [
        dict(),
        dict(T=1),
        dict(B=1),
        dict(B=1, T=1),
        dict(T=2, classes=3),
        dict(channels=3, k=2),
        dict(height=9, width=17, g=5, k=3, s=3),
        dict(height=3, width=3, g=8, k=2),
        dict(h_g=1, h_l=1, D=2, classes=2),
    ],
    ids=str,
)
def test_shapes(changes):
    case = make_case(**changes)
    B, T, classes = changes.get("B", 6), changes.get("T", 4), changes.get("classes", 5)
    rollout = roll(case)
    assert rollout._fields == ("locations", "log_pi", "baselines", "log_probs")
    assert [part.shape for part in rollout] == [[B, T, 2], [B, T - 1], [B, T - 1], [B, classes]]
    assert all(part.dtype == paddle.float32 and np.isfinite(part.numpy()).all() for part in rollout)
    assert np.array_equal(rollout.locations[:, 0].numpy(), case.noise[0])
    assert np.abs(rollout.locations.numpy()).max() <= 1
    hybrid_loss(rollout, paddle.to_tensor(case.labels), 1.0)[0].backward()
    assert np.isfinite(case.model.sensor.fc1.weight.grad.numpy()).all()


def relu(x):
    return np.maximum(x, 0)


class Walk(NamedTuple):
    """A rollout in NumPy, with what a gradient by hand needs."""

    rollout: tuple
    mus: list  # T-1 times (B, 2)
    chosen: list  # T-1 times (B, 2), before clipping
    hidden: list  # T-1 times (B, D // 2), the locator's hidden layer


def numpy_walk(case, g, k, s, std):
    """The paper's model, equation by equation; the weights' names are those of the state dict."""
    w = {name: value.numpy() for name, value in case.model.state_dict().items()}

    def linear(name, x):
        return x @ w[name + ".weight"] + w[name + ".bias"]

    def retina(l):
        B, C, H, W = case.images.shape
        phi = []
        for j in range(k):
            f, width = s**j, g * s**j
            padded = np.pad(case.images / F32(255), [(0, 0), (0, 0), (width, width), (width, width)])
            x = np.floor(F32(0.5) * (l[:, 0] + 1) * F32(W)).astype(int) - width // 2 + width
            y = np.floor(F32(0.5) * (l[:, 1] + 1) * F32(H)).astype(int) - width // 2 + width
            patches = np.stack([padded[b, :, y[b] : y[b] + width, x[b] : x[b] + width] for b in range(B)])
            phi.append(patches.reshape(B, C, g, f, g, f).mean((3, 5)).reshape(B, -1))
        return np.concatenate(phi, 1)

    def look(l, h):
        what, where = relu(linear("sensor.fc1", retina(l))), relu(linear("sensor.fc2", l))
        g_t = relu(linear("sensor.fc3", what) + linear("sensor.fc4", where))
        return relu(linear("rnn.i2h", g_t) + linear("rnn.h2h", h))

    l, noise = case.noise
    h = np.zeros((len(l), w["rnn.h2h.weight"].shape[0]), F32)
    locations, log_pis, baselines, mus, chosens, hiddens = [l], [], [], [], [], []
    for t in range(noise.shape[1]):
        h = look(l, h)
        hidden = relu(linear("locator.fc", h)) if "locator.fc.weight" in w else h
        mu = linear("locator.fc_lt", hidden)
        mu = np.tanh(mu) if hidden is not h else mu
        chosen = mu + F32(std) * noise[:, t]
        l = np.clip(chosen, -1, 1)
        density = np.exp(-((chosen - mu) ** 2) / (2 * std**2)) / np.sqrt(2 * np.pi * std**2)
        log_pis.append(np.log(density).sum(1))
        baselines.append(linear("baseliner.fc", h)[:, 0])
        locations.append(l)
        mus.append(mu), chosens.append(chosen), hiddens.append(hidden)
    h = look(l, h)
    scores = linear("classifier.fc", h)
    log_probs = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    rollout = np.stack(locations, 1), np.stack(log_pis, 1), np.stack(baselines, 1), log_probs
    return Walk(rollout, mus, chosens, hiddens)


@pytest.mark.parametrize(
    "sizes", [dict(g=4, k=1, s=2), dict(g=3, k=2, s=3), dict(g=5, k=3, s=2)], ids=["one patch", "odd", "three patches"]
)
@pytest.mark.parametrize("std", [0.05, 0.5])
@pytest.mark.parametrize("channels, mean", [(1, "tanh"), (3, "tanh"), (1, "linear")])
def test_rollout_equals_the_papers_equations_in_numpy(sizes, std, channels, mean):
    case = make_case(B=20, T=5, std=std, channels=channels, height=15, width=11, mean=mean, **sizes)
    for ours, slow in zip(values(roll(case)), numpy_walk(case, std=std, **sizes).rollout):
        assert ours.shape == slow.shape and np.abs(ours - slow).max() < 1e-4


def test_bytes_are_pixels_divided_by_255():
    case = make_case(k=2)
    for a, b in zip(values(roll(case)), values(roll(case, images=case.images / F32(255)))):
        assert np.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("mean, std", [(0.1, 0.4), (0.0, 0.4)])
def test_pixels_are_normalised(mean, std):
    case = make_case(k=2)
    normalised = RecurrentAttention(4, 2, 2, 1, 10, 6, 0.3, 12, 5, pixel_mean=mean, pixel_std=std)
    normalised.set_state_dict(case.model.state_dict())
    by_hand = values(roll(case, images=(case.images / F32(255) - F32(mean)) / F32(std)))
    for images in (case.images, case.images / F32(255)):
        rollout = normalised.rollout(paddle.to_tensor(images), tensors(case.noise))
        assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(values(rollout), by_hand))


def test_images_made_ready_once_serve_many_rollouts():
    case = make_case(k=2)
    scene = case.model.prepare(paddle.to_tensor(case.images))
    for noise in (case.noise, tuple(-part for part in case.noise)):
        for a, b in zip(values(case.model.rollout(scene, tensors(noise))), values(roll(case, noise=noise))):
            assert np.array_equal(a, b)


def test_rollout_is_a_function_of_its_arguments():
    """Neither a global random state nor an earlier rollout changes a bit."""
    case = make_case()
    first = values(roll(case))
    paddle.seed(5), np.random.seed(5)
    roll(case, noise=tuple(-part for part in case.noise))
    for a, b in zip(first, values(roll(case))):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("glimpse", ["fc", "conv"])
def test_images_of_a_batch_do_not_influence_each_other(glimpse):
    case = make_case(B=7, g=5, glimpse=glimpse)
    together = values(roll(case))
    for b in range(7):
        alone = roll(case, images=case.images[b : b + 1], noise=tuple(part[b : b + 1] for part in case.noise))
        assert all(np.allclose(a, all_[b : b + 1], atol=1e-5) for a, all_ in zip(values(alone), together))


def test_each_choice_moves_all_later_glimpses_and_the_class():
    case = make_case(T=4)
    before = roll(case)
    for t in range(3):
        first, choices = case.noise[0], case.noise[1].copy()
        choices[:, t] *= -1
        after = roll(case, noise=(first, choices))
        assert np.array_equal(after.locations[:, : t + 1].numpy(), before.locations[:, : t + 1].numpy())
        assert not np.allclose(after.locations[:, t + 1].numpy(), before.locations[:, t + 1].numpy())
        assert not np.allclose(after.log_probs.numpy(), before.log_probs.numpy())


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("policy", ["random", "center"])
def test_policies_to_compare_with_train_all_but_the_locator(policy, fast):
    case = make_case(B=32)
    case.model.locator.policy, case.model.fast = policy, fast
    rollout = roll(case)
    if policy == "center":
        assert not rollout.locations.numpy().any(), "the first glimpse, too"
    else:
        assert np.array_equal(rollout.locations[:, 0].numpy(), case.noise[0])
        other = roll(case, images=255 - case.images)
        assert np.array_equal(rollout.locations.numpy(), other.locations.numpy()), "whatever is seen"
    idle = ("locator", "sensor.fc2.weight") if policy == "center" else ("locator",)  # fc2 is given zeros
    for name, gradient in gradients_of(case).items():
        assert gradient.any() == (not name.startswith(idle)), name


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("policy", ["learned", "random", "center"])
def test_first_glimpse_is_within_its_reach(policy, fast):
    case = make_case(B=32)
    case.model.first_reach, case.model.locator.policy, case.model.fast = 0.25, policy, fast
    first = roll(case).locations[:, 0].numpy()
    expected = (0 if policy == "center" else 0.25) * case.noise[0]  # of a random policy, too
    assert np.array_equal(first, expected)


# ---- weights and noise from seeds


def test_weights_are_a_function_of_the_seed():
    def weights(seed):
        model = RecurrentAttention(4, 1, 2, 1, 10, 6, 0.3, 12, 5)
        model.initialize(seed)
        return {name: value.numpy() for name, value in model.state_dict().items()}

    first, again, other = weights(1), weights(1), weights(2)
    for name, weight in first.items():
        assert np.array_equal(weight, again[name])
        if name.endswith("bias"):
            assert not weight.any()
        elif name == "rnn.h2h.weight":
            assert np.array_equal(weight, np.eye(12)), "a rectified core begins with keeping its state"
        else:
            assert not np.allclose(weight, other[name])
            limit = np.sqrt(6 / sum(weight.shape))
            assert np.abs(weight).max() <= limit and weight.std() == pytest.approx(limit / np.sqrt(3), rel=0.5)
    assert len({weight.tobytes() for weight in first.values() if weight.any()}) == 10, (
        "each layer has weights of its own"
    )
    for drawn in ({"core": "lstm"}, {"core_init": "glorot"}):
        other = RecurrentAttention(4, 1, 2, 1, 10, 6, 0.3, 12, 5, **drawn)
        other.initialize(1)
        weight = other.rnn.h2h.weight.numpy()
        assert len(np.unique(weight)) == weight.size, "drawn like all others"


def test_noise_is_a_function_of_its_key_and_does_not_depend_on_the_count():
    first, choices = draw_noise(50, 4, "train", 1, 7)
    assert first.shape == (50, 2) and choices.shape == (50, 3, 2) and first.dtype == choices.dtype == F32
    for a, b in zip(draw_noise(20, 4, "train", 1, 7), (first, choices)):
        assert np.array_equal(a, b[:20])
    for other in (("train", 1, 8), ("train", 2, 7), ("valid", 1, 7)):
        assert not np.array_equal(draw_noise(50, 4, *other)[0], first)
        assert not np.array_equal(draw_noise(50, 4, *other)[1], choices)
    assert draw_noise(5, 1, "train", 1, 7)[1].shape == (5, 0, 2)


def test_noise_has_its_distribution():
    first, choices = draw_noise(20_000, 3, "train", 1, 0)
    assert first.min() >= -1 and first.max() <= 1
    assert np.allclose(first.mean(0), 0, atol=0.02) and np.allclose(first.var(0), 1 / 3, atol=0.02)
    assert np.allclose(choices.mean(0), 0, atol=0.03) and np.allclose(choices.var(0), 1, atol=0.04)
    columns = np.concatenate([first, choices.reshape(-1, 4)], 1)
    assert np.abs(np.corrcoef(columns.T) - np.eye(6)).max() < 0.03


# ---- the loss


def rollout_by_hand(seed=0, B=6, T=4, classes=3):
    random = np.random.default_rng(seed)
    scores = random.standard_normal((B, classes)).astype(F32)
    log_probs = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    parts = random.uniform(-1, 1, (B, T, 2)), random.standard_normal((B, T - 1)), random.standard_normal((B, T - 1))
    return Rollout(*(paddle.to_tensor(np.asarray(part, F32)) for part in (*parts, log_probs)))


@pytest.mark.parametrize("kind", ["right", "probability"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weight", [0.0, 1.0, 0.3])
def test_loss_is_its_formula(weight, smoothing, kind):
    rollout, labels = rollout_by_hand(), np.array([0, 1, 2, 0, 1, 2])
    _, log_pi, baselines, log_probs = values(rollout)
    loss, parts = hybrid_loss(rollout, paddle.to_tensor(labels), weight, reward=kind, smoothing=smoothing)
    right, probability = (log_probs.argmax(1) == labels).astype(float), np.exp(log_probs)[np.arange(6), labels]
    assert 0 < right.mean() < 1
    reward = {"right": right, "probability": probability}[kind]
    target = np.eye(3)[labels] * (1 - smoothing) + smoothing / 3
    expected = {
        "action": -(target * log_probs).sum(1).mean(),
        "baseline": ((baselines - reward[:, None]) ** 2).mean(),
        "reinforce": -(log_pi * (reward[:, None] - baselines)).sum(1).mean(),
        "right": right.mean(),
    }
    assert {name: pytest.approx(float(part), abs=1e-5) for name, part in parts.items()} == expected
    assert float(loss) == pytest.approx(
        expected["action"] + expected["baseline"] + weight * expected["reinforce"], abs=1e-5
    )


def test_one_glimpse_chooses_nothing_and_only_classifies():
    case = make_case(T=1)
    loss, parts = hybrid_loss(roll(case), paddle.to_tensor(case.labels), 1.0)
    assert float(loss) == float(parts["action"]) and float(parts["baseline"]) == float(parts["reinforce"]) == 0


# ---- gradients

PARTS = {"action": ("sensor", "rnn", "classifier"), "reinforce": ("locator",), "baseline": ("baseliner",)}


def gradients(model):
    """By parameter name; zeros where there is none."""
    return {
        name: np.zeros(weight.shape, F32) if weight.grad is None else weight.grad.numpy()
        for name, weight in model.named_parameters()
    }


def gradients_of(case, part=None, weight=1.0):
    """The gradient of one part of the loss, or of the whole."""
    case.model.clear_gradients()
    loss, parts = hybrid_loss(roll(case), paddle.to_tensor(case.labels), weight)
    (loss if part is None else parts[part]).backward()
    return gradients(case.model)


@pytest.mark.parametrize("changes", [dict(), dict(T=2, k=2, channels=3)], ids=str)
@pytest.mark.parametrize("part", PARTS)
def test_each_part_of_the_loss_trains_its_own_part_of_the_model(part, changes):
    case = make_case(B=32, **changes)
    for name, gradient in gradients_of(case, part).items():
        assert gradient.any() == name.startswith(PARTS[part]), name


def test_gradient_of_the_loss_is_the_sum_of_its_parts():
    case = make_case(B=32)
    action, baseline, reinforce = (gradients_of(case, part) for part in ("action", "baseline", "reinforce"))
    for name, gradient in gradients_of(case, weight=0.7).items():
        expected = action[name] + baseline[name] + F32(0.7) * reinforce[name]
        assert np.allclose(gradient, expected, atol=1e-6), name


def test_rewards_and_baselines_are_data_to_reinforce():
    """With every answer right and a baseline of 1 there is no advantage, and nothing to reinforce."""
    case = make_case(B=32)
    case.model.baseliner.fc.weight.set_value(paddle.zeros([12, 1]))
    case.model.baseliner.fc.bias.set_value(paddle.ones([1]))
    case = case._replace(labels=roll(case).log_probs.argmax(1).numpy())
    assert not any(gradient.any() for gradient in gradients_of(case, "reinforce").values())
    case = case._replace(labels=(case.labels + 1) % 5)
    assert gradients_of(case, "reinforce")["locator.fc_lt.weight"].any()


@pytest.mark.parametrize("changes", [dict(), dict(T=2), dict(B=1), dict(mean="linear")], ids=str)
def test_reinforce_gradient_is_the_analytic_one(changes):
    """-1/B sum over images and choices of (R - b_t) (l - mu) / std**2 dmu, for the locator's last layer."""
    case = make_case(**{"B": 16, "T": 5, "std": 0.3, **changes})
    walk = numpy_walk(case, g=4, k=1, s=2, std=0.3)
    _, _, baselines, log_probs = walk.rollout
    reward = (log_probs.argmax(1) == case.labels).astype(F32)
    bias, weight = 0, 0
    for t, (mu, chosen, hidden) in enumerate(zip(walk.mus, walk.chosen, walk.hidden)):
        advantage = (reward - baselines[:, t])[:, None]
        slope = 1 if "mean" in changes else 1 - mu**2
        to_scores = -advantage * (chosen - mu) / 0.3**2 * slope / len(case.images)  # (B, 2)
        bias = bias + to_scores.sum(0)
        weight = weight + hidden.T @ to_scores
    found = gradients_of(case, weight=1.0)
    assert np.abs(bias).max() > 1e-3
    assert np.allclose(found["locator.fc_lt.bias"], bias, rtol=1e-3, atol=1e-5)
    assert np.allclose(found["locator.fc_lt.weight"], weight, rtol=1e-3, atol=1e-5)


def reinforced_as_a_whole(case):
    """REINFORCE's term (paper, equation 2) by autograd, where theta is all that log pi depends on; choices are data."""
    model, rollout = case.model, roll(case)
    reward = (rollout.log_probs.argmax(1) == paddle.to_tensor(case.labels)).astype("float32")
    h_t, total = paddle.zeros([len(case.images), model.rnn.hidden_size]), 0
    for t, epsilon in enumerate(tensors(case.noise).choices.unbind(1)):
        h_t = model.rnn(model.sensor(paddle.to_tensor(case.images), rollout.locations[:, t].detach()), h_t)
        mu = h_t if model.locator.fc is None else paddle.nn.functional.relu(model.locator.fc(h_t))
        mu = model.locator.fc_lt(mu) if model.locator.fc is None else paddle.tanh(model.locator.fc_lt(mu))
        chosen = (mu + model.locator.std * epsilon).detach()
        log_pi = -((chosen - mu) ** 2).sum(1) / (2 * model.locator.std**2)
        total = total - (log_pi * (reward - rollout.baselines[:, t].detach())).mean()
    return total


@pytest.mark.parametrize(
    "changes", [dict(), dict(T=2), dict(B=1, k=2), dict(mean="linear"), dict(glimpse="conv", g=5, k=2)], ids=str
)
@pytest.mark.parametrize("fast", [True, False])
def test_reinforce_trains_the_whole_network_by_the_share_that_is_given(fast, changes):
    case = make_case(**{"B": 16, "T": 5, **changes})
    reinforced_as_a_whole(case).backward()
    whole, case.model.fast = gradients(case.model), fast
    assert whole["sensor.fc1.weight"].any() and whole["rnn.i2h.weight"].any()
    for case.model.locator.reinforce_core in (1, 0.25, 0):
        for name, gradient in gradients_of(case, "reinforce").items():
            share = 1 if name.startswith("locator") else case.model.locator.reinforce_core
            assert np.allclose(gradient, share * whole[name], rtol=1e-3, atol=1e-6), name


def step_by_step(case):
    """A rollout from the five networks alone, one glimpse after the other, as autograd sees it."""
    model, x = case.model, paddle.to_tensor(case.images)
    first, choices = tensors(case.noise)
    h_t, l_t = paddle.zeros([len(case.images), model.rnn.hidden_size]), first
    locations, log_pis, baselines = [l_t], [], []
    for t in range(choices.shape[1]):
        h_t = model.rnn(model.sensor(x, l_t), h_t)
        baselines.append(model.baseliner(h_t)[:, 0])
        log_pi, l_t = model.locator(h_t, choices[:, t])
        log_pis.append(log_pi), locations.append(l_t)
    h_t = model.rnn(model.sensor(x, l_t), h_t)
    stacked = paddle.stack(locations, 1), paddle.stack(log_pis, 1), paddle.stack(baselines, 1)
    return Rollout(*stacked, model.classifier(h_t))


@pytest.mark.parametrize(
    "changes",
    [dict(), dict(T=2, B=1), dict(k=2, channels=3, height=9), dict(h_g=7, h_l=3, D=5), dict(glimpse="conv", g=5, k=2)],
    ids=str,
)
def test_values_and_gradients_are_those_of_autograd_step_by_step(changes):
    case = make_case(**{"B": 16, "T": 6, **changes})
    labels = paddle.to_tensor(case.labels)
    plain = step_by_step(case)
    hybrid_loss(plain, labels, 0.7)[0].backward()
    expected = gradients(case.model)
    for case.model.fast in (True, False):
        for a, b in zip(values(roll(case)), values(plain)):
            assert np.allclose(a, b, atol=1e-5)
        for name, gradient in gradients_of(case, weight=0.7).items():
            assert np.allclose(gradient, expected[name], rtol=1e-4, atol=1e-5), name


def test_gradients_add_up_over_two_backward_passes():
    case = make_case(B=16)
    once = gradients_of(case)
    hybrid_loss(roll(case), paddle.to_tensor(case.labels), 1.0)[0].backward()
    for name, gradient in gradients(case.model).items():
        assert np.allclose(gradient, 2 * once[name], rtol=1e-4, atol=1e-6), name


def test_nothing_is_recorded_without_gradients():
    case = make_case()
    with paddle.no_grad():
        assert all(part.stop_gradient for part in roll(case))


# ---- attention is learned


def corners(random, count):
    """Images (count, 1, 24, 24) with a light or dark square in each corner; a cue in the middle says which one counts.

    A glimpse of 6 x 6 pixels in the middle shows the cue and no corner.
    """
    images = np.zeros((count, 1, 24, 24), F32)
    which, light = random.integers(0, 4, count), random.integers(0, 2, (count, 4))
    images[:, 0, 9:15, 9:15] = -0.5
    for image, corner, squares in zip(images[:, 0], which, light):
        row, column = divmod(corner, 2)
        image[9 + 3 * row : 12 + 3 * row, 9 + 3 * column : 12 + 3 * column] = 1
        for number, square in enumerate(squares):
            row, column = divmod(number, 2)
            image[17 * row : 17 * row + 7, 17 * column : 17 * column + 7] = 2 * square - 1
    return images, light[np.arange(count), which]


def accuracy_after_training(seed, frozen, steps=600, batch=128):
    """Trains on `corners` with two glimpses, the first in the middle; without the locator's weights if `frozen`."""
    model = RecurrentAttention(6, 1, 1, 1, 32, 32, 0.5, 64, 2)
    model.initialize(seed)
    model.locator.fc_lt.weight.set_value(0.1 * model.locator.fc_lt.weight)  # at first it looks at the middle
    trained = [weight for name, weight in model.named_parameters() if not (frozen and name.startswith("locator"))]
    optimizer = paddle.optimizer.Adam(1e-3, parameters=trained)
    random = np.random.default_rng(seed)
    images, labels = corners(random, 5000)
    for _ in range(steps):
        index = random.integers(0, 4000, batch)
        noise = np.zeros((batch, 2), F32), random.standard_normal((batch, 1, 2)).astype(F32)
        rollout = model.rollout(paddle.to_tensor(images[index]), tensors(noise))
        hybrid_loss(rollout, paddle.to_tensor(labels[index]), 1.0)[0].backward()
        optimizer.step()
        model.clear_gradients()
    noise = np.zeros((1000, 2), F32), random.standard_normal((1000, 1, 2)).astype(F32)
    rollout = model.rollout(paddle.to_tensor(images[4000:]), tensors(noise))
    return np.mean(rollout.log_probs.numpy().argmax(1) == labels[4000:])


@pytest.mark.parametrize("frozen", [False, *long_test(True)], ids=["learned", "frozen"])
@pytest.mark.parametrize("seed", [1, *long_test(2)])
def test_looking_at_the_right_place_is_learned_and_only_with_the_locator(seed, frozen):
    """Guessing is right half of the time, and so is, nearly, whoever looks anywhere."""
    accuracy = accuracy_after_training(seed, frozen)
    assert accuracy < 0.65 if frozen else accuracy > 0.75


def test_core_that_cannot_start_as_the_identity_is_an_error_in_one_line():
    model = RecurrentAttention(8, 1, 1, 1, 128, 128, 0.05, 256, 10)
    model.rnn.h2h = paddle.nn.Linear(256, 512)
    with pytest.raises(UserError, match="--core_init=glorot"):
        model.initialize(1)
