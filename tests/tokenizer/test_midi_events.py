"""Our reader of MIDI bytes against mido's on whole files, and against anything on broken ones."""

import re
import resource
import subprocess
import sys

from configs import PrepareConfig
from tests import ROOT
from tests.tokenizer import hostile, mido_reader
from tokenizer.dataset.prepare import tokenize
from tokenizer.dataset.songs import StoredSong
from tokenizer.music.composer import compose
from tokenizer.music.midi import parse, write


def heard(raw: bytes) -> tuple[list[tuple], dict, dict]:
    """What the referee gives of it."""
    score = parse(raw, "x.mid", "extend").score
    notes = sorted((track.program, *note) for track in score.tracks for note in track.notes.tolist())
    tempos = {tempo.tick: tempo.microseconds_per_beat for tempo in score.tempos}
    return notes, tempos, {change.tick: (change.numerator, change.denominator) for change in score.signatures}


def as_mido_hears(raw: bytes) -> tuple[list[tuple], dict, dict]:
    """With the tempo and signature that a song begins with if it says none, and without tempi that change nothing."""
    notes, tempos, signatures = mido_reader.read(raw, pedal=True)
    tempos, changes = {0: 500_000} | tempos, {}
    for tick in sorted(tempos):
        if not changes or changes[max(changes)] != tempos[tick]:
            changes[tick] = tempos[tick]
    return notes, changes, {0: (4, 4)} | signatures


def test_songs_are_heard_as_mido_hears_them(songs):
    for path in songs:
        raw = path.read_bytes()
        assert heard(raw) == as_mido_hears(raw), path


def test_what_mido_still_reads_of_broken_files_is_heard_as_mido_hears_it(songs):
    """Left out: system exclusive messages, after which mido takes running status for more of them."""
    agreed = 0
    for seed in range(400):
        raw = songs[seed % len(songs)].read_bytes()[:6000]
        length = int.from_bytes(raw[18:22], "big")
        # Of one track alone: small and fast.
        kind, broken = hostile.break_file(raw[:10] + b"\x00\x01" + raw[12 : 22 + length], seed)
        if "header_fields" in kind or re.search(rb"[\xf0-\xf7]", broken.replace(b"\xff", b"")):
            continue
        try:
            expected = as_mido_hears(broken)
        except Exception:  # mido reports damage in many ways
            continue
        if int.from_bytes(broken[10:12], "big") < 0x8000 and expected[0]:  # more are a negative number to mido
            assert heard(broken) == expected, (seed, kind)
            agreed += 1
    assert agreed > 20


def test_no_broken_file_gives_more_than_one_line(tmp_path, songs):
    path = tmp_path / "broken.mid"
    for seed in range(200):
        _, raw = hostile.break_file(songs[seed % len(songs)].read_bytes(), 100_000 + seed)
        path.write_bytes(raw)
        result = tokenize(str(path), "broken.mid", PrepareConfig())
        assert isinstance(result, StoredSong) or (result and "\n" not in result)


def test_monsters_take_neither_long_nor_a_gigabyte(tmp_path):
    program = """
import sys, time
from configs import PrepareConfig
from tokenizer.dataset.prepare import tokenize
for path in sys.argv[1:]:
    start = time.process_time()
    tokenize(path, "x.mid", PrepareConfig())
    assert time.process_time() - start < 5, path
"""
    paths = []
    for name, raw in hostile.whole_monsters().items():
        paths.append(tmp_path / f"{name}.mid")
        paths[-1].write_bytes(raw)
    limit = lambda: resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))
    subprocess.run([sys.executable, "-c", program, *map(str, paths)], check=True, cwd=ROOT, preexec_fn=limit)


def test_a_song_is_read_although_its_unused_parts_are_odd(tmp_path):
    write(compose(0), tmp_path / "song.mid")
    raw = (tmp_path / "song.mid").read_bytes()
    assert raw[14:18] == b"MTrk"
    odd = raw[:14] + b"ABCD\x00\x00\x00\x03abc" + raw[14:]  # a chunk of a kind that nobody knows
    assert parse(odd, "x.mid", "extend") == parse(raw, "x.mid", "extend")
