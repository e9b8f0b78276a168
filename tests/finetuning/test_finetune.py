"""A model is tuned to a folder of songs: it goes on where it was stopped, ends in time, and says what changed."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from configs import EvaluateConfig, FinetuneConfig, InputError, presets
from jax_impl.evaluation import comparison, samples
from jax_impl.finetuning import finetune, songs, table, watch
from jax_impl.training import train
from jax_impl.training.found import find
from tests.rows import random_song
from tests.runs import MODEL, config, write_dataset
from tokenizer.dataset.songs import Dataset
from tokenizer.music import midi
from tokenizer.music.composer import compose
from tokenizer.tokens import fields


@pytest.fixture(scope="module")
def start(tmp_path_factory) -> Path:
    """A run to begin with."""
    folder = tmp_path_factory.mktemp("start")
    train.train(config(write_dataset(folder / "data"), folder / "run", steps=4), MODEL)
    return folder / "run"


@pytest.fixture(scope="module")
def midi_dir(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("midi")
    for seed in range(12):
        midi.write(compose(seed), folder / f"{seed}.mid")
    return folder


@pytest.fixture(scope="module")
def tuned(start, midi_dir, tmp_path_factory) -> FinetuneConfig:
    settings = FinetuneConfig(tmp_path_factory.mktemp("tuned") / "mine", init_from=start, minutes=0.01)
    assert finetune.finetune([midi_dir], settings) == 0
    return settings


@pytest.fixture(scope="module", autouse=True)
def short():
    """Songs of few bars are enough here."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(table, "BARS", 4)
        patched.setattr(table, "SONGS", 4)
        patched.setattr(watch, "SAMPLES", EvaluateConfig(samples=2, bars=4))
        yield


def test_it_leaves_a_run_a_report_and_three_songs(tuned):
    out = tuned.output_dir
    plan = json.loads((out / finetune.FOLDER / finetune.PLAN).read_text(encoding="utf-8"))
    assert plan["steps"] >= finetune.PROBE and plan["ended"]
    assert find(out, "best").record.train["init_from"] == str(tuned.init_from)
    report = json.loads((out / finetune.FOLDER / finetune.REPORT).read_text(encoding="utf-8"))
    assert report["held_out"] >= 2 and {"before", "after"} < set(report["losses"]["all"])
    assert {path.name for path in (out / finetune.SAMPLES).glob("*.mid")} == {f"000{n}.mid" for n in range(3)}
    assert not list(out.rglob(".tmp*"))


def test_the_same_command_again_trains_no_more_and_says_the_same(tuned, midi_dir, monkeypatch, capsys):
    place = tuned.output_dir / finetune.FOLDER / finetune.REPORT
    before = place.read_text(encoding="utf-8")
    monkeypatch.setattr(finetune, "train", lambda *_, **__: pytest.fail("it is over"))
    monkeypatch.setattr(table, "report", lambda *_: pytest.fail("it is there"))
    assert finetune.finetune([midi_dir], tuned) == 0
    assert place.read_text(encoding="utf-8") == before
    assert table.text(json.loads(before)) in capsys.readouterr().out


@pytest.mark.parametrize(("changes", "named"), [({"minutes": 2.0}, "--minutes 0.01"), ({"seed": 1}, "--seed 0")])
def test_another_command_in_its_folder_is_refused_by_what_differs(tuned, midi_dir, changes, named):
    with pytest.raises(InputError, match=f"begun with {named}; give the same"):
        finetune.finetune([midi_dir], replace(tuned, **changes))


def test_other_songs_in_its_folder_are_refused_by_the_folder_that_was_named(tuned, tmp_path):
    midi.write(compose(77), tmp_path / "other.mid")
    with pytest.raises(InputError, match=f"--output-dir {tuned.output_dir}: was begun with other songs") as told:
        finetune.finetune([tmp_path], tuned)
    assert "--overwrite" not in str(told.value)


@pytest.mark.parametrize(("after", "said"), [(1.5, "easier for it, by 0.50 nats"), (2.1, "no easier for it")])
def test_the_table_says_first_whether_it_helped(after, said):
    losses = {"all": {"before": 2.0, "after": after, "yours": None}}
    known = {"before": 0.1, "after": None, "yours": 0.2}
    features = {"tempo": {"before": 90.0, "after": 100.0, "yours": 120.0}}
    text = table.text({"songs": 9, "held_out": 1, "losses": losses, "bars_known": known, "features": features})
    assert said in text.splitlines()[0] and "Held out: 1 of 9 songs" in text
    assert text.splitlines()[-1].split() == ["tempo", "90.0", "100", "120"]


def test_files_of_others_are_left_alone(start, midi_dir, tmp_path):
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="holds files"):
        finetune.finetune([midi_dir], FinetuneConfig(tmp_path, init_from=start))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_signal_is_passed_on_and_the_plan_stays(start, midi_dir, tmp_path, monkeypatch):
    settings = FinetuneConfig(tmp_path / "mine", init_from=start, minutes=0.01)
    monkeypatch.setattr(finetune, "tokens_per_second", lambda _: 1e6)
    asked = []

    def stopped(config, watch):
        asked.append(config.steps)
        return train.Result(3, config.steps, 15)

    monkeypatch.setattr(finetune, "train", stopped)
    assert finetune.finetune([midi_dir], settings) == 143
    monkeypatch.setattr(finetune, "tokens_per_second", lambda _: pytest.fail("measured already"))
    assert finetune.finetune([midi_dir], settings) == 143
    assert asked[0] == asked[1]


# ---------------------------------------------------------------- when it ends


@pytest.mark.parametrize(
    ("losses", "is_stalled"),
    [([3.0], False), ([3.0, 2.0, 2.1, 2.0, 2.3], True), ([3.0, 2.0, 2.1, 1.9], False), ([2.0, 2.1, 2.2], False)],
)
def test_it_has_stalled_after_three_validations_that_are_no_better(losses, is_stalled):
    assert watch.is_stalled(losses, 3) is is_stalled


def test_a_model_that_writes_the_songs_out_is_stopped(tuned, monkeypatch):
    dataset = Dataset(tuned.output_dir / finetune.SONGS)
    settings = finetune._settings(find(tuned.init_from, "best"), tuned, 100)
    watcher = watch.Watcher(find(tuned.init_from, "best"), dataset, settings)
    parameters = None
    losses = [{"kind": "validation", "step": step, "loss": 3.0 - step} for step in (0, 1, 2)]
    monkeypatch.setattr(watch.metrics, "read", lambda _: losses)
    monkeypatch.setattr(watch.nnx, "merge", lambda *_: None)
    monkeypatch.setattr(watcher, "_written", lambda _: [dataset["train"][0]])
    assert "of the bars that it writes are in your songs" in watcher(1, 2.0, parameters)
    assert watcher(0, 3.0, parameters) is None, "before there is a checkpoint"
    monkeypatch.setattr(watcher, "_written", lambda _: [random_song(99, bars=4)])  # nobody has a bar of it
    assert watcher(1, 2.0, parameters) is None


def test_a_run_is_ended_by_who_watches_it_without_a_checkpoint_of_that_step(start, tmp_path):
    data = find(start, "best").record.dataset_folder()
    seen = []

    def watching(step, loss, parameters):
        seen.append((step, loss))
        return "enough" if step == 6 else None

    result = train.train(config(data, tmp_path / "run"), MODEL, watch=watching)
    assert (result.step, result.total_steps, result.signal, result.ended) == (6, 8, None, "enough")
    assert [step for step, _ in seen] == [2, 4, 6] and all(np.isfinite(loss) for _, loss in seen)
    assert find(tmp_path / "run", "latest").record.step == 4


# ---------------------------------------------------------------- the songs


def test_a_tenth_of_the_songs_is_held_out_at_least_and_the_same_ones_again(midi_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(presets, "FINETUNE_HELD_OUT", 0.4)
    dataset = songs.prepared([midi_dir], tmp_path / "songs", tmp_path / "split.json")
    held_out = sorted(dataset["validation"].column("family").tolist())
    assert len(held_out) == 5 and len(dataset["train"]) == 7
    again = songs.prepared([midi_dir], tmp_path / "songs", tmp_path / "split.json")
    assert sorted(again["validation"].column("family").tolist()) == held_out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["songs", "split.json"]


def test_one_song_is_tuned_to_with_nothing_held_out(start, tmp_path, capsys):
    (tmp_path / "midi").mkdir()
    midi.write(compose(1), tmp_path / "midi" / "one.mid")
    settings = FinetuneConfig(tmp_path / "mine", init_from=start, minutes=0.001)
    assert finetune.finetune([tmp_path / "midi"], settings) == 0
    assert "none is held out" in capsys.readouterr().out
    report = json.loads((tmp_path / "mine" / finetune.FOLDER / finetune.REPORT).read_text(encoding="utf-8"))
    assert report["held_out"] == 0 and report["losses"] == {}
    assert report["features"]["bars"]["after"] is not None


def test_what_features_are_counted_in_is_what_the_models_write(tuned):
    """Means of the report against the songs sampled here."""
    report = json.loads((tuned.output_dir / finetune.FOLDER / finetune.REPORT).read_text(encoding="utf-8"))
    written = samples.sample(
        find(tuned.output_dir, "best"),
        replace(watch.SAMPLES, samples=table.SONGS, bars=table.BARS, seed=tuned.seed),
    )
    counted = comparison.measure([comparison.grid_song(fields.compute(song.ids)) for song in written])
    assert report["features"]["notes_per_bar"]["after"] == pytest.approx(counted.values("notes_per_bar").mean())
