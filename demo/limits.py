"""How much a visitor may send at once."""

from __future__ import annotations


class BodyLimit:
    """Refuse requests (status 413) whose body is longer than `most` bytes, before any more of it is kept (ASGI)."""

    def __init__(self, app, most: int):
        self.app, self.most = app, most

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self.most:
            return await self.refuse(send)
        if scope["method"] in ("GET", "HEAD"):
            return await self.app(scope, receive, send)
        body, ended = bytearray(), False
        while not ended:  # a body may come in parts that no header announced
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if len(body) > self.most:
                return await self.refuse(send)
            ended = not message.get("more_body", False)
        whole = iter([{"type": "http.request", "body": bytes(body), "more_body": False}])

        async def replay():
            return next(whole, None) or await receive()

        await self.app(scope, replay, send)

    async def refuse(self, send) -> None:
        """Answer that it is too large."""
        headers = [(b"content-type", b"text/plain"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": b"too large"})
