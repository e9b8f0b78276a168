"""What `generate` says of a song that is written: what passage and how many bars of it training songs have."""

from collections.abc import Sequence
from pathlib import Path

from configs import InputError
from jax_impl.sampling import outputs
from jax_impl.sampling.compose import Done
from jax_impl.training.found import find


def tell(run: Path | None, step: int, songs: Sequence[Done]) -> None:
    """A line for each song, and the same in its JSON, where the songs that the run was trained on are at hand; nothing
    where they are not. What they hold is gathered once; whatever is against it is a notice.
    """
    if not songs:
        return
    from jax_impl.evaluation import copies, known

    try:
        dataset = known.trained_on(find(run, step).record)
    except (InputError, OSError):
        return
    if dataset is None:
        return
    try:
        index = copies.open_index(dataset)
        for song in songs:
            found = known.of_new(index, known.new_of(song.sample))
            print(known.line(str(song.path or "the song"), found))
            if song.path:
                outputs.add_to_json(song.path, "copies", found.plain())
    except (InputError, OSError, ValueError) as error:
        print(f"notice: no word on what is known from training: {error}; --no-copies asks for none")
