"""What must hold in the notes holds in the MIDI file, of a model of random weights, read back by mido alone."""

import mido

from configs import Constraints, SampleConfig
from tests.sampling.small import HOT, sampler_for
from tokenizer.music import midi


def test_what_must_hold_holds_in_the_file(model, tmp_path):
    wanted = Constraints(
        instruments="drums,bass,piano",
        bars=3,
        meter="4/4",
        key="A minor",
        chords="Am Dm",
        pitches="bass:E1-G2",
        density="drums:4-8",
        polyphony="bass:1",
        chord_notes="all",
    )
    for sample in sampler_for(
        model, SampleConfig(**HOT | {"num_samples": 3, "max_length": 450}), None, wanted
    ).samples():
        midi.write(sample.score(), tmp_path / "a.mid")
        file = mido.MidiFile(tmp_path / "a.mid")
        bar, bass, on, strikes = 4 * file.ticks_per_beat, [], set(), [0, 0, 0]
        for track in file.tracks:
            tick, program = 0, None
            for message in track:
                tick += message.time
                if message.type == "program_change":
                    program = message.program
                if message.type == "note_on" and message.velocity and message.channel == 9:
                    strikes[tick // bar] += 1
                elif message.type == "note_on" and message.velocity:
                    chord = {2, 5, 9} if tick // bar % 2 else {9, 0, 4}
                    assert message.note % 12 in chord
                    if program == 33:
                        assert 28 <= message.note <= 43 and not on
                        bass.append((tick // bar, message.note % 12))
                        on.add(message.note)
                elif message.type in ("note_on", "note_off") and program == 33:
                    on.discard(message.note)
        assert all(4 <= count <= 8 for count in strikes)
        assert [dict(reversed(bass))[number] for number in range(3)] == [9, 2, 9]  # the first of each bar
