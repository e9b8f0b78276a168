"""Who may ask the server: pages that came from it, and programs of this machine. No other site that is open in the same
browser, and on a network nobody without the token.

    Host      a name of this machine: a site whose name was made to mean this machine (DNS rebinding) has its own
    Origin    where a browser says it, that of the page itself
    token     where others on the network can connect: from the printed link, then in a cookie
"""

import hmac
import ipaddress
import json
import socket
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BODY = 24 << 20  # bytes: a MIDI file of 16 MB in base64, and what goes with it
LOOPBACK = ("127.0.0.1", "localhost", "::1")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Guard:
    """Around an application. token: what others must bring, None where only this machine can connect. host: the address
    that is listened on.
    """

    def __init__(self, app: ASGIApp, host: str, token: str | None = None):
        self.app, self._token = app, token
        self._names = {*LOOPBACK, host, socket.gethostname(), socket.getfqdn()} if token else set(LOOPBACK)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        cookies: list[tuple[bytes, bytes]] = []

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = message | {"headers": [*message["headers"], *own, *cookies]}
            await send(message)

        if problem := self._problem(scope, headers):
            await _refuse(send_guarded, *problem)
            return
        if self._token:
            if self._brought(scope):  # by the printed link: the address bar forgets it
                cookies.append(
                    (
                        b"set-cookie",
                        f"{_cookie(scope)}={self._token}; HttpOnly; SameSite=Strict; Path=/".encode(),
                    )
                )
                await send_guarded({"type": "http.response.start", "status": 303, "headers": [(b"location", b"/")]})
                await send_guarded({"type": "http.response.body", "body": b""})
                return
            if not self._is_known(scope, headers):
                await _refuse(send_guarded, 401, "open the link with the token that `hid-museformer serve` printed")
                return
        await self.app(scope, _at_most(receive), send_guarded)

    def _problem(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        """What is against a request, with its status."""
        if len(headers.getlist("host")) != 1 or not self._is_here(_name(headers["host"])):
            return 403, "this server is asked for by another name than its own"
        origin = headers.get("origin")
        if origin is not None and origin not in (f"http://{headers['host']}", f"https://{headers['host']}"):
            return 403, "another site cannot ask this server"
        is_other = headers.get("sec-fetch-site", "none") not in ("same-origin", "none")
        if is_other and not (scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate"):
            return 403, "another site cannot ask this server"
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MOST_BODY:
            return 413, f"more than {MOST_BODY >> 20} MB: a MIDI file has at most 16"
        return None

    def _is_here(self, name: str) -> bool:
        """Whether a Host means this machine: by a name that it has or, on a network, by any address."""
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return self._token is not None

    def _brought(self, scope: Scope) -> bool:
        if scope["method"] != "GET" or scope["path"] != "/":
            return False
        asked = parse_qs(scope["query_string"].decode("latin-1"))
        return any(_same(token, self._token) for token in asked.get("token", ()))

    def _is_known(self, scope: Scope, headers: Headers) -> bool:
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(_cookie(scope))
        except CookieError:
            cookie = None
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        return _same(bearer, self._token) or (cookie is not None and _same(cookie.value, self._token))


def _cookie(scope: Scope) -> str:
    """Its name: cookies of a machine are the same for all ports."""
    return f"hid-{scope['server'][1]}"


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "surrogateescape"), other.encode())


def _name(host: str) -> str:
    """Of a Host header, without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def _at_most(receive: Receive) -> Receive:
    """A body that says no length is cut all the same: what is too long ends the connection."""
    taken = 0

    async def counted() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > MOST_BODY:
            return {"type": "http.disconnect"}
        return message

    return counted


async def _refuse(send: Send, status: int, error: str) -> None:
    body = json.dumps({"error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
