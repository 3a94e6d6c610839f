"""The command: its flags, what has to be there before the page opens, and the server."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from argparse import Namespace
from contextlib import closing

from ram.runs import published
from ram.system.cpu import prepare_cpu
from ram.system.parsing import Parser, number, path
from ram.system.signals import Interrupted
from utils import UserError

OLDEST_PYTHON = (3, 10)


def parse(argv: list[str] | None) -> Namespace:
    """Parse the flags. The defaults of host and port are those that hosts of Gradio apps set in the environment.

    Raises:
        UserError: a flag is unknown, or its value is not allowed.
    """
    parser = Parser(
        prog="python -m demo",
        description="Open a page on which a visitor draws a digit and watches the network look.",
        allow_abbrev=False,
    )
    port = number(int, 1, 65535)
    host = os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")
    parser.add_argument("--host", default=host, help="address to listen on (%(default)s)")
    usual = os.environ.get("GRADIO_SERVER_PORT", "7860")
    parser.add_argument("--port", type=port, default=usual, help="port to listen on (%(default)s)")
    names = published.names()
    parser.add_argument("--preset", choices=names, default=None, help="the network that the page begins with (mnist)")
    parser.add_argument(
        "--weights", type=path, metavar="FILE", default=None, help="begin with the network in this file"
    )
    parser.add_argument(
        "--catch", type=path, metavar="FILE", default=None, help="begin with the player of Catch in this file"
    )
    parser.add_argument("--data_dir", type=path, default="./data", help="folder of the data (%(default)s)")
    return parser.parse_args(argv)


def build(argv: list[str] | None = None):
    """Build the page: load all networks and players, and return a `gradio.Blocks` that is not served yet.

    Raises:
        UserError: Python is too old, Gradio is missing, or weights cannot be used.
    """
    flags = parse(argv)
    check_python()
    check_gradio()
    prepare_cpu()  # before paddle is imported
    from demo.games import load_players
    from demo.networks import load_networks
    from demo.page import build_page

    return build_page(load_networks(flags.preset, flags.weights, flags.data_dir), load_players(flags.catch))


def serve(argv: list[str] | None = None) -> None:
    """Build the page and serve it until a signal stops the process.

    Raises:
        UserError: see `build`; or the port cannot be listened on.
        Interrupted: it was stopped, and nothing is left of it.
    """
    flags = parse(argv)
    check_python()
    check_address(flags.host, flags.port)
    before = os.environ.get("GRADIO_TEMP_DIR")
    with tempfile.TemporaryDirectory(prefix="ram-demo-", dir=before, ignore_cleanup_errors=True) as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # for files that are uploaded past the page
        page = build(argv)
        from demo.page import launch

        signum = launch(page, flags.host, flags.port)
    raise Interrupted(signum, "[*] The page is closed")


def check_python() -> None:
    """Raise UserError where Python is older than Gradio allows."""
    if sys.version_info < OLDEST_PYTHON:
        raise UserError(f"the demo needs Python 3.10 or newer, as Gradio does; this is {sys.version.split()[0]}")


def check_gradio() -> None:
    """Raise UserError unless Gradio can be imported; keep it from telling anybody that it was."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise UserError("Gradio is missing: python -m pip install -r requirements-demo.txt") from None
    if int(gradio.__version__.split(".")[0]) < 6:
        raise UserError(f"Gradio {gradio.__version__} is too old: python -m pip install -r requirements-demo.txt")


def check_address(host: str, port: int) -> None:
    """Raise UserError if nothing can listen there."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with closing(socket.socket(family, kind)) as listener:
            if os.name == "posix":  # as the server will: a port that was used a moment ago is free
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except (OSError, UnicodeError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"cannot listen on {host}, port {port}: {reason}; choose others with --host and --port"
        ) from None
