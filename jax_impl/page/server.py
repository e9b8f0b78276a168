"""The server: its address, its token, and how it ends."""

import asyncio
import os
import secrets
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from configs import InputError
from jax_impl.page.app import application
from jax_impl.page.guard import LOOPBACK, Guard
from jax_impl.page.model import Model

TOKEN_BYTES = 16
MOST_CONNECTIONS = 200
GRACE = 2  # seconds that requests have to end in, when the server does
TO_ASK = 10.0  # seconds that who connects has to ask something: else a few who ask nothing could keep all others out


def serve(run: Path | None, checkpoint: str, host: str, port: int, browser: bool) -> int:
    """Answers until Ctrl-C. Prints where. Raises InputError where there is no such model, or the address is taken."""
    model = Model.of(run, checkpoint)
    listening = _listen(host, port)
    port, token = listening.getsockname()[1], None
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
    if host not in LOOPBACK:
        token = secrets.token_urlsafe(TOKEN_BYTES)
        address = f"http://{_outside(host)}:{port}/?token={token}"
        print("others on the network can use the page, by this link alone; what they send is not encrypted")
    print(f"{model.name}: {address}  (Ctrl-C ends it)", flush=True)
    opening = (lambda: webbrowser.open(address)) if browser else (lambda: None)
    _Server(configured(model, host, token), opening).run(sockets=[listening])
    return 0


def configured(model: Model, host: str, token: str | None) -> uvicorn.Config:
    """How it is served. token: what others on the network must bring, None where only this machine can connect."""
    return uvicorn.Config(
        Guard(application(model), host, token),
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=GRACE,
        lifespan="on",
        http=Impatient,
    )


class Impatient(H11Protocol):
    """A connection that is closed where nothing is asked on it."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._patience = self.loop.call_later(TO_ASK, self._close_if_nothing_was_asked)

    def connection_lost(self, exc: Exception | None) -> None:
        self._patience.cancel()
        super().connection_lost(exc)

    def _close_if_nothing_was_asked(self) -> None:
        if self.cycle is None:
            self.transport.close()


class _Server(uvicorn.Server):
    """opened: called once it answers."""

    def __init__(self, config: uvicorn.Config, opened: Callable[[], object]):
        super().__init__(config)
        self._opened = opened

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ctrl-C ends what is written; a second one does not wait for that."""
        if self.should_exit:
            print("stopped", file=sys.stderr, flush=True)
            os._exit(128 + sig)
        super().handle_exit(sig, frame)
        if self.started:
            self.config.app.app.state.page.line.end()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        threading.Thread(target=self._opened, daemon=True).start()  # some browsers hold up who opens them


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        if sys.platform != "win32":  # where it would share the port with whoever has it
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()  # who comes before the server answers waits
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(
            f"--host {host} --port {port}: cannot be listened on ({why}); another --port, or 0 for any that is free"
        ) from error
    return listening


def _outside(host: str) -> str:
    """The name that others find this machine by, where all of its addresses are listened on."""
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host
