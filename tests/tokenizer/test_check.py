"""check says whether a file survives the tokenizer, and how much of its music does."""

import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

import tokenizer.dataset.accept
import tokenizer.dataset.check
from configs import CheckConfig, PrepareConfig
from jax_impl.cli import checked, songs
from tests.scores import score_of
from tokenizer.dataset import prepare
from tokenizer.dataset.check import check, judge, remarks
from tokenizer.dataset.files import read_rejected
from tokenizer.dataset.songs import Dataset
from tokenizer.dataset.told import in_words, kind_of_repair, sum_up
from tokenizer.grid.align import Aligned
from tokenizer.grid.changes import Changes
from tokenizer.music import midi
from tokenizer.music.composer import compose
from tokenizer.music.midi import Reading

LIMITS = CheckConfig()
AS_IT_WAS = Changes(
    notes=100,
    notes_out=100,
    doubles=0,
    merged=0,
    moved=0,
    moved_ms_sum=0.0,
    cut=0,
    cut_seconds=0.0,
    sounding_seconds=50.0,
    seconds=100.0,
    seconds_out=100.0,
    silent_bars=0,
    silent_from=0,
    notes_after_silence=0,
    slowest_bpm=120.0,
    fastest_bpm=120.0,
    meters=(),
)


def drums(step: int, count: int):
    return score_of((128, [(i * step, 30, 36, 80) for i in range(count)]))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One song of each verdict, by its name."""
    folder = tmp_path_factory.mktemp("midi")
    midi.write(compose(0), folder / "faithful.mid")
    late = [(i * 480 + (30 if i % 10 == 0 else 0), 240, 60 + i % 12, 80) for i in range(40)]  # by 31 ms
    midi.write(score_of((0, late)), folder / "audibly changed.mid")
    midi.write(drums(30, 128), folder / "damaged.mid")
    (folder / "unreadable.mid").write_text("nothing", encoding="utf-8")
    return {path.stem: path for path in folder.iterdir()}


@pytest.mark.parametrize("verdict", ["faithful", "audibly changed", "damaged", "unreadable"])
def test_the_verdict_is_of_the_music_not_of_the_tokens_alone(files, verdict):
    result = check(files[verdict], LIMITS)
    assert result.verdict == verdict
    assert result.exact == (verdict != "unreadable")
    assert result.is_well == (verdict in ("faithful", "audibly changed"))
    assert bool(result.causes) == (verdict != "faithful"), "a verdict names its cause"
    assert json.loads(json.dumps(result.content()))["verdict"] == verdict


def test_a_song_is_counted(files):
    result = check(files["faithful"], LIMITS)
    assert result.told["notes"] == result.told["notes_out"] > 300
    assert result.tokens > 2 * result.told["notes"] and 0 < result.milliseconds < 10_000


@pytest.mark.parametrize(
    ("changed", "first", "second", "words"),
    [
        (dict(merged=1, notes_out=99), "audible_merged", "damaged_merged", "1 of 100 notes lost"),
        (dict(moved=10), "audible_moved", "damaged_moved", "10 of 100 notes moved by more than 20 ms"),
        (dict(cut=3, cut_seconds=5.0), "audible_cut", "damaged_cut", "10.0% of all sounding time lost"),
        (dict(seconds_out=95.0), "audible_seconds", "damaged_seconds", "5.0% shorter than the file"),
    ],
)
def test_each_limit_alone_decides_and_is_named(changed, first, second, words):
    far = dict.fromkeys((first, second), 1.0)
    changes = replace(AS_IT_WAS, **changed)
    assert judge(changes, 0, True, replace(LIMITS, **far)) == ("faithful", ())
    at_limit = {"audible_merged": 0.01, "audible_moved": 0.1, "audible_cut": 0.1, "audible_seconds": 0.05}[first]
    assert judge(changes, 0, True, replace(LIMITS, **far | {first: at_limit}))[0] == "faithful", "beyond, not at"
    assert judge(changes, 0, True, replace(LIMITS, **{first: 0.0, second: at_limit}))[0] == "audibly changed"
    for limits, verdict in (({**far, first: 0.0}, "audibly changed"), ({first: 0.0, second: 0.0}, "damaged")):
        said, (cause,) = judge(changes, 0, True, replace(LIMITS, **limits))
        assert said == verdict and cause.startswith(words)


def test_doubles_are_no_loss():
    assert judge(replace(AS_IT_WAS, doubles=40, notes_out=60), 0, True, LIMITS) == ("faithful", ())


def test_a_song_without_the_rest_of_a_track_is_damaged():
    assert judge(AS_IT_WAS, 2, True, LIMITS) == ("damaged", ("of 2 tracks only the beginning can be read",))


def test_a_tokenizer_that_loses_a_note_is_found(files, monkeypatch):
    monkeypatch.setattr("tokenizer.dataset.check.decode", lambda ids: compose(1))
    result = check(files["faithful"], LIMITS)
    assert not result.exact and not result.is_well and result.verdict == "damaged" and "report" in result.causes[0]


def test_what_is_odd_but_harmless_is_said_beside_the_verdict():
    odd = replace(AS_IT_WAS, silent_bars=3000, silent_from=17, notes_after_silence=1, slowest_bpm=20.0)
    told = tokenizer.dataset.check.told_of(
        replace(odd, meters=("11/16: 1 bar written as 1 of 6/8",)),
        Reading(compose(0), ("clipped 3 data bytes in track 2",), 0, 7),
        Aligned(compose(0), "pickup", shift_beats=1.0),
    )
    repaired, aligned, pedal, silence, tempo, meter = remarks(told, LIMITS)
    assert repaired == "repaired: clipped 3 data bytes in track 2"
    assert aligned == "aligned: its first measure is short: filled up with 1 beat of silence in front"
    assert pedal.startswith("pedal: 7 notes")
    assert silence.startswith("3000 silent bars from bar 17 on, then 1 note; --max-silent-bars")
    assert tempo.startswith("tempo: 20 to 120 BPM; a model sees 25 to 401")
    assert meter == "meter: 11/16: 1 bar written as 1 of 6/8"


# ---------------------------------------------------------------- check and prepare


def test_check_and_prepare_agree_on_what_is_a_song(tmp_path):
    """Also where it cannot be stored, and where a strict reader would not read it."""
    folder = tmp_path / "midi"
    folder.mkdir()
    midi.write(compose(0), folder / "song.mid")
    midi.write(compose(1), folder / "another.mid")
    (folder / "no music.mid").write_bytes(b"nothing")
    midi.write(score_of((0, [])), folder / "no notes.mid")
    far = score_of(*((program, [(1920 * 1100, 480, program, 80)]) for program in range(60)))
    midi.write(far, folder / "many spans.mid")  # 60 tracks of 1100 bars
    prepare.prepare([folder], tmp_path / "songs", PrepareConfig(workers=1))
    rejected = {entry["source"].removeprefix("midi/"): entry["reason"] for entry in read_rejected(tmp_path / "songs")}
    assert "span counts past 65534" in rejected["many spans.mid"] and len(rejected) == 3
    for path in folder.iterdir():
        result = check(path, LIMITS)
        assert (result.verdict == "unreadable") == (path.name in rejected)
        assert path.name not in rejected or result.causes == (rejected[path.name],)


def test_a_repaired_file_is_counted_or_left_out(tmp_path, monkeypatch):
    """Repairs are the reader's; here one is claimed of a file that is whole."""
    for number in range(3):
        midi.write(compose(number), tmp_path / f"{number}.mid")
    parse = midi.parse

    def repairing(raw, path, pedal):
        reading = parse(raw, path, pedal)
        return replace(reading, repairs=("clipped 3 data bytes in track 2",)) if "1.mid" in str(path) else reading

    monkeypatch.setattr("tokenizer.dataset.accept.midi.parse", repairing)
    assert check(tmp_path / "1.mid", LIMITS).verdict == "faithful"
    strict = check(tmp_path / "1.mid", replace(LIMITS, strict=True))
    assert strict.verdict == "unreadable"
    assert strict.causes == ("repaired: clipped 3 data bytes in track 2",)
    manifest = prepare.prepare([tmp_path], tmp_path / "lenient", PrepareConfig(workers=1))
    assert manifest["changes"]["repaired"] == 1
    assert manifest["changes"]["repairs"] == {"clipped N data bytes in track N": 1}
    assert "1 file with faults, read all the same" in prepare.summary(tmp_path / "lenient", manifest)
    report = json.loads((tmp_path / "lenient" / "report.json").read_text(encoding="utf-8"))
    assert report["changes"] == manifest["changes"]
    prepare.prepare([tmp_path], tmp_path / "strict", PrepareConfig(workers=1, strict=True))
    (entry,) = read_rejected(tmp_path / "strict")
    assert entry["reason"] == "repaired: clipped 3 data bytes in track 2"


def test_a_dataset_has_the_sums_that_check_has(files, tmp_path):
    folder = files["faithful"].parent
    manifest = prepare.prepare([folder], tmp_path / "songs", PrepareConfig(workers=1))
    results = [check(path, LIMITS) for path in sorted(files.values())]
    assert manifest["changes"] == sum_up((result.told for result in results), LIMITS)
    assert manifest["changes"]["merged"] > 0 and manifest["changes"]["moved"] > 0
    data = Dataset(tmp_path / "songs")
    for split in data:
        for number in range(len(data[split])):
            name = data[split].source(number).rsplit("/")[-1].removesuffix(".mid")
            assert data[split].told(number) == check(files[name], LIMITS).told


def test_repairs_of_a_kind_are_one_whatever_their_numbers():
    kinds = [
        ("clipped 1 data byte in track 2", "clipped 31 data bytes in track 14"),
        ("header counts 1 track, 3 are there", "header counts 2 tracks, 1 is there"),
    ]
    assert [len({kind_of_repair(repair) for repair in kind}) for kind in kinds] == [1, 1]
    assert len({kind_of_repair(repair) for kind in kinds for repair in kind}) == 2


def test_files_are_read_as_the_flags_say(files, monkeypatch):
    asked, parse = [], midi.parse
    monkeypatch.setattr(
        "tokenizer.dataset.accept.midi.parse", lambda *given: (asked.append(given[2]), parse(*given))[1]
    )
    for pedal in ("ignore", "extend"):
        check(files["audibly changed"], replace(LIMITS, pedal=pedal))
        assert set(asked) == {pedal}
        asked.clear()


def test_a_long_silence_is_summed_from_its_limit_on():
    told = tokenizer.dataset.check.told_of(replace(AS_IT_WAS, silent_bars=32), Reading(compose(0), (), 0, 0), None)
    assert [sum_up([told], replace(LIMITS, silent_bars=limit))["silent"] for limit in (31, 32)] == [1, 0]


def test_sums_of_songs_of_which_nothing_is_known_are_nothing():
    assert sum_up([{}, {}], LIMITS)["songs"] == 0
    assert in_words(sum_up([{}], LIMITS), LIMITS) == in_words({}, LIMITS) == []


# ---------------------------------------------------------------- the verb


def test_files_are_told_in_their_order_whichever_is_done_first(files, monkeypatch, capsys):
    asked = []

    def backwards(function, tasks, workers, engine):
        asked.append((workers, engine))
        return map(function, reversed(tasks))

    monkeypatch.setattr(checked, "run", backwards)
    named = [files[name] for name in ("unreadable", "faithful", "damaged")]
    assert songs.check(tuple(named), LIMITS, workers=3) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:] if not line.startswith(" ")][:3] == [
        "unreadable",
        "faithful",
        "damaged",
    ]
    assert "3 files: 1 unreadable, 1 faithful, 1 damaged; 2 exact" in lines
    assert asked == [(3, "local")], "on all cores"


def test_programs_get_an_object_a_line_and_nothing_else(files, capsys):
    assert songs.check(tuple(files.values()), LIMITS, workers=1, json=True) == 1
    *each, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert [entry["file"] for entry in each] == list(map(str, files.values()))
    assert last["sums"]["files"] == 4 and last["sums"]["verdicts"] == Counter(entry["verdict"] for entry in each)


def test_odd_names_stay_in_one_line_and_are_text_for_programs(tmp_path, capsys):
    names = (b"two\nlines.mid", b"lat\xe9in.mid", "übung.mid".encode())
    for name in names:
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
            file.write(midi.to_bytes(compose(0), "")[0])
    paths = [Path(os.path.join(tmp_path, os.fsdecode(name))) for name in names]
    assert songs.check(tuple(paths), LIMITS, workers=1) == 0
    written = [line.rsplit("/")[-1] for line in capsys.readouterr().out.splitlines() if line.startswith("faithful")]
    assert written == [r"two\nlines.mid", r"lat\xe9in.mid", "übung.mid"]
    assert songs.check(tuple(paths), LIMITS, workers=1, json=True) == 0
    *each, _ = map(json.loads, capsys.readouterr().out.encode("utf-8").splitlines())
    assert [entry["file"].rsplit("/")[-1] for entry in each] == ["two\nlines.mid", r"lat\xe9in.mid", "übung.mid"]


@pytest.mark.parametrize(("name", "status"), [("faithful", 0), ("audibly changed", 0), ("damaged", 1)])
def test_the_exit_status_is_that_of_the_verdict(files, name, status, capsys):
    assert songs.check((files[name],), LIMITS, workers=1) == status


def test_each_step_is_taken_once(files, monkeypatch):
    """Of the file: read, put on the grid, encoded; and of what is written of it."""
    calls = Counter()
    for module in (tokenizer.dataset.accept, tokenizer.dataset.check):
        for name in {"on_grid", "quantize", "encode_grid", "decode"} & vars(module).keys():
            function = getattr(module, name)
            monkeypatch.setattr(
                module,
                name,
                lambda *given, name=name, function=function: (calls.update([name]), function(*given))[1],
            )
    assert check(files["faithful"], LIMITS).exact
    assert calls == {"on_grid": 1, "quantize": 1, "encode_grid": 2, "decode": 1}
