"""New tracks of a MIDI file that is there: on which channels, what of that a user should know, and what they say."""

from tokenizer.music import channels, instruments, midi
from tokenizer.music.channels import Place
from tokenizer.music.devices import DRUM_CHANNEL, PART
from tokenizer.music.messages import (
    NOTE_OFF,
    NOTE_ON,
    PROGRAM_CHANGE,
    TRACK_NAME,
    GivenFile,
    SaidByTrack,
    meta,
)
from tokenizer.music.midi_events import META, MIDI_PORT
from tokenizer.music.score import DRUMS, Score, Signature, Tempo, Track

BEFORE, THERE, AFTER, LAST = range(4)  # order at one tick: of a file that is edited is what is THERE


def ports(said: SaidByTrack) -> set[int]:
    return {message.data[-1] for message in said.messages if message.data[:2] == bytes([META, MIDI_PORT])}


def new_places(file: GivenFile, said: list[SaidByTrack], score: Score, new: list[Track]) -> list[Place]:
    """A channel that the file does not use, on any port; where there is none, the one on which it is least in the way
    of others, on a further port. Drums play on channel 10 of the first port on which that is theirs.
    """
    heard = file.there.heard
    used = {message.key for track in said for message in track.messages if message.key}
    used |= {key for key, events in heard.events.items() if any(what == PART for _, _, _, what, *_ in events)}
    not_drums = {s.key for s in file.there.sources if s.program != DRUMS}
    not_drums |= {
        key
        for key, events in heard.events.items()
        if any(what == PART and not value for _, _, _, what, value, _ in events)
    }
    playing = [(track, source.key[1]) for track, source in zip(score.tracks, file.there.sources, strict=True)]
    places = []
    for track in new:
        if track.program == DRUMS:
            ports = (port for port in range(channels.PORTS) if (port, DRUM_CHANNEL) not in not_drums)
            place = Place(next(ports, 0), DRUM_CHANNEL)
        else:
            taken = {channel for _, channel in used}
            free = [channel for channel in channels.MELODIC_CHANNELS if channel not in taken]
            channel = free[0] if free else min(channels.MELODIC_CHANNELS, key=lambda c: _lost(playing, track, c))
            ports = [port for port in range(channels.PORTS) if (port, channel) not in used]
            if not ports:
                raise midi.MidiError(
                    f"the given song has no channel left for another {instruments.name(track.program)}"
                )
            place = Place(ports[0], channel)
        places.append(place)
        playing.append((track, place.channel))
        used.add((place.port, place.channel))
    return places


def _lost(playing: list[tuple[Track, int]], track: Track, channel: int) -> tuple[int, int]:
    """How many notes a new track on a channel would cut short for players that know no ports, and how many tracks it
    would share it with.
    """
    sharing = tuple(other for other, its_channel in playing if its_channel == channel)
    together = Score(1, (*sharing, track), (Tempo(0, 1),), (Signature(0, 4, 4),))
    return channels.clashes(together, [channel] * (len(sharing) + 1)), len(sharing)


def notice(file: GivenFile, score: Score, new: list[Track], places: list[Place]) -> str | None:
    further = sum(place.port > max(port for port, _ in file.keys) for place in places)
    if not further:
        return None
    whole = Score(1, (*score.tracks, *new), (Tempo(0, 1),), (Signature(0, 4, 4),))
    on_channels = [channel for _, channel in file.keys] + [place.channel for place in places]
    lost = channels.clashes(whole, on_channels) - channels.clashes(score, on_channels[: len(score.tracks)])
    tracks = "1 new track plays" if further == 1 else f"{further} new tracks play"
    return (
        f"{tracks} on a further MIDI port, since the given song uses all channels; players that know no ports, "
        f"FluidSynth is one, may cut {lost} notes short"
    )


def new_track(
    track: Track, place: Place, has_ports: bool, resets: list[int], scale: int
) -> tuple[list[tuple[int, bytes]], int]:
    """As midi.write writes one. resets: ticks at which its program must be said again."""
    rows = [(0, BEFORE, meta(TRACK_NAME, instruments.name(track.program).encode("ascii")))]
    if has_ports:
        rows.append((0, BEFORE, meta(MIDI_PORT, bytes([place.port]))))
    if track.program != DRUMS:
        program = bytes([PROGRAM_CHANGE | place.channel, track.program])
        rows += [(tick, THERE, program) for tick in sorted({0, *resets})]
    for onset, duration, pitch, velocity in track.notes.tolist():
        begin, end = ((2 * tick + scale) // (2 * scale) for tick in (onset, onset + duration))
        rows.append((begin, AFTER, bytes([NOTE_ON | place.channel, pitch, velocity])))
        rows.append((max(end, begin + 1), BEFORE, bytes([NOTE_OFF | place.channel, pitch, 0])))
    rows.sort(key=lambda row: row[:2])
    return [(tick, data) for tick, _, data in rows], rows[-1][0]
