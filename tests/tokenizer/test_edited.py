"""A user's file comes back itself: all that it says at its tick and in its order, with new notes in it. Read back with
mido.
"""

from dataclasses import replace

import mido
import numpy as np
import pytest

from configs import Constraints
from tests import ROOT
from tests.tokenizer.given_file import BAR, FILES, beside, messages, without_notes
from tests.tokenizer.test_whole import made
from tokenizer.grid.align import Aligned
from tokenizer.music import midi
from tokenizer.music.edited import GivenFile
from tokenizer.tokens.encode import Hidden, encode_song
from tokenizer.tokens.given import Given, Prompt, aligned_prompt, given_song
from tokenizer.tokens.whole import Whole, whole_song

CASES = ROOT.parent / "shared" / "cases"
TIME = ("set_tempo", "time_signature")


def prompt_of(raw: bytes, pedal: str = "ignore") -> Prompt:
    score = midi.parse(raw, "given.mid", pedal).score
    return aligned_prompt(score, Aligned(score, "none"), GivenFile(raw))


def notes_of(score) -> list[tuple]:
    return sorted((track.program, note) for track in score.tracks for note in track.notes.tolist())


def of_kind(said: list, *kinds: str) -> list:
    return [event for event in said if event[1].type in kinds]


def is_note(message: mido.Message) -> bool:
    return message.type in ("note_on", "note_off")


def wholly_read_back(whole: Whole, ids: np.ndarray, pedal: str = "ignore") -> bytes:
    """The file, of which our reader reads what the score says."""
    raw, _ = whole.midi(ids)
    back, score = midi.parse(raw, "new.mid", pedal), whole.score(ids)
    assert notes_of(back.score) == notes_of(score)
    assert (back.score.tempos, back.score.signatures, back.repairs) == (score.tempos, score.signatures, ())
    return raw


@pytest.mark.parametrize("raw", FILES.values(), ids=FILES)
def test_a_file_that_is_accompanied_is_all_there_and_new_tracks_on_channels_of_their_own(raw):
    whole, ids, _ = made(prompt_of(raw), Constraints(add="drums,bass,48"), 3000)
    user, now = messages(raw), messages(wholly_read_back(whole, ids))
    assert now[: len(user)] == user and len(now) == len(user) + 3
    used = {message.channel for said in user for _, message in said if hasattr(message, "channel")}
    names, playing = [], []
    for said in now[len(user) :]:
        names += [message.name for _, message in of_kind(said, "track_name")]
        (channel,) = {message.channel for _, message in of_kind(said, "note_on")}
        playing.append(channel)
    assert names == ["Drums", "Fingered Bass", "String Ensemble 1"] and playing[0] == 9
    assert len({*playing[1:], *used}) == 2 + len(used)


@pytest.mark.parametrize("raw", FILES.values(), ids=FILES)
def test_a_file_that_is_continued_is_all_there_and_has_new_bars(raw):
    """But for a controller behind its last bar that would end the new notes."""
    whole, ids, _ = made(prompt_of(raw), Constraints(bars=10), 4000)
    user, now = messages(raw), messages(wholly_read_back(whole, ids))
    off = (8 * BAR + 200, mido.Message("control_change", channel=0, control=123, value=0))
    user[0].remove(off)
    more = [event for there, here in zip(user, now, strict=True) for event in beside(there, here)]
    assert all(tick >= 8 * BAR for tick, _ in more)
    assert {message.type for _, message in more} <= {"note_on", "note_off", *TIME}
    assert {message.channel for _, message in more if message.type == "note_on"} == {0, 2, 9}


@pytest.mark.parametrize("semitones", [0, 5])
@pytest.mark.parametrize("raw", FILES.values(), ids=FILES)
def test_of_a_file_whose_first_bars_are_kept_all_of_them_is_there_and_nothing_of_the_others(raw, semitones):
    """A pedal that is down where they end is lifted there."""
    wanted = Constraints(keep_bars=5, bars=6, transpose=semitones)
    whole, ids, _ = made(prompt_of(raw), wanted, 4000)
    user, now = messages(raw), messages(wholly_read_back(whole, ids))
    end = 5 * BAR
    for said in user:
        for number, (tick, message) in enumerate(said):
            if hasattr(message, "note") and message.channel != 9:
                said[number] = tick, message.copy(note=message.note + semitones)
    kept = [[event for event in said if event[0] < end] for said in user]
    more = [event for there, here in zip(kept, now, strict=True) for event in beside(there, here)]
    lifted = [event for event in more if event[1].type == "control_change"]
    assert lifted == [(end, mido.Message("control_change", channel=0, control=64, value=0))]
    assert min(tick for tick, _ in more) >= end and of_kind(more, "note_on")
    texts = [message for said in now for tick, message in said if tick >= end and message.type == "lyrics"]
    assert not texts and (end, lifted[0][1]) not in kept[0]


def filled(prompt: Prompt, hidden: Hidden, change) -> tuple[Whole, np.ndarray]:
    """The song with hidden bars, and tokens in which these have other notes. change: what becomes of GRID_NOTE[]."""
    given = given_song(prompt, Constraints(add="bass"))
    tracks = []
    for number, track in enumerate(given.song.tracks):
        notes, bars = track.notes.copy(), track.notes["bar"]
        is_hidden = (number in hidden.tracks) & (bars >= hidden.first) & (bars < hidden.stop)
        notes[is_hidden] = change(notes[is_hidden])
        tracks.append(replace(track, notes=notes[np.lexsort((notes["pitch"], notes["step"], notes["bar"]))]))
    ids = encode_song(replace(given.song, tracks=tuple(tracks)), given.chords, hidden).ids
    hiding = Given(given.song, given.chords, given.tempos, given.own, hidden)
    return whole_song(hiding, 0, Constraints(add="bass")), ids


def higher(notes: np.ndarray) -> np.ndarray:
    notes = notes.copy()
    notes["pitch"] += 20
    return notes


@pytest.mark.parametrize("tracks", [(0,), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("raw", FILES.values(), ids=FILES)
def test_a_file_whose_bars_are_filled_has_other_notes_there_and_is_the_same_elsewhere(raw, tracks):
    hidden = Hidden(2, 4, tracks)
    whole, ids = filled(prompt_of(raw), hidden, higher)
    user, now = messages(raw), messages(wholly_read_back(whole, ids))
    channels = {(9, 2, 0)[track] for track in tracks}
    kept = [without_notes(said, channels, 2 * BAR, 4 * BAR) for said in user]
    more = [event for there, here in zip(kept, now, strict=True) for event in beside(there, here)]
    assert {message.channel for _, message in more} == channels and all(is_note(message) for _, message in more)
    assert min(tick for tick, _ in more) == 2 * BAR and max(t for t, m in more if m.type == "note_on") < 4 * BAR
    gone = sum(len(of_kind(said, "note_on")) for said in user) - sum(len(of_kind(said, "note_on")) for said in kept)
    assert len(of_kind(more, "note_on")) == gone > 0
    assert all(m.note >= 56 for _, m in more) and whole.on_grid(ids).ticks_per_beat == 480
