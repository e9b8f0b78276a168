"""A server of the page with a small model, in a thread of the tests; as a program one that can be killed:
python -m tests.page.served RUN PORT
"""

import http.client
import json
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from jax_impl.page import warming
from jax_impl.page.model import Model
from jax_impl.page.server import configured

JSON = {"Content-Type": "application/json", "Accept": "application/json"}


class Answer:
    def __init__(self, response: http.client.HTTPResponse):
        self.status, self.headers, self.content = response.status, response.headers, response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def error(self) -> str:
        return self.json["error"]


class Address:
    """Where a server is."""

    def __init__(self, port: int):
        self.port = port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)

    def get(self, path: str, **headers: str) -> Answer:
        return self.send("GET", path, None, headers)

    def post(self, path: str, values: Any, **headers: str) -> Answer:
        return self.send("POST", path, json.dumps(values).encode(), JSON | headers)

    def send(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        connection = self.connection()
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def events(self, values: Any) -> Iterator[tuple[str, dict]]:
        """Of a request that writes, as they come; closing the iterator closes the connection."""
        connection = self.connection()
        try:
            connection.request(
                "POST", "/api/write", json.dumps(values).encode(), JSON | {"Accept": "text/event-stream"}
            )
            name = ""
            for line in connection.getresponse():
                if line.startswith(b"event: "):
                    name = line[7:].decode().strip()
                elif line.startswith(b"data: "):
                    yield name, json.loads(line[6:])
        finally:
            connection.sock and connection.sock.shutdown(socket.SHUT_RDWR)
            connection.close()


@contextmanager
def serving(run: Path, token: str | None = None, host: str = "127.0.0.1") -> Iterator[Address]:
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(configured(Model.of(run, "best"), host, token))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield Address(listening.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(timeout=60)


def main() -> None:
    warming.ASKED = ()
    uvicorn.Server(configured(Model.of(Path(sys.argv[1]), "best"), "127.0.0.1", None)).run(
        sockets=[socket.create_server(("127.0.0.1", int(sys.argv[2])))]
    )


if __name__ == "__main__":
    main()
