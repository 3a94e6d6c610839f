"""Compute the rollout of model.py several times faster: the same numbers from fewer operations.

The fast rollout is used only for the networks of modules.py as they are there (`supports`). After an edit of one of
them, the first batch of an epoch shows that the two differ (check.py), and the plain rollout trains.

The speed follows from one property of the paper's model: where the network looks is data. No gradient flows through a
location, so once the locations are chosen, the T glimpses are an ordinary recurrent network on given inputs, and the
locator and the baseliner are ordinary networks on its states, into which the locator's gradient may go on.

- The walk over the glimpses records no graph, just the output of every layer (`Tape`).
- Backward, only the recurrence itself goes step by step, and the convolutions, if there are any (convolution.py).
  Everything else, weight gradients included, is one product over the T*B glimpses of the batch (`States.backward`,
  `LogDensity.backward`).
- Every bias is spread to one row per image before the walk: equal shapes are added four times faster.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import paddle
import paddle.nn.functional as F
from paddle import nn
from paddle.autograd import PyLayer

from modules import (
    ActionNetwork,
    BaselineNetwork,
    ConvGlimpseNetwork,
    CoreNetwork,
    GlimpseNetwork,
    LocationNetwork,
    LSTMCore,
    Retina,
)
from ram.fast import convolution
from ram.fast.products import active, column_sums
from ram.fast.retina import FastRetina, Scene


class Tape(NamedTuple):
    """The outputs of the layers, one tensor per glimpse; P = k*C*g*g, h = h_g + h_l."""

    l: list  # T times (B, 2): where
    phi: list  # T times (B, P): what the retina saw there
    first: list  # T times what the first convolution made of it, if there is one
    seen: list  # T times what fc1 reads: phi, or the maps (B, ...) of the second convolution
    a_what: list  # T times (B, h_g): relu(fc1(phi))
    a_where: list  # T times (B, h_l): relu(fc2(l))
    g: list  # T times (B, h): relu(fc3(a_what) + fc4(a_where))
    kept: list  # T times what `backward` of the core's unit needs
    h: list  # T times (B, D): the core's state
    u: list  # T-1 times (B, D//2): the locator's hidden layer, if it has one
    mu: list  # T-1 times (B, 2): the policy's mean


class ReluUnit:
    """The function of a CoreNetwork on z = i2h(g_t) + h2h(h_t-1), and its derivative.

    `forward` returns h_t, the memory (this unit has none), and what `backward`, from dh_t to dz, needs.
    """

    @staticmethod
    def forward(z, memory):
        h_t = F.relu(z)
        return h_t, memory, h_t

    @staticmethod
    def backward(dh, dmemory, kept):
        return dh * active(kept), dmemory


class LSTMUnit:
    """The function of an LSTMCore on z, and its derivative; the memory is the cell c_t."""

    @staticmethod
    def forward(z, memory):
        i, f, o, u = z.chunk(4, axis=1)
        i, f, o, u = F.sigmoid(i), F.sigmoid(f + 1), F.sigmoid(o), paddle.tanh(u)
        c_t = i * u if memory is None else f * memory + i * u
        squashed = paddle.tanh(c_t)
        return o * squashed, c_t, (i, f, o, u, memory, squashed)

    @staticmethod
    def backward(dh, dmemory, kept):
        i, f, o, u, memory, squashed = kept
        do = dh * squashed * (o - o * o)
        dc = dh * o * (1 - squashed * squashed)
        dc = dc if dmemory is None else dc + dmemory
        df = paddle.zeros_like(dc) if memory is None else dc * memory * (f - f * f)
        return paddle.concat([dc * u * (i - i * i), df, do, dc * i * (1 - u * u)], axis=1), dc * f


def unit(core):
    """Return the unit of a core network."""
    return LSTMUnit if isinstance(core, LSTMCore) else ReluUnit


class States(PyLayer):
    """The states (T*B, D) of the walk on `tape`, as a differentiable function of the sensor's and the core's weights.

    They are in the order of the glimpses: the last is classified, and those before choose where to look.
    """

    @staticmethod
    def forward(ctx, tape: Tape, unit, sensor, *weights):
        ctx.tape, ctx.unit, ctx.sensor = tape, unit, sensor
        ctx.save_for_backward(*weights)
        return paddle.concat(tape.h)

    @staticmethod
    def backward(ctx, dstates):
        """Backpropagate through time; gradients in the order of `state_weights`."""
        w_fc1, _, w_fc2, _, w_fc3, _, w_fc4, _, w_i2h, _, w_h2h, _, *filters = ctx.saved_tensor()
        tape = ctx.tape
        T = len(tape.h)
        dstates = dstates.reshape([T, -1, dstates.shape[1]])  # (T, B, D)
        B, dh = dstates.shape[1], dstates[-1]
        dz, dmemory = [], None  # T times (B, units of i2h), last glimpse first
        for t in reversed(range(T)):
            dz_t, dmemory = ctx.unit.backward(dh, dmemory, tape.kept[t])
            dz.append(dz_t)
            if t:
                dh = paddle.matmul(dz_t, w_h2h, transpose_y=True) + dstates[t - 1]  # (B, D)
        dz = paddle.concat(dz[::-1])  # (T*B, ...), like everything from here on
        l, seen, a_what, a_where, g = map(paddle.concat, (tape.l, tape.seen, tape.a_what, tape.a_where, tape.g))
        dg = paddle.matmul(dz, w_i2h, transpose_y=True) * active(g)
        dwhat = paddle.matmul(dg, w_fc3, transpose_y=True) * active(a_what)
        dwhere = paddle.matmul(dg, w_fc4, transpose_y=True) * active(a_where)
        d_h2h = paddle.matmul(paddle.concat(tape.h[:-1]), dz[B:], transpose_x=True) if T > 1 else w_h2h * 0
        gradients = []
        for inputs, outputs in ((seen, dwhat), (l, dwhere), (a_what, dg), (a_where, dg), (g, dz)):
            gradients.append(paddle.matmul(inputs, outputs, transpose_x=True))
            gradients.append(column_sums(outputs))
        gradients += [d_h2h, gradients[-1].clone()]
        if filters:
            dseen = paddle.matmul(dwhat, w_fc1, transpose_y=True).split(T)
            gradients += convolution.backward(tape.phi, tape.first, tape.seen, dseen, ctx.sensor, filters[2])
        return tuple(gradients)


def state_weights(model) -> list[paddle.Tensor]:
    """List the weights that the states depend on: weight and bias of each layer in turn, convolutions last."""
    s, r = model.sensor, model.rnn
    weights = [w for layer in (s.fc1, s.fc2, s.fc3, s.fc4, r.i2h, r.h2h) for w in (layer.weight, layer.bias)]
    if isinstance(s, ConvGlimpseNetwork):
        weights[0], *filters = convolution.matrices(s)
        weights += filters
    return weights


class LogDensity(PyLayer):
    """The log-density (B, T-1) of the choices on `tape`, differentiable by the states and the locator's weights.

    A choice is mu + std * epsilon, so the density's value depends on epsilon alone; its gradient goes to mu.
    """

    @staticmethod
    def forward(ctx, tape: Tape, epsilons, std: float, reinforce_core: float, states, *weights):
        ctx.tape, ctx.std, ctx.reinforce_core = tape, std, reinforce_core
        ctx.save_for_backward(epsilons, states, *weights)
        return -0.5 * (epsilons * epsilons).sum(-1) - (2 * math.log(std) + math.log(2 * math.pi))

    @staticmethod
    def backward(ctx, d_log_pi):
        """Backpropagate d log_pi / d mu = epsilon / std; gradients: states ((T-1)*B, D), then as `policy_weights`."""
        epsilons, h, *weights = ctx.saved_tensor()
        dmu = (d_log_pi.unsqueeze(2) * epsilons).transpose([1, 0, 2]).reshape([-1, 2]) / ctx.std  # ((T-1)*B, 2)
        layers = [(h, dmu)]  # the input of each of the locator's layers, and the gradient of its output
        if ctx.tape.u:
            u, mu = paddle.concat(ctx.tape.u), paddle.concat(ctx.tape.mu)  # ((T-1)*B, ...)
            dm = dmu * (1 - mu * mu)  # mu = tanh(m)
            layers = [(h, paddle.matmul(dm, weights[2], transpose_y=True) * active(u)), (u, dm)]
        gradients = []
        for inputs, outputs in layers:
            gradients += [paddle.matmul(inputs, outputs, transpose_x=True), column_sums(outputs)]
        dstates = None
        if ctx.reinforce_core:
            dstates = paddle.matmul(layers[0][1], weights[0], transpose_y=True) * ctx.reinforce_core
        return (None, dstates, *gradients)


def policy_weights(model) -> list[paddle.Tensor]:
    """List the weights that the policy depends on besides the states."""
    layers = [layer for layer in (model.locator.fc, model.locator.fc_lt) if layer]
    return [w for layer in layers for w in (layer.weight, layer.bias)]


def supports(model) -> bool:
    """Tell whether a model consists of just the networks that this file computes, each with its layers."""
    sensor, core, locator = model.sensor, model.rnn, model.locator
    networks = (sensor, core, locator, model.classifier, model.baseliner, getattr(sensor, "retina", None))
    sensors, cores = (GlimpseNetwork, ConvGlimpseNetwork), (CoreNetwork, LSTMCore)
    kinds = (sensors, cores, LocationNetwork, ActionNetwork, BaselineNetwork, Retina)
    if not all(type(network) in (kind if type(kind) is tuple else (kind,)) for network, kind in zip(networks, kinds)):
        return False
    if type(sensor) is ConvGlimpseNetwork and not convolution.supports(sensor):
        return False
    layers = [getattr(sensor, name, None) for name in ("fc1", "fc2", "fc3", "fc4")]
    layers += [getattr(part, name, None) for part, name in ((core, "i2h"), (core, "h2h"), (locator, "fc_lt"))]
    layers += [locator.fc] if getattr(locator, "fc", None) else []
    return all(type(layer) is nn.Linear for layer in layers)


def prepare(model, x: paddle.Tensor) -> Scene:
    """Make images (B, C, H, W), uint8 (taken as x / 255) or in [0, 1], ready for the rollouts of a model."""
    if model.fast_retina is None or not model.fast_retina.matches(model.sensor.retina):
        model.fast_retina = FastRetina(model.sensor.retina)
    if model.pixel_mean:
        return model.fast_retina.prepare(model.normalize(x))
    scene = model.fast_retina.prepare(x)
    return scene._replace(gain=scene.gain / model.pixel_std)  # black stays zero: the retina can divide what it reads


def rollout(model, scene: Scene, noise):
    """Compute a rollout; see `RecurrentAttention.rollout`.

    Args:
        model: a RecurrentAttention that `supports` accepts.
        scene: images made ready by `prepare`.
        noise: a `Noise`, whose `first` is what `first_location` returned; n consecutive rows for each image.

    Returns:
        The fields of a `Rollout`: locations (B, T, 2), log_pi (B, T-1), baselines (B, T-1), log_probs (B, classes).
    """
    with paddle.no_grad():
        tape = walk(model, scene, noise)
    return differentiable(model, tape, noise)


def differentiable(model, tape: Tape, noise):
    """Return the fields of a `Rollout` along the walk on a tape, with their gradients."""
    B, choices = noise.choices.shape[:2]
    states = States.apply(tape, unit(model.rnn), model.sensor, *state_weights(model))  # (T*B, D)
    log_pi = baselines = paddle.zeros([B, choices], states.dtype)
    last = states
    if choices:
        locator = model.locator
        before, last = states.split([choices * B, B])  # one split: gradients of slices would each be padded, and added
        if locator.policy == "learned":
            h = before if locator.reinforce_core else before.detach()
            share, weights = locator.reinforce_core, policy_weights(model)
            log_pi = LogDensity.apply(tape, noise.choices, locator.std, share, h, *weights)
        baselines = model.baseliner(before).reshape([choices, B]).t()  # (B, T-1)
    return paddle.stack(tape.l, axis=1), log_pi, baselines, model.classifier(last)


def walk(model, scene, noise) -> Tape:
    """Take T glimpses, and record the output of each layer."""
    s, core, locator = model.sensor, model.rnn, model.locator
    convolutions = convolution.matrices(s) if isinstance(s, ConvGlimpseNetwork) else None
    w_fc1 = convolutions.fc1 if convolutions else s.fc1.weight
    ones = paddle.ones([noise.first.shape[0], 1], noise.first.dtype)
    b_fc1, b_fc2, b_glimpse, b_core, b_lt, b_fc = (
        None if bias is None else paddle.matmul(ones, bias.unsqueeze(0))  # (B, units)
        for bias in (
            s.fc1.bias,
            s.fc2.bias,
            s.fc3.bias + s.fc4.bias,
            core.i2h.bias + core.h2h.bias,
            locator.fc_lt.bias,
            locator.fc.bias if locator.fc else None,
        )
    )
    tape, l_t, memory = Tape(*([] for _ in Tape._fields)), noise.first, None
    epsilons = noise.choices.unbind(1) if noise.choices.shape[1] else []
    for t in range(len(epsilons) + 1):
        phi = model.fast_retina.look(scene, l_t)
        first, seen = convolution.forward(phi, s, convolutions) if convolutions else (None, phi)
        a_what = F.relu(paddle.matmul(seen, w_fc1) + b_fc1)
        a_where = F.relu(paddle.matmul(l_t, s.fc2.weight) + b_fc2)
        g_t = F.relu(paddle.matmul(a_what, s.fc3.weight) + paddle.matmul(a_where, s.fc4.weight) + b_glimpse)
        z = paddle.matmul(g_t, core.i2h.weight) + b_core
        if t:
            z = z + paddle.matmul(tape.h[-1], core.h2h.weight)
        h_t, memory, kept = unit(core).forward(z, memory)
        for record, value in zip(tape, (l_t, phi, first, seen, a_what, a_where, g_t, kept, h_t)):
            record.append(value)
        if t == len(epsilons):
            return tape
        if locator.policy == "learned":
            if locator.fc:
                tape.u.append(F.relu(paddle.matmul(h_t, locator.fc.weight) + b_fc))
                tape.mu.append(paddle.tanh(paddle.matmul(tape.u[-1], locator.fc_lt.weight) + b_lt))
            else:
                tape.mu.append(paddle.matmul(h_t, locator.fc_lt.weight) + b_lt)
            chosen = tape.mu[-1] + epsilons[t] * locator.std
        else:
            chosen = locator.choose(h_t, epsilons[t])
        l_t = paddle.clip(chosen, -1, 1)
