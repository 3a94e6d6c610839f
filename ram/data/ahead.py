"""Prepare batches before they are needed: in threads, while the batch before is trained on, or several in a row."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Callable

TOGETHER, BYTES = 8, 2**23  # batches that are prepared one right after the other, and the bytes that they may have


def prepared_ahead(prepare: Callable, parts: list, workers: int, size: int) -> Iterator:
    """Yield `prepare(part)` for each part, in order, prepared ahead by threads, or else several at a time.

    Args:
        prepare: makes a batch of a part.
        parts: what the batches are made of.
        workers: threads, each of which works one part ahead. Without any, some batches are prepared in a row: for all
            but the first, code and data are then in the processor's caches.
        size: bytes of a batch.
    """
    if workers == 0:
        together = max(1, min(TOGETHER, BYTES // size))
        for first in range(0, len(parts), together):
            yield from [prepare(part) for part in parts[first : first + together]]
        return
    with ThreadPoolExecutor(workers) as pool:
        ahead = [pool.submit(prepare, part) for part in parts[:workers]]
        for part in parts[workers:] + [None] * len(ahead):
            ready = ahead.pop(0)
            if part is not None:
                ahead.append(pool.submit(prepare, part))
            yield ready.result()
