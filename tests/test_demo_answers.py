"""Tests of the demo without a browser and without Gradio: what it answers, what it refuses, and its command line."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import socket
import subprocess
import sys

import numpy as np
import pytest
from helpers import ROOT
from PIL import Image, ImageDraw

from demo import answers, command, replies, scenes
from demo.limits import BodyLimit
from demo.networks import OWN, load, load_networks
from model import Noise, draw_noise
from ram.runs import published
from ram.use.looking import look
from utils import UserError, to_tensor

WEB = ROOT / "demo" / "web"


@pytest.fixture(scope="module")
def networks(tiny_mnist):
    """All published networks; the data are a small set of images that are not MNIST."""
    return {name: load(name, published.path_of(name), str(tiny_mnist.folder)) for name in published.names()}


@pytest.fixture
def data(tiny_mnist):
    with tiny_mnist.registered():
        yield tiny_mnist


def png(image: Image.Image) -> str:
    content = io.BytesIO()
    image.save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()


def seven(ink=255, paper=0, width=18) -> Image.Image:
    image = Image.new("L", (280, 280), paper)
    ImageDraw.Draw(image).line([(70, 60), (210, 60), (120, 230)], ink, width, "curve")
    return image


def request(**more) -> dict:
    canvas = {"x": 3, "y": 5, "pieces": 0, "seed": 1}
    first = {"id": 7, "network": "mnist", "source": "drawing", "data": png(seven()), "canvas": canvas}
    return {**first, "mode": "path", "seed": 1, **more}


def array(answer, walk=None) -> np.ndarray:
    """The image of an answer, (C, H, W), or what the retina gave in one of its walks, flat."""
    if walk is not None:
        return np.frombuffer(base64.b64decode(answer["walks"][walk]["seen"]), np.uint8)
    about = answer["image"]
    pixels = np.frombuffer(base64.b64decode(about["pixels"]), np.uint8)
    return pixels.reshape(about["channels"], about["height"], about["width"])


# ---- what is answered


@pytest.mark.parametrize("name", published.names())
@pytest.mark.parametrize("mode", ["path", "means", "paths", "random"])
def test_every_network_looks_in_every_way(networks, name, mode):
    network, found = networks[name], answers.answer(networks, request(network=name, mode=mode))
    if mode == "means" and network.config.policy == "random":
        assert found["error"] == "no_means"
        return
    T, k, g = network.config.num_glimpses, network.config.num_patches, network.config.patch_size
    assert found["id"] == 7 and found["milliseconds"] > 0 and array(found).shape == network.image_shape
    assert len(found["walks"]) == (10 if mode == "paths" else 1) and len(found["widths"]) == k
    for number, walk in enumerate(found["walks"]):
        assert np.shape(walk["corners"]) == (T, k, 2) and np.shape(walk["probabilities"]) == (T, 10)
        assert array(found, number).size == T * k * g * g
        np.testing.assert_allclose(np.sum(walk["probabilities"], axis=1), 1, atol=1e-3)
    json.dumps(found, allow_nan=False)


def test_the_walk_is_that_of_the_model(networks):
    network, found = networks["mnist"], answers.answer(networks, request(mode="paths", seed=5))
    noise = Noise(*map(to_tensor, draw_noise(10, 6, "demo", 5)))
    sights = list(look(network.model, np.repeat(array(found)[None], 10, axis=0), noise))
    geometry = network.model.sensor.retina.geometry
    for row, walk in enumerate(found["walks"]):
        corners = [geometry.corners(sight.location[row], (28, 28)).tolist() for sight in sights]
        assert walk["corners"] == corners
        expected = np.stack([sight.probabilities[row] for sight in sights])
        np.testing.assert_allclose(walk["probabilities"], expected, atol=1e-4)


def test_the_first_of_ten_paths_is_the_single_one(networks):
    single, ten = (answers.answer(networks, request(mode=mode, seed=3)) for mode in ("path", "paths"))
    assert single["walks"][0]["corners"] == ten["walks"][0]["corners"]


@pytest.mark.parametrize("name", ["mnist", "cluttered100"])
def test_the_visitor_looks_where_the_click_is_and_lets_go(networks, name):
    shape, T = networks[name].image_shape[1:], networks[name].config.num_glimpses
    points = [[10.5, 12.5], [3.25, 20.75], [25.0, 9.0]]
    own, policy = answers.answer(networks, request(network=name, mode="own", points=points))["walks"]
    assert len(own["corners"]) == 3 and len(policy["corners"]) == T
    g = networks[name].config.patch_size
    middles = np.array(own["corners"])[:, 0] + g // 2
    assert np.abs(middles - np.floor(points)).max() <= 1, (middles, shape)
    longer, _ = answers.answer(networks, request(network=name, mode="own", points=points, go_on=True))["walks"]
    assert longer["corners"][:3] == own["corners"] and len(longer["corners"]) == T
    assert longer["probabilities"][:3] == own["probabilities"], "what comes later changes nothing"
    (alone,) = answers.answer(networks, request(network=name, mode="own", points=[]))["walks"]
    assert alone == policy == answers.answer(networks, request(network=name))["walks"][0]


def test_paper_of_either_kind_shows_the_same_digit(networks):
    for name in ("mnist", "translated"):
        light, dark = (
            answers.answer(networks, request(network=name, source="file", data=png(image)))
            for image in (seven(), seven(0, 255))
        )
        assert np.abs(array(light).astype(int) - array(dark)).max() <= 1 and array(light).max() == 255
        assert np.argmax(light["walks"][0]["probabilities"][-1]) == 7


def test_a_digit_stands_where_it_is_placed_among_clutter(networks, data):
    plain = request(network="cluttered60")
    alone = array(answers.answer(networks, plain))[0]
    rows, columns = np.nonzero(alone)
    assert rows.min() >= 5 and rows.max() < 33 and columns.min() >= 3 and columns.max() < 31
    first, again, other = (
        array(answers.answer(networks, {**plain, "canvas": {"x": 3, "y": 5, "pieces": 4, "seed": seed}}))[0]
        for seed in (1, 1, 2)
    )
    assert (first >= alone).all() and (first == again).all() and (first != other).any() and (first != alone).any()


def test_an_image_of_the_network_s_size_is_taken_as_it_is(networks):
    pixels = np.pad(np.random.default_rng(1).integers(0, 100, (58, 58)).astype(np.uint8), 1)
    sent = request(network="translated", source="file", data=png(Image.fromarray(pixels)))
    np.testing.assert_array_equal(array(answers.answer(networks, sent))[0], pixels)


def test_a_test_image_comes_with_its_label(networks, data):
    for name in ("mnist", "cluttered60"):
        found = answers.answer(networks, request(network=name, source="test", number=203))
        images, labels = networks[name].test_images().batch(np.array([3]))
        assert found["number"] == 3 and found["label"] == labels[0]
        np.testing.assert_array_equal(array(found), images[0])


def test_without_data_drawing_works_and_the_rest_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))  # below which there are caches of other programs
    alone = {"cluttered60": load("cluttered60", published.path_of("cluttered60"), str(tmp_path / "nothing"))}
    drawn = request(network="cluttered60")
    assert "error" not in answers.answer(alone, drawn)
    missing = {"error": "no_data", "values": {"name": "mnist", "folder": str(tmp_path / "nothing")}}
    canvas = {"x": 0, "y": 0, "pieces": 2, "seed": 1}
    for wrong in ({"source": "test", "number": 1}, {"canvas": canvas}):
        found = answers.answer(alone, {**drawn, **wrong})
        assert {key: found[key] for key in missing} == missing
    assert not os.listdir(tmp_path), "nothing is fetched, and nothing written"


# ---- what is refused


def refusal(networks, **more) -> str:
    found = answers.answer(networks, request(**more))
    assert found["error"] in json.loads((WEB / "words.json").read_text(encoding="utf-8"))["en"]["errors"]
    return found["error"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"network": "nothing"},
        {"network": []},
        {"mode": "all"},
        {"mode": None},
        {"source": "net"},
        {"seed": -1},
        {"seed": 1.5},
        {"seed": True},
        {"seed": 2**40},
        {"data": None},
        {"data": "no base64!"},
        {"data": "é"},
        {"source": "test", "number": "1"},
        {"network": "cluttered60", "canvas": None},
        {"network": "cluttered60", "canvas": {"x": 33, "y": 0, "pieces": 0, "seed": 1}},
        {"network": "cluttered60", "canvas": {"x": 0, "y": 0, "pieces": 10**9, "seed": 1}},
        {"mode": "own"},
        {"mode": "own", "points": [[1, 1]] * 7},
        {"mode": "own", "points": [[1, 29]]},
        {"mode": "own", "points": [[float("nan"), 1]]},
        {"mode": "own", "points": [[1, "1"]]},
        {"mode": "own", "points": [[1, 2, 3]]},
    ],
    ids=str,
)
def test_what_the_page_would_not_ask_is_refused(networks, wrong):
    assert refusal(networks, **wrong) == "request"


@pytest.mark.parametrize("other", [None, [], "x", {}, {"id": "x"}, {"id": {}, "network": {}}, {"id": 2**70}], ids=str)
def test_no_request_at_all_is_refused(networks, other):
    assert answers.answer(networks, other)["error"] == "request"


def test_an_error_of_the_program_is_printed_and_answered(capsys):
    found = replies.reply({"id": 4}, lambda request: request["absent"])
    assert (found["id"], found["error"]) == (4, "failed") and "KeyError: 'absent'" in capsys.readouterr().err


def test_hostile_files_are_refused(networks, monkeypatch):
    bomb = png(Image.new("L", (20_000, 20_000)))
    assert refusal(networks, source="file", data=bomb) == "no_image"
    assert refusal(networks, source="file", data=png(Image.new("L", (5000, 4000)))) == "too_many_pixels"
    assert refusal(networks, source="file", data="A" * (scenes.MAX_BYTES * 4 // 3 + 8)) == "too_large"
    whole = base64.b64decode(png(seven()))
    for content in (b"", b"<svg onload=alert(1)>", b"%!PS-Adobe-3.0 EPSF-3.0\n", whole[:100], b"\x89PNG\r\n\x1a\n"):
        assert refusal(networks, source="file", data=base64.b64encode(content).decode()) == "no_image"


@pytest.mark.parametrize("name", ["mnist", "cluttered60"])
def test_nothing_or_several_drawings_are_said(networks, name):
    assert refusal(networks, network=name, data=png(Image.new("L", (280, 280)))) == "empty"
    for source in ("drawing", "file"):
        assert refusal(networks, network=name, source=source, data=png(Image.new("L", (280, 280), 255))) == "nothing"
    two = Image.new("L", (900, 300))
    two.paste(seven(), (10, 10))
    two.paste(seven(), (600, 10))
    assert refusal(networks, network=name, source="file", data=png(two)) == "several"


def test_weights_without_finite_probabilities(networks, monkeypatch):
    network = load("mnist", published.path_of("mnist"), "data")
    bias = network.model.classifier.fc.bias
    bias.set_value(np.full(bias.shape, np.nan, np.float32))
    assert answers.answer({"mnist": network}, request())["error"] == "not_finite"


# ---- words


def tree(value) -> object:
    return {key: tree(each) for key, each in value.items()} if isinstance(value, dict) else None


def test_both_languages_have_the_same_words():
    words = json.loads((WEB / "words.json").read_text(encoding="utf-8"))
    en, zh = words["en"], words["zh"]
    en_classes, zh_classes = en.pop("classes"), zh.pop("classes")
    assert tree(en) == tree(zh) and not en_classes
    assert set(zh_classes) <= set(load("fashion", published.path_of("fashion"), "data").classes)

    def texts(value):
        return [text for each in value.values() for text in (texts(each) if isinstance(each, dict) else [each])]

    for a, b in zip(texts(en), texts(zh)):
        assert sorted(re.findall(r"\{\w+\}", a)) == sorted(re.findall(r"\{\w+\}", b)), (a, b)
        assert not re.search("[\u4e00-\u9fff]", a) and a != ""
    html, scripts = (
        (WEB / "page.html").read_text(encoding="utf-8"),
        "".join(path.read_text(encoding="utf-8") for path in sorted(WEB.glob("*.js"))),
    )
    used = re.findall(r'data-(?:word|label)="([\w-]+)"', html)
    assert used and set(used) <= en.keys()
    said = set(re.findall(r'word\("(\w+)"', scripts)) | set(re.findall(r"word\(`(\w+)\.", scripts))
    assert len(said) > 20 and said <= en.keys()
    codes = {
        code for path in (ROOT / "demo").glob("*.py") for code in re.findall(r'Refusal\("(\w+)"', path.read_text())
    }
    assert codes <= en["errors"].keys()


def test_the_page_names_no_other_machine():
    for path in WEB.iterdir():
        assert not re.search(r"""https?:|["'(]//""", path.read_text(encoding="utf-8")), path


# ---- the command line


def run(*arguments, code=None, **environment) -> subprocess.CompletedProcess:
    start = ["-c", code] if code else ["-m", "demo"]
    return subprocess.run(
        [sys.executable, *start, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def one_line(ended: subprocess.CompletedProcess, *parts: str) -> None:
    assert ended.returncode == 2, ended
    (line,) = ended.stderr.splitlines()
    assert all(part in line for part in parts), line


def test_errors_are_one_line_and_status_2(tmp_path):
    one_line(run("--prot=1"), "did you mean --port?")
    one_line(run("--port=99999999"), "out of range")
    one_line(run("--preset=nothing"), "nothing")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        one_line(run(f"--port={port}"), "python -m demo: ", f"port {port}", "choose others with --host and --port")
        as_file = "import runpy; runpy.run_path('demo/app.py', run_name='__main__')"
        one_line(run(f"--port={port}", code=as_file), "demo/app.py: ", "choose others")


def test_without_gradio_one_line_says_how_to_get_it():
    code = "import sys; sys.modules['gradio'] = None; import runpy; runpy.run_module('demo', run_name='__main__')"
    one_line(run(code=code), "Gradio is missing: python -m pip install -r requirements-demo.txt")


def test_an_older_python_is_told_so(monkeypatch):
    monkeypatch.setattr(command, "OLDEST_PYTHON", (99, 0))
    with pytest.raises(UserError, match="needs Python 3.10 or newer"):
        command.check_python()


def test_weights_that_cannot_be_used_are_an_error_and_others_are_left_out(tmp_path, monkeypatch, capsys):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nothing")
    with pytest.raises(UserError):
        load_networks(None, str(broken), "data")
    with pytest.raises(UserError, match="does not exist|No such file"):
        load_networks(None, str(tmp_path / "none.pdparams"), "data")
    own = load_networks(None, published.path_of("mnist7"), "data")
    assert next(iter(own)) == OWN and own[OWN].name == "mnist7.safetensors" and set(own) == {OWN, *published.names()}
    assert next(iter(load_networks("fashion", None, "data"))) == "fashion"


# ---- how much is taken at once


def served(app, headers, *parts):
    """Send a request in parts to an ASGI application; returns the status."""
    import asyncio

    sent, messages = [], [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    asyncio.run(app({"type": "http", "method": "POST", "headers": headers}, receive, send))
    return sent[0]["status"]


def test_a_long_body_is_refused_announced_or_not():
    async def whole(scope, receive, send):
        body = (await receive())["body"]
        await send({"type": "http.response.start", "status": 200 if body == b"ab" * 4 else 500, "headers": []})

    app = BodyLimit(whole, most=10)
    assert served(app, [], *[b"ab"] * 4) == 200
    assert served(app, [], *[b"ab"] * 6) == 413
    assert served(app, [(b"content-length", b"11")]) == 413
    assert served(app, [(b"content-length", b"nonsense")]) == 413
