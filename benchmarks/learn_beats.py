"""Learns the net that hears beats (tokenizer/grid/pulse.npz) from the shared songs that are not held out.

    python benchmarks/learn_beats.py --songs ../shared/data/midi --minutes 40

A song is played anew each time it is seen: another tempo, a tempo curve of up to 15 %, notes up to 15 ms beside their
time, in another key, without some of its tracks, all on one piano, with a pedal. What is to be heard are its felt
beats, the nearest level to which lies between 0.3 and 0.75 seconds, and its bar lines. Weights are kept as half floats.
Those that are there were learned in two runs, of 20 minutes and, with --init and --seed 1, of 50 (1850 and 7050 steps
on two cores that had other work); learn_clues.py then adds what clues weigh.
"""

import argparse
import math
import multiprocessing
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from held_out import is_held_out

from configs import InputError
from tokenizer.dataset.find import find_midi
from tokenizer.grid.hearing import FEATURES, FPS, Heard, features, heard
from tokenizer.grid.meter import SIXTEENTHS, TICKS_PER_BEAT
from tokenizer.grid.quantize import layout_of, source_time
from tokenizer.grid.tempo_map import seconds_at
from tokenizer.music import midi
from tokenizer.music.score import DRUMS, Score
from tokenizer.vocabulary import SIGNATURES

SHARES = {"lieder": 320, "groove": 154, "orchestra": 66, "quartets": 20, "simutrans": 62, "cc0": 22}  # songs an epoch
FASTEST, SLOWEST = 0.3, 0.75  # seconds of a beat that is asked for
WIDTH, TAPS, LAYERS = 28, 5, 9
CROP = 64  # seconds
FASTER = 1.3  # at most, so that so much more of a song fills them
BATCH = 8


@dataclass(frozen=True, eq=False)
class Song:
    """Notes in seconds, and where its beats are. pulse: float64[beats] seconds; at_bar: int[beats] number of each in
    its measure; of_bar: int[beats] beats of its measure; ternary: bool[beats] a beat is three eighths.
    """

    folder: str
    notes: Heard
    program: np.ndarray
    pulse: np.ndarray
    at_bar: np.ndarray
    of_bar: np.ndarray
    ternary: np.ndarray


def song_of(path: Path) -> Song | None:
    try:
        score = midi.read(path)
    except InputError:
        return None
    tracks = [track for track in score.tracks if len(track.notes)]
    if not tracks:
        return None
    score = replace(score, tracks=tuple(tracks))
    ticks, at_bar, of_bar, ternary = felt_beats(score)
    pulse = seconds_at(score.tempos, score.ticks_per_beat, ticks)
    programs = np.array([track.program for track in tracks])
    return Song(path.parent.name, heard(score), programs, pulse, at_bar, of_bar, ternary)


def felt_beats(score: Score) -> tuple[np.ndarray, ...]:
    """Ticks of the beats that a score says: quarters, in compound meters dotted ones, eighths where nothing else fits;
    and of each its number in its measure, how many the measure has, and whether it is a dotted one.
    """
    layout = layout_of(score)
    bars = layout.bars
    begins = np.append(bars.start_ticks[:-1][bars.part == 0], bars.start_ticks[-1])
    grid, number, count, ternary = [], [], [], []
    for start, signature in zip(begins[:-1].tolist(), bars.signature[bars.part == 0].tolist(), strict=True):
        numerator, denominator = SIGNATURES[signature]
        length = SIXTEENTHS[numerator, denominator]
        is_compound = denominator >= 8 and numerator % 3 == 0 and (length % 6 == 0)
        unit = 6 if is_compound else 4 if length % 4 == 0 else 2 if length % 2 == 0 else 1
        beats = length // unit
        for beat in range(beats):
            grid.append(start + beat * unit * TICKS_PER_BEAT // 4)
            number.append(beat)
            count.append(beats)
            ternary.append(is_compound)
    ticks = source_time(np.array(grid), score.ticks_per_beat, layout) // TICKS_PER_BEAT
    return ticks, np.array(number), np.array(count), np.array(ternary)


def targets(song: Song, warp) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of the beats, at the level that is asked for, and of the bar lines, played anew."""
    pulse = warp(song.pulse)
    keeps = np.append(True, np.diff(pulse) > 1e-3)
    pulse, at_bar, of_bar, ternary = (x[keeps] for x in (pulse, song.at_bar, song.of_bar, song.ternary))
    downbeats = pulse[at_bar == 0]
    if len(pulse) < 2:
        return pulse, downbeats
    period = float(np.median(np.diff(pulse)))
    if period < FASTEST:
        by = np.where(of_bar % 2 == 0, 2, np.where(of_bar % 3 == 0, 3, 1))
        pulse = pulse[at_bar % by == 0]
    elif period > SLOWEST + 0.15 * ternary.mean():
        parts = 3 if ternary.mean() > 0.5 else 2
        index = np.arange(len(pulse) * parts) / parts
        pulse = np.interp(index, np.arange(len(pulse)), pulse)[: (len(pulse) - 1) * parts + 1]
    return pulse, downbeats


def curve(length: float, rng: np.random.Generator):
    """Seconds to seconds: another tempo, and one that changes slowly."""
    times = np.arange(-4, length + 4, 0.05)
    depth = rng.uniform(0, 0.15) * (rng.random() < 0.85)
    waves = sum(rng.normal() * np.sin(2 * np.pi * (times / rng.uniform(8, 60) + rng.random())) for _ in range(4))
    waves = depth * waves / max(np.abs(waves).max(), 1e-9)
    pace = np.exp(np.clip(rng.normal(0, 0.12), -0.25, 0.25)) * (1 + waves)
    there = np.concatenate([[0], np.cumsum(0.05 / pace)[:-1]])
    there -= np.interp(0, times, there)
    return lambda seconds: np.interp(seconds, times, there)


def played(song: Song, rng: np.random.Generator) -> tuple[Heard, np.ndarray, np.ndarray] | None:
    """Notes of a part of the song as they are played this time, and its beats and bar lines in seconds; None of too few
    notes.
    """
    length = song.notes.begin[-1]
    start = rng.uniform(0, max(length - CROP, 0)) if rng.random() < 0.7 else 0.0
    end = start + CROP * FASTER
    kept = _heard_of(song, start, end, rng)
    inside = (song.pulse >= start - 2) & (song.pulse < end + 1)
    if kept.sum() < 12 or inside.sum() < 4:
        return None
    first, lead = float(song.notes.begin[kept].min()), rng.uniform(0, 0.4 if rng.random() < 0.8 else 3)
    time = curve(CROP * FASTER + 2, rng)

    def warp(seconds: np.ndarray) -> np.ndarray:
        return time(np.clip(seconds - first, -1, None)) + lead

    part = replace(song, **{name: getattr(song, name)[inside] for name in ("pulse", "at_bar", "of_bar", "ternary")})
    return _by_hand(song.notes, kept, warp, rng), *targets(part, warp)


def _heard_of(song: Song, start: float, end: float, rng: np.random.Generator) -> np.ndarray:
    """bool[N]: the notes of a part of the song, without some of its tracks, or its drums, or all but these."""
    inside = (song.notes.begin >= start - 1e-6) & (song.notes.begin < end)
    drums = song.program == DRUMS
    gone = rng.random(len(drums)) < 0.1
    if rng.random() < 0.25:
        gone |= drums
    if rng.random() < 0.03:
        gone |= ~drums
    kept = inside & ~gone[song.notes.track]
    return kept if kept.sum() >= 24 else inside


def _by_hand(notes: Heard, kept: np.ndarray, warp, rng: np.random.Generator) -> Heard:
    """Those notes by other hands: not quite in time, in another key, maybe all on one instrument, alike loud, or
    ringing on.
    """
    jitter = rng.uniform(0, 0.015)
    begin, end = warp(notes.begin[kept]), warp(np.maximum(notes.end, notes.begin)[kept])
    late = rng.normal(0, jitter, len(begin))
    begin, end = np.maximum(begin + late, 0), end + late + rng.normal(0, jitter, len(begin))
    if rng.random() < 0.2:
        end = np.maximum(end, begin + rng.uniform(0.2, 1.5))
    end = np.maximum(end, begin)
    drum, track, velocity = notes.drum[kept], notes.track[kept], notes.velocity[kept]
    pitch = np.where(drum, notes.pitch[kept], np.clip(notes.pitch[kept] + rng.integers(-6, 7), 0, 127))
    if rng.random() < 0.2:
        track = np.where(drum, track, 0)
    if rng.random() < 0.3:
        velocity = np.full(len(velocity), 80.0)
    velocity = np.clip(velocity + rng.normal(0, rng.uniform(0, 8), len(velocity)), 1, 127)
    order = np.lexsort((pitch, begin))
    return Heard(*(values[order] for values in (begin, end, pitch, velocity, track, drum)))


def example(song: Song, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray] | None:
    """float16 features [frames, F] and targets and weight [frames, 3] of CROP seconds."""
    made = played(song, rng)
    if made is None:
        return None
    notes, beats, bars = made
    frames = CROP * FPS
    x = features(notes)[:frames]
    y = np.zeros((frames, 3), np.float32)
    for column, times in enumerate((beats, bars)):
        for near in (-1, 0, 1):
            at = np.round(times * FPS).astype(int) + near
            at = at[(at >= 0) & (at < frames)]
            y[at, column] = np.maximum(y[at, column], 1.0 if near == 0 else 0.5)
    y[: min(len(x), frames), 2] = 1
    x = np.pad(x, ((0, frames - len(x)), (0, 0)))
    return x.astype(np.float16), y.astype(np.float16)


class Net(torch.nn.Module):
    """Dilated convolutions over time; what they say of a frame depends on 20 seconds to either side."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv1d(len(FEATURES), WIDTH, 3, padding=1)
        self.wide = torch.nn.ModuleList(
            torch.nn.Conv1d(WIDTH, WIDTH, TAPS, dilation=2**i, padding=2**i * (TAPS // 2)) for i in range(LAYERS)
        )
        self.narrow = torch.nn.ModuleList(torch.nn.Conv1d(WIDTH, WIDTH, 1) for _ in range(LAYERS))
        self.last = torch.nn.Conv1d(WIDTH, 2, 1)
        self.drop = torch.nn.Dropout1d(0.1)

    def forward(self, x):
        x = self.first(x)
        total = 0
        for wide, narrow in zip(self.wide, self.narrow, strict=True):
            y = torch.relu(wide(x))
            y = narrow(self.drop(y))
            x = x + y
            total = total + y
        return self.last(torch.relu(x))


def worker(songs: list[Song], seed: int, queue) -> None:
    rng = np.random.default_rng(seed)
    by_folder = {}
    for song in songs:
        by_folder.setdefault(song.folder, []).append(song)
    while True:
        epoch = []
        for folder, of in by_folder.items():
            count = SHARES.get(folder, len(of))
            epoch += [of[i % len(of)] for i in rng.permutation(max(len(of), count))[:count]]
        order = rng.permutation(len(epoch))
        batch = []
        for i in order:
            made = example(epoch[i], rng)
            if made is None:
                continue
            batch.append(made)
            if len(batch) == BATCH:
                queue.put((np.stack([x for x, _ in batch]), np.stack([y for _, y in batch])))
                batch = []


def loss_of(net: Net, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    logits = net(x.transpose(1, 2))
    raw = torch.nn.functional.binary_cross_entropy_with_logits(logits, y[..., :2].transpose(1, 2), reduction="none")
    return (raw * y[..., 2][:, None]).sum(dim=(0, 2)) / y[..., 2].sum()


def save(net: Net, path: Path) -> None:
    values = {
        name.replace(".", "_"): value.detach().numpy().astype(np.float16) for name, value in net.state_dict().items()
    }
    with open(path, "wb") as file:
        np.savez_compressed(file, **values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=Path, default=Path("../shared/data/midi"))
    parser.add_argument("--minutes", type=float, default=40)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--out", type=Path, default=Path("tokenizer/grid/pulse.npz"))
    parser.add_argument("--init", type=Path, help="weights to go on from")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(1)
    paths = [Path(path) for _, path in find_midi([arguments.songs])[0]]
    songs = [song for path in paths if not is_held_out(path) and (song := song_of(path))]
    print(len(songs), "songs", flush=True)
    queue = multiprocessing.Queue(8)
    process = multiprocessing.Process(target=worker, args=(songs, arguments.seed, queue), daemon=True)
    process.start()
    net = Net()
    if arguments.init:
        stored = np.load(arguments.init)
        net.load_state_dict(
            {name: torch.from_numpy(stored[name.replace(".", "_")]).float() for name in net.state_dict()}
        )
    print(sum(p.numel() for p in net.parameters()), "parameters", flush=True)
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=1e-3)
    begin, step, mean = time.time(), 0, None
    while True:
        progress = max((time.time() - begin) / 60 / arguments.minutes, step / arguments.steps)
        if progress >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * min(1, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * progress))
        x, y = (torch.from_numpy(v).float() for v in queue.get())
        net.train()
        losses = loss_of(net, x, y)
        optimizer.zero_grad()
        (losses.sum()).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        step += 1
        mean = losses.detach() if mean is None else 0.98 * mean + 0.02 * losses.detach()
        if step % 50 == 0:
            print(step, round(time.time() - begin), [round(float(v), 4) for v in mean], flush=True)
            save(net, arguments.out)
    save(net, arguments.out)
    process.kill()


if __name__ == "__main__":
    main()
