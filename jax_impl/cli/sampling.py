"""The verbs that let a model write: what is asked for, and four songs that show what can be."""

import dataclasses
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from configs import ALIGN, PEDAL, Constraints, InputError, SampleConfig
from jax_impl.cli import process
from tokenizer.disk import destination
from tokenizer.disk.destination import MIDI, STANDARD_OUTPUT
from tokenizer.tokens import names


def generate(
    config: Annotated[SampleConfig, arg(name="")],
    constraints: Annotated[Constraints, arg(name="")],
    run: Positional[Annotated[Path | None, arg(metavar="[RUN]")]] = None,
    out: Annotated[str | None, arg(aliases=["-o"], metavar="PATH")] = None,
    continue_: Annotated[Path | None, arg(name="continue")] = None,
    accompany: Path | None = None,
    song: Path | None = None,
    again: Path | None = None,
    stream: bool = False,
    port: Annotated[str | None, arg(metavar="NAME")] = None,
    wav: bool = False,
    picture: bool = True,
    copies: bool = True,
    checkpoint: str = "best",
    overwrite: bool = False,
) -> int:
    """Let a trained model write songs, go on with one, play along with one, or write some bars of one anew.

    Examples: generate -o new.mid; generate run -o new.mid --instruments drums,bass,piano --bars 16 --chords "C Am F
    G7"; generate run -o longer.mid --continue a.mid --keep-bars 8; generate run -o band.mid --accompany a.mid --add
    drums,bass; generate run -o b.mid --song a.mid --fill bass:9-16; generate run --out many --num-samples 1000

    Args:
        run: the --output-dir of a training run, or a file of `export`; all else the model needs is in there (none: the
            model that comes with this program).
        out: the MIDI file (.mid, .midi, .kar, .rmi), of several the second is NAME-2.mid and so on; any other name is a
            folder, where a stopped call goes on; - is standard output, for the MIDI file of one song alone.
        continue_: a MIDI file to go on with, after --keep-bars of it, all of which the song that is written holds.
        accompany: a MIDI file to play along with, on the instruments of --add.
        song: a MIDI file of which the bars of --fill are written anew.
        again: the JSON of a sample, to make it once more (without RUN, by the model that it names).
        stream: print the bars of one song as they are finished; with --out it is written as well.
        port: play the one song on this MIDI port, or the one whose name has this in it, while it is written (extra
            `live`); virtual:NAME makes a port of that name, on Linux and macOS. With --out it is written as well.
        wav: also write sound, with FluidSynth where it is installed, else with the extra `sound`.
        picture: also draw the piano roll.
        copies: also say what passage and bars the song has of training songs, where these are at hand.
        checkpoint: best (lowest validation loss), latest, or a step.
        overwrite: write over files that are there, whoever made them.
    """
    names.check(constraints)
    process.keep_programs()
    from jax_impl.cli import copied
    from jax_impl.sampling import compose, live, outputs, sound

    given = {"--continue": continue_, "--accompany": accompany, "--song": song}
    if len(flags := [flag for flag, file in given.items() if file]) > 1:
        raise InputError(f"{' and '.join(flags)}: one song is given, and one thing done with it")
    file = continue_ or accompany or song
    for flag, words, what in (
        ("--accompany", "--add", "the instruments that are to play along, such as --add drums,bass"),
        ("--song", "--fill", "the bars that are written anew, such as --fill bass:9-16"),
    ):
        is_asked = getattr(constraints, words.removeprefix("--"))
        if given[flag] and not is_asked:
            raise InputError(f"{flag} needs {words}: {what}")
        if file and is_asked and not given[flag]:
            raise InputError(f"{words} goes with {flag} FILE, not with {flags[0]}: give one of the two")
    heard = [flag for flag, is_given in (("--stream", stream), ("--port", port is not None)) if is_given]
    if out is None and not heard:
        raise InputError("--out is missing: name a .mid file, or a folder for many songs")
    others = given | {
        "--stream": stream,
        "--port": port is not None,
        "--checkpoint": checkpoint != "best",
    }
    files = {"--wav": wav, "--no-picture": not picture, "--overwrite": overwrite}
    many = {"--num-samples": config.num_samples > 1}
    if again:
        _refuse(
            f"--again makes the song of {again} as it was made",
            _asked(config) | _asked(constraints) | others,
        )
    elif not file:
        if constraints.strict:
            raise InputError("--strict needs a given song that may be too long: --continue, --accompany or --song FILE")
        if constraints.pedal != PEDAL:
            raise InputError(
                "--pedal is that of a given song, and there is none: --continue, --accompany or --song FILE"
            )
        if constraints.align != ALIGN:
            raise InputError("--align is for a given song, and there is none: --continue, --accompany or --song FILE")
    for flag in heard:
        _refuse(f"{flag} plays one song", many)
        _refuse(f"{flag} plays a song from its first bar on", {"--fill": bool(constraints.fill)})
    if port is not None:
        _refuse(
            "--port plays bars that stay as they are, which holds by the grammar", {"--no-grammar": not config.grammar}
        )
        if out not in (None, STANDARD_OUTPUT) and destination.is_folder(out, MIDI, "--out"):
            raise InputError(f"--port plays the song that is written, and --out {out} is a folder: name a .mid file")
    if out is None:
        _refuse(f"{' and '.join(heard)} without --out {'writes' if len(heard) == 1 else 'write'} no file", files)
    if out == STANDARD_OUTPUT:
        _refuse(f"--out {out} is one MIDI file on standard output", many | files | {"--no-picture": False})

    formats = outputs.Formats(picture, sound.find_soundfont() if wav else None)
    request = compose.Request(run, config, constraints, file, checkpoint)
    afterwards = copied.tell if copies else None
    if again:
        return compose.make_again(run, out, again, formats, overwrite, afterwards)
    with nullcontext() if port is None else live.playing(port) as player:
        if out is None:
            return compose.play_bars(request, stream, afterwards, player)
        if out == STANDARD_OUTPUT:
            return compose.write_to_standard_output(request, stream, afterwards, player)
        return compose.write_songs(request, out, formats, overwrite, stream, afterwards, player)


def demo(
    midi: Path | None = None,
    out: Path = Path("demo"),
    train: bool = False,
    wav: bool = False,
    overwrite: bool = False,
) -> int:
    """Four songs at once by the model that comes with this program, each after the command that writes it: a new one, a
    given one that goes on, its melody with a band, and some bars of it anew.

    With --train the whole chain in minutes: prepare, train the tiny model, restore it, write a song.

    Args:
        midi: the given song, a MIDI file or a folder of which the first is taken (none: a song of the built-in
            composer). With --train the songs that are learned from (none: 200 of the composer's).
        out: folder for fresh.mid, continued.mid, accompanied.mid, filled.mid, their pictures and what was given; with
            --train for the checkpoint, song.mid, pianoroll.png, loss.png and summary.json.
        train: train a model, and let that write a song.
        wav: also write sound, with FluidSynth where it is installed, else with the extra `sound`.
        overwrite: use a folder that no demo made, and write over files of these names; with --train also begin anew
            where a demo has trained.
    """
    if train:
        _refuse("--train writes one song and its picture", {"--wav": wav})
    process.keep_programs()
    if train:
        from jax_impl.cli.demo_training import train_demo

        return train_demo(midi, out, overwrite)
    from jax_impl.cli.demo import demo

    return demo(midi, out, overwrite, wav)


def _asked(config: SampleConfig | Constraints) -> dict[str, bool]:
    """The flags of a config, and whether each asks for something else than by default."""
    values, flags = dataclasses.asdict(config), {}
    for field in dataclasses.fields(config):
        no = "no-" if field.default is True else ""
        flags[f"--{no}{field.name.replace('_', '-')}"] = values[field.name] != field.default
    return flags


def _refuse(why: str, flags: dict[str, object]) -> None:
    """Raises InputError where one of the flags is given: it would do nothing."""
    if given := [flag for flag, is_given in flags.items() if is_given]:
        raise InputError(f"{why}: {', '.join(given)} {'does' if len(given) == 1 else 'do'} not go with it")
