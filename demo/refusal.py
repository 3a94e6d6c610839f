"""Why a request is not answered, as a code that the page has a line for in each language."""

from __future__ import annotations


class Refusal(Exception):
    """Something that the visitor can put right: a key of "errors" in web/words.json, and what its line names."""

    def __init__(self, code: str, **values):
        super().__init__(code, values)
        self.code, self.values = code, values
