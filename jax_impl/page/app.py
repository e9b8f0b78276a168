"""The page and its API: which address answers with what. No path of a request reaches the file system: the files of the
page are read when the server starts, by names that are written here nowhere else.
"""

import asyncio
import json
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from configs import InputError, SampleConfig
from jax_impl.page import edits, openapi, requests
from jax_impl.page.model import Model
from jax_impl.page.queue import Busy, Line
from jax_impl.page.requests import Refused, Write, checked, in_words, song_of, tracks_of
from jax_impl.page.song import MOST_BYTES, Song
from jax_impl.page.warming import warm
from jax_impl.page.writing import Event, written
from jax_impl.sampling import pianoroll, sound, sound_pieces
from tokenizer.grid.meter import TICKS_PER_BEAT
from tokenizer.music import instruments
from tokenizer.music.score import DRUMS

TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
AT_ONCE = 4  # requests that are worked on beside the model
LONGEST_PIECE = 60.0  # seconds of sound that one request may ask for
DRAWING = threading.Lock()  # matplotlib draws one picture at a time
GROUPS = (
    *("Piano", "Chromatic percussion", "Organ", "Guitar", "Bass", "Strings", "Ensemble", "Brass", "Reed", "Pipe"),
    *("Lead", "Pad", "Synth effects", "Ethnic", "Percussive", "Sound effects"),
)  # of General MIDI, eight programs each


@dataclass(frozen=True, eq=False)
class Page:
    """What the server has. soundfont: what it plays with, or None and why."""

    model: Model
    line: Line
    soundfont: Path | None
    sound_hint: str
    files: dict[str, tuple[bytes, str]]
    beside: asyncio.Semaphore


def application(model: Model) -> Starlette:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        soundfont, hint = _soundfont()
        page = Page(model, Line(), soundfont, hint, _files(), asyncio.Semaphore(AT_ONCE))
        app.state.page = page
        app.state.warming = asyncio.create_task(warm(model, page.line))
        yield
        app.state.warming.cancel()
        page.line.close()

    routes = [
        Route("/", _static),
        Route("/static/{name}", _static),
        Route("/api", _documentation),
        Route("/api/openapi.json", _openapi),
        Route("/api/server", _server),
        Route("/api/read", _answers(_read), methods=["POST"]),
        Route("/api/edit", _answers(_edit), methods=["POST"]),
        Route("/api/sound", _answers(_sound), methods=["POST"]),
        Route("/api/tracks", _answers(_tracks), methods=["POST"]),
        Route("/api/picture", _answers(_picture), methods=["POST"]),
        Route("/api/write", _write, methods=["POST"]),
    ]
    errors = {404: _not_found, 405: _not_found, 500: _failed}
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers=errors)


# ---------------------------------------------------------------- the page itself


def _files() -> dict[str, tuple[bytes, str]]:
    """By name, with their types."""
    there = resources.files("jax_impl.page") / "static"
    found = {file.name: file.read_bytes() for file in there.iterdir() if Path(file.name).suffix in TYPES}
    return {name: (content, TYPES[Path(name).suffix]) for name, content in found.items()}


async def _static(request: Request) -> Response:
    name = request.path_params.get("name", "index.html")
    content, kind = request.app.state.page.files.get(name, (None, None))
    if content is None:
        return _error(404, f"{name[:100]}: no such file")
    return Response(content, media_type=kind, headers={"cache-control": "no-cache"})


async def _documentation(request: Request) -> Response:
    return HTMLResponse(openapi.page(str(request.base_url).rstrip("/")))


async def _openapi(_: Request) -> Response:
    return _json(openapi.document())


async def _server(request: Request) -> Response:
    page: Page = request.app.state.page
    names = [instruments.name(program) for program in range(DRUMS + 1)]
    parameters = await run_in_threadpool(lambda: page.model.parameters)
    copies = await run_in_threadpool(lambda: page.model.knows_training_songs)
    groups = [{"name": name, "programs": list(range(8 * n, 8 * n + 8))} for n, name in enumerate(GROUPS)]
    model = page.model
    return _json(
        {
            "version": metadata.version("hid-museformer"),
            "model": {"name": model.name, "parameters": parameters, "step": model.step, "fills": model.fills},
            "sound": "soundfont" if page.soundfont else None,
            "sound_hint": page.sound_hint,
            "copies": copies,
            "warm": request.app.state.warming.done(),
            "programs": names,
            "families": [*groups, {"name": "Drums", "programs": [DRUMS]}],
            "most_bytes": MOST_BYTES,
            "ticks_per_beat": TICKS_PER_BEAT,
            "sampler": {"temperature": SampleConfig.temperature, "top_p": SampleConfig.top_p},
        }
    )


def _soundfont() -> tuple[Path | None, str]:
    try:
        return sound_pieces.find_soundfont(), ""
    except InputError as error:
        return None, in_words(str(error)).removeprefix("wav: ").removeprefix("wav ")


# ---------------------------------------------------------------- songs


def _answers(function: Callable[[Page, Any], Response]) -> Callable:
    """A route of a function that works beside the event loop."""

    async def answer(request: Request) -> Response:
        page: Page = request.app.state.page
        try:
            values = await _body(request)
            async with page.beside:
                return await run_in_threadpool(function, page, values)
        except ClientDisconnect:
            return _error(413, "the request is too long, or was cut off")
        except InputError as error:
            return _error(400, in_words(str(error)))

    return answer


async def _body(request: Request) -> Any:
    """Raises Refused."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Refused("the request must be JSON, with content-type application/json")
    body = await request.body()
    try:
        return await run_in_threadpool(json.loads, body)
    except (ValueError, RecursionError) as error:
        raise Refused(f"the request is no JSON ({error})") from error


def _read(_: Page, values: Any) -> Response:
    return _json(requests.read_of(values).plain())


def _edit(_: Page, values: Any) -> Response:
    said = checked(values, requests.EDIT)
    song = song_of(said["song"])
    if said["track"] is not None and said["program"] is not None:
        raw = edits.with_program(song, said["track"], said["program"])
    elif said["remove"]:
        raw = edits.without(song, tracks_of(said["remove"], "remove"))
    else:
        raise Refused("nothing to change: name tracks to remove, or a track and its program")
    return _json(Song.of_file(raw, song.beats).plain())


def _sound(page: Page, values: Any) -> Response:
    said = checked(values, requests.SOUND)
    if page.soundfont is None:
        raise Refused(page.sound_hint)
    song, silent = song_of(said["song"]), tracks_of(said["without"], "without")
    if len(set(silent)) >= len(song.ids):
        raise Refused("without: all tracks are silent")
    raw = _audible(song, tuple(sorted(set(silent))))
    begin, end = said["from"], said["to"]
    if begin is None and end is None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "song.wav")
            sound.play(raw, path, page.soundfont)
            content = path.read_bytes()
        return Response(content, media_type="audio/wav")
    begin, end = begin or 0.0, 0.0 if end is None else end
    if not begin < end <= begin + LONGEST_PIECE:
        raise Refused(f"from, to: {begin} to {end}; at most {LONGEST_PIECE:.0f} seconds at a time")
    return Response(sound_pieces.piece(raw, begin, end, page.soundfont), media_type="audio/wav")


@lru_cache(maxsize=8)
def _audible(song: Song, silent: tuple[int, ...]) -> bytes:
    return edits.without(song, silent) if silent else song.raw


def _tracks(_: Page, values: Any) -> Response:
    said = checked(values, requests.FILES)
    return Response(edits.one_by_one(song_of(said["song"]), said["name"]), media_type="application/zip")


def _picture(_: Page, values: Any) -> Response:
    said = checked(values, requests.FILES)
    song = song_of(said["song"])
    with DRAWING, tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "song.png")
        pianoroll.piano_roll(song.grid.to_score(), path, said["name"], chords=[bar.chord for bar in song.bars])
        return Response(path.read_bytes(), media_type="image/png")


# ---------------------------------------------------------------- writing


async def _write(request: Request) -> Response:
    page: Page = request.app.state.page
    try:
        values = await _body(request)
        async with page.beside:
            asked = await run_in_threadpool(Write.of, values)
    except ClientDisconnect:
        return _error(413, "the request is too long, or was cut off")
    except InputError as error:
        return _error(400, in_words(str(error)))
    events = page.line.events(lambda: written(page.model, asked))
    if "application/json" in request.headers.get("accept", ""):
        return await _gathered(request, events)
    return StreamingResponse(_as_told(events), media_type="text/event-stream", headers={"cache-control": "no-store"})


async def _as_told(events: AsyncIterator[Event | None]) -> AsyncIterator[str]:
    """As server-sent events. Who closes the connection closes the events."""
    try:
        async with aclosing(events):
            async for event in events:
                yield ": still here\n\n" if event is None else _sent(event)
        yield _sent(Event("done", {}))
    except InputError as error:
        yield _sent(Event("failed", {"error": in_words(str(error))}))
    except Exception:
        yield _sent(Event("failed", {"error": "the server failed at this; its window says why"}))
        raise


def _sent(event: Event) -> str:
    return f"event: {event.name}\ndata: {json.dumps(event.data)}\n\n"


async def _gathered(request: Request, events: AsyncIterator[Event | None]) -> Response:
    """All at once, for programs that do not listen meanwhile."""
    songs, told = {}, {}
    try:
        async with aclosing(events):
            async for event in events:
                if await request.is_disconnected():
                    break
                if event and event.name == "begun":
                    told = event.data
                if event and event.name == "written":
                    songs[event.data["alternative"]] = event.data["song"] | {"notice": event.data["notice"]}
                if event and event.name == "copies":
                    songs[event.data["alternative"]]["copies"] = event.data["text"]
    except Busy as error:
        return _error(503, str(error))
    except InputError as error:
        return _error(400, in_words(str(error)))
    return _json(told | {"songs": list(songs.values())})


# ---------------------------------------------------------------- answers


def _json(values: Any) -> Response:
    return JSONResponse(values, headers={"cache-control": "no-store"})


def _error(status: int, error: str) -> Response:
    return JSONResponse({"error": error}, status)


async def _not_found(request: Request, error: Any) -> Response:
    return _error(error.status_code, f"{request.method} {request.url.path[:100]}: /api says what there is")


async def _failed(_: Request, __: Exception) -> Response:
    return _error(500, "the server failed at this; its window says why")
