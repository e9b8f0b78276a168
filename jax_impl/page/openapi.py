"""What the API is, told at /api: for programs as OpenAPI, for people as a page of the same."""

import html
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from typing import NamedTuple

from jax_impl.page import requests
from jax_impl.page.requests import Field


class Path(NamedTuple):
    """An address. fields: of the JSON that is posted, None where it is a GET. answer: media type, and what it is."""

    path: str
    told: str
    fields: Mapping[str, Field] | None
    answer: tuple[str, str]


SONG = "a song: {midi, beats, bars, end, seconds, tracks, notices}"
PATHS = (
    Path("/api/server", "The model, the names of instruments, what the server can do.", None, ("application/json", "")),
    Path("/api/read", "Reads a MIDI file.", requests.READ, ("application/json", SONG)),
    Path(
        "/api/write",
        "Lets the model write. The answer is a stream of server-sent events: queued {ahead}; begun {seed, notices}; "
        "bars {alternative, bars: [{track, program, bar, chord, tick, ticks, notes}]}, where notes are [[tick, ticks, "
        "pitch, velocity]]; written {alternative, song, notice}; copies {alternative, text}; done; failed {error}. "
        "With the header Accept: application/json it comes at once: {seed, notices, songs}. Closing the connection "
        "cancels it.",
        requests.WRITE,
        ("text/event-stream", "events"),
    ),
    Path("/api/edit", "Takes out tracks, or gives one another instrument.", requests.EDIT, ("application/json", SONG)),
    Path("/api/sound", "The sound of a song or of a stretch of it.", requests.SOUND, ("audio/wav", "sound")),
    Path("/api/tracks", "One MIDI file for each track.", requests.FILES, ("application/zip", "files")),
    Path("/api/picture", "The piano roll.", requests.FILES, ("image/png", "a picture")),
)
EXAMPLE = """import base64, json, urllib.request

def ask(path, **values):
    request = urllib.request.Request("ADDRESS" + path, json.dumps(values).encode(),
        {"Content-Type": "application/json", "Accept": "application/json"})
    return json.load(urllib.request.urlopen(request))

song = ask("/api/read", midi=base64.b64encode(open("song.mid", "rb").read()).decode())
made = ask("/api/write", action="rewrite", song={"midi": song["midi"], "beats": song["beats"]},
           tracks=[1], first=5, last=8, alternatives=1)["songs"][0]
open("new.mid", "wb").write(base64.b64decode(made["midi"]))"""


@cache
def document() -> dict:
    """The OpenAPI document."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "HID-MuseFormer", "version": metadata.version("hid-museformer")},
        "paths": {path.path: {"post" if path.fields else "get": _operation(path)} for path in PATHS},
    }


def _operation(path: Path) -> dict:
    kind, told = path.answer
    error = {"type": "object", "properties": {"error": {"type": "string"}}}
    operation = {
        "summary": path.told,
        "responses": {
            "200": {"description": told, "content": {kind: {}}},
            "400": {"description": "what is wrong", "content": {"application/json": {"schema": error}}},
        },
    }
    if path.fields:
        schema = {"type": "object", "properties": {name: _schema(field) for name, field in path.fields.items()}}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _schema(field: Field) -> dict:
    schema = {"type": field.kind, "description": field.told} | dict(field.more)
    if field.kind == "array":
        schema["items"] = {"type": "integer", "minimum": 0}
    for name, value in (("minimum", field.least), ("maximum", field.most), ("default", field.default)):
        if value is not None:
            schema[name] = value
    return schema


def page(address: str) -> str:
    """The same for people, as HTML. address: of the server, as who asks it calls it."""
    parts = []
    for path in PATHS:
        parts.append(f"<h2>{'POST' if path.fields else 'GET'} {path.path}</h2><p>{html.escape(path.told)}</p>")
        rows = [
            f"<tr><td><code>{name}</code><td>{field.kind}<td>{html.escape(field.told)}{_default(field)}"
            for name, field in (path.fields or {}).items()
        ]
        if rows:
            parts.append(f"<table><tr><th>field<th>type<th>what it is{''.join(rows)}</table>")
        parts.append(f"<p class='soft'>Answer: {path.answer[0]} {html.escape(path.answer[1])}</p>")
    example = html.escape(EXAMPLE.replace("ADDRESS", address))
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        "<title>API of HID-MuseFormer</title><link rel='stylesheet' href='/static/api.css'>"
        "<body><main><h1>API</h1><p>All that the <a href='/'>page</a> does, for scripts; the same as "
        "<a href='/api/openapi.json'>OpenAPI</a>. The server keeps no songs: a request brings the song, the answer is "
        f"another one.</p><pre>{example}</pre>{''.join(parts)}</main></body></html>"
    )


def _default(field: Field) -> str:
    return "" if field.default in (None, "", []) else f" ({html.escape(str(field.default))})"
