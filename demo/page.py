"""The page: files of web/ in one Gradio component, and the event through which they ask the server."""

from __future__ import annotations

import json
import logging
import re
import time
from pathlib import Path

import gradio as gr
from starlette.middleware import Middleware

from demo.answers import answer
from demo.games import Player, answer_game
from demo.limits import BodyLimit
from demo.networks import Network
from ram.system.signals import StopRequest

WEB = Path(__file__).resolve().parent / "web"
MANUAL = Path(__file__).resolve().parent.parent / "docs"
SCRIPTS = ("colors", "words", "asking", "pad", "eye", "belief", "upload", "page", "catch", "tabs")
VISITORS = 200  # that may wait for an answer at once
MAX_BODY = 12 * 2**20  # bytes of a request
# Fonts of the visitor's own machine: Gradio's themes would fetch theirs from another.
FONTS = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
# The bar that leads to the pages of the manual would lead back to the first one alone.
CSS = ".nav-holder { display: none; } .gradio-container > .main { padding: 4px 16px !important; }"
# What the server sends comes back through a component of its own: a change of its value redraws nothing of the page.
LISTEN = "watch('value', () => document.dispatchEvent(new CustomEvent('ram-%s', {detail: props.value})))"


def build_page(networks: dict[str, Network], players: dict[str, Player]) -> gr.Blocks:
    """Build the page for networks and players of Catch by their keys; it begins with the first of each."""

    def ask(event: gr.EventData) -> dict:
        return answer(networks, event._data)

    def play(event: gr.EventData) -> dict:
        return answer_game(players, event._data)

    with gr.Blocks(title="Watch it look", analytics_enabled=False, fill_width=True, delete_cache=(3600, 3600)) as page:
        screen = gr.HTML(
            html_template=read("page.html"),
            css_template=read("page.css"),
            js_on_load=script(networks, players),
            apply_default_css=False,
            padding=False,
        )
        for name, event, function in (("ask", screen.ask, ask), ("play", screen.play, play)):
            answers = gr.HTML(value=None, html_template="", js_on_load=LISTEN % name, visible="hidden")
            event(
                function,
                None,
                answers,
                show_progress="hidden",
                trigger_mode="multiple",  # the page asks one thing at a time, and what is newest last
                concurrency_limit=1,  # Paddle uses all cores for one visitor
                concurrency_id="paddle",
                api_visibility="private",
            )
    for language, file in (("en", MANUAL / "demo.md"), ("zh", MANUAL / "zh_CN" / "demo.md")):
        with page.route("manual", f"/manual-{language}", show_in_navbar=False):
            gr.Markdown(manual(file))
    page.queue(max_size=VISITORS, api_open=False)
    return page


def manual(file: Path) -> str:
    """Read a page of the manual without its pictures and links, which lead to files that are not served."""
    text = re.sub(r"^(!\[|<img ).*\n", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)


def script(networks: dict[str, Network], players: dict[str, Player]) -> str:
    """Join the scripts of the page, with what they need to know."""
    known = {
        "words": json.loads(read("words.json")),
        "networks": [{"key": key, **network.about()} for key, network in networks.items()],
        "players": [{"key": key, **player.about()} for key, player in players.items()],
    }
    # "ask" and "play" are the events' names; Gradio looks for them in quotes.
    return "\n".join([f"const KNOWN = {json.dumps(known)};", *(read(f"{name}.js") for name in SCRIPTS)])


def read(name: str) -> str:
    """Read a file of web/."""
    return (WEB / name).read_text(encoding="utf-8")


def launch(page: gr.Blocks, host: str, port: int) -> int:
    """Serve the page until a signal stops the process; returns its number."""
    logging.getLogger("httpx").setLevel(logging.WARNING)  # else Gradio's look at its own server is reported
    page.launch(
        server_name=host,
        server_port=port,
        prevent_thread_lock=True,
        theme=gr.themes.Base(**FONTS),
        app_kwargs={"middleware": [Middleware(BodyLimit, most=MAX_BODY)]},
        max_file_size=MAX_BODY,
        quiet=True,
        share=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        run_history=False,
        enable_monitoring=False,
        footer_links=[],
        css=CSS,
    )
    shown = f"[{host}]" if ":" in host else host
    print(f"[*] The page is at http://{shown}:{port}; Ctrl-C ends it")
    with StopRequest() as stop:
        while stop.signum is None:
            time.sleep(0.1)
    page.close(verbose=False)
    return stop.signum
