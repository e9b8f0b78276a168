"""Songs are aligned on their way into a dataset, and what was done to each is told, by prepare and check alike."""

import json
from dataclasses import replace

import numpy as np
import pytest

from configs import CheckConfig, InputError, PrepareConfig
from jax_impl.cli import songs as verbs
from tests.scores import score_of
from tests.tokenizer.test_prepare import short
from tokenizer.dataset import files, prepare
from tokenizer.dataset.accept import accept
from tokenizer.dataset.audit import audit
from tokenizer.dataset.check import check, remarks
from tokenizer.dataset.files import read_manifest, read_rejected, save_manifest
from tokenizer.dataset.merge import merge
from tokenizer.dataset.repair import repair
from tokenizer.dataset.songs import Dataset
from tokenizer.dataset.told import alignment, in_words, sum_up
from tokenizer.grid.align import Aligned, align
from tokenizer.grid.quantize import quantize
from tokenizer.grid.time_map import TimeMap
from tokenizer.music import midi
from tokenizer.music.score import ImpossibleScore
from tokenizer.tokens.decode import decode
from tokenizer.tokens.encode import encode

LIMITS = CheckConfig()
PICKUP = score_of(  # a beat before the first whole measure
    (0, [(480 * beat, 480, 60 + beat % 5, 80) for beat in range(13)]), signatures=((0, 1, 4), (480, 4, 4))
)

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture
def folder(tmp_path):
    """A song with a pickup and three without."""
    (tmp_path / "midi").mkdir()
    midi.write(PICKUP, tmp_path / "midi" / "pickup.mid")
    for seed in range(3):
        midi.write(short(seed), tmp_path / "midi" / f"whole {seed}.mid")
    return tmp_path / "midi"


@pytest.fixture
def played_freely(monkeypatch):
    """The song of program 2 is one in which no beats are heard, but for a guess: a sixteenth later."""
    time = TimeMap.shifted(120)

    def doubtful(score):
        if score.tracks[0].program != 2:
            return align(score)
        notes = score.tracks[0].notes.copy()
        notes["onset_ticks"] += 120
        guess = replace(score, tracks=(replace(score.tracks[0], notes=notes),))
        return Aligned(guess, "off_grid", shift_beats=0.25, confidence=0.414, moved_ms=31.4, time=time)

    monkeypatch.setattr("tokenizer.dataset.accept.align", doubtful)


def made(folder, name="songs", **settings):
    prepare.prepare([folder], folder.parent / name, PrepareConfig(**{"workers": 1} | settings))
    return folder.parent / name


def rows(out) -> dict[str, tuple]:
    """By the file's name: tokens, and what is told."""
    data = Dataset(out)
    return {
        data[split].source(number).removeprefix("midi/").removesuffix(".mid"): (
            data[split][number],
            data[split].told(number),
        )
        for split in data
        for number in range(len(data[split]))
    }


# ---------------------------------------------------------------- what goes into a dataset


def test_a_pickup_is_a_whole_first_bar_with_silence_in_front(folder):
    tokens, told = rows(made(folder))["pickup"]
    song = decode(tokens.ids)
    assert [(s.numerator, s.denominator) for s in song.signatures] == [(4, 4)]
    assert song.tracks[0].notes["onset_ticks"].tolist() == [480 * (3 + beat) for beat in range(13)]
    assert told["aligned"] == {"kind": "pickup", "shift_beats": 3.0, "confidence": 1.0, "moved_ms": 0.0}
    assert told["moved"] == 0 and told["meters"] == []
    assert quantize(song).to_score() == song and encode(song) == tokens


def test_align_off_gives_the_tokens_of_the_files_own_time(folder):
    found = rows(made(folder, align="off"))
    for name, (tokens, told) in found.items():
        assert tokens == encode(midi.read(folder / f"{name}.mid"))
        assert told["aligned"] == {"kind": "off"}
    assert found["pickup"][0] != rows(made(folder, "aligned"))["pickup"][0]


def test_songs_whose_beats_are_where_the_file_says_are_the_same_either_way(folder):
    aligned, raw = (rows(made(folder, how, align=how)) for how in ("auto", "off"))
    for name in aligned.keys() - {"pickup"}:
        assert aligned[name][0] == raw[name][0]
        assert aligned[name][1]["aligned"]["kind"] == "none"


def test_a_song_whose_beats_are_not_heard_is_left_out_with_that_reason_or_kept(folder, played_freely):
    out = made(folder)
    (entry,) = read_rejected(out)
    assert entry["source"] == "midi/whole 2.mid"
    assert entry["reason"].startswith("off_grid: its beats are not heard well enough (confidence 0.41); --align keep")
    assert read_manifest(out)["rejected"] == {"off_grid": 1}
    kept = made(folder, "kept", align="keep")
    assert read_manifest(kept)["rejected"] == {}
    tokens, told = rows(kept)["whole 2"]
    guess = decode(tokens.ids).tracks[0].notes["onset_ticks"]
    assert np.array_equal(guess, short(2).tracks[0].notes["onset_ticks"] + 120)
    assert told["aligned"] == {"kind": "off_grid", "shift_beats": 0.25, "confidence": 0.414, "moved_ms": 31.4}
    assert "whole 2" in rows(made(folder, "raw", align="off"))


# ---------------------------------------------------------------- datasets made with another align


def test_a_dataset_made_with_another_align_is_not_the_one_asked_for(folder):
    out = made(folder, align="off")
    with pytest.raises(InputError, match=r"made with other settings \(align off there, auto here\)"):
        made(folder)
    other = made(folder, "aligned")
    with pytest.raises(InputError, match=r"prepared otherwise than .*align auto there, off here"):
        merge([out, other], folder.parent / "both", workers=1)


def test_a_dataset_from_before_alignment_opens_and_is_of_the_files_own_time(folder, capsys):
    """Its manifest names no align, and its rows tell nothing of it."""
    out = made(folder, align="off")
    manifest = json.loads((out / files.MANIFEST).read_text(encoding="utf-8"))
    del manifest["config"]["align"], manifest["changes"]["aligned"], manifest["digest"]
    manifest["tokenizer_version"] = "4.0"
    save_manifest(out, manifest)
    assert len(rows(out)) == 4 and audit(out, 1) == []
    assert read_manifest(out)["config"]["align"] == "off"
    assert "aligned" not in prepare.summary(out, read_manifest(out))
    with pytest.raises(InputError, match=r"align off there, auto here; tokenizer version 4\.0 there, 5\.0 here"):
        made(folder)
    (out / "report.json").unlink()
    repair(out, workers=1)
    assert read_manifest(out)["config"]["align"] == "off"


def test_songs_that_a_repair_prepares_again_are_aligned_as_the_others_were(folder):
    out = made(folder, align="off", validation_fraction=0.0)
    before = {name: tokens for name, (tokens, _) in rows(out).items()}
    (out / "train-00000.arrow").write_bytes(b"")
    with pytest.raises(InputError, match="no train song in it is whole"):
        repair(out, workers=1)
    repair(out, [folder], workers=1)
    after = rows(out)
    assert {name: tokens for name, (tokens, _) in after.items()} == before
    assert {told["aligned"]["kind"] for _, told in after.values()} == {"off"}


# ---------------------------------------------------------------- what is told


def test_what_was_done_is_summed_by_kind(folder, played_freely, capsys):
    out = made(folder, align="keep")
    manifest = read_manifest(out)
    assert manifest["changes"]["aligned"] == {"none": 2, "off_grid": 1, "pickup": 1}
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["changes"] == manifest["changes"]
    words = "aligned: 1 song whose pickup is filled up, 1 whose beats are a guess (--align keep), 2 as they were"
    assert words in capsys.readouterr().out.splitlines()


def test_songs_that_do_not_tell_count_as_unknown():
    sums = sum_up([{"notes": 1}, {"notes": 1, "aligned": {"kind": "beats"}}, {}], LIMITS)
    assert sums["aligned"] == {"beats": 1, "unknown": 1}
    assert in_words(sums, LIMITS)[0] == "aligned: 1 song whose beats were found, 1 of which it is not known"


@pytest.mark.parametrize(
    ("kind", "shift_beats", "words"),
    [
        ("pickup", 3.5, "its first measure is short: filled up with 3.5 beats of silence in front"),
        ("shift", -0.08, "its notes lie 0.08 beats after the file's beats: moved there; it begins 0.08 beats earlier"),
        ("shift", 3.92, "its notes lie 0.08 beats after the file's beats: moved there; it begins 3.92 beats later"),
        ("shift", 0.1, "its notes lie 0.1 beats before the file's beats: moved there; it begins 0.1 beats later"),
        (
            "meter",
            1.0,
            "the file's measures are not the music's: others were found (confidence 0.80); it begins 1 beat",
        ),
        ("meter", 0.0, "the file's measures are not the music's: others were found (confidence 0.80)"),
        ("beats", 0.3, "it was played freely: its beats were found (confidence 0.80)"),
        ("off_grid", 0.3, "its beats are not heard well enough (confidence 0.80): the best guess"),
    ],
)
def test_what_was_done_is_said_in_words(kind, shift_beats, words):
    said = alignment({"kind": kind, "shift_beats": shift_beats, "confidence": 0.8, "moved_ms": 2.0})
    assert said.startswith(words)


@pytest.mark.parametrize("done", [{}, {"kind": "none"}, {"kind": "off"}])
def test_nothing_is_said_where_nothing_was_done_or_is_known(done):
    assert alignment(done) is None


def test_check_tells_of_a_file_what_prepare_tells_of_its_song(folder):
    stored = rows(made(folder))
    for name, (tokens, told) in stored.items():
        result = check(folder / f"{name}.mid", LIMITS)
        assert result.exact and (result.tokens, result.told) == (len(tokens), told)
        assert any(line.startswith("aligned: ") for line in remarks(told, LIMITS)) == (name == "pickup")
    raw = check(folder / "pickup.mid", replace(LIMITS, align="off"))
    assert raw.told["aligned"] == {"kind": "off"} and raw.tokens != len(stored["pickup"][0])


def test_a_file_whose_beats_are_not_heard_is_neither_unreadable_nor_well(folder, played_freely):
    path = folder / "whole 2.mid"
    result = check(path, LIMITS)
    assert result.verdict == "off grid" and not result.is_well and result.told == {}
    assert result.causes == (accept(midi.load(path), path, "", PrepareConfig(), 20.0),)
    kept = check(path, replace(LIMITS, align="keep"))
    assert kept.is_well and kept.told["aligned"]["kind"] == "off_grid"


def test_check_says_how_the_files_were_aligned(folder, played_freely, capsys):
    assert verbs.check((folder,), LIMITS, workers=1) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "    aligned: its first measure is short: filled up with 3 beats of silence in front" in lines
    assert "4 files: 3 faithful, 1 off grid; 3 exact" in lines
    assert "aligned: 1 song whose pickup is filled up, 2 as they were" in lines


def test_a_file_of_which_no_song_can_be_made_stops_no_folder(folder, monkeypatch):
    def broken(score):
        if score == midi.read(folder / "pickup.mid"):
            raise ImpossibleScore("track 0, note 0: onset_ticks -12, at least 0")
        return align(score)

    monkeypatch.setattr("tokenizer.dataset.accept.align", broken)
    out = made(folder)
    (left_out,) = read_rejected(out)
    assert left_out["source"] == "midi/pickup.mid" and left_out["reason"].startswith("no song can be made of it: track")
    assert len(rows(out)) == 3
