"""How soon the page answers: loading, the first bar of a rewrite, play, and frames of a large song; and its pictures.

    python benchmarks/page.py SONGS [SONGS ...]

SONGS: folders of MIDI files, from each of which --files are opened, and four bars of a track in the middle are written
anew. The server is started twice: with no program kept, and again. Needs Chromium, and the extras `page`, `sound` and
`test`. Writes benchmarks/results/page.json and page_*.png.
"""

import argparse
import base64
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Page, expect, sync_playwright
from report import RESULTS, write_report

from jax_impl.device.program_cache import VARIABLE
from tokenizer.music import midi
from tokenizer.music.score import NOTE, Score, Signature, Tempo, Track

HERE = Path(__file__).resolve().parents[1]
BARS, LARGE_BARS, LARGE_TRACKS, NOTES_A_BAR = 4, 300, 20, 5
REPEATS, FRAMES = 5, 240
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
JSON = {"Content-Type": "application/json"}


@contextmanager
def served(cache: Path) -> Iterator[int]:
    """A server as a user starts it; its port."""
    command = [sys.executable, "-m", "jax_impl.cli", "serve", "--no-browser", "--port", "0"]
    environment = os.environ | {"PYTHONPATH": str(HERE), VARIABLE: str(cache)}
    process = subprocess.Popen(command, cwd=HERE, env=environment, stdout=subprocess.PIPE, encoding="utf-8")
    try:
        yield int(process.stdout.readline().partition("127.0.0.1:")[2].partition("/")[0])
    finally:
        process.terminate()
        process.wait()


def ask(port: int, path: str, values: dict | None = None) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    body = None if values is None else json.dumps(values).encode()
    connection.request("GET" if body is None else "POST", path, body, JSON)
    return connection.getresponse()


def until_warm(port: int) -> float:
    begin = time.perf_counter()
    while True:
        try:
            if json.load(ask(port, "/api/server"))["warm"]:
                return time.perf_counter() - begin
        except OSError:
            pass
        time.sleep(0.1)


def rewritten(port: int, path: Path) -> dict:
    """Seconds from the request to the first bar, and to the three whole songs."""
    song = read(port, path)
    middle = max(len(song["bars"]) // 2 - BARS, 0)
    wanted = {"action": "rewrite", "tracks": [0], "first": middle + 1, "last": min(middle + BARS, len(song["bars"]))}
    wanted["song"] = {name: song[name] for name in ("midi", "beats")}
    begin, at, bars = time.perf_counter(), {}, 0
    for line in ask(port, "/api/write", wanted):
        if line.startswith(b"event: "):
            at.setdefault(line[7:].decode().strip(), time.perf_counter() - begin)
            bars += line.startswith(b"event: bars")
    return {"first_bar": at.get("bars", at.get("written")), "whole": at["done"], "tracks": len(song["tracks"])}


def read(port: int, path: Path) -> dict:
    return json.load(ask(port, "/api/read", {"midi": base64.b64encode(path.read_bytes()).decode(), "name": path.name}))


def everything_else(port: int, path: Path) -> None:
    """What else can be asked of a song, and new ones of up to 4096 tokens, with wishes and without."""
    song = read(port, path)
    given = {"song": {name: song[name] for name in ("midi", "beats")}, "first": 1, "last": 4}
    for wish in ({}, {"density": "0-16"}, {"key": "A minor"}):
        for alternatives in (1, 2, 3):
            how = wish | {"alternatives": alternatives}
            for asked in (
                {"action": "vary", "tracks": [0], **given},
                {"action": "add", "instruments": "bass", **given},
                {"action": "continue", "song": given["song"], "bars": 3},
                {"action": "new", "bars": 5 + alternatives, "instruments": "flute"},
                {"action": "new", "bars": 40, "instruments": "drums,bass,flute"},
            ):
                response = ask(port, "/api/write", asked | how)
                assert b"event: done" in response.read(), asked


def large() -> bytes:
    """300 bars of 20 tracks, 30,000 notes."""
    draw, tracks = np.random.default_rng(0), []
    for number in range(LARGE_TRACKS):
        notes = np.empty(LARGE_BARS * NOTES_A_BAR, NOTE)
        notes["onset_ticks"] = np.sort(draw.integers(0, LARGE_BARS * 16, len(notes))) * 120
        notes["duration_ticks"], notes["velocity"] = draw.integers(1, 8, len(notes)) * 120, draw.integers(40, 120)
        notes["pitch"] = 40 + number + draw.integers(0, 24, len(notes))
        tracks.append(Track(number * 6, notes))
    return midi.to_bytes(Score(480, tuple(tracks), (Tempo(0, 500_000),), (Signature(0, 4, 4),)), "large")[0]


def frames(page: Page, what: str) -> dict:
    """Milliseconds from frame to frame while `what` is done in each."""
    spent = page.evaluate(
        f"""new Promise((done) => {{
          const spent = [], stage = document.getElementById("stage"); let before = performance.now();
          const step = (now) => {{
            spent.push(now - before); before = now; {what};
            spent.length < {FRAMES} ? requestAnimationFrame(step) : done(spent.slice(5));
          }};
          requestAnimationFrame(step);
        }})"""
    )
    return {"median": round(statistics.median(spent), 1), "p95": round(float(np.percentile(spent, 95)), 1)}


def opened(browser: Browser, port: int, raw: bytes, name: str, **how) -> Page:
    page = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **how}).new_page()
    page.goto(f"http://127.0.0.1:{port}/")
    expect(page.locator("#model-line")).not_to_be_empty()
    page.set_input_files("#file", {"name": name, "mimeType": "audio/midi", "buffer": raw})
    expect(page.locator("#roll")).to_be_visible(timeout=30_000)
    return page


def in_browser(browser: Browser, port: int, song: Path) -> dict:
    found = {"load_ms": [], "click_to_bars_ms": [], "click_to_play_ms": []}
    for _ in range(REPEATS):
        page = browser.new_context().new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        expect(page.locator("#model-line")).not_to_be_empty()
        found["load_ms"].append(page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd"))
        page.context.close()
        page = opened(browser, port, song.read_bytes(), song.name)
        page.get_by_label("From bar").fill("9")
        page.get_by_label("To bar").fill(str(8 + BARS))
        page.get_by_label("To bar").press("Tab")
        begin = time.perf_counter()
        page.get_by_role("button", name="Rewrite", exact=True).click()
        expect(page.locator("#alternatives")).to_contain_text("so far")
        found["click_to_bars_ms"].append(1000 * (time.perf_counter() - begin))
        expect(page.get_by_role("button", name="Keep", exact=True)).to_be_visible(timeout=60_000)
        place = page.locator("#position").text_content()
        begin = time.perf_counter()
        page.get_by_role("button", name="Play", exact=True).click()
        while page.locator("#position").text_content() == place:
            page.wait_for_timeout(10)
        found["click_to_play_ms"].append(1000 * (time.perf_counter() - begin))
        page.context.close()
    medians = {name: round(statistics.median(values)) for name, values in found.items()}
    page = opened(browser, port, large(), "large.mid")
    medians["frame_ms"] = {
        "scroll along": frames(page, "stage.scrollLeft += 25"),
        "scroll down": frames(page, "stage.scrollTop += 4"),
    }
    page.get_by_role("button", name="Play", exact=True).click()
    medians["frame_ms"]["play"] = frames(page, "")
    page.context.close()
    return medians


def draw(browser: Browser, port: int, song: Path) -> None:
    """The page, wide and narrow, light and dark."""
    for name, width, scheme in (("wide", 1280, "light"), ("narrow", 390, "dark")):
        size = {"width": width, "height": 800 if width > 500 else 844}
        page = opened(
            browser, port, song.read_bytes(), song.name, viewport=size, color_scheme=scheme, has_touch=width < 500
        )
        if width < 500:
            page.locator("#sheet").click()
        page.get_by_label("From bar").fill("5")
        page.get_by_label("To bar").fill("8")
        page.get_by_label("To bar").press("Tab")
        page.get_by_role("button", name="Rewrite", exact=True).click()
        expect(page.get_by_role("button", name="Keep", exact=True)).to_be_visible(timeout=60_000)
        page.get_by_role("button", name="B", exact=True).click()
        page.wait_for_timeout(500)
        page.screenshot(path=RESULTS / f"page_{name}.png")
        page.context.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--files", type=int, default=8, help="of each folder")
    parser.add_argument("--picture", type=Path, help="the song that the pictures show, by default the first one")
    arguments = parser.parse_args()
    songs = []
    for folder in arguments.folders:
        there = sorted(folder.rglob("*.mid"))
        songs += there[:: max(len(there) // arguments.files, 1)][: arguments.files]
    with tempfile.TemporaryDirectory() as kept:
        with served(Path(kept)) as port:
            first = until_warm(port)
        with served(Path(kept)) as port, sync_playwright() as playwright:
            later = until_warm(port)
            programs = len(list(Path(kept).rglob("*")))
            rewrites = [rewritten(port, song) for song in songs]
            everything_else(port, songs[0])
            compiled = len(list(Path(kept).rglob("*"))) - programs
            path = next(filter(None, map(shutil.which, BROWSERS)), None)
            options = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
            browser = playwright.chromium.launch(executable_path=path, args=options)
            page = in_browser(browser, port, songs[0])
            draw(browser, port, arguments.picture or songs[0])
            browser.close()
    seconds = {
        name: {
            "median": round(statistics.median(each[name] for each in rewrites), 2),
            "worst": round(max(each[name] for each in rewrites), 2),
        }
        for name in ("first_bar", "whole")
    }
    results = {
        "songs": len(songs),
        "most_tracks": max(each["tracks"] for each in rewrites),
        "seconds_until_all_programs_are_ready": {"first start": round(first, 1), "later": round(later, 1)},
        "programs_compiled_for_songs_nobody_had_seen": compiled,
        "rewrite_of_4_bars_of_a_track_seconds": seconds,
        "browser": page,
    }
    write_report("page", results)


if __name__ == "__main__":
    main()
