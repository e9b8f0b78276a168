"""Sampling draws what the model says within what is asked, every song is grammatical,
and what is asked holds in the MIDI file.
"""

import dataclasses
import re

import jax
import jax.numpy as jnp
import mido
import numpy as np
import pytest
from flax import nnx

from configs import MASK_RULES, Constraints, InputError, ModelConfig, SampleConfig
from jax_impl.batch import pack_row, stack_rows
from jax_impl.device import device
from jax_impl.model.museformer import MuseFormer
from jax_impl.sampling import compose, loop, sample, task
from jax_impl.sampling.draw import bar_is_over
from jax_impl.training.checkpoint import Checkpoints
from jax_impl.training.record import Record, plain, versions
from jax_impl.training.step import TrainState
from tests.rows import ids
from tests.sampling.small import COMPUTE, CONFIG, HOT, sampler_for
from tokenizer import vocabulary as vocab
from tokenizer.grid.quantize import snap
from tokenizer.grid.song import HID_RANK
from tokenizer.music import midi
from tokenizer.music.composer import compose as compose_song
from tokenizer.tokens import fields, grammar, room
from tokenizer.tokens import plan as planning
from tokenizer.tokens.encode import encode
from tokenizer.tokens.grammar import TRACK


def samples(model, prompt=None, wanted=None, **settings) -> list[sample.Sample]:
    return list(sampler_for(model, SampleConfig(**HOT | settings), prompt, wanted or Constraints()).samples())


# ---------------------------------------------------------------- songs


def test_a_hundred_songs_of_random_weights_are_all_grammatical_and_come_to_an_end(model):
    songs = samples(model, num_samples=100, batch=100, max_length=100)
    assert grammar.errors([song.ids for song in songs]) == [None] * 100
    assert all(song.finished and song.ids[-1] == vocab.EOS and song.errors == 0 for song in songs)
    assert all(len(song.ids) <= 100 and fields.compute(song.ids).bar.max() < 32 for song in songs)
    assert all(snap(song.score()) == song.score() for song in songs)
    assert max(len(song.ids) for song in songs) > 80 and len({len(song.ids) for song in songs}) > 20
    most_bars = room.FEWEST_BARS  # where there is so little room
    had_room = [len(song.ids) < 60 and fields.compute(song.ids).bar.max() < most_bars - 1 for song in songs]
    assert not any(song.cut_short for song, had in zip(songs, had_room, strict=True) if had)
    assert sum(had_room) > 5 and sum(song.cut_short for song in songs) > 20


def test_tracks_of_a_model_that_has_seen_other_orders_come_in_any_and_none_is_an_error(model):
    settings, orders = SampleConfig(**HOT | dict(num_samples=100, batch=100, max_length=100)), {}
    for shares in ({"reorder": 0.3, "fill": 0.0}, {"fill": 0.3}):
        record = Record(1, plain(CONFIG), {}, 1, {}, "", {}, vocab.FINGERPRINT, versions(), tasks=shares)
        made = task.task_of_record(record, settings, Constraints())
        songs = list(sample.Sampler(model, dataclasses.replace(made, compute=COMPUTE)).samples())
        assert all(song.errors == 0 and song.finished for song in songs)
        assert all(snap(song.score()) == song.score() for song in songs)  # in HID order again
        ranks = [[HID_RANK[vocab.VALUE[token]] for token in song.ids if vocab.CLASS[token] == TRACK] for song in songs]
        orders["reorder" in shares] = np.mean([order == sorted(order) for order in ranks if len(order) > 1])
    assert orders[True] < 0.8 and orders[False] == 1


def test_a_model_that_knows_no_chords_still_lets_later_tracks_play_on():
    """To weights without an opinion all tokens are alike: a bar, which 217 of them begin, is likelier next than one
    of the 130 ends.
    """
    blank = MuseFormer(CONFIG, nnx.Rngs(0))
    nnx.update(blank, jax.tree.map(jnp.zeros_like, nnx.state(blank, nnx.Param)))
    bars = []
    for song in samples(blank, num_samples=50, batch=50):
        kind = grammar.CLASS[song.ids]
        bars += np.bincount(np.cumsum(kind == grammar.TRACK)[kind == grammar.CHORD])[2:].tolist()
    assert np.mean(bars) > 6  # 2.7 if only the first track's chord counted


def test_greedy_sampling_takes_the_likeliest_allowed_token_of_the_full_forward(model, monkeypatch):
    monkeypatch.setattr(room, "FEWEST_BARS", 32)
    (song,) = samples(model, temperature=0.0, max_length=60)
    batch = stack_rows([pack_row([fields.compute(song.ids)], 256)])
    logits = np.array(jax.jit(lambda b: model(b, max_spans=64, compute=COMPUTE, dropout_key=None))(batch)[0])
    state, same = grammar.begin(1, 32), 0
    for index, token in enumerate(song.ids[:35]):  # later the end is near, which forbids more
        state = grammar.push(state, np.array([token]))
        allowed = grammar.allowed(state)
        best = np.where(allowed, bar_is_over(logits[index][None], allowed), -np.inf).argmax()
        same += song.ids[index + 1] == best
    assert same == 35


def test_a_song_depends_on_seed_and_number_alone(model):
    one = samples(model, num_samples=1, seed=3)
    three = samples(model, num_samples=3, seed=3, batch=3)
    (other,) = samples(model, num_samples=1, seed=4)
    assert np.array_equal(one[0].ids, three[0].ids)
    assert not np.array_equal(three[0].ids, three[1].ids) and not np.array_equal(one[0].ids, other.ids)


def test_a_song_that_outgrows_a_program_goes_on_in_the_next(model, monkeypatch):
    """As on a GPU, where chunks come as they are needed, and as elsewhere, where all are there and are skipped."""
    monkeypatch.setattr(task, "FEWEST_SUMMARIES", 8)  # for all, for the plan leaves room for so many spans
    song = lambda seed: samples(model, wanted=Constraints(bars=20), seed=seed)[0]
    sizes, room_of = set(), loop.room

    def sizes_of(seed):
        sizes.clear()
        song(seed)
        return sizes

    with monkeypatch.context() as on_gpu:
        on_gpu.setattr(sample, "FIRST_CHUNK", 64)
        on_gpu.setattr(device, "on_gpu", lambda: True)
        on_gpu.setattr(device, "memory_limit", lambda: 1 << 30)
        on_gpu.setattr(loop, "room", lambda past: sizes.add(room_of(past)[0]) or room_of(past))
        jax.clear_caches()  # of programs that were traced where this is no GPU
        seed = next(seed for seed in range(50) if sizes_of(seed) == {64, 128, 256})  # another with another processor
        grown = song(seed)
        jax.clear_caches()
    whole = song(seed)
    monkeypatch.setattr(sample, "FIRST_CHUNK", 64)
    skipped = song(seed)
    assert len(whole.ids) > 64
    assert np.array_equal(grown.ids, whole.ids) and np.array_equal(skipped.ids, whole.ids)


@pytest.mark.parametrize("rows", [1, 3, 9])
def test_no_token_copies_a_cache(rows):
    """The loop's compiled program updates them in place: a copy at every token would cost more than the model."""
    model = MuseFormer(ModelConfig(layers=2, width=128, ffn=64, max_bars=8), nnx.Rngs(0))
    sampler = sampler_for(model, SampleConfig(max_length=1100), None, Constraints())
    state, _ = sampler._begin(rows, sampler.plan)
    keys = loop.keys_of(np.uint32(0), np.arange(rows, dtype=np.int32), np.int32(0))
    arguments = (sampler._weights.result(), state, sampler.plan, keys, sampler._settings, np.int32(8))
    program = loop.Program.go_on.lower(sampler.program, *arguments).compile().as_text()
    held = {keys.shape[1] for chunk in state.past.keys[0] for keys in chunk}
    assert len(state.past.keys[0]) == 2
    for slots in held:
        shape = rf"f32\[(?:{2 * rows},|{rows},2,){slots},64\]"
        assert re.search(rf"= {shape}\S* parameter\(", program)
        assert not re.search(rf"= {shape}\S* copy\(", program)


def test_other_settings_need_no_other_program(model):
    samples(model, max_length=200)
    compiled = loop.Program.go_on._cache_size()
    for settings in (dict(temperature=0), dict(top_k=5), dict(top_p=0.5, min_p=0.1), dict(max_length=100, seed=7)):
        samples(model, **settings)
    samples(model, wanted=Constraints(bars=3, tempo=100, meter="3/4"))
    assert loop.Program.go_on._cache_size() == compiled


def test_a_model_of_rule_v121_is_sampled_without_a_cache_and_says_so(tmp_path, capsys):
    config = ModelConfig(layers=1, width=64, ffn=64, max_bars=8, mask_rule=MASK_RULES["v121"])
    model = MuseFormer(config, nnx.Rngs(1))
    settings = SampleConfig(**HOT | {"max_length": 60, "num_samples": 2})
    songs = list(sampler_for(model, settings, None, Constraints()).samples())
    assert grammar.errors([song.ids for song in songs]) == [None, None]
    parameters = nnx.to_pure_dict(nnx.state(model))
    record = Record(5, plain(config), {}, 10, {}, "", {}, vocab.FINGERPRINT, versions(), {})
    with Checkpoints(tmp_path, keep_last=1) as checkpoints:
        checkpoints.save(TrainState(parameters, {"count": jnp.zeros(())}, 5), record, 1.0)
    compose.Request(tmp_path, settings, Constraints()).ready()
    assert "nothing can be cached" in capsys.readouterr().out


def test_a_model_of_v121_s_tokens_writes_no_others_and_is_asked_for_none(model):
    few = MuseFormer(dataclasses.replace(CONFIG, vocab_size=vocab.V121_SIZE), nnx.Rngs(0))
    nnx.update(few, jax.tree.map(lambda x: x * 8 if x.ndim > 1 else x, nnx.state(few, nnx.Param)))
    songs = samples(few, num_samples=3, max_length=100, repetition_penalty=1.5)
    assert grammar.errors([song.ids for song in songs]) == [None] * 3 and all(song.finished for song in songs)
    offered = vocab.offered(vocab.V121_SIZE)
    assert all(offered[song.ids].all() for song in songs)
    assert not all(offered[song.ids].all() for song in samples(model, num_samples=3))
    triplets = ids("BOS BPM_19 TS_4/4 #P0 SEP Cmaj T0 P60 L4 V20 T1+1/3 P62 EOS")
    for prompt, wanted, message in (
        (None, Constraints(meter="5/4"), "--meter 5/4: this model is from v1.2.1"),
        (triplets, Constraints(), r"given song, bar 1 of track 1 \(.*\): .* knows no notes between two sixteenths"),
    ):
        with pytest.raises(InputError, match=message):
            sampler_for(few, SampleConfig(**HOT), prompt, wanted)


def test_uncached_songs_of_the_span_rule_are_the_cached_ones(model, given):
    cached, uncached = (
        sampler_for(model, SampleConfig(**HOT), given, Constraints(keep_bars=1, bars=3)) for _ in range(2)
    )
    uncached.program = dataclasses.replace(uncached.program, cached=False)
    assert np.array_equal(next(cached.samples()).ids, next(uncached.samples()).ids)


def test_without_the_grammar_its_errors_are_counted(model):
    songs = samples(model, num_samples=4, grammar=False, max_length=80)
    assert sum(song.errors for song in songs) > 100
    assert all(song.cut_short != song.finished for song in songs)
    with pytest.raises(InputError, match="--no-grammar"):
        samples(model, wanted=Constraints(bars=3), grammar=False)


# ---------------------------------------------------------------- what is asked, read back by mido alone


def heard(score, path) -> dict:
    """What a MIDI file says, by mido alone: instruments, notes (program, tick, pitch, velocity, ticks), tempos, meters,
    ticks of a beat.
    """
    midi.write(score, path)
    file = mido.MidiFile(path)
    found = {"instruments": set(), "notes": set(), "tempos": {}, "meters": {}, "beat": file.ticks_per_beat}
    for track in file.tracks:
        now, program, open_notes = 0, 0, {}
        for message in track:
            now += message.time
            if message.type == "program_change":
                program = message.program
            elif message.type == "set_tempo":
                found["tempos"][now] = mido.tempo2bpm(message.tempo)
            elif message.type == "time_signature":
                found["meters"][now] = (message.numerator, message.denominator)
            elif message.type == "note_on" and message.velocity:
                instrument = "drums" if message.channel == 9 else program
                found["instruments"].add(instrument)
                open_notes[message.note] = (instrument, now, message.velocity)
            elif message.type in ("note_off", "note_on"):
                instrument, begun, velocity = open_notes.pop(message.note)
                found["notes"].add((instrument, begun, message.note, velocity, now - begun))
    return found


def chords(song: sample.Sample) -> list[list[str]]:
    """Names of the chord tokens of each track."""
    kind = grammar.CLASS[song.ids]
    tracks = np.cumsum(kind == grammar.TRACK)
    return [
        [vocab.NAMES[t] for t in song.ids[(kind == grammar.CHORD) & (tracks == n)]] for n in range(1, tracks[-1] + 1)
    ]


def test_instruments_bars_meter_tempo_and_chords_are_as_asked(model, tmp_path):
    wanted = Constraints(instruments="piano, drums,33", bars=5, meter="3/4", tempo=96, chords="C Am | Bb7", transpose=2)
    for number, song in enumerate(samples(model, wanted=wanted, num_samples=3, max_length=450)):
        found = heard(song.score(), tmp_path / f"{number}.mid")
        assert found["instruments"] == {"drums", 33, 0}
        assert set(found["meters"].values()) == {(3, 4)}
        assert found["tempos"] == {0: mido.tempo2bpm(round(60e6 / 96))}  # the nearest that a token says is 97
        last_onset = max(note[1] for note in found["notes"])
        assert last_onset // (3 * found["beat"]) == 4  # the fifth bar
        assert chords(song) == [["Dmaj", "Bmin", "C7", "Dmaj", "Bmin"]] * 3


def test_bars_are_measures_in_the_file_too(model, tmp_path):
    wanted = Constraints(instruments="piano,drums,33", bars=3, meter="12/8", tempo=300, chords="C Am")
    (song,) = samples(model, wanted=wanted, max_length=450)
    found = heard(song.score(), tmp_path / "a.mid")
    assert set(found["meters"].values()) == {(12, 8)} and found["tempos"] == {0: 300.0}
    assert max(note[1] for note in found["notes"]) // (6 * found["beat"]) == 2
    assert song.chords() == ["Cmaj", "Amin", "Cmaj"] and not song.errors
    assert {chord for track in chords(song) for chord in track[2:4]} == {"Amin"}


def test_the_kept_bars_of_a_continued_song_are_untouched(model, given, tmp_path):
    bar = 4 * 480
    assert heard(given, tmp_path / "given.mid")["meters"] == {0: (4, 4)}
    kept = {note for note in heard(given, tmp_path / "given.mid")["notes"] if note[1] < 2 * bar}
    wanted = Constraints(keep_bars=2, bars=6, chords="F G")
    for number, song in enumerate(samples(model, given, wanted, num_samples=3, max_length=450)):
        found = heard(song.score(), tmp_path / f"{number}.mid")
        assert {note for note in found["notes"] if note[1] < 2 * bar} == kept
        assert max(note[1] for note in found["notes"]) // bar == 5
        assert found["instruments"] == {note[0] for note in kept}
        assert chords(song)[0][2:] == ["Fmaj", "Gmaj", "Fmaj", "Gmaj"]


def test_a_given_song_is_accompanied_by_the_added_instruments_and_stays_as_it_was(model, given, tmp_path):
    (song,) = samples(model, given, Constraints(add="strings,drums", transpose=-3), max_length=450)
    before, found = heard(given, tmp_path / "given.mid"), heard(song.score(), tmp_path / "new.mid")
    moved = {(i, tick, pitch - (3 if i != "drums" else 0), *rest) for i, tick, pitch, *rest in before["notes"]}
    added = found["notes"] - moved
    assert moved <= found["notes"] and {note[0] for note in added} == {48, "drums"}
    assert max(note[1] for note in added) // 1920 == 3  # to the last bar, and no further


def test_of_a_given_song_that_is_too_long_the_model_sees_the_last_bars_or_it_is_refused(model):
    given = compose_song(0)
    sampler = sampler_for(model, SampleConfig(**HOT), given, Constraints(bars=0))
    assert re.fullmatch(r"the model saw the last .* bars \(--max-length 250\); the file holds .*", sampler.task.notice)
    (song,) = sampler.samples()
    assert len(song.ids) <= 250 and grammar.errors([song.ids]) == [None]
    in_order = sorted(given.tracks, key=lambda track: HID_RANK[track.program])
    for before, after in zip(in_order, song.score().tracks, strict=True):
        assert np.array_equal(after.notes[: len(before.notes)], before.notes)
    count = lambda score: sum(len(track.notes) for track in score.tracks)
    assert count(song.score()) > count(given)
    with pytest.raises(InputError, match=r"too long: the model would see only the last .* \(--max-length 250\)"):
        sampler_for(model, SampleConfig(**HOT), compose_song(0), Constraints(strict=True))


def test_of_a_long_song_the_model_sees_no_more_than_it_learned_from():
    """Beside what it writes; unless all of the song is to be seen."""
    given, config = compose_song(0), dataclasses.replace(CONFIG, max_bars=256)
    assert 3000 < len(encode(given)) < 4000

    def room_of(context: int, **wanted) -> int:
        made = task.task_of(config, SampleConfig(), COMPUTE, given, Constraints(**wanted), context)
        return made.config.max_length

    for wanted in (dict(fill="1-2"), dict(add="flute")):
        assert room_of(0, **wanted) == 4096 and room_of(1024, **wanted) == 1024 and room_of(1536, **wanted) == 1536
        assert room_of(1024, strict=True, **wanted) == 4096
    assert room_of(1024, bars=38) == 2048 and room_of(1024, bars=38, strict=True) == 4096
    assert 2048 < room_of(1024) < room_of(0) == 9216  # nobody says how many bars


@pytest.mark.parametrize(
    ("wanted", "prompt", "message"),
    [
        (
            Constraints(instruments="theremin"),
            False,
            "unknown instrument 'theremin'. An instrument is drums, bass, piano",
        ),
        (Constraints(chords="C Xm"), False, "unknown chord 'Xm'. A chord is such as C, Am"),
        (Constraints(meter="11/8"), False, "unknown meter '11/8'; known are 1/4"),
        (Constraints(bars=33), False, "--bars 33: this model has room for 32"),
        (Constraints(bars=30, instruments="0,1,2,3,4,5,6,7,8,9"), False, "raise --max-length"),
        (Constraints(add="bass"), False, "--add needs a given song"),
        (Constraints(keep_bars=9), True, "--keep-bars 9: the given song has 4 bars"),
        (Constraints(tempo=100), True, "--tempo cannot change a given song"),
        (Constraints(bars=4), True, "--bars 4: the given song takes 4 and one is to be added"),
        (Constraints(transpose=-48), True, "moves notes out of the MIDI range"),
        (Constraints(transpose=1), False, "--transpose moves a given song or --chords"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_flag(model, given, wanted, prompt, message):
    with pytest.raises(InputError) as error:
        sampler_for(model, SampleConfig(**HOT), given if prompt else None, wanted)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_an_illegal_prompt_is_refused_with_place_and_reason(model):
    with pytest.raises(
        grammar.UngrammaticalTokens, match="token 6, EOS after Cmaj, bar 1 of track 1: a track has a note"
    ):
        sampler_for(model, SampleConfig(**HOT), ids("BOS BPM_19 TS_4/4 #P0 SEP Cmaj EOS"), Constraints())


@pytest.mark.parametrize(
    "flag", ["temperature", "top_k", "top_p", "min_p", "repetition_penalty", "max_length", "num_samples", "batch"]
)
def test_settings_that_make_no_sense_are_refused_by_flag(flag):
    with pytest.raises(InputError, match=f"--{flag.replace('_', '-')}"):
        SampleConfig(**{flag: -1})


@pytest.mark.parametrize(
    "setting", [{"temperature": float("nan")}, {"repetition_penalty": float("inf")}, {"top_p": float("nan")}]
)
def test_what_is_no_number_is_refused_by_flag(setting):
    with pytest.raises(InputError, match=f"--{next(iter(setting)).replace('_', '-')}"):
        SampleConfig(**setting)


def test_seeds_that_jax_would_take_for_others_are_refused():
    SampleConfig(seed=(1 << 32) - 1)
    with pytest.raises(InputError, match="--seed must be from 0 to 4294967295"):
        SampleConfig(seed=1 << 32)  # which is 0 to it


def test_what_does_not_fit_the_memory_is_refused_before_any_work(model):
    with pytest.raises(InputError, match=r"--max-length 100000000 and 1 songs side by side take [\d.]+ GB.*--batch"):
        sampler_for(model, SampleConfig(max_length=10**8), None, Constraints())


def sampler_of(model, prompt=None, wanted=Constraints(), **settings) -> sample.Sampler:  # noqa: B008
    return sampler_for(model, SampleConfig(**settings), prompt, wanted)


def test_the_length_that_nobody_asked_for_is_what_is_asked_usually_takes(model, monkeypatch):
    """The given song as a whole among it; what was found is kept, so that the same song can be made again."""
    given = compose_song(0)
    tokens = len(encode(given).ids)
    wide = MuseFormer(dataclasses.replace(CONFIG, max_bars=256), nnx.Rngs(0))
    assert sampler_of(wide).config.max_length == 4096
    assert sampler_of(wide, wanted=Constraints(instruments="drums,bass,piano", bars=200)).config.max_length > 20000
    whole = sampler_of(wide, given, Constraints(add="bass,strings"))
    assert whole.task.notice == "" and tokens < whole.config.max_length
    assert len(planning.prefix(whole.plan)) > tokens
    again = sampler_for(wide, whole.config, given, Constraints(add="bass,strings"))
    assert again.config == whole.config and all(map(np.array_equal, again.plan, whole.plan))

    memory = task._cache_bytes(wide.config, SampleConfig(), COMPUTE, 3000)
    monkeypatch.setattr(task.device, "memory_limit", lambda: memory)
    assert sampler_of(wide).config.max_length == 2048 and sampler_of(wide, num_samples=2).config.max_length == 1024
