"""The referee: what a MIDI file says, read with mido. Slow and independent of tokenizer.music.midi_events."""

import io

import mido

from tokenizer.music.midi_events import Heard


def listen(raw: bytes, scale: int) -> Heard:
    """The same as midi_events.listen, for files that mido can read. Raises ValueError for unknown metas: mido loses
    their time.
    """
    midi, heard, start = mido.MidiFile(file=io.BytesIO(raw)), Heard(), 0
    for index, track in enumerate(midi.tracks):
        tick = _track(heard, index, track, start, scale)
        heard.last_tick = max(heard.last_tick, tick)
        start = tick if midi.type == 2 else 0
    return heard


def _track(heard: Heard, index: int, track: mido.MidiTrack, tick: int, scale: int) -> int:
    open_notes: dict[tuple[int, int], list] = {}
    for event, message in enumerate(track):
        tick += message.time * scale
        kind = message.type
        if kind == "unknown_meta":
            raise ValueError("an unknown meta event")
        if kind == "note_on" and message.velocity:
            note = [tick, None, message.note, message.velocity, event]
            heard.notes[index, message.channel].append(note)
            open_notes.setdefault((message.channel, message.note), []).append(note)
        elif kind in ("note_on", "note_off"):
            waiting = open_notes.get((message.channel, message.note))
            if waiting:
                note = waiting.pop(0)
                note[1] = tick - note[0]
        elif kind == "program_change":
            heard.own_programs[index, message.channel].append((event, message.program))
            heard.programs[message.channel].append((tick, message.program))
        elif kind == "set_tempo" and message.tempo:
            heard.tempos[tick] = message.tempo
        elif kind == "time_signature" and message.numerator and message.denominator <= 64:
            heard.signatures[tick] = (message.numerator, message.denominator)
    for notes in heard.notes.values():
        for note in notes:
            note[1] = tick - note[0] if note[1] is None else note[1]
    return tick
