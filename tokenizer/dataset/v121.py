"""Songs out of v1.2.1's datasets: its tokens back to scores, and those into a dataset of this program. The verb
`import-shards`.

v1.2.1 leaves silent bars out of its tokens but keeps each token's bar number (chord_ids) beside them, so every note has
its place. It counts time in sixteenths of a bar and takes all bars for as long as the first signature says; where tempo
and signature change is lost. "Bar" here is a whole measure.

Its two formats are read by arrow_batches here and by torch_ref.shards, which needs PyTorch.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from configs import InputError, PrepareConfig
from tokenizer import vocabulary as vocab
from tokenizer.dataset import prepare
from tokenizer.dataset.filters import reason_to_reject
from tokenizer.dataset.gather import NothingUsable, gather, make_room, named, work_folder
from tokenizer.dataset.shards import write_batch
from tokenizer.dataset.songs import SongTooLong, StoredSong, record_batch, to_row
from tokenizer.dataset.workers import cores, process_pool
from tokenizer.disk.atomic import WriteError, write_json
from tokenizer.grid.meter import (
    MAX_BARS,
    N_PARTS,
    SIXTEENTH_TICKS,
    SIXTEENTHS,
    STEP_TICKS,
    TICKS_PER_BEAT,
    ScoreTooLong,
)
from tokenizer.grid.quantize import quantize
from tokenizer.grid.song import TEMPO_MICROSECONDS
from tokenizer.music.score import NOTE, Score, Signature, Tempo, Track
from tokenizer.tokens.decode import DEFAULT_DURATION, DEFAULT_SIGNATURE, DEFAULT_TEMPO, DEFAULT_VELOCITY
from tokenizer.tokens.encode import encode_grid
from tokenizer.vocabulary import CLASS, DURATIONS, SIXTEENTH, V121_SIZE, VALUE, Class

POSITIONS = 16  # of a bar; the length of every signature's is a multiple
TEMPO, SIGNATURE = Class.TEMPO, Class.SIGNATURE
COLUMNS = ("token_ids", "chord_ids")  # what of a song is read; the rest follows from them


class V121Error(InputError):
    """Data of v1.2.1 that cannot be used; the message names file and song and says why."""


@dataclass(frozen=True)
class V121Song:
    """token_ids, chord_ids: int[L], v1.2.1's tokens and the bar number of each (-1 outside bars). source: file and
    number.
    """

    source: str
    token_ids: np.ndarray
    chord_ids: np.ndarray

    @classmethod
    def of(cls, source: str, token_ids: np.ndarray, chord_ids: np.ndarray) -> "V121Song":
        """Checked. Raises V121Error."""
        for name, values in zip(COLUMNS, (token_ids, chord_ids), strict=True):
            if values.ndim != 1 or values.dtype.kind not in "iu":
                raise V121Error(f"{source}: {name} is {values.dtype}{list(values.shape)}, not a row of whole numbers")
        if len(token_ids) != len(chord_ids):
            raise V121Error(f"{source}: {len(token_ids)} token_ids but {len(chord_ids)} chord_ids")
        if len(token_ids) and not 0 <= token_ids.min() <= token_ids.max() < V121_SIZE:
            wrong = token_ids[(token_ids < 0) | (token_ids >= V121_SIZE)][0]
            raise V121Error(
                f"{source}: token {wrong}; the vocabulary of v1.2.1 has 0 to {V121_SIZE - 1}, this is another one's"
            )
        return cls(source, token_ids, chord_ids)


# ---------------------------------------------------------------- tokens to scores


class BadSong(ValueError):
    """Tokens that v1.2.1 never writes."""


def rebuild(token_ids: np.ndarray, chord_ids: np.ndarray) -> Score:
    """Every note at its place, by v1.2.1's grid, at 480 ticks per beat; the first tempo and the first signature, for
    the whole song (120 beats per minute and 4/4 where there is none). Notes keep the order of their tokens. Raises
    BadSong.
    """
    tempo, signature = (
        (named or [default])[0]
        for named, default in zip(header(token_ids), (DEFAULT_TEMPO, DEFAULT_SIGNATURE), strict=True)
    )
    bar_ticks = SIXTEENTHS[vocab.SIGNATURES[signature]] * SIXTEENTH_TICKS
    tracks = [(program, np.array(notes, np.int64).reshape(-1, 5)) for program, notes in _tracks(token_ids, chord_ids)]
    return Score(
        TICKS_PER_BEAT,
        tuple(Track(program, _notes(*notes.T, bar_ticks)) for program, notes in tracks if len(notes)),
        (Tempo(0, int(TEMPO_MICROSECONDS[tempo])),),
        (Signature(0, *vocab.SIGNATURES[signature]),),
    )


def on_grid(score: Score) -> Score:
    """What `rebuild` gives with its notes where they were before v1.2.1 rounded them to sixteenths of a bar, if they
    stood on sixteenth notes: in 3/4, where a sixteenth of a bar is 90 ticks,

        played       0  120  240  360  480
        v1.2.1       0   90  270  360  450
        here         0  120  240  360  480

    In bars of more than 16 sixteenths, whose places in v1.2.1 are further apart, the nearest eighths; half counts up.
    Notes of more than 64 sixteenths, which only such bars have, last as long as the nearest duration that there is.
    """
    (signature,) = score.signatures
    parts = N_PARTS[vocab.SIGNATURES.index((signature.numerator, signature.denominator))]
    step = int(parts) * SIXTEENTH_TICKS

    def moved(notes: np.ndarray) -> np.ndarray:
        out = notes.copy()
        onset, duration = ((2 * notes[name] + step) // (2 * step) * step for name in ("onset_ticks", "duration_ticks"))
        middles = (DURATIONS[1:] + DURATIONS[:-1]) / 2 * STEP_TICKS
        out["onset_ticks"] = onset
        out["duration_ticks"] = DURATIONS[np.searchsorted(middles, np.maximum(duration, step))] * STEP_TICKS
        return out

    return replace(score, tracks=tuple(Track(track.program, moved(track.notes)) for track in score.tracks))


def header(token_ids: np.ndarray) -> tuple[list[int], list[int]]:
    """Tempi and signatures that a song names, as indices into TEMPOS_BPM and SIGNATURES."""
    tempos, signatures = (VALUE[token_ids[CLASS[token_ids] == kind]].tolist() for kind in (TEMPO, SIGNATURE))
    return tempos, signatures


def _tracks(token_ids: np.ndarray, chord_ids: np.ndarray) -> list[tuple[int, list[list[int]]]]:
    """[(program, [[bar, position, pitch, duration in positions, velocity bin]])]."""
    tracks: list[tuple[int, list[list[int]]]] = []
    position, duration, velocity = None, DEFAULT_DURATION // SIXTEENTH, DEFAULT_VELOCITY
    columns = (token_ids, CLASS[token_ids], VALUE[token_ids], chord_ids)
    for index, (token, kind, value, bar) in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        if kind == Class.EOS:
            break
        if kind == Class.TRACK:
            tracks.append((value, []))
            position, duration, velocity = None, DEFAULT_DURATION // SIXTEENTH, DEFAULT_VELOCITY
        elif kind < Class.CHORD or kind in (TEMPO, SIGNATURE):
            continue
        elif not tracks or not 0 <= bar < MAX_BARS:
            raise BadSong(
                f"token {index} ({vocab.NAMES[token]}) stands {'before any track' if not tracks else f'in bar {bar}'}"
            )
        elif kind == Class.CHORD:
            position = None
        elif kind == Class.POSITION:
            position = value // SIXTEENTH
        elif kind == Class.PITCH:
            if position is None:
                raise BadSong(f"token {index} ({vocab.NAMES[token]}) has no position in its bar")
            tracks[-1][1].append([bar, position, value, duration, velocity])
        elif not tracks[-1][1]:
            raise BadSong(f"token {index} ({vocab.NAMES[token]}) stands before any note")
        elif kind == Class.DURATION:
            tracks[-1][1][-1][3] = duration = value // SIXTEENTH
        else:
            tracks[-1][1][-1][4] = velocity = value
    return tracks


def _notes(bar, position, pitch, duration, velocity, bar_ticks: int) -> np.ndarray:
    notes = np.empty(len(bar), NOTE)
    notes["onset_ticks"] = bar * bar_ticks + position * bar_ticks // POSITIONS
    notes["duration_ticks"] = duration * bar_ticks // POSITIONS
    notes["pitch"], notes["velocity"] = pitch, vocab.bin_velocity(velocity)
    return notes


# ---------------------------------------------------------------- Hugging Face directories


def is_arrow(folder: Path) -> bool:
    """Whether `save_to_disk` of the datasets library made the folder."""
    return (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file()


def arrow_batches(folder: Path) -> Iterator[list[V121Song]]:
    """The songs of a Hugging Face dataset, some at a time. Raises V121Error."""
    if (folder / "dataset_dict.json").is_file():
        for split in _json(folder / "dataset_dict.json", "splits"):
            yield from arrow_batches(folder / split)
        return
    number = 0
    for entry in _json(folder / "state.json", "_data_files"):
        path = folder / entry["filename"]
        try:
            with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as reader:
                missing = [name for name in COLUMNS if name not in reader.schema.names]
                if missing:
                    raise V121Error(f"{path}: no column {missing[0]}; there are {', '.join(reader.schema.names)}")
                for batch in reader:
                    rows = zip(*(batch.column(name) for name in COLUMNS), strict=True)
                    yield [V121Song.of(f"{path.name}#{number + i}", *map(_array, row)) for i, row in enumerate(rows)]
                    number += batch.num_rows
        except (OSError, pa.ArrowException) as error:
            raise V121Error(f"{path}: cannot be read ({error})") from error


def _array(value: pa.Scalar) -> np.ndarray:
    """What is no list becomes what V121Song.of refuses."""
    return np.asarray(value.values if isinstance(value, pa.ListScalar) and value.is_valid else value.as_py())


def _json(path: Path, key: str) -> list:
    try:
        return json.loads(path.read_text(encoding="utf-8"))[key]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise V121Error(f"{path}: cannot be read ({type(error).__name__}: {error})") from error


# ---------------------------------------------------------------- a dataset of them

IMPORT = "import.json"  # beside the dataset's manifest: ImportRecord


@dataclass(frozen=True)
class ImportRecord:
    """What became of the songs, and what v1.2.1 had not kept of them.

    tempo_changes, signature_changes: songs that name several, whose places are gone: the first one holds throughout.
    merged_notes: of one track, onset and pitch on this program's grid, which keeps the longest and loudest of them.
    """

    data: str
    songs: int
    notes: int
    tempo_changes: int
    signature_changes: int
    merged_notes: int


@dataclass(frozen=True)
class Imported:
    """One song: its row, or why there is none; its notes in v1.2.1's tokens; which changes it names."""

    source: str
    result: StoredSong | str
    notes: int
    tempo_changes: bool
    signature_changes: bool


def import_song(song: V121Song, config: PrepareConfig) -> Imported:
    changes = tuple(len(set(named)) > 1 for named in header(song.token_ids))
    try:
        score = rebuild(song.token_ids, song.chord_ids)
        grid = quantize(on_grid(score))
        row = reason_to_reject(grid, config) or to_row(encode_grid(grid), song.source)
        return Imported(song.source, row, sum(len(track.notes) for track in score.tracks), *changes)
    except (BadSong, ScoreTooLong, SongTooLong) as error:
        return Imported(song.source, str(error), 0, *changes)


def import_songs(batches: Iterable[list[V121Song]], data: Path, out: Path, config: PrepareConfig) -> ImportRecord:
    """Makes the dataset `out`, as prepare does of MIDI files, and prints what became of the songs. Raises InputError
    and then leaves no trace of `out`.
    """
    if config.shard != "1/1" or config.engine != "local":
        raise InputError("--shard and --engine are for prepare; v1.2.1's data is read by one machine")
    if config.strict:
        raise InputError("--strict is for prepare; what was damaged in a MIDI file, v1.2.1's data does not say")
    config = replace(config, pedal="ignore", align="off")  # as v1.2.1 did
    shown, out = out, named(out)
    if not config.overwrite:
        make_room(out, overwrite=False)
    count: Counter[str] = Counter()
    blocks, rejected = [], []
    with work_folder(out) as work:
        try:
            for imported in _convert(batches, config):
                rows = [one.result for one in imported if isinstance(one.result, StoredSong)]
                rejected += [
                    {"source": one.source, "reason": one.result} for one in imported if isinstance(one.result, str)
                ]
                name = f"{len(blocks):06}.arrow"
                write_batch(work / "blocks", name, record_batch(rows))
                blocks.append(work / "blocks" / name)
                count["songs"] += len(imported)
                for one in imported:
                    count["notes"] += one.notes
                    count["tempo_changes"] += one.tempo_changes
                    count["signature_changes"] += one.signature_changes
                    count["merged_notes"] += one.notes - one.result.notes if isinstance(one.result, StoredSong) else 0
            record = ImportRecord(str(data), *(count[field.name] for field in fields(ImportRecord)[1:]))
            rejected.sort(key=lambda entry: entry["source"])
            make_room(out, config.overwrite)
            manifest = gather(blocks, [rejected], work, out, config, prepare.TOKENIZER_VERSION)
        except WriteError:
            raise
        except InputError as error:  # of any other kind: nothing can come of this data, so nothing stays
            raise NothingUsable(str(error)) from error
        write_json(out / IMPORT, asdict(record), indent=1)
    print(prepare.summary(shown, manifest))
    print(f"{record.notes:,} notes in {record.songs} songs, each at its place")
    for number, what in ((record.tempo_changes, "tempo"), (record.signature_changes, "time signature")):
        if number:
            print(
                f"{number} songs name more than one {what}, but v1.2.1 did not keep where it changes: the "
                "first holds throughout"
            )
    if record.merged_notes:
        print(
            f"{record.merged_notes:,} notes doubled another of their track, time and pitch, which holds the "
            "longest and loudest of them"
        )
    return record


def _convert(batches: Iterable[list[V121Song]], config: PrepareConfig) -> Iterator[list[Imported]]:
    """Batch by batch, so that no more than one is in memory."""
    convert = partial(import_song, config=config)
    workers = config.workers or cores()
    with tqdm(desc="importing", unit="song", disable=None) as progress, ExitStack() as opened:
        pool = opened.enter_context(process_pool(workers)) if workers > 1 else None
        for batch in batches:
            imported = []
            for one in pool.map(convert, batch, chunksize=8) if pool else map(convert, batch):
                imported.append(one)
                progress.update()
            yield imported
