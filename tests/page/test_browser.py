"""The page in a real browser, as a musician uses it; the model is the one that comes with the program."""

import base64
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import mido
import pytest
from playwright.sync_api import Browser, BrowserContext, expect, sync_playwright

from jax_impl import shipped
from jax_impl.page import warming
from tests import ROOT
from tests.page.served import Address, serving
from tests.page.test_writing import elsewhere
from tokenizer.music import midi
from tokenizer.music.composer import compose

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SLOW = 120_000  # milliseconds, of what needs the model: its programs are compiled first


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's; where it has none, one of `playwright install chromium`."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Address]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warming, "ASKED", ())
        with serving(shipped.MODEL) as address:
            yield address


class Tab:
    """A tab of the page, and what its console said against it."""

    def __init__(self, context: BrowserContext, address: Address):
        self.page, self.errors = context.new_page(), []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        self.page.set_default_timeout(30_000)
        self.page.goto(address.url)
        expect(self.page.locator("#model-line, #roll").first).to_be_visible()

    def button(self, name: str):
        return self.page.get_by_role("button", name=name, exact=True)

    def state(self, what: str):
        return self.page.evaluate(f"page.state.{what}")

    @property
    def song(self) -> dict:
        return self.state("song")

    @property
    def raw(self) -> bytes:
        return base64.b64decode(self.song["midi"])

    def until(self, holds: Callable[[], bool], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, "it never came to that"
            self.page.wait_for_timeout(50)

    def load(self, raw: bytes, name: str = "a song.mid") -> None:
        self.page.set_input_files("#file", {"name": name, "mimeType": "audio/midi", "buffer": raw})
        expect(self.page.locator("#roll")).to_be_visible()

    def select(self, first: int, last: int, tracks: list[str]) -> None:
        self.page.get_by_label("From bar").fill(str(first))
        self.page.get_by_label("To bar").fill(str(last))
        self.page.get_by_label("To bar").press("Tab")
        for box in self.page.get_by_role("checkbox").all():
            named = any(name in (box.locator("xpath=..").text_content() or "") for name in tracks)
            box.set_checked(named, force=True)

    def written(self) -> None:
        expect(self.button("Keep")).to_be_visible(timeout=SLOW)

    def downloaded(self, kind: str) -> bytes:
        self.button("Download").click()
        with self.page.expect_download() as download:
            self.page.get_by_role("menuitem", name=kind, exact=True).click()
        return Path(download.value.path()).read_bytes()


@pytest.fixture
def context(browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    yield context
    context.close()


@pytest.fixture
def tab(context, server) -> Iterator[Tab]:
    tab = Tab(context, server)
    yield tab
    assert tab.errors == []


@pytest.fixture(scope="module")
def raw() -> bytes:
    return midi.to_bytes(compose(0), "a song")[0]


def test_a_new_song_is_written_kept_and_undone(tab):
    tab.page.get_by_label("Instruments").fill("bass, piano")
    tab.page.get_by_label("Bars", exact=True).first.fill("4")
    tab.button("Write a new song").click()
    expect(tab.button("Stop")).to_be_visible()
    tab.written()
    songs = {}
    for letter in "ABC":
        tab.button(letter).click()
        songs[letter] = tab.raw
    assert len(set(songs.values())) == 3, "three to choose from"
    tab.button("B").click()
    tab.button("Keep").click()
    assert tab.raw == songs["B"] and tab.state("versions.length") == 1
    assert {track["program"] for track in tab.song["tracks"]} <= {0, 33} and len(tab.song["bars"]) <= 4
    expect(tab.button("Undo")).to_be_disabled()


def test_a_file_is_dropped_anywhere(tab, raw):
    data = tab.page.evaluate_handle(
        """(text) => {
          const data = new DataTransfer(), bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
          data.items.add(new File([bytes], "dropped.mid", { type: "audio/midi" }));
          return data;
        }""",
        base64.b64encode(raw).decode(),
    )
    for kind in ("dragenter", "dragover", "drop"):
        tab.page.dispatch_event("body", kind, {"dataTransfer": data})
    expect(tab.page.locator("#roll")).to_be_visible()
    assert tab.raw == raw
    expect(tab.page.get_by_label("Name of the song")).to_have_value("dropped")


def test_bars_are_rewritten_and_all_else_stays(tab, raw):
    tab.load(raw)
    assert tab.raw == raw
    tab.select(5, 6, ["Piano"])
    chosen = tab.state("selection")
    names = [track["name"] for track in tab.song["tracks"]]
    assert [names[track] for track in chosen["tracks"]] == ["Acoustic Grand Piano"] and chosen["first"] == 5
    tab.button("Rewrite").click()
    tab.written()
    begin, end = 4 * 4 * 480, 6 * 4 * 480
    for letter in "ABC":
        tab.button(letter).click()
        assert elsewhere(tab.raw, begin, end) == elsewhere(raw, begin, end)
    tab.page.keyboard.press("1")
    first = tab.raw
    assert first != raw
    tab.page.keyboard.press("Enter")
    tab.until(lambda: tab.state("versions.length") == 2)
    tab.page.keyboard.press("Control+z")
    tab.until(lambda: tab.raw == raw)
    tab.page.keyboard.press("Control+Shift+z")
    tab.until(lambda: tab.raw == first)
    assert tab.downloaded("MIDI") == first


def test_discarded_alternatives_leave_the_song_as_it_was(tab, raw):
    tab.load(raw)
    tab.select(3, 3, ["Bass"])
    tab.button("Vary").click()
    tab.written()
    tab.button("Discard").click()
    assert tab.raw == raw and tab.state("versions.length") == 1


def test_stop_stops_at_once_and_escape_too(tab, raw):
    tab.load(raw)
    tab.page.get_by_label("Bars", exact=True).last.fill("32")
    for stop in (lambda: tab.button("Stop").click(), lambda: tab.page.keyboard.press("Escape")):
        tab.button("Continue").click()
        expect(tab.button("Stop")).to_be_visible()
        tab.page.wait_for_timeout(700)
        stop()
        expect(tab.button("Stop")).to_be_hidden(timeout=2000)
        assert tab.raw == raw
    tab.select(2, 2, ["Bass"])  # the server is free for the next
    tab.button("Rewrite").click()
    tab.written()


def test_a_tab_that_is_closed_lets_the_next_one_write(context, server, raw):
    closed = Tab(context, server)
    closed.load(raw)
    closed.page.get_by_label("Bars", exact=True).last.fill("32")
    closed.button("Continue").click()
    expect(closed.button("Stop")).to_be_visible()
    closed.page.wait_for_timeout(500)
    closed.page.close()
    tab = Tab(context, server)
    tab.load(raw)
    tab.select(2, 2, ["Bass"])
    tab.button("Rewrite").click()
    tab.written()


def test_a_selection_is_dragged(tab, raw):
    tab.load(raw)
    box = tab.page.locator("#roll").bounding_box()
    tab.page.mouse.move(box["x"] + 60, box["y"] + 80)
    tab.page.mouse.down()
    tab.page.mouse.move(box["x"] + 260, box["y"] + 200, steps=5)
    tab.page.mouse.up()
    chosen = tab.state("selection")
    assert chosen["first"] < chosen["last"] and len(chosen["tracks"]) >= 2
    expect(tab.page.get_by_label("From bar")).to_have_value(str(chosen["first"]))
    tab.page.keyboard.press("Escape")
    assert tab.state("selection") is None


def test_the_keyboard_alone_will_do(tab, raw):
    tab.load(raw)
    roll = tab.page.locator("#roll")
    roll.focus()
    for key in ("ArrowRight", "ArrowRight", "Shift+ArrowRight", "ArrowDown"):
        roll.press(key)
    assert tab.state("selection") is not None
    roll.press("Control+a")
    assert tab.state("selection")["last"] == len(tab.song["bars"])
    seen = set()
    for _ in range(60):
        tab.page.keyboard.press("Tab")
        seen.add(tab.page.evaluate("document.activeElement.id || document.activeElement.getAttribute('aria-label')"))
    assert len(seen) > 20, "the focus goes through all controls"


def test_a_selection_stays_on_its_tracks_whatever_comes_beside_them(tab, raw):
    tab.load(raw)
    tab.select(3, 4, ["Choir"])
    name = lambda: [tab.song["tracks"][track]["name"] for track in tab.state("selection.tracks")]
    (chosen,) = name()
    tab.page.get_by_label("Instrument", exact=True).fill("bass")
    tab.page.get_by_label("New track only in bars").check()
    tab.button("Add track").click()
    tab.written()
    assert name() == [chosen]
    tab.button("Keep").click()
    tab.until(lambda: tab.state("versions.length") == 2)
    assert name() == [chosen] and len(tab.song["tracks"]) > tab.state("selection.tracks[0]")
    tab.page.keyboard.press("Control+z")
    tab.until(lambda: tab.raw == raw)
    assert name() == [chosen]


def test_tracks_are_muted_moved_to_another_instrument_and_removed(tab, raw):
    tab.load(raw)
    there = [track["program"] for track in tab.song["tracks"]]
    item = tab.page.locator("#track-list > li").nth(1)
    item.get_by_role("button", name="Mute").click()
    item.locator("select").select_option("38")
    tab.until(lambda: 38 in [track["program"] for track in tab.song["tracks"]])
    place = [track["program"] for track in tab.song["tracks"]].index(38)
    moved = tab.page.locator("#track-list > li").nth(place)
    expect(moved.get_by_role("button", name="Mute")).to_have_attribute("aria-pressed", "true")
    remove = tab.page.locator("#track-list > li").nth(0).get_by_role("button").last
    remove.click()
    tab.until(lambda: len(tab.song["tracks"]) == len(there) - 1)
    tab.button("Undo").click()
    tab.button("Undo").click()
    tab.until(lambda: [track["program"] for track in tab.song["tracks"]] == there)


@pytest.mark.parametrize("sound", ["of the server", "of the page"])
def test_it_plays(tab, raw, sound):
    if sound == "of the page":
        tab.page.route("**/api/sound", lambda route: route.fulfill(status=400, json={"error": "no sound"}))
    tab.load(raw)
    tab.button("Play").click()
    position = tab.page.locator("#position")
    begun = position.text_content()
    tab.until(lambda: position.text_content() != begun)
    assert tab.page.evaluate("document.documentElement.dataset.playing") == "true"
    if sound == "of the page":
        expect(tab.page.locator("#sound-hint")).to_contain_text("own simple sounds")
        tab.errors.clear()  # the browser says that the request failed
    tab.page.keyboard.press("Space")
    tab.until(lambda: tab.page.evaluate("document.documentElement.dataset.playing") == "false")


def test_all_downloads(tab, raw):
    tab.load(raw)
    assert tab.downloaded("MIDI") == raw
    assert tab.downloaded("WAV")[:4] == b"RIFF"
    names = zipfile.ZipFile(io.BytesIO(tab.downloaded("One file per track"))).namelist()
    assert len(names) == len(tab.song["tracks"])
    assert tab.downloaded("Picture").startswith(b"\x89PNG")
    session = tab.downloaded("Session")
    assert json.loads(session)
    tab.button("New song").click()
    tab.page.set_input_files("#file", {"name": "s.json", "mimeType": "application/json", "buffer": session})
    tab.until(lambda: tab.song is not None and tab.raw == raw)


def test_nothing_is_lost_on_reload_and_two_tabs_are_two_songs(tab, context, server, raw):
    tab.load(raw)
    tab.select(2, 2, ["Bass"])
    tab.button("Rewrite").click()
    tab.written()
    tab.button("Keep").click()
    tab.until(lambda: tab.state("versions.length") == 2)
    kept = tab.raw
    tab.page.wait_for_timeout(600)
    tab.page.reload()
    tab.until(lambda: tab.state("song") is not None and tab.raw == kept)
    other = Tab(context, server)
    other.load(midi.to_bytes(compose(5), "x")[0], "another.mid")
    assert other.raw != kept and other.errors == []
    tab.page.reload()
    tab.until(lambda: tab.state("song") is not None and tab.raw == kept)
    tab.button("Undo").click()
    tab.until(lambda: tab.raw == raw)
    third = Tab(context, server)
    expect(third.page.get_by_role("button", name="Go on with")).to_be_visible()


HOSTILE = {
    "empty.mid": b"",
    "picture.mid": b"\x89PNG" * 50,
    "cut.mid": b"MThd\0\0\0\6\0\1\0\2\1\xe0MTrk\0\0\xff\xff\0\x90\x40",
    "<img src=x onerror=alert(1)>.mid": b"MThd",
    "huge.mid": bytes((16 << 20) + 1),
    "session.json": b'{"versions": 5}',
}


def test_hostile_files_are_refused_in_words(tab, raw):
    tab.load(raw)
    for name, content in HOSTILE.items():
        tab.page.set_input_files("#file", {"name": name, "mimeType": "audio/midi", "buffer": content})
        expect(tab.page.locator("#toast")).to_be_visible()
        assert len(tab.page.locator("#toast-text").text_content()) > 10
        tab.page.locator("#toast-close").click()
    assert tab.raw == raw and tab.page.locator("img").count() == 0
    tab.errors[:] = [error for error in tab.errors if "status of 400" not in error]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_and_can_be_read(browser, server, raw, width, scheme):
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme, has_touch=width < 500)
    tab = Tab(context, server)
    for _ in range(2):
        assert tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing runs out sideways"
        for text in tab.page.evaluate(CONTRASTS):
            assert text["ratio"] >= 4.5, text
        names = tab.page.evaluate(
            "[...document.querySelectorAll('button, input, select')].filter(e => e.checkVisibility())"
            ".filter(e => !e.labels?.length && !e.ariaLabel && !e.textContent.trim()).map(e => e.id)"
        )
        assert names == [], "everything has a name"
        if tab.song is None:
            tab.load(raw)
    assert tab.errors == []
    context.close()


CONTRASTS = """
(() => {
  const numbers = (colour) => (colour.match(/[\\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = numbers(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] > 0.9) return colour;
    }
    return numbers(getComputedStyle(document.body).backgroundColor);
  };
  return [...document.querySelectorAll('main *, header *')].filter((element) =>
    element.checkVisibility() && !element.closest(':disabled') &&
    [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()))
    .map((element) => {
      const one = light(numbers(getComputedStyle(element).color)), other = light(behind(element));
      const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
      return { ratio, text: element.textContent.trim().slice(0, 40), id: element.id, of: element.className };
    });
})()
"""


def test_the_server_is_killed_and_comes_back(browser, run_dir, raw):
    port = None

    def start() -> subprocess.Popen:
        command = [sys.executable, "-m", "tests.page.served", str(run_dir), str(port)]
        return subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = start()
    address, context = Address(port), browser.new_context()
    try:
        wait_for(address)
        tab = Tab(context, address)
        tab.load(raw)
        process.send_signal(signal.SIGKILL)
        process.wait()
        tab.select(2, 2, ["Bass"])
        tab.button("Rewrite").click()
        expect(tab.page.locator("#banner")).to_be_visible()
        assert tab.raw == raw, "the song is safe"
        process = start()
        wait_for(address)
        expect(tab.page.locator("#banner")).to_be_hidden(timeout=30_000)
        tab.button("Rewrite").click()
        expect(tab.button("Stop")).to_be_visible()
        expect(tab.button("Keep").or_(tab.button("Rewrite")).first).to_be_visible(timeout=SLOW)
    finally:
        process.kill()
        context.close()


def wait_for(address: Address) -> None:
    for _ in range(600):
        try:
            if address.get("/api/server").status == 200:
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the server does not come")


def test_what_is_downloaded_another_reader_hears(tab, raw):
    tab.load(raw)
    tab.select(1, 2, ["Drums"])
    tab.button("Rewrite").click()
    tab.written()
    tab.button("Keep").click()
    file = mido.MidiFile(file=io.BytesIO(tab.downloaded("MIDI")))
    assert abs(file.length - mido.MidiFile(file=io.BytesIO(raw)).length) < 4
    assert [track.name for track in file.tracks][:2] == [
        track.name for track in mido.MidiFile(file=io.BytesIO(raw)).tracks
    ][:2]
