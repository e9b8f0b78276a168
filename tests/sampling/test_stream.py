"""The bars of a song as they are finished: together they are the song, and what one costs does not grow with it."""

from types import SimpleNamespace

import numpy as np
import pytest

from configs import Constraints, SampleConfig
from jax_impl.sampling import sample, stream
from jax_impl.sampling.stream import Bars
from jax_impl.sampling.written import NEW
from tests.played import played
from tests.rows import ids
from tests.sampling.small import HOT
from tests.tokenizer.test_whole import made, scale
from tokenizer.music.composer import compose
from tokenizer.tokens import grammar
from tokenizer.tokens.decode import decode
from tokenizer.tokens.encode import encode
from tokenizer.tokens.given import aligned_prompt
from tokenizer.tokens.whole import Whole

CHANGING = (
    "BOS BPM_19 TS_4/4 "
    "#D SEP Cmaj T0 P36 L2 V20 T8 P38 Amin TS_3/4 BPM_10 T0 P36 Fmaj T0 P36 G7 TS_4/4 T0 P36 L4 T12 P38 "
    "#P33 SEP Cmaj T8 P40 L14 V9 Amin Fmaj T4 P41 V11 G7 T0 P43 L1 T2 P45 EOS"
)


LONG = (  # measures of two parts, of which a track may have only the first, and tempi and chords that change within
    "BOS BPM_19 TS_5/4 #D SEP Cmaj T0 P36 L2 V20 Gmaj T1/2 P38 Amin T2+2/3 P36 L256 Amin BPM_10 T0 P40 "
    "Fmaj TS_9/16 BPM_-8 T8+1/2 P42 G7 TS_12/8 T0 P38 L4 "
    "#P33 SEP Cmaj Gmaj T0 P40 L14 V9 Amin Amin Fmaj T4 P41 V11 G7 T0 P43 L1/2 T2 P45 EOS"
)
WRITTEN = {"changing": CHANGING, "long": LONG}


def bars_of(song: np.ndarray, at_once: int, whole: Whole = NEW) -> list[stream.Bar]:
    bars = Bars(whole)
    return [bar for start in range(0, len(song), at_once) for bar in bars.push(song[start : start + at_once])]


@pytest.mark.parametrize("at_once", [1, 7, 10_000])
@pytest.mark.parametrize("name", ["changing", "long", 0, 1])
def test_the_bars_together_are_the_song(name, at_once):
    """Notes, meters and tempos, whatever is in force from before; however many tokens come at once."""
    song = ids(WRITTEN[name]) if name in WRITTEN else encode(compose(name)).ids
    score, bars = decode(song), bars_of(song, at_once)
    for number, track in enumerate(score.tracks):
        of_track = [bar for bar in bars if bar.track == number]
        assert [bar.bar for bar in of_track] == list(range(len(of_track)))
        assert {bar.program for bar in of_track} == {track.program}
        assert np.array_equal(np.concatenate([bar.notes for bar in of_track]), track.notes)
    for bar in bars:
        signature = [s for s in score.signatures if s.tick <= bar.start_ticks][-1]
        tempo = [t for t in score.tempos if t.tick <= bar.start_ticks][-1]
        assert (bar.score.signatures[0].numerator, bar.score.signatures[0].denominator) == (
            signature.numerator,
            signature.denominator,
        )
        assert bar.score.tempos[0].bpm == tempo.bpm
        assert all(0 <= onset < 6 * 480 for track in bar.score.tracks for onset in track.notes["onset_ticks"])


def test_a_bar_is_a_measure_with_the_chords_and_tempi_of_its_parts():
    first, second, third, fourth, *_ = bars_of(ids(LONG), 5)
    assert [bar.bar for bar in bars_of(ids(LONG), 5)] == [0, 1, 2, 3] * 2
    assert [bar.start_ticks for bar in (first, second, third, fourth)] == [0, 2400, 4800, 4800 + 9 * 120]
    assert [bar.chord for bar in (first, second, third, fourth)] == ["Cmaj Gmaj", "Amin", "Fmaj", "G7"]
    assert first.score.tracks[0].notes["onset_ticks"].tolist() == [0, 1440 + 60]
    assert [tempo.tick for tempo in second.score.tempos] == [0, 1440]
    assert second.score.tracks[0].notes["duration_ticks"].tolist() == [256 * 120] * 2


def test_without_the_grammar_a_meter_said_within_a_measure_begins_another():
    song = ids("BOS BPM_19 TS_5/4 #P0 SEP Cmaj T0 P60 L1 V20 Gmaj T0 P62 TS_4/4 T4 P64 Fmaj T0 P65 EOS")
    bars, score = bars_of(song, 3), decode(song)
    assert np.array_equal(np.concatenate([bar.notes for bar in bars]), score.tracks[0].notes)
    assert [(bar.bar, bar.chord) for bar in bars] == [(0, "Cmaj"), (1, "Gmaj"), (2, "Fmaj")]
    assert [len(bar.notes) for bar in bars] == [1, 2, 1] and bars[2].start_ticks == 1440 + 1920


def test_a_bar_costs_what_it_holds_and_no_more_as_the_song_grows(monkeypatch):
    """Counted in tokens that are decoded for each bar."""
    song, decoded = encode(compose(0)).ids, []
    monkeypatch.setattr(stream, "decode", lambda tokens: decoded.append(len(tokens)) or decode(tokens))
    bars = bars_of(song, stream.STRIDE)
    head = 9  # BOS, tempo, meter, track, SEP, chord, length and velocity in force, EOS
    assert len(decoded) == len(bars) > 20
    assert sum(decoded) <= len(song) + head * len(bars)
    longest = max(np.diff(np.flatnonzero(grammar.CLASS[song] == grammar.CHORD), append=len(song)))
    assert max(decoded) <= longest + head


def test_a_stream_looks_at_every_token_once(monkeypatch):
    """Whatever the song's length, of which the sampler gives all tokens so far each time."""
    song, looked_at, push = encode(compose(1)).ids, [], Bars.push

    class Steps:
        task = SimpleNamespace(whole=NEW, parts=None)

        def steps(self, numbers, stride):
            for length in [*range(stride, len(song), stride), len(song)]:
                yield [sample.Sample(song[:length], length == len(song), 0, 0)]

    monkeypatch.setattr(Bars, "push", lambda self, ids: looked_at.extend(ids) or push(self, ids))
    streamed = stream.Stream(Steps())
    assert len(list(streamed)) == np.sum(grammar.CLASS[song] == grammar.CHORD)
    assert np.array_equal(looked_at, song) and streamed.sample.score() == decode(song)


def test_a_stream_samples_the_song_and_tells_every_bar_once(run_dir):
    settings, wanted = SampleConfig(**HOT), Constraints(instruments="bass,piano", bars=4)
    song = stream.stream(run_dir, constraints=wanted, sampler=settings)
    bars = list(song)
    (score,) = sample.generate(run_dir, constraints=wanted, sampler=settings)
    assert [(bar.program, bar.bar) for bar in bars] == [(program, bar) for program in (33, 0) for bar in range(4)]
    assert song.sample.finished and song.sample.score() == score
    for track in score.tracks:
        notes = np.concatenate([bar.notes for bar in bars if bar.program == track.program])
        assert np.array_equal(notes, track.notes)


@pytest.mark.parametrize(
    ("wanted", "tokens"), [(Constraints(bars=18), 200), (Constraints(bars=18), 2000), (Constraints(add="33,48"), 260)]
)
def test_the_bars_of_a_given_song_are_the_whole_song_in_its_own_tempo(wanted, tokens):
    """Those that the model does not see come first."""
    score = scale(16, tempos=((0, 100), (3 * 1920 + 480, 301), (14 * 1920, 77)))
    whole, song, planned = made(score, wanted, tokens)
    bars, result = [*stream.unseen_bars(whole), *bars_of(song, 50, whole)], whole.on_grid(song)
    assert (planned.left_out > 0) == (tokens == 200) and len({(bar.track, bar.bar) for bar in bars}) == len(bars)
    found = {}
    for bar in bars:
        found.setdefault((bar.track, bar.program), []).append(bar.notes)
    notes = sorted((program, np.concatenate(parts).tolist()) for (_, program), parts in found.items())
    assert notes == sorted((track.program, track.notes.tolist()) for track in result.tracks)
    chords = whole.chords(song)
    for bar in bars:
        here = [(tempo.tick + bar.start_ticks, tempo.microseconds_per_beat) for tempo in bar.score.tempos]
        there = [(tempo.tick, tempo.microseconds_per_beat) for tempo in result.tempos]
        in_force = [tempo for tempo in there if tempo[0] <= bar.start_ticks][-1]
        assert here[0][1] == in_force[1] and set(here[1:]) <= set(there) and bar.chord == chords[bar.bar]
        assert len(here) == 1 + (bar.bar == 3)


@pytest.mark.parametrize(("wanted", "tokens"), [(Constraints(bars=8), 200), (Constraints(add="48"), 2000)])
def test_the_bars_of_a_song_that_was_aligned_are_those_of_the_grid(wanted, tokens):
    """In tempi that bring the beats that were found to the time they had; its new notes are those of the whole song."""
    score, aligned = played(0)
    whole, song, planned = made(aligned_prompt(score, aligned), wanted, tokens)
    bars = [*stream.unseen_bars(whole), *bars_of(song, 50, whole)]
    assert (planned.left_out > 0) == (tokens == 200)
    found = {}
    for bar in bars:
        found.setdefault((bar.track, bar.program), []).append(bar.notes)
    notes = sorted((program, np.concatenate(parts).tolist()) for (_, program), parts in found.items())
    on_grid, own = whole.on_grid(song), whole.score(song)
    assert notes == sorted((track.program, track.notes.tolist()) for track in on_grid.tracks)
    count = lambda score: sum(len(track.notes) for track in score.tracks)
    assert count(own) - count(whole.given.own.score) == count(on_grid) - count(whole.given.song.to_score()) > 0


def test_a_streamed_bar_has_the_tempo_that_is_asked_for():
    wanted = Constraints(tempo=120, instruments="bass", bars=3)
    whole, song, _ = made(None, wanted, 500)
    tempos = [tempo.microseconds_per_beat for bar in bars_of(song, 9, whole) for tempo in bar.score.tempos]
    assert tempos == [500_000] * 3
