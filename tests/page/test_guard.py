"""Who may ask the server, and what it lets nobody do."""

import socket

import pytest

from jax_impl.page import guard, warming
from tests.page.conftest import as_text
from tests.page.served import Address, serving


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:1"}, 200),
        ({"Host": "[::1]:8765"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "192.168.1.7:8765"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:3000"}, 403),
        ({"Host": "localhost:77", "Origin": "http://localhost:77"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200),  # a link to the page
    ],
)
def test_no_other_site_and_no_other_name(server, raw, headers, status):
    assert server.get("/api/server", **headers).status == status
    if "Sec-Fetch-Mode" in headers:
        status = 403  # a form of another site is no link
    assert server.post("/api/read", {"midi": as_text(raw)}, **headers).status == status


def test_a_form_of_another_site_cannot_say_that_it_is_json(server, raw):
    answer = server.send("POST", "/api/read", b"{}", {"Content-Type": "text/plain"})
    assert answer.status == 400 and "application/json" in answer.error


def test_every_answer_says_that_it_is_framed_by_nobody_and_loads_nothing_from_elsewhere(server):
    for path in ("/", "/static/style.css", "/api", "/api/server", "/nothing"):
        headers = server.get(path).headers
        assert headers["X-Frame-Options"] == "DENY" and headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"] and headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin" and "server" not in headers
        assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/app.py",
        "/static//etc/passwd",
        "/static/app.py",
        "/static/",
        "/static/index.html%00.js",
        "//etc/passwd",
        "/api/../static/index.html",
        "/static/" + "a" * 5000,
    ],
)
def test_no_path_reaches_the_file_system(server, path):
    answer = server.get(path)
    assert answer.status in (404, 405) and len(answer.content) < 500 and b"import" not in answer.content


def test_a_body_that_is_too_long_is_refused_before_it_is_read(server):
    answer = server.send("POST", "/api/read", None, {"Content-Length": str(guard.MOST_BODY + 1)})
    assert answer.status == 413 and "16" in answer.error
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        head = b"POST /api/read HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        block = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
        try:
            for _ in range(guard.MOST_BODY // 0x100000 + 2):
                connection.sendall(block)
            answer = connection.recv(100)
        except OSError:
            answer = b""  # the connection was closed on it
        assert not answer or b" 413 " in answer
    assert server.get("/api/server").status == 200


# ---------------------------------------------------------------- on a network


TOKEN = "a-token-of-the-test"


@pytest.fixture(scope="module")
def on_network(run_dir):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warming, "ASKED", ())
        with serving(run_dir, TOKEN, "0.0.0.0") as address:
            yield address


def test_on_a_network_nobody_without_the_token(on_network: Address):
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": f"hid-{on_network.port}=wrong"}):
        for path in ("/", "/api/server", "/static/style.css", "/?token=wrong", "/?token="):
            assert on_network.get(path, **headers).status == 401
        assert on_network.post("/api/read", {}, **headers).status == 401
    assert on_network.get("/api/server", Authorization=f"Bearer {TOKEN}").status == 200
    link = on_network.get(f"/?token={TOKEN}")
    cookie = link.headers["Set-Cookie"]
    assert link.status == 303 and link.headers["Location"] == "/" and TOKEN in cookie
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert on_network.get("/", Cookie=cookie.partition(";")[0]).status == 200


def test_on_a_network_it_goes_by_its_addresses_and_not_by_any_name(on_network: Address):
    known = {"Authorization": f"Bearer {TOKEN}"}
    assert on_network.get("/api/server", Host="192.168.1.7:8765", **known).status == 200
    assert on_network.get("/api/server", Host=f"{socket.gethostname()}:8765", **known).status == 200
    assert on_network.get("/api/server", Host="evil.example", **known).status == 403
    assert on_network.get("/api/server", Origin="http://evil.example", **known).status == 403
