"""Catch: the game against a slow one, the fast parts against the plain ones, learning, resuming, and the command."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction
from itertools import product

import numpy as np
import paddle
import pytest
from helpers import ROOT, long_test, same, without_seconds
from PIL import Image, ImageColor

from catch import bounds, curve, game
from catch.__main__ import PUBLISHED, main
from catch.config import build_parser, get_config, run_name, settings
from catch.fast import count_pixels
from catch.film import PIXEL, SHADES, film
from catch.model import GAIN, Player, SummingRetina
from catch.play import caught_line, distances, draw_noise, evaluate, play
from catch.publish import publish
from catch.trainer import Trainer, advantages, clipped, normalized, reinforce_loss
from modules import Geometry
from ram.runs import checkpoint
from utils import UserError

TINY = ["--size=8", "--patch_size=2", "--hidden_size=16", "--batch_size=32", "--minibatch=16", "--frames=3000"]


def tiny(*more: str):
    others = [flag for flag in TINY if "--full_screen=True" not in more or not flag.startswith("--patch_size=")]
    return get_config([*others, *more])


def player_of(config) -> Player:
    player = Player(config)
    player.initialize(config.random_seed)
    return player


def played(config, count: int = 20, **how):
    """A new player, games, and the record of them."""
    player, games = player_of(config), game.draw_games(3, 0, count, config.size)
    noise = draw_noise(count, config.size - 1, "test", 5)
    return player, games, play(player, games, noise, config.size, **how)


# ------------------------------------------------------------------------------------------------------------- the game


def slow_columns(start: float, slope: float, size: int) -> list[int]:
    """The ball's pixel in each frame, exactly, one frame after the other."""
    x, step, columns = Fraction(start), Fraction(slope), []
    for _ in range(size):
        columns.append(min(int(x), size - 1))
        x += step
        if x < 0:
            x, step = -x, -step
        if x > size:
            x, step = 2 * size - x, -step
    return columns


@pytest.mark.parametrize("size", [5, 8, 24])
def test_balls_fall_and_bounce_as_in_the_slow_game(size):
    random = game.draw_games(1, 0, 500, size)
    # Every start at a pixel's border and middle with every slope that meets walls and corners exactly.
    starts, slopes = np.meshgrid(np.arange(2 * size) / 2, [-1, -0.75, -0.5, -1 / 16, 0, 1 / 16, 0.5, 0.75, 1])
    edges = [np.append(starts, size - 1 / game.FINE), np.append(slopes, 1.0)]
    start, slope = (np.concatenate([a, b.ravel()]) for a, b in zip(random[:2], edges))
    games = game.Games(start, slope, random.paddle, random.look)
    fast = np.stack([game.ball_column(games, frame, size) for frame in range(size)], axis=1)
    slow = [slow_columns(x, step, size) for x, step in zip(start, slope)]
    assert fast.tolist() == slow
    jumps = np.abs(np.diff(fast, axis=1))
    assert fast.min() == 0 and fast.max() == size - 1 and jumps.max() == 1


def test_the_walls_stop_the_paddle():
    for left, action in product(range(7), range(3)):
        expected = left + (-1, 0, 1)[action]
        expected = 0 if expected < 0 else 6 if expected > 6 else expected
        assert game.move(np.array([left]), np.array([action]), 8).tolist() == [expected]


def test_a_ball_is_caught_by_either_pixel_of_the_paddle():
    for arrival, left in product(range(8), range(7)):
        games = game.Games(np.array([arrival + 0.5]), np.array([0.0]), None, None)
        assert game.caught(games, np.array([left]), 8).tolist() == [arrival in (left, left + 1)]


def test_screens_show_ball_and_paddle():
    screens = game.screens(np.array([3, 0]), 5, np.array([6, 2]), 8)
    assert screens.shape == (2, 1, 8, 8)
    lit = [sorted(zip(*np.nonzero(screen[0]))) for screen in screens]
    assert lit == [[(5, 3), (7, 6), (7, 7)], [(5, 0), (7, 2), (7, 3)]]


def test_games_are_a_function_of_seed_and_number():
    together = game.draw_games(1, 0, 700, 24)
    for first, count in ((0, 1), (255, 2), (256, 256), (300, 400)):
        part = game.draw_games(1, first, count, 24)
        assert all(same(a, b[first : first + count]) for a, b in zip(part, together))
    other = game.draw_games(2, 0, 700, 24)
    assert not np.array_equal(together.start, other.start)


def test_games_are_drawn_uniformly():
    games = game.draw_games(0, 0, 50_000, 24)
    angles = np.degrees(np.arctan(games.slope))
    for values, low, high, cells in (
        (games.start, 0, 24, 24),
        (angles, -45, 45, 18),
        (games.paddle, -0.5, 22.5, 23),
        (games.look[:, 0], -1, 1, 10),
        (games.look[:, 1], -1, 1, 10),
    ):
        assert values.min() >= low and values.max() <= high
        counts, expected = np.histogram(values, cells, (low, high))[0], 50_000 / cells
        assert ((counts - expected) ** 2 / expected).sum() < cells + 6 * np.sqrt(2 * cells)  # chi square
    assert np.abs(np.corrcoef([games.start, angles, games.paddle, *games.look.T]) - np.eye(5)).max() < 0.02


def test_the_state_of_the_game_is_frame_and_distance():
    games = game.Games(np.array([0.5, 7.5]), np.zeros(2), None, None)  # they arrive in columns 0 and 7
    for frame, left in product(range(7), range(7)):
        state = game.truth(games, frame, np.array([left, left]), 8)
        assert state.shape == (2, 22) and state.sum(axis=1).tolist() == [2, 2]
        assert state[:, frame].tolist() == [1, 1]
        assert state[0, 8 + 6 - left] == state[1, 8 + 6 + 7 - left] == 1


def test_the_perfect_player_is_the_best_of_all_policies():
    """Against a search through every sequence of actions and pixels of a small game."""
    starts, angles, size = 2, 8, 5
    start = (np.arange(size * starts) + 0.5) / starts
    slope = np.tan(np.radians(((np.arange(angles) + 0.5) / angles - 0.5) * 90))
    paths = [slow_columns(float(x), float(step), size) for x, step in product(start, slope)]

    def best(paths: list, frame: int, left: int) -> int:
        """The number of these paths, alike up to this frame, that can be caught."""
        if frame == size - 1:
            return sum(path[-1] in (left, left + 1) for path in paths)
        return max(best_after(paths, frame + 1, min(max(left + step, 0), size - 2)) for step in (-1, 0, 1))

    def best_after(paths: list, frame: int, left: int) -> int:
        if frame == size - 1:  # nobody looks at the last frame
            return best(paths, frame, left)
        columns = {path[frame] for path in paths}
        return sum(best([path for path in paths if path[frame] == column], frame, left) for column in columns)

    caught = sum(best_after(paths, 0, left) for left in range(size - 1)) / (size - 1)
    assert bounds.perfect_share(size, starts, angles) == pytest.approx(caught / len(paths))


# ----------------------------------------------------------------------------------------------------------- the player


@pytest.mark.parametrize("g, k, s", [(6, 3, 2), (5, 2, 3), (1, 1, 1), (24, 1, 1), (3, 4, 2)])
def test_counted_pixels_are_what_the_retina_sees(g, k, s):
    retina, random = SummingRetina(g, k, s), np.random.default_rng(0)
    for frame in range(23):
        ball, left = random.integers(0, 24, 50), random.integers(0, 23, 50)
        l = random.uniform(-1.5, 1.5, (50, 2)).astype("float32")
        l[:4] = [[-1, -1], [1, 1], [0, 0], [1, -1]]
        seen = retina.foveate(paddle.to_tensor(game.screens(ball, frame, left, 24)), paddle.to_tensor(l)).numpy()
        counts = count_pixels(ball, frame, left, l, retina, 24)
        np.testing.assert_allclose(seen, counts * np.float32(GAIN), rtol=1e-6, atol=0)


def plain_states(player: Player, games: game.Games, record, size: int) -> paddle.Tensor:
    """h_t (T*B, D) of the record's games, from their screens, by the layers' own forward."""
    state, states = paddle.zeros([len(games.start), player.rnn.state_size]), []
    for frame, (left, look) in enumerate(zip(record.paddle, record.looks)):
        screens = game.screens(game.ball_column(games, frame, size), frame, left, size)
        state = player.rnn(player.sensor(paddle.to_tensor(screens), paddle.to_tensor(look)), state)
        states.append(state[:, : player.rnn.hidden_size])
    return paddle.concat(states)


@pytest.mark.parametrize("flags", [[], ["--full_screen=True"], ["--policy=random"]])
def test_fast_states_and_gradients_are_the_plain_ones(flags):
    config = tiny(*flags)
    player, games, record = played(config)
    weights = [*player.sensor.parameters(), *player.rnn.parameters()]
    found = []
    for fast in (True, False):
        if fast:
            rows = [paddle.to_tensor(part.reshape(7 * 20, -1)) for part in (record.phi, record.looks)]
            states = player.states(*rows, 7)
        else:
            states = plain_states(player, games, record, 8)
        (paddle.sin(states) * paddle.arange(states.shape[0], dtype="float32").unsqueeze(1)).sum().backward()
        found.append([states.numpy(), *(weight.grad.numpy() for weight in weights)])
        player.clear_gradients()
    for fast, plain in zip(*found):
        np.testing.assert_allclose(fast, plain, rtol=1e-3, atol=1e-5 * max(1, np.abs(plain).max()))
    assert sum(np.abs(plain).max() > 0 for plain in found[1]) >= 10  # in the middle l is 0, and trains nothing


def test_the_record_is_what_happened():
    config = tiny("--std=0.3")
    player, games, record = played(config, 200)
    states = plain_states(player, games, record, 8)
    log_probs = player.actor(states).numpy().reshape(7, 200, 3)
    np.testing.assert_allclose(
        record.log_action, np.take_along_axis(log_probs, record.actions[..., None], 2)[..., 0], atol=1e-5
    )
    noise = draw_noise(200, 7, "test", 5)
    mean = player.locator.mean(states).numpy().reshape(7, 200, 2)
    np.testing.assert_allclose(record.chosen, mean + 0.3 * noise.choices, atol=1e-5)
    density = player.locator.log_density(paddle.to_tensor(mean), paddle.to_tensor(record.chosen)).numpy()
    np.testing.assert_allclose(record.log_look - record.log_look[0, 0], density - density[0, 0], atol=1e-3)
    assert np.array_equal(record.looks[0], games.look)
    assert np.array_equal(record.looks[1:], np.clip(record.chosen[:-1], -1, 1))
    left = games.paddle
    for frame in range(7):
        assert np.array_equal(record.paddle[frame], left)
        left = game.move(left, record.actions[frame], 8)
    assert np.array_equal(record.end, left) and np.array_equal(record.reward == 1, game.caught(games, left, 8))
    shares = np.bincount(record.actions.ravel(), minlength=3) / record.actions.size
    np.testing.assert_allclose(shares, np.exp(log_probs).mean(axis=(0, 1)), atol=0.05)


def test_greedy_games_have_nothing_random():
    config = tiny()
    player, games, _ = played(config)
    one, other = (play(player, games, draw_noise(20, 7, "test", key), 8, greedy=True) for key in (1, 2))
    assert same(tuple(one), tuple(other))
    assert np.array_equal(one.looks[1:], np.clip(one.chosen[:-1], -1, 1))


@pytest.mark.parametrize("greedy", [False, True])
def test_where_an_eye_looks_that_is_not_learned(greedy):
    _, games, record = played(tiny("--policy=random"), 400, greedy=greedy)
    assert np.array_equal(record.looks[0], games.look) and np.abs(record.looks).max() <= 1
    assert np.abs(record.looks.mean(axis=(0, 1))).max() < 0.05 and record.looks.std() == pytest.approx(0.577, abs=0.03)
    assert not played(tiny("--policy=center"), greedy=greedy)[2].looks.any()


def test_the_full_screen_is_seen_pixel_by_pixel():
    config = tiny("--full_screen=True")
    _, games, record = played(config)
    for frame in range(7):
        screens = game.screens(game.ball_column(games, frame, 8), frame, record.paddle[frame], 8)
        assert np.array_equal(record.phi[frame], GAIN * screens.reshape(20, -1))


def test_distances_from_the_eye_to_the_ball():
    games = game.Games(np.array([3.5]), np.zeros(1), None, None)
    looks = np.array([[[0, -1]], [[0, 0]]], "float32")  # the middle of an 8x8 screen is between columns 3 and 4
    record = played(tiny(), 1)[2]._replace(looks=looks)
    even, odd = Geometry(6, 3, 2), Geometry(5, 3, 2)  # an odd patch has a pixel in its middle
    np.testing.assert_allclose(distances(record, games, even, 8)[:, 0], [np.hypot(0.5, 0.5), np.hypot(0.5, 2.5)])
    np.testing.assert_allclose(distances(record, games, odd, 8)[:, 0], [np.hypot(1, 0), np.hypot(1, 3)])


def test_a_result_tells_how_far_the_eye_is_from_the_ball_and_how_far_at_the_end():
    games = game.draw_games(0, 0, 300, 8, "catch test games")
    record = play(player_of(tiny()), games, draw_noise(300, 7, "catch test noise", 0, 0), 8)
    geometry = player_of(tiny()).sensor.retina.geometry
    away, result = distances(record, games, geometry, 8), evaluate(player_of(tiny()), 300, 8, greedy=False)
    assert result.distance == pytest.approx(away[1:].mean(), rel=1e-5)
    assert result.late_distance == pytest.approx(away[5:].mean(), rel=1e-5)  # of seven frames, the last two


# ------------------------------------------------------------------------------------------------------------- the loss


@pytest.mark.parametrize("trace", [0.0, 0.6, 1.0])
def test_advantages_are_sums_of_what_comes_later(trace):
    random = np.random.default_rng(1)
    values, reward = random.random((5, 3)), random.integers(0, 2, 3).astype(float)
    after = np.concatenate([values[1:], reward[None]])
    slow = [sum(trace ** (j - t) * (after[j] - values[j]) for j in range(t, 5)) for t in range(5)]
    np.testing.assert_allclose(advantages(values, reward, trace), slow)
    if trace == 1:
        np.testing.assert_allclose(advantages(values, reward, trace), reward - values)  # the paper's


def gradients(player: Player, loss: paddle.Tensor) -> dict[str, np.ndarray]:
    player.clear_gradients()
    loss.backward()
    return {
        name: w.grad.numpy() for name, w in player.named_parameters() if w.grad is not None and w.grad.numpy().any()
    }


def test_the_first_pass_is_reinforce():
    config = tiny("--entropy=0")
    player, games, record = played(config, 50)
    loss, parts = reinforce_loss(player, record, config)
    found = gradients(player, parts["action"] + parts["location"])
    states = plain_states(player, games, record, 8)
    values = player.baseliner(states, paddle.to_tensor(record.truth.reshape(350, -1))).numpy().reshape(7, 50)
    weight = normalized(advantages(values, record.reward, config.trace))
    log_action = paddle.take_along_axis(
        player.actor(states).reshape([7, 50, 3]), paddle.to_tensor(record.actions[..., None]), 2
    )
    log_look = player.locator.log_pi(states, paddle.to_tensor(record.chosen.reshape(350, 2))).reshape([7, 50])
    weights = paddle.to_tensor(weight)
    plain = -(log_action.squeeze(2) * weights).sum() / 350 - (log_look[:-1] * weights[:-1]).sum() / 350
    expected = gradients(player, plain)
    assert found.keys() == expected.keys()
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-3, atol=2e-5, err_msg=name)


def test_where_gradients_go():
    config = tiny()
    player, _, record = played(config)
    everything = {name for name, _ in player.named_parameters()}
    baseline = {name for name in everything if name.startswith("baseliner")}
    seen = {name for name in everything if name.startswith(("sensor", "rnn"))}
    expected = {
        "action": seen | {"actor.fc.weight", "actor.fc.bias"},
        "location": seen | {"locator.fc_lt.weight", "locator.fc_lt.bias"},
        "baseline": baseline,
    }
    for part, names in expected.items():
        assert gradients(player, reinforce_loss(player, record, config)[1][part]).keys() == names, part
    for flags in (["--policy=random"], ["--full_screen=True"]):
        config = tiny(*flags)
        player, _, record = played(config)
        found = gradients(player, reinforce_loss(player, record, config)[0])
        assert found and not [name for name in found if name.startswith("locator")]


def test_a_choice_that_changed_enough_pulls_no_more():
    ratio = paddle.to_tensor([1.0, 1.3, 1.3, 0.7, 0.7], stop_gradient=False)
    clipped(ratio, paddle.to_tensor([2.0, 1.0, -1.0, 1.0, -1.0]), 0.2).backward()
    np.testing.assert_allclose(ratio.grad.numpy() * 5, [2, 0, -1, 1, 0], atol=1e-6)


def test_a_plain_baseline_is_not_told_the_state():
    config = tiny("--baseline=plain")
    _, _, record = played(config, informed=False)
    assert record.truth[..., :8].sum() == record.truth.sum() == 7 * 20


# ------------------------------------------------------------------------------------------------------------- learning


@long_test()
def test_a_small_game_is_learned():
    config = get_config(["--size=8", "--batch_size=256", "--minibatch=128", "--frames=200000"])
    trainer = Trainer(config, save=None, log=None)
    before = evaluate(trainer.player, 1000, 8, greedy=True)
    while trainer.step < trainer.steps:
        trainer.train_step()
    after = evaluate(trainer.player, 1000, 8, greedy=True)
    assert before.percent < 60 and after.percent >= 80


def test_weights_that_are_not_finite_are_not_saved():
    trainer = Trainer(tiny(), save=None, log=None)
    bias = trainer.player.sensor.fc3.bias
    bias.set_value(np.where(np.arange(bias.size) == 0, np.nan, bias.numpy()))
    trainer.train_step()  # a ReLU hides it from the loss
    with pytest.raises(UserError, match="a weight is no longer a number after 1 batches"):
        trainer.state()


def ran(folder, *flags: str, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "catch", *flags, f"--ckpt_dir={folder}", f"--logs_dir={folder}"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, **options)


def state_in(folder) -> dict:
    (path,) = folder.glob("*_ckpt.pdparams")
    return without_seconds(checkpoint.read(str(path)))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The folder of a tiny training that nothing has interrupted."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = ran(folder, *TINY, "--resume=auto")  # there is nothing to go on with
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("how", long_test("SIGKILL", "SIGTERM"))
def test_a_stopped_training_goes_on_to_the_same_bits(undisturbed, tmp_path, how):
    command = [
        sys.executable,
        "-m",
        "catch",
        *TINY,
        "--save_freq=1",
        f"--ckpt_dir={tmp_path}",
        f"--logs_dir={tmp_path}",
    ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    latest = tmp_path / "catch_8_seed1_ckpt.pdparams"
    while not latest.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(getattr(signal, how))
    output = process.communicate()[0]
    if how == "SIGTERM":
        assert process.returncode == 128 + signal.SIGTERM and "to go on" in output.splitlines()[-1]
    assert 0 < checkpoint.read(str(latest))["step"] < 11
    done = ran(tmp_path, "--size=8", "--resume=True")
    assert done.returncode == 0 and "[*] Resuming catch_8_seed1 at batch " in done.stdout, done.stderr
    assert same(state_in(tmp_path), state_in(undisturbed))
    logs = [
        [without_seconds(json.loads(line)) for line in (folder / "catch_8_seed1.jsonl").read_text().splitlines()]
        for folder in (tmp_path, undisturbed)
    ]
    assert logs[0] == logs[1] and len(logs[0]) == 11
    again = ran(tmp_path, *TINY, "--resume=auto")
    assert again.returncode == 0 and "is finished" in again.stdout and same(state_in(tmp_path), state_in(undisturbed))


@pytest.mark.parametrize("shared", ["ckpt", "logs"])
def test_two_trainings_that_share_a_folder_are_refused_before_anything_moves(tmp_path, shared):
    places = {name: tmp_path / name for name in ("ckpt", "logs")}
    name = run_name(get_config(["--size=8"]))
    log = places["logs"] / f"{name}.jsonl"
    log.parent.mkdir()
    log.write_text("of a training that runs")
    flags = ["--size=8", *(f"--{key}_dir={path}" for key, path in places.items())]
    with checkpoint.RunLock(str(places[shared] / f"{name}.lock")), pytest.raises(UserError, match=f"{name} is in use"):
        main(get_config(flags))
    assert log.read_text() == "of a training that runs" and not (places["ckpt"] / "old").exists()


def test_a_new_training_moves_the_old_one_aside(undisturbed, tmp_path):
    older = state_in(undisturbed)
    path = tmp_path / "catch_8_seed1_ckpt.pdparams"
    checkpoint.write(str(path), {**older, "settings": {**older["settings"], "init_lr": 0.5}})
    before = path.read_bytes()
    done = ran(tmp_path, *TINY, "--resume=auto")
    assert done.returncode == 0 and "was moved to" in done.stdout
    (kept,) = tmp_path.glob("old/*/catch_8_seed1_ckpt.pdparams")
    assert kept.read_bytes() == before and same(state_in(tmp_path), state_in(undisturbed))


# ---------------------------------------------------------------------------------------------------------- the command


def test_test_games_are_played_sampled_and_greedy(undisturbed, capsys):
    folders = [f"--ckpt_dir={undisturbed}", f"--logs_dir={undisturbed}"]
    flags = ["--size=8", "--is_train=False", "--num_games=1200", *folders]
    main(get_config(flags))
    lines = capsys.readouterr().out.splitlines()
    main(get_config(flags))
    assert capsys.readouterr().out.splitlines() == lines
    player = Player(tiny())
    weights = state_in(undisturbed)["model"]
    player.set_state_dict({name: paddle.to_tensor(value) for name, value in weights.items()})
    results = [evaluate(player, 1200, 8, greedy) for greedy in (False, True)]
    assert [line for line in lines if "Caught" in line] == [caught_line(r.caught, r.count) for r in results]
    assert lines[-1] == caught_line(results[-1].caught, results[-1].count)
    assert caught_line(9876, 10000) == "[*] Caught: 9876/10000 (98.76%)"


def test_a_film_shows_the_games(undisturbed, tmp_path):
    path = tmp_path / "film.gif"
    main(get_config(["--size=8", f"--ckpt_dir={undisturbed}", f"--watch={path}"]))
    picture = Image.open(io.BytesIO(path.read_bytes()))
    assert picture.n_frames == 6 * 8
    own = tmp_path / "photo.gif"
    own.write_bytes(b"the user's own")
    with pytest.raises(UserError, match="was not made by this command"):
        main(get_config(["--size=8", f"--ckpt_dir={undisturbed}", f"--watch={own}"]))
    assert own.read_bytes() == b"the user's own"
    games = game.draw_games(0, 0, 6, 8, "catch test games")
    lit = ImageColor.getrgb(SHADES[-1])
    for number, frame in product(range(6), range(8)):
        picture.seek(number * 8 + frame)
        column = game.ball_column(games, frame, 8)[number]
        middle = [16 + place * PIXEL + PIXEL // 2 for place in (column, frame)]
        assert picture.convert("RGB").getpixel(tuple(map(int, middle))) == lit


def test_films_of_other_eyes_can_be_made():
    for flags in (["--full_screen=True"], ["--policy=random"]):
        config = tiny(*flags)
        assert film(player_of(config), config.size, 1)[:4] == b"GIF8"


@pytest.mark.parametrize(
    "flags, says",
    [
        (["--sise=8"], "did you mean --size"),
        (["--size=3"], "out of range"),
        (["--frames=100"], "less than one batch"),
        (["--minibatch=1000"], "above --batch_size"),
        (["--full_screen=True", "--policy=random"], "leave out --policy=random"),
        (["--full_screen=True", "--patch_size=5"], "means --patch_size=24: leave out --patch_size=5"),
        (["--full_screen=True", "--num_patches=2"], "leave out --num_patches=2"),
        (["--resume=True", "--is_train=False"], "leave out"),
        (["--weights=x"], "training starts from the seed"),
        (["--watch="], "not a path"),
        (["--watch=film.png"], "ends with .gif"),
        (["--size=9", "--is_train=False"], "there is nobody to play"),
        (["--resume=True"], "there is nothing to resume"),
        (["--is_train=False", "--weights=missing.pdparams"], "missing.pdparams"),
        (["--is_train=False", "--weights=README.md"], "README.md"),
    ],
)
def test_errors_are_one_line(tmp_path, flags, says):
    with pytest.raises(UserError) as error:
        main(get_config([*flags, *(f"--{name}_dir={tmp_path}" for name in ("ckpt", "logs"))]))
    assert says in str(error.value) and "\n" not in str(error.value)


def test_resume_auto_may_stay_beside_a_test():
    assert not get_config(["--resume=auto", "--is_train=False"]).is_train


def test_help_shows_the_default_beside_each_flag(capsys):
    with pytest.raises(SystemExit):
        get_config(["--help"])
    shown = re.findall(r"\(default: ([^)]*)\)", " ".join(capsys.readouterr().out.split()))
    defaults = [action.default for action in build_parser()._actions if action.dest != "help"]
    assert shown == [str(default) for default in defaults if default is not None]


def test_the_command_ends_with_status_2(tmp_path):
    done = ran(tmp_path, "--sise=8")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and done.stderr.startswith("catch: ")


def test_a_resumed_training_keeps_its_settings(undisturbed):
    with pytest.raises(UserError, match="was trained with --hidden_size=16"):
        main(get_config(["--size=8", "--hidden_size=32", "--resume=True", f"--ckpt_dir={undisturbed}"]))


@pytest.mark.parametrize(
    "name, value",
    [
        ("step", -1),
        ("step", 10**9),
        ("history", 3),
        ("optimizer", {"x": 1}),
        ("optimizer", {}),
        ("seconds", "1"),
        ("model", {}),
    ],
)
def test_a_forged_checkpoint_is_refused(undisturbed, tmp_path, name, value):
    content = checkpoint.read(str(undisturbed / "catch_8_seed1_ckpt.pdparams"))
    path = tmp_path / "catch_8_seed1_ckpt.pdparams"
    checkpoint.write(str(path), {**content, name: value})
    before = path.read_bytes()
    with pytest.raises(UserError, match="cannot be resumed"):
        main(get_config(["--size=8", "--resume=True", f"--ckpt_dir={tmp_path}", f"--logs_dir={tmp_path}"]))
    assert path.read_bytes() == before


def test_weights_of_another_program_are_refused(tmp_path):
    for content in ({"model": {"a": np.zeros(3, "float32")}}, {"settings": {"size": "x"}}):
        path = tmp_path / "other.pdparams"
        checkpoint.write(str(path), content)
        with pytest.raises(UserError, match="cannot be used"):
            main(get_config(["--is_train=False", f"--weights={path}"]))


def test_runs_of_different_players_have_different_names():
    flags = ([], ["--size=8"], ["--policy=random"], ["--policy=center"], ["--full_screen=True"], ["--random_seed=2"])
    names = [run_name(get_config(list(one))) for one in flags]
    assert len(set(names)) == len(flags) and names[0] == "catch_seed1"
    assert set(settings(get_config([]))) < {action.dest for action in build_parser()._actions}


def test_a_training_that_was_stopped_is_not_published(undisturbed, tmp_path):
    """Neither before its first evaluation nor right after one, when the step is that of the last record."""
    content = checkpoint.read(str(undisturbed / "catch_8_seed1_ckpt.pdparams"))
    history = content["history"][:-1]
    for change in ({"history": [], "step": 1}, {"history": history, "step": history[-1]["step"]}):
        checkpoint.write(str(tmp_path / "catch_8_seed1_ckpt.pdparams"), {**content, **change})
        with pytest.raises(UserError, match="is no finished training"):
            publish(get_config(["--size=8", f"--ckpt_dir={tmp_path}"]))


def test_a_player_is_published_with_its_own_figures_and_replaces_none(undisturbed, tmp_path, monkeypatch):
    monkeypatch.setattr("catch.publish.PUBLISHED", str(tmp_path / "published"))
    flags = ["--size=8", f"--ckpt_dir={undisturbed}", "--num_games=40"]
    publish(get_config(flags))
    (facts,) = (json.loads(path.read_text()) for path in (tmp_path / "published").glob("*.json"))
    assert facts["games"] == 40 and facts["frames"] == state_in(undisturbed)["frames"]
    for more, message in (
        ([], "published already; --force"),
        (["--frames=9000"], "--frames"),
        (["--watch=x.gif"], "leave"),
    ):
        with pytest.raises(UserError, match=message):
            publish(get_config([*flags, *more]))
    publish(get_config(flags), force=True)
    weights = ["--is_train=False", f"--weights={tmp_path / 'published' / 'catch_8_seed1.pdparams'}"]
    with pytest.raises(UserError, match="leave out --weights"):
        publish(get_config([*flags, *weights]))


def test_sizes_are_checked_after_those_of_a_checkpoint_are_adopted(undisturbed, tmp_path):
    shutil.copytree(undisturbed, tmp_path / "run")
    folders = [f"--ckpt_dir={tmp_path / 'run'}", f"--logs_dir={tmp_path / 'run'}"]
    main(get_config(["--size=8", "--resume=True", "--batch_size=32", *folders]))  # with the minibatch that it has
    with pytest.raises(UserError, match="--minibatch=128 is above --batch_size=32"):
        get_config(["--size=8", "--batch_size=32"])


@pytest.mark.parametrize("path", sorted(ROOT.glob("catch/published/*.json")), ids=lambda path: path.stem)
def test_published_players_are_what_their_json_says(path, tmp_path):
    facts, weights = json.loads(path.read_text()), path.with_suffix(".pdparams")
    assert facts.keys() == {
        "caught",
        "games",
        "distance",
        "late_distance",
        "frames",
        "seed",
        "seconds",
        "paddle",
        "sha256",
    }
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == facts["sha256"]
    assert (
        facts["games"] == 10_000 and os.path.dirname(path) == PUBLISHED and path.stem.endswith(f"seed{facts['seed']}")
    )
    content = checkpoint.read(str(weights))
    assert content["frames"] == facts["frames"]
    config = get_config([f"--{name}={value}" for name, value in content["settings"].items()])
    player = Player(config)
    player.set_state_dict({name: paddle.to_tensor(value) for name, value in content["model"].items()})
    few = evaluate(player, 1000, config.size, greedy=True)
    expected = facts["caught"]["greedy"] / 100
    assert few.percent == pytest.approx(expected, abs=0.5 + 4 * np.sqrt(expected * (100 - expected) / 1000))


def test_the_curve_is_drawn_from_logs(undisturbed, tmp_path):
    log = str(undisturbed / "catch_8_seed1.jsonl")
    curve.main([str(tmp_path / "curve.png"), log, log])
    assert Image.open(tmp_path / "curve.png").size == (900, 360)
    lines = {line.get_label(): line for line in curve.curve([curve.read_log(log)] * 2).axes[0].lines}
    expected = [record["greedy"] for record in state_in(undisturbed)["history"]]
    assert list(lines["greedy, mean of 2"].get_ydata()) == expected
    longer = tmp_path / "longer.jsonl"  # of a training of twice the length
    records = [{**record, "frames": 2 * record["frames"]} for record in curve.read_log(log)]
    longer.write_text("".join(json.dumps(record) + "\n" for record in records))
    with pytest.raises(UserError, match="was not made by this command"):
        curve.main([str(longer), log])
    with pytest.raises(UserError, match="log 2 is of a training of another length"):
        curve.main([str(tmp_path / "x.png"), log, str(longer)])
    for line in ('{"frames": 5, "greedy": null, "sampled": 3}', "[" * 100_000):
        (tmp_path / "other.jsonl").write_text(line + "\n")
        with pytest.raises(UserError, match="other.jsonl is no log of Catch"):
            curve.main([str(tmp_path / "x.png"), str(tmp_path / "other.jsonl")])
    for arguments in ([], [str(tmp_path / "x.png"), str(ROOT / "README.md")], ["x.png", str(tmp_path / "missing")]):
        with pytest.raises(UserError):
            curve.main(arguments)


@pytest.mark.skipif(os.name != "posix", reason="a script for bash")
def test_the_experiments_train_and_test_every_row(tmp_path):
    (tmp_path / "python").write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/commands\n')
    (tmp_path / "python").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["bash", str(ROOT / "experiments" / "catch.sh"), "--frames=20000"], env=environment, check=True)
    commands = [line.split() for line in (tmp_path / "commands").read_text().splitlines()]
    configs = [get_config(words[2:]) for words in commands if words[:2] == ["-m", "catch"]]
    trained = [run_name(config) for config in configs if config.is_train and not config.watch]
    assert len(trained) == len(set(trained)) == 6 and {config.frames for config in configs} == {20000}
    assert [run_name(config) for config in configs if not config.is_train] == trained and configs[-1].watch
