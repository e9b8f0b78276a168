"""A crop is the song that one would get by cutting the notes and encoding them again, with the chords it had."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.scores import score_of, scores
from tokenizer import vocabulary as vocab
from tokenizer.grid.meter import lay_bars
from tokenizer.grid.quantize import snap
from tokenizer.music.score import Score, Tempo, Track
from tokenizer.tokens.crop import crop
from tokenizer.tokens.decode import decode
from tokenizer.tokens.encode import encode, encode_song, grid_song
from tokenizer.vocabulary import Class


def names(tokens) -> str:
    """Tokens by name, every chord written as *."""
    return " ".join("*" if vocab.CLASS[token] == Class.CHORD else vocab.NAMES[token] for token in tokens.ids)


PARTS = {(5, 4): 2, (6, 4): 2, (7, 4): 2, (9, 8): 2, (12, 8): 2, (3, 2): 2, (4, 2): 2}  # bars of a measure, else 1


def measure_begins(score: Score) -> list[int]:
    """Of a score on the grid, measure by measure: the bar that each begins with; one more than there are."""
    last = max((int(track.notes["onset_ticks"].max()) for track in score.tracks), default=0)
    bar, tick, begins = 0, 0, [0]
    while tick <= last:
        signature = [s for s in score.signatures if s.tick <= tick][-1]
        bar += PARTS.get((signature.numerator, signature.denominator), 1)
        tick += 1920 * signature.numerator // signature.denominator
        begins.append(bar)
    return begins


def cut(score: Score, first_bar: int, n_bars: int) -> Score:
    """The same on notes: onsets inside the window, maps in force at its start."""
    lines = lay_bars(score, max((int(t.notes["onset_ticks"].max()) for t in score.tracks), default=0)).bars.start_ticks
    begin, end = int(lines[first_bar]), int(lines[min(first_bar + n_bars, len(lines) - 1)])
    tracks = []
    for track in score.tracks:
        notes = track.notes[(track.notes["onset_ticks"] >= begin) & (track.notes["onset_ticks"] < end)].copy()
        notes["onset_ticks"] -= begin
        tracks.append(Track(track.program, notes))
    tempo = [t for t in score.tempos if t.tick <= begin][-1]
    signature = [s for s in score.signatures if s.tick <= begin][-1]
    tempos = [
        Tempo(0, tempo.microseconds_per_beat),
        *(replace(t, tick=t.tick - begin) for t in score.tempos if t.tick > begin),
    ]
    signatures = [
        replace(signature, tick=0),
        *(replace(s, tick=s.tick - begin) for s in score.signatures if s.tick > begin),
    ]
    return Score(score.ticks_per_beat, tuple(tracks), tuple(tempos), tuple(signatures))


@settings(max_examples=150)
@given(scores(), st.data())
def test_a_crop_is_the_cut_song_encoded_again(score, data):
    snapped, tokens = snap(score), encode(score)
    bars = int(tokens.bar.max(initial=0)) + 1
    first = data.draw(st.integers(0, bars - 1))
    length = data.draw(st.integers(1, bars - first))
    cropped = crop(tokens, first, length)
    begins = max(bar for bar in measure_begins(snapped) if bar <= first)
    assert decode(cropped.ids) == snap(cut(snapped, begins, first - begins + length))
    assert names(cropped) == names(encode(decode(cropped.ids)))


@settings(max_examples=60)
@given(scores())
def test_the_fast_parse_of_wellformed_tokens_is_what_decode_says(score):
    tokens = encode(score)
    song, chords = grid_song(tokens)
    assert song.to_score() == decode(tokens.ids)
    assert encode_song(song, chords) == tokens


def test_a_crop_says_again_what_was_in_force():
    score = score_of(
        (0, [(0, 480, 60, 80), (1920, 480, 62, 80), (2 * 1920, 480, 64, 80)]),
        (40, [(1920, 960, 48, 40)]),
        signatures=((0, 4, 4), (1920, 3, 4), (1920 + 1440, 4, 4)),
        tempos=((0, 120), (1920, 61)),
    )
    assert names(crop(encode(score), 1, 1)) == "BOS BPM_7 TS_3/4 #P0 SEP * T0 P62 L4 V20 #P40 SEP * T0 P48 L8 V10 EOS"


def test_a_silent_first_track_leaves_the_bars_and_their_changes_to_the_next():
    score = score_of(
        (0, [(0, 480, 60, 80)]),
        (40, [(1920, 480, 48, 40), (3 * 1920, 480, 48, 40)]),
        (73, [(2 * 1920, 480, 72, 40)]),
        tempos=((0, 120), (2 * 1920, 61)),
    )
    assert names(crop(encode(score), 1, 3)) == (
        "BOS BPM_19 TS_4/4 #P40 SEP * T0 P48 L4 V10 * BPM_7 * T0 P48 #P73 SEP * * T0 P72 L4 V10 EOS"
    )


def test_a_window_without_notes_is_its_header():
    score = score_of((0, [(0, 480, 60, 80), (4 * 1920, 480, 60, 80)]))
    assert names(crop(encode(score), 1, 2)) == "BOS BPM_19 TS_4/4 EOS"


def test_a_window_begins_with_a_measure_and_may_end_within_one():
    """Two measures of 5/4 in two bars each, a note at the start of each bar; then 3/4."""
    rows = [(onset, 480, pitch, 80) for onset, pitch in ((0, 60), (1440, 61), (2400, 62), (3840, 63), (4800, 64))]
    song = encode(score_of((0, rows), signatures=((0, 5, 4), (4800, 3, 4))))
    head, second = "BOS BPM_19 TS_5/4 #P0 SEP", "* T0 P62 L4 V20 * T0 P63"
    assert names(crop(song, 2, 1)) == f"{head} * T0 P62 L4 V20 EOS"
    assert names(crop(song, 2, 2)) == f"{head} {second} EOS"
    assert names(crop(song, 3, 1)) == f"{head} {second} EOS", "the rest of its measure before it"
    assert names(crop(song, 1, 2)) == f"{head} * T0 P60 L4 V20 * T0 P61 * T0 P62 EOS"
    assert names(crop(song, 3, 2)) == f"{head} {second} * TS_3/4 T0 P64 EOS"
