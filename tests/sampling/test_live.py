"""A song on a MIDI port while it is written: its notes at its seconds, by a clock that is made up, and whatever ends it
nothing sounds on.
"""

import itertools
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import mido
import numpy as np
import pytest

from configs import Constraints, InputError, SampleConfig
from jax_impl.sampling import compose, live, ports
from jax_impl.sampling.live import Clock, Live, Measures, Player, Stopped, Tracks, channels_of, tracks_of
from jax_impl.sampling.stream import unseen_bars
from jax_impl.sampling.task import task_of
from tests import ROOT
from tests.cli import conftest
from tests.processes import environment
from tests.rows import ids
from tests.sampling.small import COMPUTE, CONFIG, HOT
from tests.sampling.test_stream import CHANGING, LONG, bars_of
from tests.tokenizer.test_whole import made, scale
from tokenizer.grid.tempo_map import seconds_at
from tokenizer.music import midi
from tokenizer.music.composer import compose as compose_song
from tokenizer.music.score import DRUMS, Score
from tokenizer.tokens.decode import decode
from tokenizer.tokens.encode import encode
from tokenizer.tokens.whole import Whole

run = conftest.run  # the fixture
NEW = Whole()
SONGS = {"changing": ids(CHANGING), "long": ids(LONG), 0: encode(compose_song(0)).ids, 1: encode(compose_song(1)).ids}
TWO = Tracks({0: DRUMS, 1: 33}, 1, 0)  # of the first two
STEADY = ids(  # silent at the second bar line, but for a note that rings over it
    "BOS BPM_19 TS_4/4 #D SEP Cmaj T0 P36 L4 V20 Cmaj T4 P36 Cmaj T0 P36 "
    "#P33 SEP Cmaj T8 P40 L16 V9 Cmaj T12 P41 L4 Cmaj T0 P43 L8 T8 P45 EOS"
)


class FakeClock(Clock):
    """Time goes by when it sleeps, and at once."""

    time = 100.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        if self._stopped:
            raise Stopped
        self.time += seconds


class FakePort:
    """sent: [(seconds, message)], from the first note on."""

    name, closed = "Fake synth", False

    def __init__(self, clock: Clock):
        self.clock, self.all = clock, []

    def send(self, message: mido.Message) -> None:
        assert not self.closed
        self.all.append((self.clock.now(), message))

    def close(self) -> None:
        self.closed = True

    @property
    def notes(self) -> list[tuple]:
        """(seconds since time 100, channel, pitch, velocity, 0 where it ends)."""
        return [
            (at - FakeClock.time, m.channel, m.note, m.velocity if m.type == "note_on" else 0)
            for at, m in self.all
            if m.type in ("note_on", "note_off")
        ]

    @property
    def sounding(self) -> set:
        found = {}
        for _, channel, pitch, velocity in self.notes:
            found[channel, pitch] = velocity > 0
        return {note for note, sounds in found.items() if sounds}


def measures_of(song: np.ndarray, tracks: Tracks | None, whole=NEW) -> list[live.Measure]:
    order, found = Measures(tracks), []
    for bar in [*unseen_bars(whole), *bars_of(song, 7, whole)]:
        found += order.push(bar)
    return found + order.rest()


def played(measures, clock=None) -> FakePort:
    clock = clock or FakeClock()
    port = FakePort(clock)
    Player(port, clock).play(iter(measures))
    return port


def expected(score: Score, channels: list[int]) -> list[tuple]:
    """What is heard of a song."""
    rows = []
    for track, channel in zip(score.tracks, channels, strict=True):
        onsets = track.notes["onset_ticks"]
        ends = onsets + track.notes["duration_ticks"]
        for begin, end, note in zip(
            seconds_at(score.tempos, score.ticks_per_beat, onsets),
            seconds_at(score.tempos, score.ticks_per_beat, ends),
            track.notes,
            strict=True,
        ):
            rows.append((float(begin), channel, int(note["pitch"]), int(note["velocity"])))
            rows.append((float(end), channel, int(note["pitch"]), 0))
    return rows


def in_order(notes: list[tuple]) -> list[tuple]:
    """At one time ends come first."""
    return sorted(notes, key=lambda note: (round(note[0], 5), note[3] > 0, *note[1:]))


def assert_heard(notes: list[tuple], wanted: list[tuple]) -> None:
    wanted = in_order(wanted)
    assert notes == in_order(notes)
    assert [note[1:] for note in notes] == [note[1:] for note in wanted]
    assert np.allclose([note[0] for note in notes], [note[0] for note in wanted], atol=1e-6)


# ---------------------------------------------------------------- what is heard, and when


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("name", SONGS)
def test_the_notes_of_a_song_are_heard_at_its_seconds(name, known):
    score = decode(SONGS[name])
    programs = {number: track.program for number, track in enumerate(score.tracks)}
    tracks = Tracks(programs, len(programs) - 1, 0) if known else None
    port = played(measures_of(SONGS[name], tracks))
    assert len(score.tempos) > 1 or name == 0 or name == 1
    assert_heard(port.notes, expected(score, list(channels_of(programs).values())))
    assert not port.sounding


@pytest.mark.parametrize(("tokens", "add"), [(200, ""), (2000, ""), (2000, "48")])
def test_the_notes_of_a_given_song_are_heard_in_its_own_tempo_though_the_model_sees_its_last_bars(tokens, add):
    score = scale(16, tempos=((0, 100), (3 * 1920 + 480, 301), (14 * 1920, 77)))
    wanted = Constraints(add=add) if add else Constraints(bars=18)
    whole, song, planned = made(score, wanted, tokens)
    task = SimpleNamespace(plan=planned.plan, whole=whole)
    tracks, result = tracks_of(task), whole.on_grid(song)
    bars = [*unseen_bars(whole), *bars_of(song, 7, whole)]
    assert dict(tracks.programs) == {bar.track: bar.program for bar in bars} and (tracks.first_measure > 0) == (
        tokens == 200
    )
    notes = played(measures_of(song, tracks, whole)).notes
    channels = channels_of(tracks.programs)
    of_program = {program: channels[track] for track, program in tracks.programs.items()}
    heard = expected(result, [of_program[track.program] for track in result.tracks])
    assert_heard(notes, heard)


@pytest.mark.parametrize("case", ["instruments", "the model decides", "continue", "accompany"])
def test_the_song_that_is_sampled_is_heard(run_dir, tmp_path, capsys, case):
    midi.write(scale(4), tmp_path / "given.mid")
    wanted = {
        "instruments": Constraints(instruments="bass,piano", bars=4),
        "the model decides": Constraints(bars=2),
        "continue": Constraints(bars=6),
        "accompany": Constraints(add="48"),
    }[case]
    given = tmp_path / "given.mid" if case in ("continue", "accompany") else None
    request = compose.Request(run_dir, SampleConfig(**HOT), wanted, given)
    clock, done = FakeClock(), []
    port = FakePort(clock)
    with_player = Live(port, clock)
    compose.play_bars(request, False, lambda _, step, songs: done.extend(songs), with_player)
    score, out = done[0].sample.on_grid(), capsys.readouterr().out
    channels = {m.program: m.channel for _, m in port.all if m.type == "program_change"} | {DRUMS: 9}
    if len(set(track.program for track in score.tracks)) == len(score.tracks):
        assert_heard(port.notes, expected(score, [channels[track.program] for track in score.tracks]))
    assert sum(note[3] > 0 for note in port.notes) == sum(len(track.notes) for track in score.tracks) > 0
    assert port.closed and not port.sounding and ": Cmaj, " not in out
    when = {
        "instruments": "the last track, Acoustic Grand Piano, is being written",
        "the model decides": "the song is written: name the --instruments to hear the last one as it is written",
        "continue": "the last track, Flute, is being written",
        "accompany": "the last track, String Ensemble 1, is being written",
    }[case]
    assert f"Fake synth: plays when {when}\n" in out


def test_a_measure_is_played_when_the_last_track_has_it_and_all_at_the_end_where_none_is_known():
    bars = bars_of(SONGS["changing"], 7)
    assert [bar.track for bar in bars] == [0] * 4 + [1] * 4
    measure = lambda bars: [start // 1920 for start in (each.start_ticks for each in bars)]
    known, unknown = Measures(TWO), Measures(None)
    assert [len(known.push(bar)) for bar in bars] == [0] * 4 + [1] * 4 and known.rest() == []
    assert [len(unknown.push(bar)) for bar in bars] == [0] * 8 and len(unknown.rest()) == 4
    short = Measures(TWO)  # the last track has one bar, the first one four
    assert [measure(short.push(bar)) for bar in bars[:5]] == [[]] * 4 + [[0]]
    rest = short.rest()
    assert [each.start_ticks for each in rest] == [bar.start_ticks for bar in bars[1:4]]
    assert all(each.end_ticks == after.start_ticks for each, after in itertools.pairwise(rest))


def test_given_bars_that_the_model_does_not_see_are_played_once_all_tracks_have_them(capsys):
    """Also those of a track that ends before the part that the model sees begins: the drums of the first two."""
    whole, song, planned = made(scale(16), Constraints(bars=18), 200)
    tracks = tracks_of(SimpleNamespace(plan=planned.plan, whole=whole))
    unseen, seen = list(unseen_bars(whole)), bars_of(song, 7, whole)
    order = Measures(tracks)
    assert [order.push(bar) for bar in unseen] == [[]] * len(unseen)
    first = order.push(seen[0])
    assert [each.start_ticks for each in first] == [1920 * number for number in range(tracks.first_measure)]
    assert len(first[0].voices) == 3 and len(first[-1].voices) == 2
    assert not any(order.push(bar) for bar in seen if bar.track != tracks.last)
    player = Live(FakePort(clock := FakeClock()), clock)
    player.expect(SimpleNamespace(plan=planned.plan, whole=whole, parts=None))
    player.close()
    bars = f"Fake synth: plays bars 1-{tracks.first_measure} at once, the others when the last track, Flute, is being"
    assert capsys.readouterr().out.startswith(bars)


# ---------------------------------------------------------------- when the model is late


def arriving(clock: FakeClock, measures, seconds):
    for measure, at in zip(measures, seconds, strict=True):
        clock.time = max(clock.time, FakeClock.time + at)
        yield measure


def steady() -> tuple[list, np.ndarray]:
    """Three measures and the seconds at which their bar lines are."""
    tempo = decode(STEADY).tempos[0].microseconds_per_beat * 4 / 1e6
    return measures_of(STEADY, TWO), tempo * np.arange(4)


def test_the_clock_stands_still_at_a_bar_line_until_the_measure_is_there():
    """By as much as it is late, once; the note that rings over the line ends as much later, and the distances within
    every measure stay.
    """
    measures, lines = steady()
    in_time, clock = played(measures).notes, FakeClock()
    late = played(arriving(clock, measures, [0, lines[1] + 5.0, 0]), clock).notes
    assert [note[1:] for note in late] == [note[1:] for note in in_time]
    for (then, *_, velocity), (now, *_, _) in zip(in_time, late, strict=True):
        before = then < lines[1] or (then == lines[1] and not velocity)
        assert now == pytest.approx(then if before else then + 5.0)
    rings = [now - then for (then, *note), (now, *_) in zip(in_time, late, strict=True) if note == [0, 40, 0]]
    assert rings == pytest.approx([5.0])  # the bass's first note goes over the line


def test_a_note_that_ends_on_the_bar_line_ends_there_however_late_the_next_measure_is():
    measures, lines = steady()
    clock = FakeClock()
    notes = played(arriving(clock, measures, [0, 0, lines[2] + 3.0]), clock).notes
    assert (lines[2], 0, 41, 0) == pytest.approx(next(note for note in notes if note[2:] == (41, 0)))


def test_measures_that_are_there_in_time_are_played_by_one_clock_though_each_sleep_is_too_long():
    """By less than is heard; what is late by more is not made good by hurrying."""

    class Tired(FakeClock):
        too_long = 0.004

        def sleep(self, seconds):
            super().sleep(seconds + self.too_long)

    measures, _ = steady()
    in_time = [note[0] for note in played(measures).notes]
    tired = [note[0] for note in played(measures, Tired()).notes]
    late = np.subtract(tired, in_time)
    assert 0 < late.max() < 0.02 and late[-1] < 0.01

    class Halts(FakeClock):
        halted = False

        def sleep(self, seconds):
            super().sleep(seconds)
            if self.time > FakeClock.time + 1.0 and not self.halted:
                self.halted, self.time = True, self.time + 7.0

    halted = np.subtract([note[0] for note in played(measures, Halts()).notes], in_time)
    assert set(halted.round(6)) == {0.0, 7.0} and np.all(np.diff(halted) >= -1e-9)


# ---------------------------------------------------------------- channels


def test_every_track_has_a_channel_of_its_own_and_drums_the_tenth():
    assert channels_of({0: DRUMS, 1: 33, 2: 33, 3: 0}) == {0: 9, 1: 0, 2: 1, 3: 2}
    many = {number: number for number in range(15)}
    assert list(channels_of(many).values()) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15]
    by_program = channels_of(dict.fromkeys(range(16), 40) | {16: 41, 17: DRUMS})
    assert set(by_program.values()) == {0, 1, 9} and by_program[15] == 0 and by_program[16] == 1
    with pytest.raises(InputError, match=r"^--port: the song has 16 pitched instruments, .* 15 channels"):
        channels_of({number: number for number in range(16)})


def test_too_many_instruments_are_refused_before_the_song_is_sampled():
    wanted = Constraints(instruments=",".join(map(str, range(16))), bars=2)
    task = task_of(CONFIG, SampleConfig(max_length=2000), COMPUTE, None, wanted)
    player = Live(FakePort(clock := FakeClock()), clock)
    with pytest.raises(InputError, match="16 pitched instruments"):
        player.expect(task)
    player.close()


def test_a_program_is_said_once_before_the_first_note_of_its_channel_and_none_for_drums():
    port = played(measures_of(SONGS["changing"], Tracks({0: DRUMS, 1: 33}, 1, 0)))
    said = [(n, m.channel, m.program) for n, (_, m) in enumerate(port.all) if m.type == "program_change"]
    first = next(n for n, (_, m) in enumerate(port.all) if m.type == "note_on" and m.channel == 0)
    assert [each[1:] for each in said] == [(0, 33)] and said[0][0] < first


def test_where_tracks_share_a_channel_a_note_ends_when_the_last_one_does():
    measure = measures_of(STEADY, TWO)[0]
    bass = measure.voices[1]._replace(channel=3, program=33)
    longer = bass.notes.copy()
    longer["duration_ticks"] += 480
    port = played([replace(measure, voices=(bass, bass._replace(notes=longer)))])
    assert [note[3] > 0 for note in port.notes] == [True, True, False]
    tempo = decode(STEADY).tempos[0].microseconds_per_beat / 1e6
    assert port.notes[-1][0] == pytest.approx(tempo * (longer["onset_ticks"] + longer["duration_ticks"])[0] / 480)


# ---------------------------------------------------------------- the end


def ends(port: FakePort, channels: list[int]) -> None:
    """Every note was let go, and then all channels said so."""
    assert not port.sounding
    said = [m for _, m in port.all[-len(channels) :]]
    assert [(m.type, m.channel, m.control) for m in said] == [("control_change", n, 123) for n in channels]


@pytest.mark.parametrize("error", [KeyboardInterrupt, Stopped, RuntimeError])
def test_whatever_ends_the_playing_all_notes_are_released(error):
    class Ends(FakeClock):
        def sleep(self, seconds):
            if self.time > FakeClock.time + 1.0:
                raise error
            super().sleep(seconds)

    clock = Ends()
    port = FakePort(clock)
    with pytest.raises(error):
        Player(port, clock).play(iter(steady()[0]))
    on = [note for note in port.notes if note[3]]
    assert on and len(on) < len([note for note in played(steady()[0]).notes if note[3]])
    ends(port, [0, 9])
    assert sum(note[3] == 0 for note in port.notes) == len(on)  # each one by its own note-off
    ends(played(steady()[0]), [0, 9])


def test_a_clock_that_was_stopped_sleeps_no_more():
    clock, began = Clock(), time.monotonic()
    clock.stop()
    with pytest.raises(Stopped):
        clock.sleep(3600)
    assert time.monotonic() - began < 3600


def task_for_song(instruments: str) -> SimpleNamespace:
    return task_of(CONFIG, SampleConfig(max_length=250), COMPUTE, None, Constraints(instruments=instruments))


def test_an_error_while_a_song_is_written_ends_what_is_heard(monkeypatch):
    clock = FakeClock()
    port = FakePort(clock)
    monkeypatch.setattr(ports, "opened", lambda name: port)
    monkeypatch.setattr(live, "Clock", lambda: clock)
    with pytest.raises(InputError, match="no more"), live.playing("fake") as player:
        player.expect(task_for_song("drums,bass"))
        for bar in bars_of(STEADY, 7)[:-1]:
            player.hear(bar)
        raise InputError("no more")
    assert port.closed and not port.sounding


def test_a_port_that_breaks_is_said_at_the_next_bar():
    class Broken(FakePort):
        def send(self, message):
            raise OSError("unplugged")

    player = Live(port := Broken(clock := FakeClock()), clock)
    player.expect(task_for_song("drums,bass"))
    bars = bars_of(STEADY, 7)
    for bar in bars[:5]:
        player.hear(bar)
    player._over.wait()
    with pytest.raises(InputError, match=r"^--port Fake synth: cannot be played on any more \(unplugged\)$"):
        player.hear(bars[5])
    with pytest.raises(InputError, match="unplugged"):
        player.wait()
    assert port.closed


@pytest.mark.parametrize("last", ["at once", "never"])
def test_ctrl_c_releases_the_notes_and_ends_with_130(last):
    """Both while what plays is waited for and while the song is written: it comes as the first note begins."""
    program = """
import os, signal, sys, time
from types import SimpleNamespace
from configs import Constraints, SampleConfig
from jax_impl.cli import main
from jax_impl.sampling import compose, ports
from jax_impl.sampling.sample import Sample
from jax_impl.sampling.task import task_of
from tests.rows import ids
from tests.sampling.small import COMPUTE, CONFIG

class Port:
    name = "Fake synth"
    def send(self, message):
        said = f"port: {message.type} {getattr(message, 'note', getattr(message, 'control', ''))}"
        os.write(1, f"{said}\\n".encode())  # whole, while the main thread prints
        if message.type == "note_on":
            os.kill(os.getpid(), signal.SIGINT)
    def close(self):
        os.write(1, b"port: closed\\n")

LAST = sys.argv.pop()
SONG = ids("BOS BPM_0 TS_4/4 #P0 SEP Cmaj T0 P60 L256 V20 Cmaj EOS")
class Steps:
    task = task_of(CONFIG, SampleConfig(max_length=250), COMPUTE, None, Constraints(instruments="piano"))
    def steps(self, numbers, stride):
        yield [Sample(SONG[:-1], False, 0, 0)]
        while LAST == "never":
            time.sleep(0.01)
        yield [Sample(SONG, True, 0, 0)]

ready = SimpleNamespace(task=Steps.task, sampler=Steps, origin=SimpleNamespace(model="none", step=0))
compose.Request.ready = lambda request: ready
ports.opened = lambda name: Port()
main()
"""
    command = [sys.executable, "-c", program, "generate", "--port", "fake", "--no-copies", last]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment(PYTHONPATH=str(ROOT)))
    assert (done.returncode, done.stderr) == (130, "stopped\n")
    said = re.findall(r"port: (.*)\n", done.stdout)
    assert said == ["program_change ", "note_on 60", "note_off 60", "control_change 123", "closed"]


# ---------------------------------------------------------------- names of ports

THERE = ["Midi Through Port-0", "FLUID Synth (812)", "Fluid", "Deluge IN 1", "Deluge IN 2"]


@pytest.mark.parametrize(
    ("name", "port"),
    [("Fluid", "Fluid"), ("fluid", "Fluid"), ("synth", "FLUID Synth (812)"), ("IN 2", "Deluge IN 2")],
)
def test_a_port_is_named_as_it_is_called_or_by_a_part_of_it(name, port):
    assert ports.named(name, THERE) == port


@pytest.mark.parametrize(
    ("name", "there", "message"),
    [
        ("deluge", THERE, r"more than one is called so: Deluge IN 1, Deluge IN 2"),
        ("juno", THERE, rf"there is no such port; there are: {re.escape(', '.join(THERE))}; --port virtual:NAME makes"),
        ("", THERE, "there is no such port"),
        ("juno", [], "there is no MIDI port here; start what is to play first, or --port virtual:NAME makes one"),
    ],
)
def test_a_name_that_says_no_port_is_answered_with_those_that_are_there(name, there, message):
    with pytest.raises(InputError, match=rf"^--port {name}: {message}"):
        ports.named(name, there)


class Backend:
    def __init__(self, error=None):
        self.error, self.opened = error, []

    def get_output_names(self):
        return THERE

    def open_output(self, name, virtual=False):
        if self.error:
            raise self.error
        self.opened.append((name, virtual))
        return name


def test_a_port_is_opened_or_made(monkeypatch):
    monkeypatch.setattr(ports, "_backend", lambda: backend)
    backend = Backend()
    assert [ports.opened("synth"), ports.opened("virtual:My song")] == ["FLUID Synth (812)", "My song"]
    assert backend.opened == [("FLUID Synth (812)", False), ("My song", True)]
    backend = Backend(OSError("error creating ALSA sequencer client object."))
    with pytest.raises(InputError, match=r"^--port synth: cannot be opened \(error creating ALSA"):
        ports.opened("synth")
    backend = Backend(NotImplementedError("Virtual ports are not supported by the Windows MultiMedia API."))
    with pytest.raises(InputError, match=r"^--port virtual:A: cannot be opened \(Virtual ports are not supported"):
        ports.opened("virtual:A")
    with pytest.raises(InputError, match=r"^--port virtual:: the port that is made needs a name"):
        ports.opened("virtual:")


def test_what_is_missing_is_said_before_a_model_is_loaded(run, tmp_path, monkeypatch):
    monkeypatch.setattr(compose.Request, "ready", lambda request: pytest.fail("worked first"))
    monkeypatch.chdir(tmp_path)
    find = ports.importlib.util.find_spec
    monkeypatch.setattr(ports.importlib.util, "find_spec", lambda name: None if name == "rtmidi" else find(name))
    status, out, error = run("generate", "--port", "x", "-o", "x.mid")
    assert (status, out) == (2, "")
    assert error == (
        "error: --port needs python-rtmidi: pip install 'hid-museformer[live]', or HID_EXTRAS=live before ./hid\n"
    )
    monkeypatch.setattr(ports.importlib.util, "find_spec", lambda name: True)
    monkeypatch.setattr(ports.sys, "platform", "linux")
    monkeypatch.setattr(ports, "SEQUENCER", Path("/nowhere"))
    status, out, error = run("generate", "--port", "x", "-o", "x.mid")
    assert (status, out) == (2, "") and "this machine has no ALSA sequencer (/nowhere)" in error
    monkeypatch.setattr(ports, "_backend", Backend)
    status, out, error = run("generate", "--port", "juno", "-o", "x.mid")
    assert (status, out) == (2, "") and error.count("\n") == 1 and "there are: Midi Through Port-0, FLUID" in error
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- flags


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--num-samples", "2"], "--port plays one song: --num-samples does not go with it"),
        (["--song", "a.mid", "--fill", "bass:1-2"], "--port plays a song from its first bar on: --fill does not go"),
        (["--again", "x.json", "-o", "y.mid"], "as it was made: --port does not go with it"),
        (["-o", "many"], "--port plays the song that is written, and --out many is a folder: name a .mid file"),
        (["--no-grammar"], "which holds by the grammar: --no-grammar does not go with it"),
        (["--wav"], "--port without --out writes no file: --wav does not go with it"),
        (["--stream", "--overwrite"], "--stream and --port without --out write no file: --overwrite does not go"),
    ],
)
def test_what_port_does_not_go_with_is_refused_before_it_is_opened(run, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ports, "opened", lambda name: pytest.fail("opened first"))
    status, out, error = run("generate", "--port", "fluid", *words)
    assert (status, out) == (2, "") and message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [["-o", "x.mid"], ["-o", "x.mid", "--stream"], [], ["--stream"]])
def test_the_song_is_heard_and_written_and_printed_as_it_is_asked(run, run_dir, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    clock = FakeClock()
    port = FakePort(clock)
    monkeypatch.setattr(ports, "opened", lambda name: port)
    monkeypatch.setattr(live, "Clock", lambda: clock)
    own = ("--instruments", "bass,piano", "--bars", 4, "--max-length", 250, "--no-copies")
    picture = ["--no-picture"] if "-o" in words else []
    status, out, error = run("generate", run_dir, "--port", "fake", *own, *words, *picture)
    assert (status, error) == (0, "") and ("track 1 " in out) == ("--stream" in words)
    assert port.closed and any(note[3] for note in port.notes)
    if "-o" in words:
        score = midi.read(tmp_path / "x.mid")
        assert sum(note[3] > 0 for note in port.notes) == sum(len(track.notes) for track in score.tracks)
    else:
        assert not list(tmp_path.iterdir()) and "not kept: -o FILE writes it" in out
