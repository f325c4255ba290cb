"""A body that is larger than any honest one is refused before it is read whole."""

from __future__ import annotations

from contextlib import suppress

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 16_000_000
"""Of a body; a thousand products of 16 kB."""


class BodyLimit:
    """Answers 413 to a body of more than ``most_bytes``, whether it says its length or not."""

    def __init__(self, app: ASGIApp, most_bytes: int = MOST_BYTES) -> None:
        self.app, self.most_bytes = app, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        said = dict(scope["headers"]).get(b"content-length", b"0")
        if said.isdigit() and int(said) > self.most_bytes:
            await self._refuse(scope, receive, send)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.most_bytes:
                raise _TooLarge
            return message

        async def guarded(message: Message) -> None:
            # Whatever the application makes of a body that ended early, the answer is that it was too large.
            if read <= self.most_bytes:
                await send(message)

        with suppress(_TooLarge):
            await self.app(scope, counted, guarded)
        if read > self.most_bytes:
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = {
            "error": f"the body has more than {self.most_bytes:,} bytes",
            "remedy": "send fewer records at once, or take a whole catalogue in with aisle ingest",
        }
        await JSONResponse(problem, 413, headers={"Connection": "close"})(scope, receive, send)


class _TooLarge(Exception):
    """The body went on beyond the limit."""
