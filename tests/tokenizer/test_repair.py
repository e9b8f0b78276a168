"""A repair loses nothing: what it cannot read stops it, what it drops is counted, named, and kept aside."""

import shutil
import sys
from pathlib import Path

import pytest

from configs import InputError, PrepareConfig
from jax_impl.cli import main
from tests.scores import score_of
from tests.tokenizer.test_damage import TRAIN, flip, place_of, refuse, song
from tokenizer.dataset.audit import audit, missing_songs
from tokenizer.dataset.files import REJECTED, read_rejected
from tokenizer.dataset.gather import work_folder
from tokenizer.dataset.prepare import prepare
from tokenizer.dataset.repair import repair
from tokenizer.dataset.shards import write_batch
from tokenizer.dataset.songs import Dataset, record_batch, to_row
from tokenizer.disk.lock import Busy
from tokenizer.music import midi

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture(scope="module")
def prepared(no_pictures, tmp_path_factory) -> Path:
    """Eight songs in shards of three, one of them a copy, and a file that is none."""
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "midi").mkdir()
    for seed in range(8):
        midi.write(song(seed), folder / "midi" / f"{seed}.mid")
    shutil.copy(folder / "midi" / "3.mid", folder / "midi" / "copy.mid")
    (folder / "midi" / "bad.mid").write_text("no music", encoding="utf-8")
    prepare([folder / "midi"], folder / "songs", PrepareConfig(workers=1, songs_per_shard=3))
    return folder


@pytest.fixture
def dataset(prepared, tmp_path) -> Path:
    return Path(shutil.copytree(prepared / "songs", tmp_path / "songs"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def sources(folder: Path) -> set[str]:
    data = Dataset(folder)
    return {data[split].source(i) for split in ("train", "validation") for i in range(len(data[split]))}


def test_a_shard_that_may_not_be_read_stops_the_repair_and_nothing_changes(dataset, monkeypatch):
    before = contents(dataset)
    with monkeypatch.context() as patched:
        refuse(patched, dataset / TRAIN)
        assert [(f.problem, f.mendable) for f in audit(dataset, 1)] == [("cannot be read (Permission denied)", False)]
        with pytest.raises(InputError, match=rf"{TRAIN}: cannot be read \(Permission denied\); nothing is repaired"):
            repair(dataset, workers=1)
    assert contents(dataset) == before and [path.name for path in dataset.parent.iterdir()] == ["songs"]


def test_a_row_with_a_wrong_digest_is_dropped_and_named_and_the_old_folder_stays(dataset):
    flip(dataset / TRAIN, place_of(dataset, "ids") + 40)  # a wrong pitch is as good a song as the right one
    (dataset / "notes.txt").write_text("mine", encoding="utf-8")
    lost, all_of_them = Dataset(dataset)["train"].source(0), sources(dataset)
    before = contents(dataset)
    (dataset.parent / "songs.before-repair").mkdir()
    done = repair(dataset, workers=1)
    assert done.missing == [lost] and done.dropped == 1 and done.aside == dataset.parent / "songs.before-repair-2"
    assert contents(done.aside) == before
    assert sources(dataset) == all_of_them - {lost}
    assert missing_songs(dataset) == [lost] and audit(dataset, 1) == []


def test_a_row_that_is_what_was_written_is_mended_and_the_folder_replaced(prepared, dataset):
    data = Dataset(dataset)
    songs = data["train"]
    rows = [to_row(songs[i], songs.source(i), songs.tempos(i), songs.value("told", i)) for i in range(3)]
    object.__setattr__(rows[1], "seconds", 7.0)
    write_batch(dataset, TRAIN, record_batch(rows))
    (dataset / "notes.txt").write_text("mine", encoding="utf-8")
    assert any("seconds do not follow" in finding.problem for finding in audit(dataset, 1))
    done = repair(dataset, workers=1)
    assert done.missing == [] and done.aside is None
    assert contents(dataset) == contents(prepared / "songs") | {"notes.txt": b"mine"}
    assert [path.name for path in dataset.parent.iterdir()] == ["songs"]


@pytest.mark.parametrize("damage", ["row", "name", "shard", "two repairs"])
def test_dropped_songs_are_prepared_again_from_their_files_to_the_same_bytes(prepared, dataset, damage):
    if damage == "shard":
        (dataset / TRAIN).write_bytes(b"short")
    else:
        flip(dataset / TRAIN, place_of(dataset, "ids") + 40)
    if damage == "name":  # the file of such a song is found by being the one that is not there
        raw = (dataset / TRAIN).read_bytes()
        name = Dataset(dataset)["train"].source(0).encode()
        (dataset / TRAIN).write_bytes(raw.replace(name, name.replace(b"midi/", b"mudi/"), 1))
    if damage == "two repairs":
        assert repair(dataset, workers=1).missing
    done = repair(dataset, [prepared / "midi"], workers=1)
    assert done.missing == [] and (done.aside is None) == (damage == "two repairs")
    here, there = contents(dataset), contents(prepared / "songs")
    if damage == "two repairs":  # the first one could not know that all would be there again
        del here["manifest.json"], there["manifest.json"]
    assert here == there


def test_songs_whose_files_are_gone_stay_missing(dataset, tmp_path):
    (dataset / TRAIN).write_bytes(b"short")
    (tmp_path / "midi").mkdir()
    midi.write(score_of((0, [(0, 480, 60, 80)])), tmp_path / "midi" / "other.mid")
    done = repair(dataset, [tmp_path / "midi"], workers=1)
    assert done.missing == [f"train shard {TRAIN}"] and "midi/other.mid" in sources(dataset)


def test_a_copy_of_a_song_that_was_dropped_still_says_so(prepared, dataset):
    copy = next(entry for entry in read_rejected(dataset) if "duplicate" in entry["reason"])
    kept = copy["reason"].split(" as ")[1]
    data = Dataset(dataset)
    split, i = next((s, i) for s in ("train", "validation") for i in range(len(data[s])) if data[s].source(i) == kept)
    rows = [
        to_row(data[split][n], data[split].source(n)) for n in range(i // 3 * 3, min(i // 3 * 3 + 3, len(data[split])))
    ]
    name = f"{split}-{i // 3:05}.arrow"
    rows[i % 3].ids[0] += 1  # no song any more, whatever its digest
    write_batch(dataset, name, record_batch(rows))
    assert repair(dataset, workers=1).missing == [kept]
    assert copy in list(read_rejected(dataset))


def test_a_damaged_list_of_rejected_files_keeps_what_it_says(prepared, dataset):
    (dataset / REJECTED).write_bytes((dataset / REJECTED).read_bytes()[:-10])
    done = repair(dataset, workers=1)
    assert done.aside is not None and done.missing == []
    assert audit(dataset, 1) == [] and len(list(read_rejected(dataset))) == 1


def test_one_repairs_at_a_time(dataset):
    flip(dataset / TRAIN, place_of(dataset, "ids"))
    with work_folder(dataset), pytest.raises(Busy, match="writes there"):
        repair(dataset, workers=1)


def check(monkeypatch, capsys, *arguments: object) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["hid-museformer", "check", *map(str, arguments), "--workers", "1"])
    with pytest.raises(SystemExit) as exit_:
        main()
    out, error = capsys.readouterr()
    return exit_.value.code, out + error


def test_check_says_what_is_missing_until_it_is_there(prepared, dataset, monkeypatch, capsys):
    lost = Dataset(dataset)["train"].source(0)
    flip(dataset / TRAIN, place_of(dataset, "ids"))
    monkeypatch.chdir(dataset)
    status, said = check(monkeypatch, capsys, ".")
    assert status == 1 and "row 0: damaged" in said
    status, said = check(monkeypatch, capsys, ".", "--repair")
    assert (
        status == 1 and f"to be prepared again: {lost}" in said and f"the old folder is {dataset}.before-repair" in said
    )
    assert f"cd {dataset}" in said
    monkeypatch.chdir(dataset)
    status, said = check(monkeypatch, capsys, dataset)
    assert status == 1 and f"1 missing since a repair: {lost}" in said and "--from MIDI_DIR prepares them" in said
    with monkeypatch.context() as patch:
        patch.setattr("tokenizer.dataset.prepare.TOKENIZER_VERSION", "9.9")
        assert "of tokenizer 5.0, this is 9.9: prepare all of it again" in check(patch, capsys, dataset)[1]
    assert check(monkeypatch, capsys, dataset, "--from", prepared / "midi")[0] == 2
    assert check(monkeypatch, capsys, ".", "--repair", "--from", prepared / "midi")[0] == 0
    monkeypatch.chdir(dataset)
    assert check(monkeypatch, capsys, dataset) == (0, f"{dataset}: nothing wrong\n")
