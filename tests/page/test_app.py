"""The API: each address, what it refuses, and that it goes on whatever it is asked."""

import base64
import io
import json
import threading
import wave
import zipfile

import mido
import pytest

from jax_impl.page import openapi, requests
from jax_impl.page.song import MOST_BYTES
from tests.page.conftest import as_text


@pytest.fixture(scope="module")
def song(server, raw) -> dict:
    answer = server.post("/api/read", {"midi": as_text(raw), "name": "a.mid"})
    assert answer.status == 200
    return answer.json


def ref(song: dict) -> dict:
    return {"midi": song["midi"], "beats": song["beats"]}


def test_the_page_and_its_files_are_there(server):
    page = server.get("/")
    assert page.status == 200 and page.headers["Content-Type"].startswith("text/html")
    for name, kind in (("style.css", "text/css"), ("main.js", "text/javascript")):
        assert server.get(f"/static/{name}").headers["Content-Type"].startswith(kind)


def test_the_server_says_what_it_has(server):
    said = server.get("/api/server").json
    assert said["model"]["fills"] and said["model"]["parameters"] > 1000 and "warm" in said
    assert len(said["programs"]) == 129 and said["programs"][128] == "Drums" and said["most_bytes"] == MOST_BYTES
    programs = [program for family in said["families"] for program in family["programs"]]
    assert programs == list(range(129)) and said["sound"] == "soundfont"


def test_every_address_is_documented_and_answers(server):
    document = server.get("/api/openapi.json").json
    people = server.get("/api").content.decode()
    assert document["openapi"].startswith("3.")
    for path, operations in document["paths"].items():
        assert path in people
        for method, operation in operations.items():
            answer = server.get(path) if method == "get" else server.post(path, {"no such field": 1})
            assert answer.status == (200 if method == "get" else 400), path
            if method == "post":
                fields = operation["requestBody"]["content"]["application/json"]["schema"]["properties"]
                assert all(name in answer.error for name in fields), "which says the fields that there are"
                assert server.get(path).status == 405
    assert {path.path for path in openapi.PATHS} == document["paths"].keys()


def test_a_file_comes_back_as_it_was(server, song, raw):
    assert base64.b64decode(song["midi"]) == raw
    assert server.post("/api/read", ref(song)).json == song | {"notices": []}


def test_bars_come_while_they_are_written(server, song):
    asked = {"action": "rewrite", "song": ref(song), "tracks": [1], "first": 2, "last": 3, "density": "0-8"}
    events = list(server.events(asked))
    kinds = [name for name, _ in events]
    assert kinds[0] == "begun" and kinds[-1] == "done" and kinds.count("written") == 3 and "bars" in kinds
    same = list(server.events(asked | {"seed": events[0][1]["seed"]}))
    assert [data for name, data in same if name == "written"] == [data for name, data in events if name == "written"]
    at_once = server.post("/api/write", asked | {"seed": events[0][1]["seed"]}).json
    assert [made["midi"] for made in at_once["songs"]] == [
        data["song"]["midi"] for name, data in events if name == "written"
    ]


def test_who_hangs_up_lets_the_next_one_write(server, song):
    asked = {"action": "new", "bars": 60, "instruments": "drums,bass,piano,guitar,flute"}
    for _ in range(3):
        events = server.events(asked)
        assert next(events)[0] in ("queued", "begun")
        events.close()
    short = {"action": "rewrite", "song": ref(song), "tracks": [1], "first": 2, "last": 2, "density": "0-8"}
    assert [name for name, _ in server.events(short)][-1] == "done"


def test_who_waits_is_told_the_place(server, song):
    """Two at once: neither gets anything of the other's."""
    asked = {"action": "rewrite", "song": ref(song), "first": 2, "last": 4, "density": "1-8"}
    out: dict[int, list] = {}
    ask = lambda track: out.update({track: list(server.events(asked | {"tracks": [track]}))})
    threads = [threading.Thread(target=ask, args=[track]) for track in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert any(name == "queued" for events in out.values() for name, _ in events)
    for track, events in out.items():
        bars = [bar for name, data in events if name == "bars" for bar in data["bars"]]
        assert bars and {bar["track"] for bar in bars} == {track} and events[-1][0] == "done"


def test_tracks_are_edited_heard_and_kept(server, song):
    fewer = server.post("/api/edit", {"song": ref(song), "remove": [0]}).json
    assert [track["id"] for track in fewer["tracks"]] == [track["id"] for track in song["tracks"]][1:]
    other = server.post("/api/edit", {"song": ref(song), "track": 1, "program": 38}).json
    assert 38 in [track["program"] for track in other["tracks"]]
    sound = server.post("/api/sound", {"song": ref(song), "from": 1.5, "to": 2.5, "without": [0]})
    with wave.open(io.BytesIO(sound.content)) as file:
        assert file.getnframes() >= file.getframerate()
    files = server.post("/api/tracks", {"song": ref(song), "name": "x"})
    names = zipfile.ZipFile(io.BytesIO(files.content)).namelist()
    assert len(names) == len(song["tracks"]) and all(name.startswith("x ") for name in names)
    assert server.post("/api/picture", {"song": ref(song)}).content.startswith(b"\x89PNG")


HOSTILE = {
    "nothing": b"",
    "no midi": b"\x89PNG" * 100,
    "cut off": b"MThd\0\0\0\6\0\1\0\2\1\xe0MTrk\0\0\xff\xff\0\x90\x40",
    "no notes": b"MThd\0\0\0\6\0\0\0\1\1\xe0MTrk\0\0\0\4\0\xff\x2f\0",
    "a zip": b"PK\3\4" + bytes(100),
    "division 0": b"MThd\0\0\0\6\0\0\0\1\0\0MTrk\0\0\0\4\0\xff\x2f\0",
    "a far note": b"MThd\0\0\0\6\0\0\0\1\0\1MTrk\0\0\0\x10\xff\xff\xff\x7f\x90\x40\x40\xff\xff\xff\x7f\x90\x40\0"
    b"\0\xff\x2f\0",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_words(server, name):
    answer = server.post("/api/read", {"midi": as_text(HOSTILE[name]), "name": "odd <b>.mid"})
    assert answer.status == 400 and answer.error.startswith("odd <b>.mid: ")


@pytest.mark.parametrize(
    ("path", "values", "said"),
    [
        ("/api/read", [], "JSON object"),
        ("/api/read", {"midi": 5}, "midi: must be a string"),
        ("/api/read", {"midi": "!"}, "not base64"),
        ("/api/read", {"midi": "A" * 4 * (MOST_BYTES // 3 + 10)}, "16 MB"),
        ("/api/read", {}, "the file is missing"),
        ("/api/write", {"action": "sing"}, "none of"),
        ("/api/write", {}, "action"),
        ("/api/write", {"action": "rewrite"}, "song"),
        ("/api/write", {"action": "new", "bars": -1}, "bars: from 0"),
        ("/api/write", {"action": "new", "bars": 10**30}, "bars: from 0"),
        ("/api/write", {"action": "new", "bars": True}, "must be an integer"),
        ("/api/write", {"action": "new", "temperature": float("nan")}, "temperature"),
        ("/api/write", {"action": "new", "chords": "C " * 3000}, "characters"),
        ("/api/write", {"action": "new", "instruments": "kazoo machine"}, "instruments: unknown instrument"),
        ("/api/write", {"action": "new", "instruments": "129"}, "instruments: unknown instrument '129'"),
        ("/api/write", {"action": "new", "instruments": " , "}, "name at least one instrument"),
        ("/api/write", {"action": "new", "tempo": 3}, "tempo must be from 4"),
        ("/api/write", {"action": "new", "density": "foo:1-2"}, "foo"),
        ("/api/write", {"action": "new", "chords": "Xq"}, "unknown chord 'Xq'"),
        ("/api/write", {"action": "new", "pitches": "Z"}, "pitches"),
        ("/api/write", {"action": "new", "chords": "\ud800"}, "is no text"),
        ("/api/read", {"midi": "AAAA", "name": "\ud800x"}, "is no text"),
        ("/api/write", {"action": "new", "key": "Q"}, "key: "),
        ("/api/write", {"action": "new", "meter": "99/7"}, "meter: "),
        ("/api/edit", {"song": {"midi": ""}}, "the file is empty"),
        ("/api/sound", {"song": {"midi": "x", "beats": 5}}, "beats"),
    ],
)
def test_what_makes_no_sense_is_refused_by_the_name_of_the_field(server, path, values, said):
    answer = server.post(path, values)
    assert answer.status == 400 and said in answer.error and "--" not in answer.error


def test_what_is_said_of_flags_is_said_of_fields():
    said = requests.in_words("--chords: unknown chord 'H'; --transpose moves them; H is B here (--max-length 2048)")
    assert said == "chords: unknown chord 'H'; H is B here"
    assert requests.in_words("--tempo 3: from 4") == "tempo 3: from 4"


def test_places_that_a_song_does_not_have(server, song):
    for more, said in (
        ({"tracks": [99], "first": 1}, "tracks: 99"),
        ({"tracks": [0], "first": 9999}, "last: 9999"),
        ({"tracks": [0], "first": 5, "last": 2}, "the first must be before"),
        ({"tracks": [], "first": 1}, "select the bars"),
        ({"tracks": [-1], "first": 1}, "numbers from 0"),
        ({"tracks": ["x"], "first": 1}, "numbers from 0"),
    ):
        answer = server.post("/api/write", {"action": "rewrite", "song": ref(song), **more})
        assert answer.status == 400 and said in answer.error
    assert server.post("/api/edit", {"song": ref(song), "track": 0, "program": 129}).status == 400
    assert "nothing to change" in server.post("/api/edit", {"song": ref(song)}).error
    assert "all of them" in server.post("/api/edit", {"song": ref(song), "remove": list(range(6))}).error
    assert "60 seconds" in server.post("/api/sound", {"song": ref(song), "from": 0, "to": 1000}).error


def test_json_that_is_none(server):
    for body in (b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"midi": "' + b"A" * 100):
        answer = server.send("POST", "/api/read", body, {"Content-Type": "application/json"})
        assert answer.status == 400 and "JSON" in answer.error


def test_a_thousand_requests(server, song, raw):
    """Good ones and bad ones, from eight at once; then everything is as it was."""
    wrong = []

    def ask(number: int) -> None:
        for turn in range(125):
            kind = (number + turn) % 4
            if kind == 0:
                ok = server.get("/api/server").status == 200
            elif kind == 1:
                ok = server.post("/api/read", {"midi": as_text(raw)}).json["midi"] == song["midi"]
            elif kind == 2:
                ok = server.post("/api/read", {"midi": "????"}).status == 400
            else:
                ok = server.get("/", Host="evil.example").status == 403
            if not ok:
                wrong.append((number, turn))

    threads = [threading.Thread(target=ask, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    made = server.post("/api/write", {"action": "new", "bars": 1, "instruments": "bass", "density": "0-4"}).json
    assert len(made["songs"]) == 3
    assert mido.MidiFile(file=io.BytesIO(base64.b64decode(made["songs"][0]["midi"]))).type in (0, 1)


def test_the_fields_that_are_documented_are_those_that_are_read():
    for fields in (requests.READ, requests.WRITE, requests.EDIT, requests.SOUND, requests.FILES):
        assert all(field.told and field.kind in requests.KINDS for field in fields.values())
    assert json.dumps(openapi.document())
