"""Download bytes from an address, and fail as soon as none arrive."""

from __future__ import annotations

import queue
import threading
import urllib.request

from tqdm import tqdm

STALL_SECONDS = 15.0  # a source that makes no progress for this long is given up


class SourceFailed(Exception):
    """A source cannot serve (all of) the files; the message tells why."""


def download(url: str, limit: int) -> bytes:
    """Download the bytes at an address.

    A request to a name server cannot be interrupted, and a socket's time-out starts anew for every address of a host.
    So the download runs in a thread, which is abandoned when it makes no progress.

    Raises:
        SourceFailed: none arrive for `STALL_SECONDS`, or more than `limit`, or the network fails.
    """
    events: queue.Queue = queue.Queue()  # the length that the server promises, then chunks, b"" or an error at the end
    given_up = threading.Event()

    def work() -> None:
        try:
            request = urllib.request.Request(url, headers={"User-Agent": "ram-paddle"})
            with urllib.request.urlopen(request, timeout=STALL_SECONDS) as response:
                events.put(int(response.headers.get("Content-Length") or 0))
                chunk = b"-"
                while chunk and not given_up.is_set():
                    chunk = response.read1(2**16)  # read() would wait for 64 KB, and look stalled on a slow line
                    events.put(chunk)
        except Exception as error:
            events.put(error)

    threading.Thread(target=work, daemon=True).start()
    content = bytearray()
    try:
        with tqdm(desc=url.rsplit("/", 1)[-1], unit="B", unit_scale=True, leave=False) as bar:
            while True:
                event = events.get(timeout=STALL_SECONDS)
                if isinstance(event, Exception):
                    raise SourceFailed(str(event) or type(event).__name__)
                if isinstance(event, int):
                    bar.total = event or None
                elif event:
                    content += event
                    bar.update(len(event))
                else:
                    return bytes(content)
                if len(content) > limit:
                    raise SourceFailed(f"more than {limit} bytes for {url}")
    except queue.Empty:
        raise SourceFailed(f"no progress for {STALL_SECONDS:g} seconds") from None
    finally:
        given_up.set()
