"""The tab of Catch: the players that a visitor can choose from, and a game as one of them plays it, as JSON.

As with images, the server remembers nothing: a request says which game it is, and every move that the visitor made.
"""

from __future__ import annotations

import glob
import json
import os
from typing import NamedTuple

import numpy as np

from catch import game
from catch.__main__ import PUBLISHED, load
from catch.config import get_config
from catch.model import ACTIONS, GAIN
from catch.model import Player as Networks
from catch.play import draw_noise, play
from demo.answers import encoded
from demo.networks import OWN
from demo.replies import Refusal, chosen, positions, reply, whole
from utils import UserError, printable


class Player(NamedTuple):
    """A trained player of Catch.

    Attributes:
        name: that of the file.
        networks: its networks.
        size: N, the side of the screen that it was trained on.
        eye: "learned", "random" or "center", or "all" where it sees every pixel.
        test: what its test games gave, "greedy" and "sampled" of "games"; empty if unknown.
    """

    name: str
    networks: Networks
    size: int
    eye: str
    test: dict

    def about(self) -> dict:
        """Describe the player to the page."""
        retina = self.networks.sensor.retina
        return {
            "name": self.name,
            "size": self.size,
            "eye": self.eye,
            "patch": retina.g,
            "patches": retina.k,
            **self.test,
        }


def load_players(file: str | None) -> dict[str, Player]:
    """Load all published players, and the one in a file, which the tab then begins with.

    Raises:
        UserError: the file cannot be used. Published players that cannot are left out with a line.
    """
    players: dict[str, Player] = {}
    if file:
        players[OWN] = load_player(file)
    found = []
    for path in glob.glob(os.path.join(PUBLISHED, "*.pdparams")):
        try:
            found.append(load_player(path))
        except UserError as error:
            print(f"[!] {os.path.basename(path)} is left out: {error}")
    for player in sorted(found, key=lambda player: (player.eye != "learned", player.name)):
        players[player.name] = player
    return players


def load_player(path: str) -> Player:
    """Load the player in a file, and what the JSON beside it says of its test games."""
    config = get_config([f"--weights={path}", "--is_train=False"])
    networks, _ = load(config)
    stem = os.path.splitext(path)[0]
    eye = "all" if config.full_screen else config.policy
    return Player(printable(os.path.basename(stem)), networks, config.size, eye, tested(f"{stem}.json"))


def tested(path: str) -> dict:
    """Read the balls that were caught in test games; empty where they are not told."""
    try:
        with open(path, encoding="utf-8") as file:
            facts = json.load(file)
        found = {"games": facts["games"], **{name: facts["caught"][name] for name in ("greedy", "sampled")}}
    except (OSError, ValueError, LookupError, TypeError):
        return {}
    return found if all(type(value) is int and value >= 0 for value in found.values()) else {}


def answer_game(players: dict[str, Player], request: object) -> dict:
    """Answer a request for a game; see `reply`.

    Args:
        players: by the keys that a request names them by.
        request: "player"; "game", the number of the game; "sampled", whether actions and locations are drawn, or the
            most probable action and the mean location are taken; "moves", what the visitor did in the first frames,
            each an action and null or a position (x, y) in pixels for the next fixation, which is otherwise the
            player's.
    """

    def find(request: dict) -> dict:
        player = chosen(players, request, "player")
        return {**play_game(player, request), "player": request["player"]}

    return reply(request, find)


def play_game(player: Player, request: dict) -> dict:
    """Play a game to its end, and describe each of its N frames."""
    number, size, networks = whole(request, "game", 0, 2**31), player.size, player.networks
    actions, looks = moves(player, request.get("moves"))
    games = game.draw_games(0, number, 1, size, "demo games")
    noise = draw_noise(1, size - 1, "demo games noise", number)

    def overrule(frame: int, action: np.ndarray, look: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if frame < len(actions):
            action = np.array([actions[frame]])
            look = look if looks[frame] is None else looks[frame]
        return action, look

    record = play(networks, games, noise, size, greedy=request.get("sampled") is not True, overrule=overrule)
    probabilities = np.exp(record.log_action[:, 0].astype(float))
    if not np.isfinite(probabilities).all():
        raise Refusal("not_finite")
    geometry = networks.sensor.retina.geometry
    return {
        "size": size,
        "widths": geometry.widths().tolist(),
        "ball": [int(game.ball_column(games, frame, size)[0]) for frame in range(size)],
        "paddle_width": game.PADDLE,
        "paddle": [*record.paddle[:, 0].tolist(), int(record.end[0])],
        "corners": geometry.corners(record.looks[:, 0], (size, size)).tolist(),  # (N-1, k, 2)
        "seen": encoded(np.rint(record.phi[:, 0] / GAIN).astype(np.uint8)),  # lit pixels (N-1, k, g, g)
        "actions": record.actions[:, 0].tolist(),
        "probabilities": np.round(probabilities, 4).tolist(),  # of those actions
        "caught": bool(record.reward[0]),
    }


def moves(player: Player, moves: object) -> tuple[list[int], list[np.ndarray | None]]:
    """Check the moves of a visitor: the actions, and for each a location (1, 2) or None; else raise `Refusal`."""
    size, geometry = player.size, player.networks.sensor.retina.geometry
    if not isinstance(moves, list) or len(moves) > size - 1:
        raise Refusal("request", what="moves")
    actions, looks = [], []
    for move in moves:
        if not isinstance(move, list) or len(move) != 2:
            raise Refusal("request", what="moves")
        actions.append(whole({"action": move[0]}, "action", 0, ACTIONS - 1))
        clicked = [] if move[1] is None else positions([move[1]], 1, (size, size))
        looks.append(np.clip(geometry.locations(clicked, (size, size)), -1, 1) if clicked else None)
    return actions, looks
