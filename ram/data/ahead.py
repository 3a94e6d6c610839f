"""Prepare batches in threads, while the batch before is trained on."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Callable


def prepared_ahead(prepare: Callable, parts: list, workers: int) -> Iterator:
    """Yield `prepare(part)` for each part, in order; `workers` threads work as many parts ahead (0: none)."""
    if workers == 0:
        yield from map(prepare, parts)
        return
    with ThreadPoolExecutor(workers) as pool:
        ahead = [pool.submit(prepare, part) for part in parts[:workers]]
        for part in parts[workers:] + [None] * len(ahead):
            ready = ahead.pop(0)
            if part is not None:
                ahead.append(pool.submit(prepare, part))
            yield ready.result()
