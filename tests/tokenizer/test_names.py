"""Instruments, chords and meters as people write them mean what they mean by them, and what becomes something else is
told.
"""

import pytest

from configs import Constraints, InputError
from tokenizer import vocabulary as vocab
from tokenizer.music import instruments
from tokenizer.tokens import chord_names, names

CHORDS = {  # as written: what it is, and what is told
    "C": "Cmaj", "Cmaj": "Cmaj", "CM": "Cmaj", "CMaj7": "Cmaj7", "CM7": "Cmaj7", "CMA7": "Cmaj7", "Cma7": "Cmaj7",
    "C7M": "Cmaj7", "CΔ": "Cmaj7", "C∆7": "Cmaj7", "C^7": "Cmaj7", "CΔ9": "Cmaj9", "Cmaj9": "Cmaj9", "C:maj7": "Cmaj7",
    "Cm": "Cmin", "Cmin": "Cmin", "CMIN7": "Cmin7", "Cmi7": "Cmin7", "C-": "Cmin", "C−7": "Cmin7", "C-7": "Cmin7",
    "C-9": "Cmin9", "Cm6": "Cmin6", "B♭": "A#maj", "Bb-7": "A#min7", "F♯": "F#maj", "Ebm": "D#min", "Cb": "Bmaj",
    "Cø": "Chdim7", "Cø7": "Chdim7", "Cm7b5": "Chdim7", "C-7(b5)": "Chdim7", "Cm7-5": "Chdim7", "C°": "Cdim",
    "C°7": "Cdim7", "Co7": "Cdim7", "Cdim": "Cdim", "Cdim7": "Cdim7", "Cmb5": "Cdim", "Caug": "Caug", "C+": "Caug",
    "C(#5)": "Caug", "C7": "C7", "C⁷": "C7", "Cdom7": "C7", "C9": "C9", "C6": "C6", "Cmaj6": "C6", "C5": "C5",
    "Csus": "Csus4", "Csus2": "Csus2", "C7sus": "C7sus4", "C7sus4": "C7sus4", "C(no3)": "C5", "G#5": "G#5",
    "am": "Amin", "dm7": "Dmin7", "bbm": "A#min", "g7": "G7", "N": "N", "NC": "N", "N.C.": "N", "n.c.": "N",
}  # fmt: skip
NEAREST = {  # what no token says
    "C11": "C7", "C13": "C7", "Cm11": "Cmin7", "Cmaj13": "Cmaj7", "C6/9": "C6", "C69": "C6", "Cm6/9": "Cmin6",
    "Cadd9": "Cmaj", "CMadd9": "Cmaj", "Cmadd9": "Cmin", "C(add9)": "Cmaj", "C7b9": "C7", "C7#9": "C7", "C7 (b9)": "C7",
    "C7(b9, 13)": "C7", "C7(13)": "C7", "C7alt": "C7", "C7b5": "C7", "C+7": "C7", "C7+": "C7", "C9sus4": "C7sus4",
    "Cm(maj7)": "Cmin", "CmM7": "Cmin", "C-Δ7": "Cmin", "Cm9(maj7)": "Cmin", "Cmaj7#11": "Cmaj7", "C(b5)": "Cmaj",
    "C/E": "Cmaj", "Am7/G": "Amin7", "D/F#": "Dmaj", "C/B♭": "Cmaj", "C6/9/E": "C6", "Bbadd9": "Bbmaj", "a": "Amaj",
    "bb": "Bbmaj",
}  # fmt: skip
NO_CHORDS = ("H7", "X", "Cfoo", "C77", "Cmaj8", "dim", "add9", "aug", "5", "³", "C7/", "x4", "Amm", "/E", ":")


def label(number: int) -> str:
    return vocab.NAMES[vocab.TOKEN[vocab.Class.CHORD][number]]


@pytest.mark.parametrize(("text", "wanted"), CHORDS.items())
def test_a_lead_sheet_s_chord_is_the_label_that_says_it(text, wanted):
    assert [label(chord) for chord in names.chords(text, "--chords")] == [wanted]
    assert names.chord_notices(text) == []


@pytest.mark.parametrize(("text", "wanted"), NEAREST.items())
def test_a_chord_that_no_label_says_becomes_the_nearest_and_is_told(text, wanted):
    (chord,) = names.chords(text, "--chords")
    assert label(chord) == wanted.replace("Bb", "A#")
    (told,) = names.chord_notices(text)
    assert f" -> {wanted}" in told and told.startswith(text.replace("♭", "b").replace("Δ", "^"))
    assert ("no bass" in told) == (chord_names.parse(chord_names.words(text)[0]).bass != "")


@pytest.mark.parametrize("text", NO_CHORDS)
def test_what_is_no_chord_is_refused_with_what_one_is(text):
    with pytest.raises(InputError, match=r"--chords: unknown chord .*A chord is such as C, Am"):
        names.chords(text, "--chords")


def test_a_chord_that_is_spelled_almost_right_is_suggested():
    for text, meant in (("Gsuz4", "Gsus4"), ("Cmaj8", "Cmaj7"), ("Amm", "Am"), ("F#dimm7", "F#dim7")):
        with pytest.raises(InputError, match=rf"did you mean [^?]*\b{meant}( |\?)"):
            names.chords(text, "--chords")


@pytest.mark.parametrize("quality", vocab.QUALITIES)
def test_every_label_s_own_name_says_it(quality):
    text = " ".join(root + quality for root in vocab.ROOTS)
    assert [label(chord) for chord in names.chords(text, "--chords")] == text.split()
    assert names.chord_notices(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "C Am F G7",
        "C,Am,F,G7",
        "C, Am; F  G7",
        "|C|Am|F|G7|",
        "C - Am - F - G7",
        "C → Am (F) G7",
        "| C / / / | Am F G7",
    ],
)
def test_chords_stand_between_spaces_commas_and_bar_lines(text):
    assert names.chords(text, "--chords") == names.chords("C Am F G7", "--chords")


def test_signs_of_repetition_are_followed():
    labels = lambda text: [label(chord) for chord in names.chords(text, "--chords")]
    assert labels("F C % % G") == ["Fmaj", "Cmaj", "Cmaj", "Cmaj", "Gmaj"]
    assert labels("||: C F :|| G") == labels("C F :| G") == ["Cmaj", "Fmaj", "Cmaj", "Fmaj", "Gmaj"]
    assert labels("|: C :|: D :|") == ["Cmaj", "Cmaj", "Dmaj", "Dmaj"]
    with pytest.raises(InputError, match="% repeats the chord before it"):
        labels("% C")
    assert "stands alone" in names.chord_notices("C / / /")[0]


def test_two_chords_between_bar_lines_are_told_to_take_two_bars():
    assert names.chord_notices("C F | G Am") == ["bar lines are for reading: each chord takes a bar"]
    assert names.chord_notices("C | F | G") == names.chord_notices("| C F G |") == []


def test_instruments_are_separated_by_commas_of_any_kind():
    assert names.programs("violin; cello，drums", "--add") == names.programs("violin,cello,drums", "--add")


# ---------------------------------------------------------------- instruments

INSTRUMENTS = {
    "drums": 128, "Bass": 33, " piano ": 0, "sax": 65, "guitar": 25, "33": 33, "0": 0, "127": 127, "Clean Guitar": 27,
    "Electric Guitar (jazz)": 26, "electric guitar jazz": 26, "Lead 1 (square)": 80, "Lead 8 (bass + lead)": 87,
    "String Ensemble 1": 48, "SynthStrings 2": 51, "Pad 2 (warm)": 89, "FX 8 (sci-fi)": 103, "Sci-Fi": 103,
    "honky tonk piano": 3, "French Horn": 60, "Acoustic Guitar (nylon)": 24,
}  # fmt: skip
PARTS = {
    "drum": "Drums", "drum kit": "Drums", "electric guitar": "Clean Guitar (27)", "Saxophone": "Alto Sax (65)",
    "violins": "Violin (40)", "string": "String Ensemble 1 (48)", "rhodes": "Electric Piano 1 (4)",
    "distort": "Distortion Guitar (30)", "nylon": "Nylon Guitar (24)", "harp": "Orchestral Harp (46)",
    "synth": "Sawtooth Lead (81)", "tom": "Melodic Tom (117)", "orchestra": "Orchestra Hit (55)",
}  # fmt: skip


@pytest.mark.parametrize(("text", "program"), INSTRUMENTS.items())
def test_an_instrument_s_name_or_number_is_its_program(text, program):
    assert names.programs(text, "--add") == [program] and names.program_notices(text) == []


@pytest.mark.parametrize("program", range(128))
def test_every_general_midi_name_is_its_program(program):
    for text in (instruments.NAMES[program], instruments.GENERAL_MIDI.get(program, str(program))):
        assert names.programs(text.upper(), "--add") == [program], text


@pytest.mark.parametrize(("text", "wanted"), PARTS.items())
def test_a_part_of_a_name_is_an_instrument_that_has_it_and_which_is_told(text, wanted):
    (program,) = names.programs(text, "--add")
    (told,) = names.program_notices(text)
    assert told.split(" (also")[0] == f"{text} -> {wanted}"
    assert instruments.name(program) in told


def test_the_others_that_a_word_may_mean_are_told():
    assert names.program_notices("electric guitar") == [
        "electric guitar -> Clean Guitar (27) (also: Jazz Guitar (26), Muted Guitar (28))"
    ]


@pytest.mark.parametrize(
    ("text", "guess"),
    [
        ("pianoo", "piano"),
        ("vilion", "Violin"),
        ("gitar", "guitar"),
        ("trompet", "Trumpet"),
        ("clarinette", "Clarinet"),
    ],
)
def test_an_instrument_that_is_spelled_almost_right_is_suggested(text, guess):
    with pytest.raises(
        InputError, match=rf"--add: unknown instrument '{text}'; did you mean [^?]*\b{guess}\b"
    ) as error:
        names.programs(f"drums,{text}", "--add")
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("text", ["³", "٣", "128", "-1", "1.5", "9" * 5000, "blorp", "s", "()"])
def test_what_is_no_instrument_is_refused_in_a_line(text):
    with pytest.raises(InputError, match="--add: unknown instrument") as error:
        names.programs(text, "--add")
    assert len(str(error.value)) < 250
    with pytest.raises(InputError, match="name at least one instrument"):
        names.programs(" , ", "--add")


# ---------------------------------------------------------------- meter


@pytest.mark.parametrize(
    ("text", "wanted"),
    [(" 3/4", (3, 4)), ("3 / 4", (3, 4)), ("4/4 ", (4, 4)), ("C", (4, 4)), ("c|", (2, 2)), ("¢", (2, 2))],
)
def test_a_meter_is_read_with_spaces_or_as_a_sign(text, wanted):
    assert vocab.SIGNATURES[names.meter(text, "--meter")] == wanted


@pytest.mark.parametrize("text", ["³/4", "3", "11/8", "3/4/4", "0/4", "x"])
def test_what_is_no_meter_is_refused_with_those_that_are(text):
    with pytest.raises(InputError, match=r"--meter: unknown meter .*; known are 1/4, 2/4"):
        names.meter(text, "--meter")


def test_everything_that_is_asked_is_looked_at():
    wanted = Constraints(instruments=["drum", 33], add="string", chords="C13 F/A C13")
    told = names.notices(wanted)
    assert [line.split(" -> ")[0] for line in told] == ["drum", "string", "C13", "F/A"]
    names.check(wanted)
    for wrong in ({"instruments": "blorp"}, {"add": "blorp"}, {"chords": "blorp"}, {"meter": "blorp"}):
        with pytest.raises(InputError, match=f"--{next(iter(wrong))}: unknown .* 'blorp'"):
            names.check(Constraints(**wrong))


@pytest.mark.parametrize(("bpm", "heard"), [(0, None), (25, None), (300, None), (401, None), (10, 25), (1000, 401)])
def test_a_tempo_beyond_those_of_the_tokens_is_told(bpm, heard):
    told = names.notices(Constraints(tempo=bpm))
    assert told == ([f"--tempo {bpm} is written so; the model hears of {heard}"] if heard else [])
