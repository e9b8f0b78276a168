"""The verb that says what a trained model is worth."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from configs import EvaluateConfig
from jax_impl.cli import process


def evaluate(
    config: Annotated[EvaluateConfig, arg(name="")],
    run: Positional[Annotated[Path | None, arg(metavar="[RUN]")]] = None,
    data_dir: Path | None = None,
    out: Annotated[str | None, arg(aliases=["-o"], metavar="FOLDER")] = None,
    checkpoint: str = "best",
    overwrite: bool = False,
) -> int:
    """Is it music? What a trained model gets wrong, beside songs that it never saw.

    It scores the held-out songs (loss by kind of token, beside guesses), writes songs and compares them with the
    held-out ones (harmony, rhythm, structure; which features lie outside of what real songs have), looks for the
    longest passage that each shares with a song it was trained on, and counts what it gets wrong without the grammar.
    The table is printed; FOLDER gets report.json, report.png, report.html and the songs, samples/0000.mid and so on.

    Examples: evaluate run; evaluate run --samples 16 --bars 16 -o quick; evaluate run --samples 0

    Args:
        run: the --output-dir of a training run, or a file of `export` (none: the model that comes with this program).
        data_dir: a dataset made by `prepare` (none: the one that the run was trained on, which a file does not say).
        out: folder of the report (none: RUN/evaluation, beside a file NAME-evaluation, without RUN evaluation). The
            same command again goes on where it was stopped, and writes over what an earlier evaluation left.
        checkpoint: best (lowest validation loss), latest, or a step.
        overwrite: write over files that are there, whoever made them.
    """
    process.keep_programs()
    from jax_impl.evaluation import evaluate, report
    from jax_impl.training.found import is_file

    if out is not None:
        folder = Path(out)
    elif run is None:
        folder = Path(evaluate.FOLDER)
    else:
        folder = run.with_name(f"{run.stem}-{evaluate.FOLDER}") if is_file(run) else run / evaluate.FOLDER
    found = evaluate.evaluate(
        run, dataset=data_dir, out=folder, config=config, checkpoint=checkpoint, overwrite=overwrite
    )
    print(report.text(found))
    print(f"{folder}: {', '.join(evaluate.FILES)}" + (f", {evaluate.SAMPLES}/" if config.samples else ""))
    return 0
