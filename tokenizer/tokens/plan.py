"""The plan of a song: what is given and what is asked, as one script of tokens and free places,
and which tokens may come at each step.

    a new song                BOS FREE
    --instruments drums,bass  BOS FREE #D SEP FREE #P33 SEP FREE EOS
    --continue                BOS BPM TS #D SEP <kept bars> FREE #P33 SEP <kept bars> FREE EOS
    --accompany --add bass    BOS BPM TS #P0 SEP <all bars> #P33 SEP FREE EOS

At FREE the model writes. A free place ends where the model ends a track: it decides when, the script which token that
is. The given tracks of an accompaniment stand first, so that the new ones can follow them, to the last bar; the score
puts its tracks back into HID order.

Whatever is asked, a song that runs out of room is brought to an end in time: `need` is what the shortest ending still
takes.
"""

from typing import Any, NamedTuple

import numpy as np

from configs import Constraints, InputError
from tokenizer import vocabulary as vocab
from tokenizer.grid.quantize import quantize
from tokenizer.grid.song import HID_RANK, GridSong
from tokenizer.music.score import DRUMS, Score, Track
from tokenizer.tokens import fields, grammar, names
from tokenizer.tokens.crop import crop
from tokenizer.tokens.encode import encode, encode_song, grid_song
from tokenizer.tokens.grammar import CHORD, CLASS, EOS, PITCH, POSITION, TRACK, VALUE

FREE, NOTHING = -1, -2  # of a script: the model writes; past its end
FREE_TOKENS, FREE_SPANS = 8, 2  # room that the shortest track of a free place takes: a bar with one note
NOTE_AND_END = 6  # chord, position, pitch, duration, velocity, and the end
SLACK_TOKENS, SLACK_SPANS = 8, 2  # how early an ending begins
GIVEN_SHARE = 0.75  # of the song's tokens and bars that a given song may take, the rest is for the model
SCRIPT_MULTIPLE = 256  # scripts are filled up to this, so that few programs are compiled
LAST_TRACK = vocab.track_token(max(HID_RANK, key=HID_RANK.__getitem__))  # may stand wherever any track may
# No song holds these after its start.
NEVER = np.isin(np.arange(vocab.SIZE), (vocab.PAD, vocab.BOS, vocab.MASK, vocab.UNK))


class Plan(NamedTuple):
    """S script places, W bars."""

    script: Any  # int32[S] tokens, FREE, and NOTHING after its end
    rest_tokens: Any  # int32[S] that the script still takes at least, from each place on
    rest_spans: Any  # int32[S]
    rest_tracks: Any  # int32[S] free places from each place on
    chords: Any  # int32[W] number of the chord asked for in each bar, -1 any
    free: Any  # bool[643] that may be written at FREE
    min_bars: Any  # int32[] of the first track
    max_bars: Any  # int32[]
    behind: Any  # int32[] bars that the tracks have before their free places
    max_tokens: Any  # int32[] of the song
    max_spans: Any  # int32[]


def prefix(plan: Plan) -> np.ndarray:
    """int32[]: the given tokens before the first free place."""
    return plan.script[: int(np.argmax(plan.script == FREE))]


# ---------------------------------------------------------------- making one


def make_plan(
    prompt: Score | np.ndarray | None, wanted: Constraints, max_tokens: int, max_spans: int, max_bars: int
) -> tuple[Plan, str]:
    """The plan, and a notice for the user ("" for none).

    prompt: a song that is given: continued, or accompanied where wanted.add says by what; also as tokens. Raises
    InputError.
    """
    notice = ""
    if prompt is None:
        _refuse(wanted, ("add", "keep_bars"), "needs a given song: --continue or --accompany FILE")
        if wanted.transpose and not wanted.chords:
            raise InputError("--transpose moves a given song or --chords; neither is there")
        script, new_from = _new(wanted), 0
    else:
        _refuse(wanted, ("instruments", "tempo", "meter"), "cannot change a given song; --add adds instruments to it")
        song = _given(prompt, wanted)
        whole = len(song[0].bars)
        song = _kept(song, wanted, whole)
        fitting = _fitting(
            song, wanted, int(max_tokens * GIVEN_SHARE), int(max_spans * GIVEN_SHARE), int(max_bars * GIVEN_SHARE)
        )
        if len(fitting[0].bars) < len(song[0].bars):
            bars = len(song[0].bars)
            left_out = f"its first {bars - len(fitting[0].bars)} of {bars} bars are left out"
            notice = f"the given song is too long for --max-length {max_tokens}: {left_out}"
            if wanted.strict:
                raise InputError(
                    f"{notice.replace('are left out', 'would be left out')}; raise --max-length or lower --keep-bars"
                )
        script = _accompanied(fitting, wanted) if wanted.add else _continued(fitting)
        new_from = len(fitting[0].bars)
    return _with_limits(
        script, wanted, new_from, prompt is not None and not wanted.add, max_tokens, max_spans, max_bars
    ), notice


def _refuse(wanted: Constraints, fields_: tuple[str, ...], why: str) -> None:
    for field in fields_:
        if getattr(wanted, field):
            raise InputError(f"--{field.replace('_', '-')} {why}")


def _new(wanted: Constraints) -> list[int]:
    if not wanted.instruments:
        return [vocab.BOS, FREE]
    return [vocab.BOS, FREE, *_free_tracks(names.programs(wanted.instruments, "--instruments")), vocab.EOS]


def _free_tracks(programs: list[int]) -> list[int]:
    order = sorted(programs, key=HID_RANK.__getitem__)
    return [token for program in order for token in (vocab.track_token(program), vocab.SEP, FREE)]


def _given(prompt: Score | np.ndarray, wanted: Constraints) -> tuple[GridSong, np.ndarray]:
    """The given song on the grid and the chords of its bars, transposed."""
    if isinstance(prompt, Score):
        tokens = encode(_transposed(prompt, wanted.transpose))
        song, chords = grid_song(tokens)
    else:
        grammar.check(prompt)
        if prompt[-1] != vocab.EOS:
            raise InputError(f"the given tokens end in {vocab.NAMES[prompt[-1]]}, not in EOS: give a whole song")
        song, chords = grid_song(fields.compute(prompt))
        if wanted.transpose:
            song = quantize(_transposed(song.to_score(), wanted.transpose))
            chords = np.array([names.transposed_chord(int(chord), wanted.transpose) for chord in chords])
    if not song.tracks:
        raise InputError("the given song has no notes")
    if wanted.add and wanted.chords:
        chords = _chord_pattern(wanted, len(song.bars))
    return song, chords


def _transposed(score: Score, semitones: int) -> Score:
    tracks = []
    for track in score.tracks:
        notes = track.notes.copy()
        if track.program != DRUMS:
            notes["pitch"] += semitones
            if len(notes) and not (0 <= notes["pitch"].min() and notes["pitch"].max() <= 127):
                raise InputError(f"--transpose {semitones} moves notes out of the MIDI range 0 to 127")
        tracks.append(Track(track.program, notes))
    return Score(score.ticks_per_beat, tuple(tracks), score.tempos, score.signatures)


def _chord_pattern(wanted: Constraints, bars: int) -> np.ndarray:
    """int32[bars]"""
    pattern = [names.transposed_chord(chord, wanted.transpose) for chord in names.chords(wanted.chords, "--chords")]
    if not pattern:
        raise InputError('--chords: name at least one chord, such as "C Am F G7"')
    return np.resize(np.array(pattern, np.int32), bars)


def _kept(song: tuple[GridSong, np.ndarray], wanted: Constraints, bars: int) -> tuple[GridSong, np.ndarray]:
    """The bars that are kept: of a continuation the first keep_bars, else all."""
    if wanted.add or not wanted.keep_bars:
        _refuse(wanted, ("keep_bars",), "is for --continue; --accompany keeps all bars")
        return song
    if wanted.keep_bars > bars:
        raise InputError(f"--keep-bars {wanted.keep_bars}: the given song has {bars} bars")
    return _window(song, 0, wanted.keep_bars)


def _window(song: tuple[GridSong, np.ndarray], first_bar: int, bars: int) -> tuple[GridSong, np.ndarray]:
    window, chords = grid_song(crop(encode_song(*song), first_bar, bars))
    if not window.tracks:
        raise InputError(f"the bars {first_bar + 1} to {first_bar + bars} of the given song hold no note; keep others")
    silent = np.arange(first_bar + len(window.bars), first_bar + bars)  # a crop ends with its last note
    signature = np.concatenate([window.bars.signature, song[0].bars.signature[silent]])
    tempo = np.concatenate([window.tempo, song[0].tempo[silent]])
    chords = np.concatenate([chords, song[1][silent]])
    return GridSong(type(window.bars)(signature), tempo, window.tracks), chords


def _fitting(
    song: tuple[GridSong, np.ndarray], wanted: Constraints, tokens: int, spans: int, bars: int
) -> tuple[GridSong, np.ndarray]:
    """The song, or its last bars that fit."""
    whole = len(song[0].bars)
    low, high = 0, whole - 1  # the fewest first bars to leave out
    takes = lambda left_out: _script_size(_window(song, left_out, whole - left_out), wanted)

    def fits(left_out):
        return whole - left_out <= bars and all(x <= y for x, y in zip(takes(left_out), (tokens, spans), strict=True))

    if fits(0):
        return song
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    if not fits(high):
        raise InputError("not even the last bar of the given song fits; raise --max-length")
    return _window(song, high, whole - high)


def _script_size(song: tuple[GridSong, np.ndarray], wanted: Constraints) -> tuple[int, int]:
    """Tokens and bar spans that the script takes at least."""
    script = np.array(_accompanied(song, wanted) if wanted.add else _continued(song))
    # FREE stands for bars to come, and one to spare.
    free = int(np.sum(script == FREE)) * (1 + (len(song[0].bars) if wanted.add else 1))
    chords = int(np.sum((script >= vocab.CHORD) & (script < vocab.POSITION)))
    return int(np.sum(np.where(script == FREE, FREE_TOKENS, 1))) + free, chords + free


def _accompanied(song: tuple[GridSong, np.ndarray], wanted: Constraints) -> list[int]:
    return [*encode_song(*song).ids[:-1].tolist(), *_free_tracks(names.programs(wanted.add, "--add")), vocab.EOS]


def _continued(song: tuple[GridSong, np.ndarray]) -> list[int]:
    """Every track goes on after its kept bars; one that was silent in the last of them has them as silent bars."""
    ids, script, bar = encode_song(*song).ids.tolist(), [], 0
    chords = (vocab.CHORD + song[1]).tolist()
    for token in ids:
        if CLASS[token] in (TRACK, EOS) and vocab.SEP in script:
            script += [*chords[bar:], FREE]
        bar = 0 if CLASS[token] == TRACK else bar + (CLASS[token] == CHORD)
        script.append(token)
    return script


def _with_limits(
    script, wanted: Constraints, given_bars: int, goes_on: bool, max_tokens: int, max_spans: int, max_bars: int
) -> Plan:
    size = -(-(len(script) + 2) // SCRIPT_MULTIPLE) * SCRIPT_MULTIPLE
    places = np.full(size, NOTHING, np.int32)
    places[: len(script)] = script
    is_chord = (places >= vocab.CHORD) & (places < vocab.POSITION)
    rest = lambda x: np.cumsum(x[::-1])[::-1].astype(np.int32)
    chords = np.full(max_bars, -1, np.int32)
    if wanted.chords:
        chords[given_bars if goes_on else 0 :] = _chord_pattern(wanted, max_bars - (given_bars if goes_on else 0))
    least = given_bars + goes_on  # a continued song goes on for a bar at least
    if wanted.bars and wanted.bars < least:
        raise InputError(
            f"--bars {wanted.bars}: the given song takes {given_bars}{' and one is to be added' if goes_on else ''}"
        )
    if wanted.bars and given_bars and not goes_on and wanted.bars != given_bars:
        raise InputError(f"--bars {wanted.bars}: the song that is accompanied has {given_bars} bars")
    if wanted.bars > max_bars:
        raise InputError(f"--bars {wanted.bars}: this model has room for {max_bars}")
    plan = Plan(
        script=places,
        rest_tokens=rest(np.where(places == FREE, FREE_TOKENS, places >= 0)),
        rest_spans=rest(np.where(places == FREE, FREE_SPANS, is_chord)),
        rest_tracks=rest(places == FREE),
        chords=chords,
        free=_free_tokens(wanted),
        min_bars=np.int32(max(wanted.bars, least, 1)),
        max_bars=np.int32(wanted.bars or max_bars),
        behind=np.int32(given_bars if goes_on else 0),
        max_tokens=np.int32(max_tokens),
        max_spans=np.int32(max_spans),
    )
    bars = int(plan.rest_tracks[0] * (plan.min_bars - plan.behind))
    tokens = int(plan.rest_tokens[0] + plan.rest_tracks[0]) + bars + NOTE_AND_END + SLACK_TOKENS
    spans = int(plan.rest_spans[0] + plan.rest_tracks[0]) + bars + SLACK_SPANS
    if tokens > max_tokens or spans > max_spans:
        raise InputError(
            f"what is asked takes at least {max(tokens, spans * max_tokens // max_spans)} tokens; raise --max-length"
        )
    return plan


def _free_tokens(wanted: Constraints) -> np.ndarray:
    """bool[643]"""
    free = ~NEVER
    if wanted.tempo:
        free &= (CLASS != grammar.TEMPO) | (VALUE == vocab.tempo_bin(wanted.tempo))
    if wanted.meter:
        free &= (CLASS != grammar.SIGNATURE) | (VALUE == names.meter(wanted.meter, "--meter"))
    return free


# ---------------------------------------------------------------- following it, step by step


class Choice(NamedTuple):
    """What may come next, in each of B songs."""

    forced: Any  # int32[B] the script's token, FREE where the model writes
    allowed: Any  # bool[B, 643] where it writes


def choices(plan: Plan, place: Any, state: grammar.State, length: Any, spans: Any, xp: Any = np) -> Choice:
    """place: int32[B], next in the script. length, spans: int32[B], tokens and bar spans so far."""
    column = lambda x: x[:, None]
    kind, token = xp.asarray(CLASS), xp.arange(vocab.SIZE)
    of = lambda *kinds: xp.asarray(np.isin(CLASS, kinds))
    forced, ending = plan.script[place], plan.script[place + 1]
    first, scripted = state.tracks == 1, ending != NOTHING
    legal = grammar.allowed(state, xp)

    # What the shortest ending takes from here. Tracks of a script go on to the song's last bar; else one must that has
    # a note there.
    bars = xp.maximum(state.bars, plan.min_bars)
    unfilled = xp.where(first, ~state.in_bar, ~state.filled) & (state.tracks > 0)
    bars_to_go = xp.where(first, bars - state.bars, xp.where(scripted | unfilled, state.bars - 1 - state.bar, 0))
    bars_to_go = xp.where(state.tracks == 0, bars, bars_to_go)
    others = plan.rest_tracks[place + 1]
    takes = bars_to_go + others * (bars - plan.behind)
    room = plan.max_tokens - length - plan.rest_tokens[place + 1] - takes - NOTE_AND_END
    room_spans = plan.max_spans - spans - plan.rest_spans[place + 1] - takes
    closing = (room <= SLACK_TOKENS + others) | (room_spans <= SLACK_SPANS + others)

    # Where a track may end, and with what: the script's next token, or any track for which there is room.
    owed = xp.where(unfilled, state.bars, 0)
    has_room = (room > owed + NOTE_AND_END + SLACK_TOKENS) & (room_spans > owed + SLACK_SPANS) & ~closing
    whole = xp.where(first, state.bars >= plan.min_bars, ~scripted | (state.bar == state.bars - 1))
    may_end = xp.where(ending == vocab.EOS, legal[:, vocab.EOS], legal[:, LAST_TRACK])
    next_one = column(may_end) & (token == column(ending))
    any_one = legal & xp.where(token == vocab.EOS, column(state.tracks > 0), column((state.tracks == 0) | has_room))
    ends = of(TRACK, EOS) & column(whole) & xp.where(column(scripted), next_one, any_one)

    # What else may come.
    asked = plan.chords[xp.minimum(state.bar + 1, plan.chords.shape[0] - 1)]
    in_time = xp.where(first, state.bars < plan.max_bars, True) & (spans < plan.max_spans)
    chord = column(in_time) & (~column(first) | (column(asked) < 0) | (xp.asarray(VALUE) == column(asked)))
    now = state.start + state.step * xp.asarray(grammar.STEP)[state.signature]
    silent = xp.sum(state.ends <= column(now), axis=1) > 1  # one pitch stays silent, so that there always is one
    own_bar = (state.bar < 0) | (state.bar >= plan.behind)  # not the last given one
    goes_on = legal & xp.where(kind == CHORD, chord, plan.free & ~of(TRACK, EOS) & column(own_bar))
    goes_on = goes_on & ((kind != PITCH) | column(silent))

    # Towards the end: end, else the next bar that is due, else a note.
    final = ends & column(xp.where(first, state.in_bar, True)) & ((token == vocab.EOS) | column(scripted))
    due = goes_on & (kind == CHORD) & column(bars_to_go > 0)
    note = goes_on & (kind == POSITION)
    pick = lambda mask, otherwise: xp.where(column(mask.any(axis=1)), mask, otherwise)
    everything = goes_on | ends
    return Choice(forced, xp.where(column(closing), pick(final, pick(due, pick(note, everything))), everything))


def advance(plan: Plan, place: Any, token: Any, xp: Any = np) -> Any:
    """The place after a token: a free place is left by an end of a track, where the script says what comes then."""
    free = plan.script[place] == FREE
    ended = (xp.asarray(CLASS)[token] == TRACK) | (token == vocab.EOS)
    leaves = free & ended & (plan.script[place + 1] != NOTHING)
    return place + xp.where(free, xp.where(leaves, 2, 0), 1)
