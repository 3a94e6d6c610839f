"""Answers to requests, and why a request is not answered."""

from __future__ import annotations

import time
import traceback


class Refusal(Exception):
    """Something that the visitor can put right: a key of "errors" in web/words.json, and what its line names."""

    def __init__(self, code: str, **values):
        super().__init__(code, values)
        self.code, self.values = code, values


def reply(request: object, find) -> dict:
    """Answer a request with what `find(request)` returns; what is wrong becomes "error", and never an exception.

    An error of the program itself is printed with its traceback, and answered, too: the page would wait in vain.

    Args:
        request: what the page sent; "id" comes back.
        find: returns a dict, or raises `Refusal`; it is given dicts alone.

    Returns:
        What was found, or "error" and "values"; "id", and "milliseconds" that it took.
    """
    start = time.perf_counter()
    number = request.get("id") if isinstance(request, dict) else None
    number = number if type(number) is int and 0 <= number < 2**31 else 0
    try:
        if not isinstance(request, dict):
            raise Refusal("request", what="request")
        found = find(request)
    except Refusal as refusal:
        found = {"error": refusal.code, "values": refusal.values}
    except MemoryError:
        found = {"error": "memory", "values": {}}
    except Exception:
        traceback.print_exc()
        found = {"error": "failed", "values": {}}
    return {**found, "id": number, "milliseconds": round(1000 * (time.perf_counter() - start), 1)}


def chosen(known: dict, request: dict, key: str):
    """Return what a request names of things by their keys; raises `Refusal` for anything else."""
    name = request.get(key)
    if not isinstance(name, str) or name not in known:
        raise Refusal("request", what=key)
    return known[name]


def whole(record: dict, key: str, low: int, high: int) -> int:
    """Return a whole number from low to high; raises `Refusal` for anything else."""
    value = record.get(key)
    if type(value) is not int or not low <= value <= high:
        raise Refusal("request", what=key)
    return value


def positions(points: object, most: int, shape: tuple[int, int]) -> list[list[float]]:
    """Return a visitor's clicks, at most so many [x, y] in pixels of an image (H, W); raises `Refusal` for others."""
    if not isinstance(points, list) or len(points) > most:
        raise Refusal("request", what="points")
    for point in points:
        if not isinstance(point, list) or len(point) != 2 or any(type(x) not in (int, float) for x in point):
            raise Refusal("request", what="points")
        if not (0 <= point[0] <= shape[1] and 0 <= point[1] <= shape[0]):
            raise Refusal("request", what="points")
    return points
