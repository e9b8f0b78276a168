"""A user's file comes back itself: all that it says at its tick and in its order, with new notes in it. Read back with
mido.
"""

import struct
from dataclasses import replace

import mido
import numpy as np
import pytest

from configs import Constraints
from tests.rows import ids as tokens
from tests.songs import real_songs
from tests.tokenizer.given_file import BAR, BEAT, FILES, beside, ends, file_of, messages, note, track_of, without_notes
from tests.tokenizer.test_salvage import CASES, SALVAGED
from tests.tokenizer.test_whole import made
from tokenizer import vocabulary as vocab
from tokenizer.grid.align import Aligned
from tokenizer.music import midi
from tokenizer.music.messages import GivenFile
from tokenizer.music.score import NOTE, Track
from tokenizer.tokens.encode import Hidden, encode_song
from tokenizer.tokens.given import Given, Prompt, aligned_prompt, given_song
from tokenizer.tokens.own_time import fitted
from tokenizer.tokens.whole import Whole, whole_song

TIME = ("set_tempo", "time_signature")
SMALL = 9_000  # bytes


def prompt_of(raw: bytes, pedal: str = "ignore") -> Prompt:
    score = midi.parse(raw, "given.mid", pedal).score
    return aligned_prompt(score, Aligned(score, "none"), GivenFile(raw))


def notes_of(score) -> list[tuple]:
    return sorted((track.program, row) for track in score.tracks for row in track.notes.tolist())


def of_kind(said: list, *kinds: str) -> list:
    return [event for event in said if event[1].type in kinds]


def is_note(message: mido.Message) -> bool:
    return message.type in ("note_on", "note_off")


def wholly_read_back(whole: Whole, ids: np.ndarray) -> bytes:
    """The file, of which our reader reads what the score says."""
    raw, _ = whole.midi(ids)
    back, score = midi.parse(raw, "new.mid", "ignore"), whole.score(ids)
    assert notes_of(back.score) == notes_of(score)
    assert back.repairs == () and (back.score.tempos, back.score.signatures) == (score.tempos, score.signatures)
    return raw


@pytest.mark.parametrize("raw", FILES.values(), ids=FILES)
def test_a_file_that_is_accompanied_is_all_there_and_new_tracks_on_channels_of_their_own(raw):
    whole, ids, _ = made(prompt_of(raw), Constraints(add="drums,bass,48"), 3000)
    content = wholly_read_back(whole, ids)
    user, now = messages(raw), messages(content)
    assert now[: len(user)] == user and len(now) == len(user) + 3 and ends(content)[: len(user)] == ends(raw)
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


def test_a_new_note_never_cuts_a_given_one_of_its_pitch_nor_reaches_into_one():
    """One that rings into the hidden bars, and one that begins there again behind them."""
    ringing = [*note(0, 200, 0, 60), *note(BAR - 100, BAR + 700, 0, 72), *note(2 * BAR, 2 * BAR + 90, 0, 74)]
    raw = file_of(track_of(*ringing, *note(BAR + 10, BAR + 60, 0, 64), end=3 * BAR))
    whole, _ = filled(prompt_of(raw), Hidden(1, 2, (0,)), lambda notes: notes)
    head = "BOS BPM_19 TS_4/4 #P0 SEP Cmaj T0 P60 L2 V22 T15 P72 L9 Cmaj MASK Cmaj T0 P74 L1 V22 UNK #P0 SEP Cmaj"
    ids = tokens(f"{head} T0 P72 L4 V20 T4 P72 T8 P72 L2 T12 P74 L16 EOS")
    more = beside(without_notes(messages(raw)[0], {0}, BAR, 2 * BAR), messages(wholly_read_back(whole, ids))[0])
    assert [(tick, m.type, m.note) for tick, m in more] == [
        (BAR + 2 * BEAT, "note_on", 72),
        (BAR + 2 * BEAT + BEAT // 2, "note_off", 72),
        (BAR + 3 * BEAT, "note_on", 74),
        (2 * BAR, "note_off", 74),
    ]


def test_new_notes_go_where_their_pitch_is_free_to_the_tick():
    rows = lambda *rows: np.array([(*row, 90) for row in rows], NOTE)
    given = rows((100, 50, 60), (300, 0, 60), (400, 10, 61))
    new = rows((99, 9, 60), (100, 9, 60), (149, 9, 60), (150, 150, 60), (151, 900, 60), (300, 9, 60), (301, 900, 60))
    assert fitted(new, given).tolist() == rows((99, 1, 60), (150, 150, 60), (151, 149, 60), (301, 900, 60)).tolist()


def test_a_note_off_without_a_note_ends_no_new_one_and_a_note_without_its_end_ends_where_it_did():
    """The former is of no use, and goes; the latter lasts to its track's end, which is later now."""
    twice = [*note(0, 384, 0, 60), (BAR + 500, b"\x80\x3c\x00"), (BAR + 20, b"\x80\x3d\x00"), (700, b"\x90\x43\x40")]
    raw = file_of(track_of(*twice, end=BAR + 600))
    wanted = Constraints(bars=3)
    whole = whole_song(given_song(prompt_of(raw), wanted), 0, wanted)
    ids = tokens("BOS BPM_19 TS_4/4 #P0 SEP Cmaj T0 P60 L4 V22 T7 P67 Cmaj T4 P60 L8 Cmaj T0 P67 L1 EOS")
    more = beside([e for e in messages(raw)[0] if e[0] != BAR + 500], messages(wholly_read_back(whole, ids))[0])
    on, off = (BAR + BEAT, "note_on", 60), (BAR + 3 * BEAT, "note_off", 60)
    assert [(tick, m.type, m.note) for tick, m in more] == [
        on,
        (BAR + 600, "note_off", 67),
        off,
        (2 * BAR, "note_on", 67),
        (2 * BAR + 96, "note_off", 67),
    ]


def test_new_notes_have_their_track_s_sound_where_another_has_taken_its_channel_and_give_it_back():
    """A piano of bank 8, then a flute on the same channel, and again; the hidden bars of the piano are the flute's."""
    said = [(0, b"\xb0\x00\x08"), (0, b"\xc0\x00"), (BAR, b"\xb0\x00\x00"), (BAR, b"\xc0\x49")]
    played = [event for beat in range(4) for event in note(beat * BEAT, beat * BEAT + 90, 0, 60)]
    played += [event for beat in range(4, 12) for event in note(beat * BEAT, beat * BEAT + 90, 0, 72)]
    raw = file_of(track_of(*said, *played, *note(BAR + 40, BAR + 50, 1, 30), end=3 * BAR))
    wanted = Constraints(add="bass")
    given = given_song(prompt_of(raw), wanted)
    own = given.own
    piano = [track.program for track in own.score.tracks].index(0)
    new = np.array([(3 * 480 + 1920, 240, 50, 90)], own.score.tracks[0].notes.dtype)
    content, _ = own.merged([(piano, Track(0, new))], [], [])
    more = beside(messages(raw)[0], messages(content)[0])
    kinds = [(tick, m.type, getattr(m, "program", getattr(m, "value", getattr(m, "note", None)))) for tick, m in more]
    at, back = BAR + 3 * BEAT, 2 * BAR
    assert kinds == [
        *((at, "control_change", value) for value in (8, 0)),
        (at, "program_change", 0),
        *((at, "control_change", value) for value in (0, 0)),
        (at, "note_on", 50),
        (at + 192, "note_off", 50),
        (back, "program_change", 73),
    ]
    assert notes_of(midi.parse(content, "x", "ignore").score) == notes_of(
        own.with_new([(piano, Track(0, new))], [], [])
    )


def test_where_all_channels_are_taken_new_tracks_play_on_another_port_and_it_is_told():
    tracks = [
        track_of(*note(0, 200, channel, 60), *note(BAR, BAR + 9, channel, 60), end=2 * BAR) for channel in range(16)
    ]
    raw = file_of(*tracks)
    whole, ids, _ = made(prompt_of(raw), Constraints(add="48,drums"), 3000)
    now = messages(wholly_read_back(whole, ids))
    drums, strings = now[16:]
    assert [m.port for _, m in of_kind(drums + strings, "midi_port")] == [0, 1]
    assert {m.channel for _, m in of_kind(drums, "note_on")} == {9}
    notice = whole.midi(ids)[1]
    assert notice.startswith(
        "1 new track plays on a further MIDI port, since the given song uses all channels; players"
    )


def test_a_reset_behind_the_beginning_does_not_take_a_new_track_s_instrument():
    gm = b"\xf0\x05\x7e\x7f\x09\x01\xf7"
    raw = file_of(track_of((10, gm), *note(100, 200, 0, 60), *note(BAR, BAR + 9, 0, 60), end=2 * BAR))
    whole, ids, _ = made(prompt_of(raw), Constraints(add="48"), 800)
    programs = [(tick, m.program) for tick, m in of_kind(messages(wholly_read_back(whole, ids))[1], "program_change")]
    assert programs == [(0, 48), (10, 48)]


def test_channel_ten_is_for_new_drums_only_where_the_file_has_not_made_it_melodic():
    gs = b"\xf0\x0a\x41\x10\x42\x12\x40\x10\x15\x00\x1b\xf7"  # part 10: no drums
    raw = file_of(track_of((0, gs), *note(0, 200, 9, 60), *note(BAR, BAR + 9, 9, 60), end=2 * BAR))
    whole, ids, _ = made(prompt_of(raw), Constraints(add="drums"), 800)
    new = messages(wholly_read_back(whole, ids))[1]
    assert [m.port for _, m in of_kind(new, "midi_port")] == [1] and of_kind(new, "note_on")


def test_a_file_in_smpte_time_stays_in_it():
    raw = struct.pack(">4sLHHh", b"MThd", 6, 1, 1, -(25 << 8) + 40)
    beats = [event for beat in range(8) for event in note(beat * 500, beat * 500 + 200, 0, 60)]
    whole, ids, _ = made(prompt_of(raw + track_of(*beats, end=4000)), Constraints(bars=4), 900)
    content, _ = whole.midi(ids)
    assert content[:14] == raw
    back, score = midi.parse(content, "x", "ignore").score, whole.score(ids)
    assert len(notes_of(back)) == len(notes_of(score)) > 8
    onsets = lambda song: np.sort(np.concatenate([track.notes["onset_ticks"] for track in song.tracks]))
    assert np.abs(onsets(back) - onsets(score)).max() <= 1


def test_patterns_one_after_another_are_written_as_one_song_and_that_is_told():
    raw = struct.pack(">4sLHHh", b"MThd", 6, 2, 2, BEAT) + track_of(*note(0, 90, 0, 60), end=BAR) * 2
    whole, ids, _ = made(prompt_of(raw), Constraints(add="48"), 800)
    content, notice = whole.midi(ids)
    assert "MIDI type 2" in notice and notes_of(midi.parse(content, "x", "ignore").score) == notes_of(whole.score(ids))


def test_what_is_read_of_a_damaged_file_is_what_comes_back_whole():
    """Of those of test_salvage, and of small odd ones; nothing needs a repair any more."""
    files = {name: raw for name, (raw, *_) in SALVAGED.items()}
    files |= {path.name: path.read_bytes() for path in sorted(CASES.glob("[0-9]*"))}
    for name, raw in files.items():
        first = midi.parse(raw, name, "extend")
        content, _ = nothing_new(raw).midi(np.array([vocab.BOS]))
        again = midi.parse(content, name, "extend")
        assert (again.score, again.pedalled) == (first.score, first.pedalled), name
        assert all(repair.startswith("impossible") for repair in again.repairs), name


def test_a_real_song_comes_back_as_it_is_but_for_the_bars_that_are_filled():
    """All tracks that play in them, with the notes that the grid has of them."""
    for path in (path for path in real_songs() if path.stat().st_size < SMALL):
        raw = path.read_bytes()
        first = nothing_new(raw)
        assert messages(first.midi(np.array([vocab.BOS]))[0]) == messages(raw), path
        begin, end = 4, min(8, len(first.given))
        bars = [track.notes["bar"] for track in first.given.song.tracks]
        hidden = tuple(number for number, bar in enumerate(bars) if ((bar >= begin) & (bar < end)).any())
        whole, ids = filled(prompt_of(raw), Hidden(begin, end, hidden), lambda notes: notes)
        others = [
            [[event for event in said if not is_note(event[1])] for said in messages(content)]
            for content in (wholly_read_back(whole, ids), raw)
        ]
        assert others[0] == others[1], path


def nothing_new(raw: bytes) -> Whole:
    return Whole(given_song(prompt_of(raw), Constraints(add="bass")))
