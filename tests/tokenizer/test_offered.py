"""A model of v1.2.1's tokens is asked for nothing that it lacks, and who asks is told what that is."""

import numpy as np
import pytest

from configs import Constraints, InputError
from tests.rows import ids
from tests.scores import score_of
from tokenizer import vocabulary as vocab
from tokenizer.tokens import offered
from tokenizer.tokens.given import given_song
from tokenizer.tokens.plan import make_plan

WHY = "this model is from v1.2.1 or from before the fine grid and knows no "
HELP = "; train it on, with --init-from, on a dataset prepared anew"
IN_ITS_GRID = "Cmaj T0 P40 L1 V20 Cmaj T15 P41 L64"


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"meter": "5/4"}, f"--meter 5/4: {WHY}bars of 5/4 in sixteenths{HELP}"),
        ({"meter": "9/16"}, f"--meter 9/16: {WHY}bars of 9/16{HELP}"),
        ({"tempo": 251.5}, f"--tempo 251.5: {WHY}tempo beyond 40 to 250{HELP}"),
        ({"tempo": 39}, f"--tempo 39: {WHY}tempo beyond 40 to 250{HELP}"),
    ],
)
def test_what_it_lacks_is_refused_by_the_flag_that_asks_for_it(wanted, message):
    offered.check(Constraints(**wanted), vocab.SIZE)
    offered.check(Constraints(tempo=250, meter="8/8"), vocab.V121_SIZE)
    with pytest.raises(InputError) as error:
        offered.check(Constraints(**wanted), vocab.V121_SIZE)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("first", "then", "place", "lacks"),
    [
        ("", "T2+2/3 P44", "bar 4 of track 2 (Violin)", "notes between two sixteenths"),
        ("", "T4 P44 L1/2", "bar 4 of track 2 (Violin)", "notes of 1/2 sixteenths"),
        ("", "T4 P44 L96", "bar 4 of track 2 (Violin)", "notes of 96 sixteenths"),
        ("TS_5/4", "T0 P44", "bar 3 of track 1 (Fingered Bass)", "bars of 5/4 in sixteenths"),
        ("TS_3/16", "T0 P44", "bar 3 of track 1 (Fingered Bass)", "bars of 3/16"),
    ],
)
def test_a_given_song_is_refused_with_the_first_place_of_what_it_lacks(first, then, place, lacks):
    song = f"#P33 SEP {IN_ITS_GRID} Cmaj {first} T0 P40 L1 Cmaj T0 P40 #P40 SEP {IN_ITS_GRID} Cmaj T0 P60 Cmaj {then}"
    given = given_song(ids(f"BOS BPM_19 TS_4/4 {song} EOS"), Constraints())
    assert offered.as_offered(given, vocab.SIZE) is not None
    with pytest.raises(InputError) as error:
        offered.as_offered(given, vocab.V121_SIZE)
    assert str(error.value) == f"the given song, {place}: {WHY}{lacks}{HELP}"


def test_a_given_song_is_told_in_the_nearest_of_its_tempi_and_keeps_its_own():
    score = score_of((0, [(0, 480, 60, 90), (1920, 480, 64, 90)]), tempos=((0, 20), (1920, 333)))
    given = given_song(score, Constraints())
    told = offered.as_offered(given, vocab.V121_SIZE)
    assert [vocab.TEMPOS_BPM[tempo] for tempo in told.song.tempo] == [40, 250] and told.tempos == given.tempos
    assert np.array_equal(offered.as_offered(given, vocab.SIZE).song.tempo, given.song.tempo)


def test_its_free_places_hold_its_tokens_alone():
    free = make_plan(None, Constraints(), 500, 125, 64, vocab.V121_SIZE).plan.free
    assert not free[vocab.V121_SIZE :].any() and not free[ids("TS_5/4 TS_9/8 TS_4/2")].any()
    assert free[ids("TS_8/8 T15 L64 BPM_31 P0")].all()
    assert make_plan(None, Constraints(), 500, 125, 64, vocab.SIZE).plan.free[ids("TS_5/4 L256 T1/2")].all()
