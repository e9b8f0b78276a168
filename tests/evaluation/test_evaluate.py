"""The report on a run: all of it from one call, the same again, and no file of the user's is lost for it."""

import json
import re
import types
from contextlib import ExitStack
from html.parser import HTMLParser

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import EvaluateConfig, InputError
from jax_impl.cli import evaluating
from jax_impl.evaluation import evaluate as evaluation
from jax_impl.evaluation import page, report, samples
from jax_impl.evaluation.evaluate import FILES, SAMPLES, _index, evaluate, first_bars
from jax_impl.model.museformer import MuseFormer
from jax_impl.sampling import outputs
from jax_impl.training.checkpoint import Checkpoints
from jax_impl.training.found import find
from jax_impl.training.record import Record, plain, versions
from jax_impl.training.step import TrainState
from tests.rows import long_measures
from tests.runs import write_dataset
from tests.sampling.small import CONFIG
from tokenizer import vocabulary as vocab
from tokenizer.dataset.songs import Dataset
from tokenizer.disk.atomic import file_digest
from tokenizer.grid.meter import Bars
from tokenizer.music import midi
from tokenizer.tokens.encode import bar_maps

SMALL = EvaluateConfig(samples=3, bars=2, max_length=250)  # as the tests of sampling: programs are shared
LOSSES_ALONE = EvaluateConfig(samples=0)


def write_run(folder, train: dict, dataset: str = ""):
    """A checkpoint of random weights, which says of its training what `train` says."""
    parameters = nnx.to_pure_dict(nnx.state(MuseFormer(CONFIG, nnx.Rngs(0))))
    record = Record(5, plain(CONFIG), train, 10, {}, dataset, {}, vocab.FINGERPRINT, versions(), {})
    with Checkpoints(folder, keep_last=1) as checkpoints:
        checkpoints.save(TrainState(parameters, {"count": jnp.zeros(())}, 5), record, 1.0)
    return folder


@pytest.fixture(scope="module", autouse=True)
def kept(tmp_path_factory):
    """What is made once of the training songs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HID_CACHE", str(tmp_path_factory.mktemp("kept")))
        yield


@pytest.fixture(scope="module")
def songs(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("data") / "songs", songs=32)


@pytest.fixture(scope="module")
def run(songs, tmp_path_factory):
    train = dict(data_dir=str(songs), max_seq_len=256, max_spans=64, batch_size=1, seed=0)
    return write_run(tmp_path_factory.mktemp("run"), train, Dataset(songs).fingerprint)


@pytest.fixture(scope="module")
def made(run):
    """A report, and its folder."""
    folder = run / "evaluation"
    return evaluate(run, out=folder, config=SMALL), folder


@pytest.fixture
def known_losses(made, monkeypatch):
    """Those of the report, which are not computed again."""
    again = types.SimpleNamespace(plain=lambda: made[0]["losses"])
    monkeypatch.setattr(evaluation, "losses", lambda *_, **__: again)


def contents(folder) -> dict[str, str]:
    return {str(path.relative_to(folder)): file_digest(path) for path in folder.rglob("*") if path.is_file()}


def test_a_report_has_all_its_parts_and_files_and_songs_that_can_be_heard(made, run):
    told, folder = made
    assert sorted(contents(folder)) == sorted(
        [*FILES, *(f"{SAMPLES}/{n:04}{suffix}" for n in range(3) for suffix in (".json", ".mid"))]
    )
    there = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert {name: there[name] for name in told} == json.loads(json.dumps(told))
    assert told["held_out_songs"] == 4 and told["is_own_dataset"] and told["step"] == 5
    assert told["features"]["songs"] == {"samples": 3, "real": 4} and told["samples"]["compared_with"] == 4
    assert told["copies"]["training_songs"] == 28 and len(told["copies"]["samples"]) == 3
    assert told["losses"]["nats_per_token"] > 3
    assert midi.read(folder / SAMPLES / "0002.mid").tracks
    assert (folder / "report.png").read_bytes().startswith(b"\x89PNG")


def test_errors_without_the_grammar_are_as_many_as_the_sampler_counts(made, run):
    told, _ = made
    (song,) = samples.sample_without_grammar(find(run, "best"), SMALL)
    assert told["errors"]["errors"] == song.errors == sum(r["errors"] for r in told["errors"]["by_rule"].values())
    assert told["errors"]["tokens"] == len(song.ids) - 1 and song.errors > 10 and len(told["errors"]["by_rule"]) > 1


def test_the_same_call_gives_the_same_files_also_where_it_was_interrupted(
    made, known_losses, run, tmp_path, monkeypatch
):
    before, write, written = contents(made[1]), outputs.write, []

    def interrupted(sample, *others):
        if written:
            raise KeyboardInterrupt
        written.append(sample.number)
        return write(sample, *others)

    monkeypatch.setattr(outputs, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate(run, out=tmp_path / "again", config=SMALL)
    assert sorted(contents(tmp_path / "again")) == [f"{SAMPLES}/0000.json", f"{SAMPLES}/0000.mid"]
    monkeypatch.setattr(
        outputs, "write", lambda sample, *others: written.append(sample.number) or write(sample, *others)
    )
    evaluate(run, out=tmp_path / "again", config=SMALL)
    assert contents(tmp_path / "again") == before
    assert written == [0, 1, 2]  # none of them twice


def test_without_a_folder_nothing_is_written_and_the_songs_are_the_same(made, known_losses, run):
    before = contents(run)
    assert evaluate(run, config=LOSSES_ALONE)["losses"] == made[0]["losses"]
    songs = samples.sample(find(run, "best"), SMALL)
    assert contents(run) == before
    for number, song in enumerate(songs):
        assert np.array_equal(song.ids, outputs.read(made[1] / SAMPLES / f"{number:04}.json").sample.ids)


def test_songs_that_were_made_otherwise_make_room_for_those_of_this_report(made, run, tmp_path, monkeypatch):
    found, songs = find(run, "best"), [outputs.read(made[1] / SAMPLES / f"{n:04}.json").sample for n in range(3)]
    monkeypatch.setattr(samples, "sampled", lambda _, numbers: [songs[number] for number in numbers])
    samples.write(found, SMALL, tmp_path)
    (tmp_path / "0002.mid").write_bytes(b"the user's by now")
    (tmp_path / "mine.mid").write_bytes(b"the user's")
    (song,) = samples.write(found, EvaluateConfig(samples=1, bars=2, max_length=250, seed=7), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("0000.json", "0000.mid", "0002.json", "0002.mid", "mine.mid")
    ]
    assert np.array_equal(outputs.read(tmp_path / "0000.json").sample.ids, song.ids)


@pytest.mark.parametrize("name", ["report.json", "report.png", "report.html", f"{SAMPLES}/0001.mid"])
def test_a_file_of_the_users_in_the_folder_is_refused_before_work(run, tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"the user's")
    with pytest.raises(InputError, match=r"--out .* exists already, and nothing says that this made it"):
        evaluate(run, out=tmp_path, config=SMALL)
    assert contents(tmp_path).keys() == {name}


def test_of_losses_alone_there_is_a_report_too_and_an_earlier_one_is_replaced_unless_it_was_changed(
    known_losses, run, tmp_path, capsys
):
    for _ in range(2):
        assert evaluating.evaluate(LOSSES_ALONE, run, out=str(tmp_path / "x")) == 0
    assert contents(tmp_path / "x").keys() == set(FILES)
    said = capsys.readouterr().out
    assert "loss, nats" in said and "pitch" in said and "report.html" in said and SAMPLES not in said
    (tmp_path / "x" / "report.html").write_text("a remark of the user's", encoding="utf-8")
    with pytest.raises(InputError, match=r"report.html: exists already"):
        evaluate(run, out=tmp_path / "x", config=LOSSES_ALONE)
    evaluate(run, out=tmp_path / "x", config=LOSSES_ALONE, overwrite=True)


def test_what_cannot_be_evaluated_is_told_by_name(run, songs, tmp_path):
    for words, message in (
        (dict(run=tmp_path), "no checkpoints here"),
        (dict(run=5), "run must be the path"),
        (dict(dataset=tmp_path / "nowhere"), "nowhere: no such dataset"),
        (dict(config=EvaluateConfig(split="test")), "has no test songs, .* --test-fraction 0.1"),
        (dict(out=tmp_path / "x.html"), "x.html: name a folder"),
        (dict(out="-"), "--out -: name a folder"),
        (dict(checkpoint=7), "no checkpoint of step 7"),
        (dict(config=EvaluateConfig(bars=100)), "100"),
    ):
        with pytest.raises(InputError, match=message):
            evaluate(**dict(run=run, out=tmp_path / "out") | words)
    with pytest.raises(InputError, match="--samples must be"):
        EvaluateConfig(samples=-1)
    assert not list(tmp_path.iterdir())


def test_a_run_that_does_not_say_its_songs_or_whose_songs_are_gone_asks_for_them(songs, tmp_path):
    silent, alone = write_run(tmp_path / "a", {}), write_run(tmp_path / "b", {"data_dir": str(tmp_path / "gone")})
    with pytest.raises(InputError, match="does not say what it was trained on; name a dataset with --data-dir"):
        evaluate(silent, config=LOSSES_ALONE)
    with pytest.raises(InputError, match=r"gone: the dataset .* is not there .*; name where it is with --data-dir"):
        evaluate(alone, config=LOSSES_ALONE)


def test_where_no_index_can_be_kept_one_is_made_for_as_long_as_it_is_needed(songs, monkeypatch, capsys):
    monkeypatch.setenv("HID_CACHE", "none")
    with ExitStack() as opened:
        index = _index(Dataset(songs), opened)
        assert index.songs == 28 and index.folder.is_dir()
        assert "it is made for this evaluation alone" in capsys.readouterr().out
    assert not index.folder.exists()


def test_of_a_mixture_songs_are_compared_with_as_its_weights_say(songs, tmp_path):
    """Of four songs held out each: all of the one dataset, two of the other, which is shown half as often."""
    write_dataset(tmp_path / "others", songs=32, bars=4)
    weights = {str(songs): 3, "../others": 1.5}
    (tmp_path / "mixture").mkdir()
    (tmp_path / "mixture" / "mixture.json").write_text(json.dumps({"datasets": weights}), encoding="utf-8")
    found = types.SimpleNamespace(record=types.SimpleNamespace(dataset=""))
    compared = evaluation.HeldOutSongs(found, tmp_path / "mixture", EvaluateConfig()).first_bars()
    own = {song.ids.tobytes() for song in Dataset(songs)["validation"]}
    others = {song.ids.tobytes() for song in Dataset(tmp_path / "others")["validation"]}
    of_each = [sum(song.ids.tobytes() in there for song in compared) for there in (own, others)]
    assert len(own) == len(others) == 4 and of_each == [4, 2]


def test_first_bars_are_whole_ones_as_they_are_written():
    tokens = long_measures()
    for bars in (1, 2, 4):
        signature, *_ = bar_maps(first_bars(tokens, bars))
        assert Bars(signature).n_measures == bars
    assert first_bars(tokens, 5) is tokens


# ---------------------------------------------------------------- what is said


class Tags(HTMLParser):
    """Which tags are open; of each whether it is closed in its place."""

    VOID = frozenset({"meta", "br", "line"})

    def __init__(self, text: str):
        super().__init__()
        self.open, self.seen, self.attributes = [], set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_needs_nothing_from_elsewhere_and_takes_names_as_text(made):
    told, _ = made
    text = page.page(told | {"run": "<script>alert(1)</script>", "dataset": 'a&b"><img src=x>'})
    tags = Tags(text)
    assert not tags.open and not tags.seen & {"script", "img", "link", "iframe"}
    assert not {"src", "href", "onclick"} & {name for name, _ in tags.attributes}
    assert "&lt;script&gt;" in text and "a&amp;b&quot;&gt;" in text
    assert not re.search(r"url\(|https?:|@import", text)


def test_the_table_fits_a_terminal_of_100_columns_and_says_what_stands_out(made):
    told, _ = made
    lines = report.text(told).splitlines()
    assert max(map(len, lines)) <= 100 and len(lines) < 60
    for finding in report.findings(told):
        assert finding.text.split()[0] in " ".join(lines)


def feature(mean: float | None, overlap: float | None, floor: float | None, outside: bool) -> dict:
    sides = {"songs": 4, "mean": mean, "low": mean, "high": mean}
    return {"samples": sides, "real": sides, "overlap": overlap, "floor_overlap": floor, "outside": outside}


def test_features_that_are_furthest_from_real_songs_come_first_and_missing_ones_last():
    features = {
        "drums": feature(None, None, 0.9, True),
        "near": feature(1.0, 0.8, 0.9, True),
        "alike": feature(1.0, 0.9, 0.9, False),
        "far": feature(1.0, 0.1, 0.9, True),
    }
    told = {"features": {"features": features}}
    assert report.outside(told) == ["far", "near", "drums"] and report.inside(told) == ["alike"]


def test_a_kind_of_token_that_a_guess_says_as_well_is_not_learned():
    kinds = {
        name: {"as_sampled": nats, "unigram": 4.0, "bigram": 3.0, "share": share}
        for name, nats, share in (("a", 2.9, 0.5), ("b", 3.0, 0.1), ("c", 3.5, 0.2))
    }
    assert report.not_learned({"by_kind": kinds}) == ["c", "b"]


@pytest.mark.parametrize(("median", "is_bad"), [(20, False), (21, True)])
def test_longer_passages_than_real_songs_share_are_called_copies(median, is_bad):
    quartiles = lambda median: {"songs": 4, "quartile_1": 5, "median": median, "quartile_3": 20, "max": 40}
    bars = {"mean": 0.1, "songs": 3}
    sides = {"of_samples": {"longest": quartiles(median), "bars_known": bars}}
    sides |= {"held_out": {"longest": quartiles(10), "bars_known": bars}}
    assert report._of_copies(sides).is_bad == is_bad
    sides["held_out"]["longest"]["songs"] = 3
    assert report._of_copies(sides).is_bad is None, "three real songs say nothing"


def test_features_of_too_few_real_songs_are_not_judged():
    told = {"features": {"features": {"few": feature(1.0, 0.1, None, False), "alike": feature(1.0, 0.9, 0.9, False)}}}
    assert (report.outside(told), report.inside(told), report.unjudged(told)) == ([], ["alike"], ["few"])


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "none"), (0.0, "0.00"), (0.236, "0.24"), (12.34, "12.3"), (123.4, "123"), (12345, "12,345")],
)
def test_numbers_have_three_digits_or_so(value, text):
    assert report.number(value) == text


def test_of_too_few_real_songs_nothing_is_concluded():
    told = {"features": {"features": {"near": feature(None, None, None, True)}}, "samples": {"compared_with": 3}}
    finding = report._of_features(told)
    assert finding.is_bad is None and "3 real songs to compare with, and 4 are needed" in finding.text
