"""Tests of the demo's tab of Catch without a browser and without Gradio: the games, what is refused, the players."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from catch import game
from catch.config import get_config, settings
from catch.model import GAIN, Player
from catch.play import draw_noise, play
from demo import games
from demo.networks import OWN
from ram.build import arrays
from ram.runs import checkpoint
from utils import UserError

SIZE = 8


def write_player(path, *flags: str) -> str:
    """Write a file as a training does, with weights that were never trained."""
    config = get_config([f"--size={SIZE}", *flags])
    player = Player(config)
    player.initialize(seed=3)
    checkpoint.write(str(path), {"settings": settings(config), "model": arrays(player.state_dict())})
    return str(path)


@pytest.fixture(scope="module")
def players(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("players")
    files = {"learned": [], "random": ["--policy=random"], "all": ["--full_screen=True"]}
    return {eye: games.load_player(write_player(folder / f"{eye}.pdparams", *flags)) for eye, flags in files.items()}


def ask(players, **more) -> dict:
    return games.answer_game(players, {"id": 7, "player": "learned", "game": 5, "moves": [], **more})


def seen(answer) -> np.ndarray:
    return np.frombuffer(base64.b64decode(answer["seen"]), np.uint8)


@pytest.mark.parametrize("eye", ["learned", "random", "all"])
@pytest.mark.parametrize("sampled", [False, True])
def test_the_game_is_that_of_the_player(players, eye, sampled):
    found, player = ask(players, player=eye, sampled=sampled), players[eye]
    assert player.eye == eye and found["id"] == 7 and found["milliseconds"] > 0
    drawn = game.draw_games(0, 5, 1, SIZE, "demo games")
    record = play(player.networks, drawn, draw_noise(1, SIZE - 1, "demo games noise", 5), SIZE, greedy=not sampled)
    assert found["actions"] == record.actions[:, 0].tolist() and found["caught"] == bool(record.reward[0])
    assert found["ball"] == [int(game.ball_column(drawn, frame, SIZE)[0]) for frame in range(SIZE)]
    assert found["paddle"] == [*record.paddle[:, 0], record.end[0]]
    assert (seen(found) == np.rint(record.phi[:, 0] / GAIN).astype(int).ravel()).all()
    k = len(found["widths"])
    assert np.shape(found["corners"]) == (SIZE - 1, k, 2) and all(0 < p <= 1 for p in found["probabilities"])
    json.dumps(found, allow_nan=False)


def test_the_visitor_moves_the_paddle_and_the_eye(players):
    alone = ask(players)
    first = game.draw_games(0, 5, 1, SIZE, "demo games").paddle[0]
    for action, places in ((0, range(first, -1, -1)), (1, [first] * SIZE), (2, range(first, SIZE - 1))):
        moved = ask(players, moves=[[action, None]] * (SIZE - 1))
        assert moved["actions"] == [action] * (SIZE - 1)
        expected = [*places][:SIZE]
        assert moved["paddle"] == expected + [expected[-1]] * (SIZE - len(expected))
        landed = moved["ball"][-1] - moved["paddle"][-1]
        assert moved["caught"] == (landed in (0, 1)) and moved["corners"][0] == alone["corners"][0]
    points = [[0, 0], [4.5, 2.5], [8, 8]]
    looked = ask(players, moves=[[1, point] for point in points])
    middles = np.array(looked["corners"])[1:4, 0] + 3  # patches of 6x6 pixels
    assert middles.tolist() == [[0, 0], [4, 2], [8, 8]]
    assert ask(players, moves=[[1, points[0]]])["corners"][:2] == looked["corners"][:2]


def test_what_is_seen_is_what_is_on_the_screen(players):
    found = ask(players, player="all", moves=[[0, None]] * (SIZE - 1))
    for frame, picture in enumerate(seen(found).reshape(SIZE - 1, SIZE, SIZE)):
        lit = {(frame, found["ball"][frame]), *((SIZE - 1, found["paddle"][frame] + part) for part in (0, 1))}
        assert {(int(y), int(x)) for y, x in np.argwhere(picture)} == lit


@pytest.mark.parametrize(
    "wrong",
    [
        {"player": "nobody"},
        {"player": []},
        {"game": -1},
        {"game": 2**70},
        {"game": True},
        {"moves": None},
        {"moves": [[1, None]] * SIZE},
        {"moves": [[3, None]]},
        {"moves": [[-1, None]]},
        {"moves": [[1]]},
        {"moves": [[1, [1, 9]]]},
        {"moves": [[1, [float("nan"), 1]]]},
        {"moves": [{}]},
    ],
    ids=str,
)
def test_what_the_page_would_not_ask_is_refused(players, wrong):
    assert ask(players, **wrong)["error"] == "request"


@pytest.mark.parametrize("other", [None, [], "x", {}, {"id": 2**70}], ids=str)
def test_no_request_at_all_is_refused(players, other):
    assert games.answer_game(players, other)["error"] == "request"


def test_players_are_read_from_files_and_broken_ones_are_left_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(games, "PUBLISHED", str(tmp_path / "published"))
    assert games.load_players(None) == {}, "none is published"
    (tmp_path / "published").mkdir()
    for name, flags in (("a", ["--policy=random"]), ("b", []), ("c", [])):
        write_player(tmp_path / "published" / f"{name}.pdparams", *flags)
    facts = {"caught": {"greedy": 91, "sampled": 80}, "games": 100}
    (tmp_path / "published" / "b.json").write_text(json.dumps(facts))
    (tmp_path / "published" / "c.json").write_text('{"caught": "many"}')
    (tmp_path / "published" / "d.pdparams").write_bytes(b"nothing")
    found = games.load_players(None)
    assert list(found) == ["b", "c", "a"], "those who learned where to look come first"
    about = {"name": "b", "size": SIZE, "eye": "learned", "patch": 6, "patches": 3}
    assert found["b"].about() == {**about, "games": 100, "greedy": 91, "sampled": 80}
    assert found["c"].about() == {**about, "name": "c"} and found["a"].eye == "random"
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("[!] d.pdparams is left out: ")
    own = write_player(tmp_path / "mine.pdparams")
    assert list(games.load_players(own)) == [OWN, "b", "c", "a"]
    for bad in (str(tmp_path / "published" / "d.pdparams"), str(tmp_path / "none.pdparams")):
        with pytest.raises(UserError, match=bad):
            games.load_players(bad)


def test_weights_without_finite_probabilities(tmp_path):
    player = games.load_player(write_player(tmp_path / "x.pdparams"))
    bias = player.networks.actor.fc.bias
    bias.set_value(np.full(bias.shape, np.nan, np.float32))
    assert ask({"learned": player})["error"] == "not_finite"
