"""The verb that lets a model write."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from configs import Constraints, InputError, SampleConfig
from tokenizer.tokens import names


def generate(
    run: Positional[Path],
    config: Annotated[SampleConfig, arg(name="")],
    constraints: Annotated[Constraints, arg(name="")],
    out: Annotated[Path | None, arg(aliases=["-o"])] = None,
    continue_: Annotated[Path | None, arg(name="continue")] = None,
    accompany: Path | None = None,
    again: Path | None = None,
    stream: bool = False,
    wav: bool = False,
    picture: bool = True,
    checkpoint: str = "best",
    overwrite: bool = False,
) -> int:
    """Let a trained model write songs, go on with one, or play along with one.

    Examples: generate run -o new.mid --instruments drums,bass,piano --bars 16 --chords "C Am F G7";
    generate run -o longer.mid --continue a.mid --keep-bars 8; generate run -o band.mid --accompany a.mid --add
    drums,bass; generate run --out many --num-samples 1000

    Args:
        run: the --output-dir of a training run; everything else the model needs is in its checkpoint.
        out: the MIDI file, of several the second is NAME-2.mid and so on; or a folder, where a stopped call goes on.
        continue_: a MIDI file to go on with, after --keep-bars of it.
        accompany: a MIDI file to play along with, on the instruments of --add.
        again: the JSON of a sample, to make it once more.
        stream: print the bars as they are finished, instead of writing files.
        wav: also write sound, with FluidSynth.
        picture: also draw the piano roll.
        checkpoint: best (lowest validation loss), latest, or a step.
        overwrite: write over files that are there, whoever made them.
    """
    names.check(constraints)
    from jax_impl.sampling import compose, outputs

    if continue_ and (accompany or constraints.add):
        raise InputError(
            "--continue goes on with a song, --accompany and --add play along with one: give one of the two"
        )
    if accompany and not constraints.add:
        raise InputError("--accompany needs --add: the instruments that are to play along, such as --add drums,bass")
    given = continue_ or accompany
    if out is None and not stream:
        raise InputError("--out is missing: name a .mid file, or a folder for many songs")
    if stream:
        return compose.print_stream(run, config, constraints, given, checkpoint)
    formats = outputs.Formats(picture, outputs.find_soundfont() if wav else None)
    if again:
        return compose.again(run, out, again, formats, overwrite)
    return compose.generate(run, out, config, constraints, given, checkpoint, formats, overwrite)
