"""What a model finds hard is said of the right targets, adds up to its loss, and is what the definitions say."""

import json
import math
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import InputError, ModelConfig, PrepareConfig
from jax_impl import score_logits
from jax_impl.batch import Batch, pack_row, stack_rows
from jax_impl.evaluation.figures import seconds_of, summed
from jax_impl.evaluation.groups import FAMILIES, GROUPINGS, added, by_group
from jax_impl.evaluation.losses import losses
from jax_impl.model.museformer import MuseFormer
from jax_impl.training import guesses
from jax_impl.training.by_kind import KINDS, OF_TOKEN, PITCH, POSITION, kinds_of_targets, mean_nats
from jax_impl.training.record import Record, versions
from tests.rows import ids, random_song, short_hidden_song
from tokenizer import vocabulary as vocab
from tokenizer.dataset.files import write_manifest
from tokenizer.dataset.shards import write_batch
from tokenizer.dataset.songs import Dataset, record_batch, to_row
from tokenizer.tokens import fields
from tokenizer.tokens.decode import decode

# Two documents in a row; what each token is as the target of the one before it
BAND = (
    ("BOS", ""), ("BPM_19", "structure"), ("TS_4/4", "structure"),
    ("#D", "structure"), ("SEP", "structure"),
    ("Cmaj", "chord of the first track"), ("T0", "position"), ("P36", "pitch"), ("L2", "duration"), ("V20", "velocity"),
    ("N", "chord of the first track"), ("BPM_20", "structure"), ("T4", "position"), ("P38", "pitch"),
    ("#P33", "structure"), ("SEP", "structure"),
    ("Cmaj", "chord of later tracks"), ("T0", "position"), ("P40", "pitch"), ("V3", "velocity"),
    ("N", "chord of later tracks"), ("EOS", "structure"),
)  # fmt: skip
SOLO = (
    ("BOS", ""), ("BPM_0", "structure"), ("TS_3/4", "structure"), ("#P0", "structure"), ("SEP", "structure"),
    ("Gmaj", "chord of the first track"), ("T0", "position"), ("P60", "pitch"), ("P64", "pitch"), ("EOS", "structure"),
)  # fmt: skip


def band_and_solo() -> Batch:
    songs = [fields.compute(ids(" ".join(name for name, _ in song))) for song in (BAND, SOLO)]
    return stack_rows([pack_row(songs, len(BAND) + len(SOLO) + 3)])


def expected_kinds() -> list[str]:
    """Of each target that counts, in order."""
    return [kind for song in (BAND, SOLO) for _, kind in song[1:]]


def groups_of(grouping: str, batch: Batch) -> list[str]:
    names, of_targets = GROUPINGS[grouping]
    return [names[n] for n in of_targets(batch)[batch.weights > 0].tolist()]


def test_each_target_is_of_its_kind():
    assert groups_of("by_kind", band_and_solo()) == expected_kinds()


def test_each_target_is_of_its_track_s_family():
    header, band, solo = ["none"] * 2, ["drums"] * 11 + ["bass"] * 7 + ["none"], ["piano"] * 6 + ["none"]
    assert groups_of("by_family", band_and_solo()) == header + band + header + solo
    assert [FAMILIES[program // 8] for program in (0, 14, 24, 33, 47, 56, 81, 127, 128)] == [
        *("piano", "chromatic percussion", "guitar", "bass", "strings", "brass", "synth lead", "sound effects"),
        "drums",
    ]


def test_each_target_is_in_its_bar_and_among_its_document_s_tracks():
    batch = band_and_solo()
    outside = ["outside bars"] * 4
    of_band = [*outside, *["0-3"] * 9, *["outside bars"] * 2, *["0-3"] * 5, "outside bars"]
    assert groups_of("by_bar", batch) == [*of_band, *outside, *["0-3"] * 4, "outside bars"]
    assert groups_of("by_tracks", batch) == ["2-3"] * (len(BAND) - 1) + ["1"] * (len(SOLO) - 1)
    song = stack_rows([pack_row([fields.compute(ids("BOS BPM_19 TS_4/4 #D SEP" + 34 * " C5" + " EOS"))], 48)])
    expected = 4 * ["outside bars"] + 4 * ["0-3"] + 4 * ["4-7"] + 8 * ["8-15"] + 16 * ["16-31"] + 2 * ["32-63"]
    assert groups_of("by_bar", song) == [*expected, "outside bars"]


def test_hidden_bars_that_are_said_at_the_end_are_of_a_later_track_and_no_track_of_their_own():
    one = fields.compute(ids("BOS BPM_19 TS_4/4 #D SEP Cmaj T0 P36 Gmaj MASK UNK #D SEP Gmaj T0 P36 EOS"))
    batch = stack_rows([pack_row([one], 20)])
    kinds = [
        KINDS[n] for n in kinds_of_targets(batch)[0, np.flatnonzero(vocab.CLASS[one.ids] == vocab.Class.CHORD) - 1]
    ]
    assert kinds == ["chord of the first track", "chord of the first track", "chord of later tracks"]
    assert set(groups_of("by_tracks", batch)) == {"1"}
    three = stack_rows([pack_row([short_hidden_song()], 256)])
    assert set(groups_of("by_tracks", three)) == {"2-3"}


def test_groups_add_up_to_the_whole_in_one_batch_and_in_several():
    random = np.random.default_rng(0)
    batches = [stack_rows([pack_row([random_song(2 * n), random_song(2 * n + 1, bars=9)], 700)]) for n in range(3)]
    nats = [random.random(batch.tokens.shape).astype(np.float32) for batch in batches]
    batches[1].weights[:, 40:90] = 0
    sums = added([by_group({"nats": n}, batch) for n, batch in zip(nats, batches, strict=True)])
    whole = sum(float((n * batch.weights).sum(dtype=np.float64)) for n, batch in zip(nats, batches, strict=True))
    targets = sum(int(batch.weights.sum()) for batch in batches)
    for groups in sums.values():
        assert sum(group["nats"] for group in groups.values()) == pytest.approx(whole, rel=1e-6)
        assert sum(group["targets"] for group in groups.values()) == targets
    mean, by_kind = mean_nats(nats, batches)
    assert mean == pytest.approx(whole / targets, rel=1e-6)
    assert by_kind == {name: group["nats"] / group["targets"] for name, group in sums["by_kind"].items()}


def test_figures_are_those_of_costs_written_by_hand():
    """A duration costs 1 nat, a velocity 2, a pitch 3, a position 4, structure 5, a chord 6, any chord 1."""
    batch = band_and_solo()
    cost = dict(duration=1, velocity=2, pitch=3, position=4, structure=5)
    of_kind = np.array([cost.get(kind, 6) for kind in KINDS], np.float32)
    nats = of_kind[kinds_of_targets(batch)]
    sampled = np.where(batch.known > 0, 1, nats)
    costs = {"nats": nats, "as_sampled": sampled}
    costs |= {f"{name}{end}": nats for name in ("unigram", "bigram") for end in ("", "_as_sampled")}
    found = summed(added([by_group(costs, batch)]), seconds=2.0)
    total = sum(cost.get(kind, 6) for kind in expected_kinds())
    as_sampled = total - 2 * 5  # two chords of later tracks
    assert found.nats_per_token == total / 30 and found.nats_per_token_as_sampled == as_sampled / 30
    assert (found.targets, found.notes) == (30, 5)
    assert found.bits_per_note == pytest.approx(as_sampled / math.log(2) / 5)
    assert found.bits_per_second == pytest.approx(as_sampled / math.log(2) / 2)
    later = found.by_kind["chord of later tracks"]
    assert (later["nats"], later["as_sampled"], later["targets"], later["share"]) == (6, 1, 2, 2 / as_sampled)
    assert found.by_family["bass"]["nats"] == (5 + 5 + 6 + 4 + 3 + 2 + 6) / 7
    assert found.by_family["bass"]["as_sampled"] == (5 + 5 + 1 + 4 + 3 + 2 + 1) / 7


def test_seconds_are_those_of_the_bars_with_silent_ones_and_changes_of_meter_and_tempo():
    """Two bars of 4/4, one at 120 and one at another tempo; then 5/4, which is two bars for the model, and silent."""
    song = "BOS BPM_19 TS_4/4 #P0 SEP N T0 P60 N BPM_31 N TS_5/4 N #P33 SEP N T0 P40 EOS"
    waltz = "BOS BPM_0 TS_3/4 #P0 SEP N T0 P60 EOS"
    batch = stack_rows([pack_row([fields.compute(ids(song)), fields.compute(ids(waltz))], 40), pack_row([], 40)])
    bpm = [vocab.TEMPOS_BPM[vocab.VALUE[vocab.ID[name]]] for name in ("BPM_19", "BPM_31", "BPM_0")]
    assert seconds_of(batch) == pytest.approx(60 * (4 / bpm[0] + (4 + 5) / bpm[1] + 3 / bpm[2]), rel=1e-6)


# ---------------------------------------------------------------- guesses


def test_a_unigram_and_a_bigram_by_kind_guess_by_smoothed_frequency():
    batch = band_and_solo()
    counts = np.zeros(vocab.SIZE, np.int64)
    counts[ids("P36 T0 Cmaj")] = (7, 5, 3)
    pairs = np.zeros((len(KINDS), vocab.SIZE), np.int64)
    pairs[POSITION, ids("P36")] = 9
    pairs[PITCH, ids("Cmaj N")] = (2, 1)
    unigram, unigram_sampled = (guesses.unigram(counts).costs(batch, chords) for chords in ("all", "first"))
    bigram = guesses.bigram(pairs).costs(batch, "all")
    at = lambda name: [n for n, token in enumerate(batch.targets[0]) if token == vocab.ID[name]]
    (pitch,), first, (solo,) = at("P36"), at("Cmaj"), at("Gmaj")
    assert unigram[0, pitch] == pytest.approx(-math.log(8 / (15 + 724))) == unigram_sampled[0, pitch]
    assert bigram[0, pitch] == pytest.approx(-math.log(10 / (9 + 724)))
    assert unigram[0, first] == pytest.approx([-math.log(4 / 739)] * 2)
    assert unigram_sampled[0, first] == pytest.approx([-math.log(4 / 739), -math.log((217 + 3) / 739)])
    assert bigram[0, solo] == pytest.approx(-math.log(1 / 724)), "behind SEP nothing was counted"
    assert bigram[0, at("EOS")] == pytest.approx([-math.log(1 / 724), -math.log(1 / (3 + 724))])


def test_pairs_are_counted_in_songs_that_are_trained_on_alone(tmp_path):
    songs = Dataset(write_songs(tmp_path / "songs", 5, 0))["train"]
    songs.weight[:] = (1, 0, 2, 1, 1)
    found = guesses.count_pairs(songs)
    expected = np.zeros_like(found)
    for song in (songs[0], *songs[2:]):
        for last, token in zip(song.ids, song.ids[1:], strict=False):
            expected[OF_TOKEN[last], token] += 1
    assert np.array_equal(found, expected)
    assert guesses.count_pairs(songs, most=2).sum() == len(songs[0]) + len(songs[4]) - 2, "spread over all songs"


# ---------------------------------------------------------------- of a model

CONFIG = ModelConfig(layers=1, width=64, ffn=64, max_bars=32, vocab_size=vocab.V121_SIZE)


def write_songs(folder: Path, train: int, held_out: int) -> Path:
    """A dataset of random songs, those that are held out first, in v1.2.1's tokens."""
    folder.mkdir(parents=True)
    rows = [to_row(random_song(seed, size=vocab.V121_SIZE), f"{seed}.mid") for seed in range(held_out + train)]
    parts = {"train": rows[held_out:], "validation": rows[:held_out]}
    splits = {
        name: [write_batch(folder, f"{name}-00000.arrow", record_batch(part))] if part else []
        for name, part in parts.items()
    }
    write_manifest(folder, splits, [], PrepareConfig(), "test")
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return write_songs(tmp_path_factory.mktemp("data") / "songs", 6, 3)


def run_of(dataset: Path | str, scale: float = 8.0) -> tuple[MuseFormer, Record]:
    """A model that was never trained, weights times scale, and the record of a run of it."""
    model = MuseFormer(CONFIG, nnx.Rngs(0))
    nnx.update(model, jax.tree.map(lambda x: x * scale if x.ndim > 1 else x, nnx.state(model, nnx.Param)))
    train = dict(data_dir=str(dataset), max_seq_len=256, max_spans=64, batch_size=2, seed=0)
    return model, Record(1, {}, train, 1, {}, "", {}, vocab.FINGERPRINT, versions())


def test_a_model_that_knows_nothing_loses_ln_v_everywhere(dataset):
    found = losses(run_of(dataset, scale=0.0))
    assert found.nats_per_token == pytest.approx(math.log(643), rel=1e-6)
    for groups in (found.by_kind, found.by_family, found.by_bar, found.by_tracks):
        assert [group["nats"] for group in groups.values()] == pytest.approx([math.log(643)] * len(groups), rel=1e-6)
        assert sum(group["share"] for group in groups.values()) == pytest.approx(1)
        assert sum(group["targets"] for group in groups.values()) == found.targets
    later = found.by_kind["chord of later tracks"]
    assert later["as_sampled"] == pytest.approx(math.log(643 / 217), rel=1e-6)
    songs = Dataset(dataset)["validation"]
    notes = sum(int((vocab.CLASS[song.ids] == vocab.Class.PITCH).sum()) for song in songs)
    tokens = sum(len(song) - 1 for song in songs)
    assert (found.notes, found.targets) == (notes, tokens)
    nats = tokens * math.log(643) - later["targets"] * math.log(217)
    assert found.bits_per_note == pytest.approx(nats / math.log(2) / notes, rel=1e-6)
    bars = sum(int(song.bar.max()) + 1 for song in songs)  # of 4/4, all at one tempo
    (bpm,) = {round(tempo.bpm) for song in songs for tempo in decode(song.ids).tempos}
    assert found.seconds == pytest.approx(bars * 4 * 60 / bpm, rel=1e-6)
    assert found.bits_per_second == pytest.approx(nats / math.log(2) / found.seconds, rel=1e-6)
    assert json.loads(json.dumps(found.plain())) == found.plain()


def test_losses_are_those_of_the_logits_song_by_song(dataset):
    model, record = run_of(dataset)
    found = losses((model, record), dataset=Dataset(dataset))
    sums, counts, any_chord = dict.fromkeys(KINDS, 0.0), dict.fromkeys(KINDS, 0), 0.0
    for song in Dataset(dataset)["validation"]:
        chances = jax.nn.softmax(jnp.asarray(score_logits(model, song)[1]))
        tracks = np.cumsum(vocab.CLASS[song.ids] == vocab.Class.TRACK)
        for at, token in enumerate(song.ids[1:].tolist()):
            later = vocab.CLASS[token] == vocab.Class.CHORD and tracks[at] > 1
            kind = "chord of later tracks" if later else KINDS[OF_TOKEN[token]]
            sums[kind] -= math.log(chances[at, token])
            counts[kind] += 1
            any_chord -= math.log(chances[at, 6:223].sum()) if later else 0
    assert {name: group["targets"] for name, group in found.by_kind.items()} == counts
    of_kinds = {name: group["nats"] for name, group in found.by_kind.items()}
    assert of_kinds == pytest.approx({name: sums[name] / counts[name] for name in KINDS}, rel=1e-4)
    sampled = sum(sums.values()) - sums["chord of later tracks"] + any_chord
    assert found.nats_per_token_as_sampled == pytest.approx(sampled / found.targets, rel=1e-4)
    assert found.by_kind["chord of later tracks"]["as_sampled"] < 0.9 * of_kinds["chord of later tracks"]


def test_what_cannot_be_scored_is_said_in_one_line(dataset, tmp_path):
    model, record = run_of(tmp_path / "gone")
    with pytest.raises(InputError, match=rf"{tmp_path / 'gone'}: the dataset that the run was trained on is not there"):
        losses((model, record))
    with pytest.raises(InputError, match="run must be the path of a training run"):
        losses(model, dataset=dataset)
    with pytest.raises(InputError, match="max_batches must be at least 1, got 0"):
        losses((model, record), dataset=dataset, max_batches=0)
    alone = write_songs(tmp_path / "alone", 1, 0)
    with pytest.raises(InputError, match=f"{alone}: no songs in the split 'validation'"):
        losses((model, record), dataset=os.fspath(alone))
    fine = tmp_path / "fine"
    fine.mkdir()
    row = to_row(fields.compute(ids("BOS BPM_19 TS_4/4 #D SEP N T1/2 P36 EOS")), "fine.mid")
    splits = {name: [write_batch(fine, f"{name}-00000.arrow", record_batch([row]))] for name in ("train", "validation")}
    write_manifest(fine, splits, [], PrepareConfig(), "test")
    with pytest.raises(InputError, match=r"the token T1/2, which this model of 643 tokens does not know"):
        losses((model, record), dataset=fine)
