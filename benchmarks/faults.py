"""Small faults, at least three a room, and the tests that should notice each."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """In `file`, `old`, which is there once, becomes `new`; `what` that is in words; tests: paths for pytest."""

    file: str
    what: str
    old: str
    new: str
    tests: tuple[str, ...]


def fault(file: str, what: str, old: str, new: str, *tests: str) -> Fault:
    return Fault(file, what, old, new, tests)


DISK = (
    fault(
        "tokenizer/disk/atomic.py",
        "what was written never takes its place",
        "                os.replace(temporary, place)",
        "                pass",
        "tests/disk",
    ),
    fault(
        "tokenizer/disk/atomic.py",
        "an output that is an input is not noticed",
        "os.path.samefile(source, path)",
        "False",
        "tests/disk",
    ),
    fault(
        "tokenizer/disk/atomic.py",
        "what is half written stays after an error",
        "            opened.callback(_remove, temporary)",
        "            pass",
        "tests/disk",
    ),
    fault(
        "tokenizer/disk/lock.py",
        "the lock is left out",
        "fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "pass",
        "tests/disk",
    ),
    fault(
        "tokenizer/disk/lock.py",
        "a lock that was removed meanwhile counts",
        "        if _is_still(path, file):",
        "        if True:",
        "tests/disk",
    ),
)
MUSIC = (
    fault(
        "tokenizer/music/chunks.py",
        "a header must begin the file",
        "window = raw if is_riff else raw[: JUNK + len(HEADER) + 4]",
        "window = raw if is_riff else raw[: len(HEADER) + 4]",
        "tests/tokenizer/test_salvage.py",
    ),
    fault(
        "tokenizer/music/midi_events.py",
        "a data byte above 127 is taken as it is",
        "pitch, velocity = min(pitch, 0x7F), min(velocity, 0x7F)",
        "pass",
        "tests/tokenizer/test_salvage.py",
    ),
    fault(
        "tokenizer/music/sustain.py",
        "of two notes of a pitch the later one closes first",
        "who = left - (left - entered)[first][queue]",
        "who = entered - 1",
        "tests/tokenizer/test_midi.py",
        "tests/tokenizer/test_midi_events.py",
    ),
    fault(
        "tokenizer/music/sustain.py",
        "the pedal holds what was let go of before it went down",
        "        down -= 1  # the last that went down before the end",
        "        down = np.minimum(down, len(self.downs) - 1)",
        "tests/tokenizer/test_players.py",
        "tests/tokenizer/test_midi_events.py",
    ),
    fault(
        "tokenizer/music/devices.py",
        "drums are on the channel before theirs",
        "DRUM_CHANNEL = 9 ",
        "DRUM_CHANNEL = 8 ",
        "tests/tokenizer/test_midi.py",
        "tests/tokenizer/test_players.py",
    ),
    fault(
        "tokenizer/music/devices.py",
        "a program change counts for the note before it",
        'np.searchsorted(self.rows[:, 5], places, side="right")',
        'np.searchsorted(self.rows[:, 5], places + 1, side="right")',
        "tests/tokenizer/test_midi.py",
        "tests/tokenizer/test_players.py",
    ),
    fault(
        "tokenizer/music/devices.py",
        "a reset leaves the drum parts",
        "modes.append((tick, place, place, key[1] == DRUM_CHANNEL))",
        "pass",
        "tests/tokenizer/test_players.py",
    ),
)
GRID = (
    fault(
        "tokenizer/grid/tempo_map.py",
        "a bar that is longer on the grid lasts longer",
        "lengths = _kept_in_time(knots, said, seconds_at(score.tempos, score.ticks_per_beat, source))",
        "lengths = said",
        "tests/tokenizer/test_tempo_map.py",
    ),
    fault(
        "tokenizer/grid/changes.py",
        "different strikes that meet count as the same note twice",
        'is_struck_again & (np.diff(notes["onset_ticks"]) == 0)',
        "is_struck_again & (np.diff(onset_out) == 0)",
        "tests/tokenizer/test_changes.py",
    ),
    fault(
        "tokenizer/grid/divisions.py",
        "of two places equally near the earlier is meant",
        'np.searchsorted(twice, 2 * QUARTER * time, side="right")',
        'np.searchsorted(twice, 2 * QUARTER * time, side="left")',
        "tests/tokenizer/test_divisions.py",
    ),
    fault(
        "tokenizer/grid/divisions.py",
        "a division can change for nothing",
        "_CHANGE = 2.5",
        "_CHANGE = 0.0",
        "tests/tokenizer/test_divisions.py",
    ),
    fault(
        "tokenizer/grid/divisions.py",
        "all tracks are as exact as a score",
        "_SCATTERS = np.array([1 / 480, 1 / 160,",
        "_SCATTERS = np.array([1 / 480]) + 0 * np.array([1 / 480, 1 / 160,",
        "tests/tokenizer/test_divisions.py",
    ),
    fault(
        "tokenizer/grid/lengths.py",
        "each note takes the nearest length",
        "_CHANGE, _TIED, _FINE, _ODD = 4.0, 1.0, 3.0, 3.0",
        "_CHANGE, _TIED, _FINE, _ODD = 0.0, 0.0, 0.0, 0.0",
        "tests/tokenizer/test_divisions.py",
    ),
    fault(
        "tokenizer/grid/song.py",
        "strikes nearer than the shortest note are kept",
        "is_near = (np.diff(pitch) == 0) & (np.diff(time) < shortest)",
        "is_near = (np.diff(pitch) == 0) & (np.diff(time) == 0)",
        "tests/tokenizer/test_tokenizer.py",
    ),
    fault(
        "tokenizer/grid/meter.py",
        "a long measure has its short part first",
        "20: (12, 8)",
        "20: (8, 12)",
        "tests/tokenizer/test_tokenizer.py",
    ),
    fault(
        "tokenizer/grid/meter.py",
        "a pickup is moved instead of filled up",
        "    if pickup:\n        starts[1] = pickup\n",
        "    pickup = 0\n",
        "tests/tokenizer/test_tokenizer.py",
    ),
    fault(
        "tokenizer/tokens/grammar.py",
        "a meter may change within a measure",
        "only(~inside | (state.part == 0), SIGNATURE)",
        "only(~inside | (state.part >= 0), SIGNATURE)",
        "tests/tokenizer/test_grammar.py",
    ),
    fault(
        "tokenizer/vocabulary.py",
        "models of v1.2.1 are given long measures",
        "if n * 16 > 16 * d]] = False",
        "if n * 16 > 99 * d]] = False",
        "tests/tokenizer/test_vocabulary.py",
        "tests/tokenizer/test_plan.py",
    ),
    fault(
        "tokenizer/grid/chords.py",
        "the bass says nothing",
        "BASS = 26 ",
        "BASS = 0 ",
        "tests/tokenizer/test_chords.py",
    ),
    fault(
        "tokenizer/grid/quantize.py",
        "a bar's tempo is that of the change after it",
        'tempo = np.searchsorted(changes, edges[:-1], side="right") - 1',
        'tempo = np.searchsorted(changes, edges[:-1], side="right") % len(changes)',
        "tests/tokenizer/test_tokenizer.py",
    ),
)
TOKENS = (
    fault(
        "tokenizer/tokens/whole.py",
        "new notes begin where the model's song does, not the user's",
        '            notes["onset_ticks"] += self.first_tick',
        "            pass",
        "tests/tokenizer/test_whole.py",
    ),
    fault(
        "tokenizer/tokens/follow.py",
        "alternating meters do not go on",
        "is_due = (meter >= 0) &",
        "is_due = (meter < -1) &",
        "tests/tokenizer/test_plan.py",
    ),
    fault(
        "tokenizer/tokens/decode.py",
        "length carries over to the next track",
        "            bar, duration, velocity = -1, DEFAULT_DURATION, DEFAULT_VELOCITY",
        "            bar, velocity = -1, DEFAULT_VELOCITY",
        "tests/tokenizer/test_tokenizer.py",
    ),
    fault(
        "tokenizer/tokens/augment.py",
        "chords stay in their key",
        "(chord[has_root] - 1 + semitones * _QUALITIES)",
        "(chord[has_root] - 1)",
        "tests/tokenizer/test_augment.py",
    ),
    fault(
        "tokenizer/tokens/crop.py",
        "a window says the tempo of the song's beginning",
        "song.tempo[window]",
        "song.tempo[:length]",
        "tests/tokenizer/test_crop.py",
    ),
    fault(
        "tokenizer/tokens/grammar.py",
        "a later bar may have another signature",
        "signature = xp.where(is_chord & in_later, of_first_track, state.signature)",
        "signature = state.signature",
        "tests/tokenizer/test_grammar.py",
    ),
    fault(
        "tokenizer/tokens/encode.py",
        "other tracks have every bar of the song too",
        'n_bars = len(song.bars) if index == 0 else int(track.notes["bar"][-1]) + 1',
        "n_bars = len(song.bars)",
        "tests/tokenizer/test_tokenizer.py",
    ),
    fault(
        "tokenizer/tokens/plan.py",
        "the first track may take the room of the later ones",
        "np.where(shares > 0, max_tokens - for_later, max_tokens)",
        "np.where(shares > 0, max_tokens, max_tokens)",
        "tests/tokenizer/test_plan.py",
    ),
    fault(
        "tokenizer/tokens/plan.py",
        "--bars counts from the bars that are left of a given song",
        "bars=wanted.bars - left_out",
        "bars=wanted.bars",
        "tests/tokenizer/test_plan.py",
    ),
    fault(
        "tokenizer/tokens/follow.py",
        "a track that is not begun for want of room is not told",
        "choice.closing | (choice.withheld & is_end)",
        "choice.closing",
        "tests/tokenizer/test_plan.py",
    ),
)
DATASET = (
    fault(
        "tokenizer/dataset/shards.py",
        "a row's digest leaves out its own tempi",
        "if any(beside):",
        "if False:",
        "tests/tokenizer/test_beside.py",
    ),
    fault(
        "tokenizer/dataset/accept.py",
        "--strict takes damaged files",
        "if config.strict and reading.repairs:",
        "if False:",
        "tests/tokenizer/test_check.py",
    ),
    fault(
        "tokenizer/dataset/accept.py",
        "songs in which no beats are heard are taken",
        'config.align != "keep"',
        "False",
        "tests/tokenizer/test_aligned_songs.py",
    ),
    fault(
        "tokenizer/dataset/accept.py",
        "--align off aligns",
        'None if config.align == "off" else align(reading.score)',
        "align(reading.score)",
        "tests/tokenizer/test_aligned_songs.py",
    ),
    fault(
        "tokenizer/dataset/accept.py",
        "tokens are those of the file's own time",
        "score = aligned.score if aligned else reading.score",
        "score = reading.score",
        "tests/tokenizer/test_aligned_songs.py",
    ),
    fault(
        "tokenizer/dataset/files.py",
        "a dataset from before alignment counts as aligned",
        '"align": "off"}',
        '"align": "auto"}',
        "tests/tokenizer/test_aligned_songs.py",
    ),
    fault(
        "tokenizer/dataset/told.py",
        "notes after the file's beats are said to be before them",
        "round(shift) - shift",
        "shift - round(shift)",
        "tests/tokenizer/test_aligned_songs.py",
    ),
    fault(
        "tokenizer/dataset/beats_plot.py",
        "the aligned half of a picture begins with its silence",
        "begins = _begin(aligned)",
        "begins = 0.0",
        "tests/tokenizer/test_beats_plot.py",
    ),
    fault(
        "jax_impl/cli/checked.py",
        "pictures of files of one name meet",
        "if seen[stem.casefold()] > 1:",
        "if False:",
        "tests/tokenizer/test_beats_plot.py",
    ),
    fault(
        "tokenizer/dataset/shards.py",
        "a row's digest is not looked at",
        "if self.digest(row) != self._digests[row]:",
        "if False:",
        "tests/tokenizer/test_damage.py",
    ),
    fault(
        "tokenizer/dataset/files.py",
        "an edited manifest is taken",
        "if DIGEST in manifest and manifest[DIGEST] != digest_of(manifest):",
        "if False:",
        "tests/tokenizer/test_damage.py",
    ),
    fault(
        "tokenizer/dataset/songs.py",
        "what another part of a mixture holds out is trained on",
        "self[split].weight[held_out] = 0",
        "pass",
        "tests/tokenizer/test_held_out.py",
    ),
    fault(
        "tokenizer/dataset/repair.py",
        "a shard that may not be read counts as damaged",
        "        except Unreadable as error:",
        "        except ZeroDivisionError as error:",
        "tests/tokenizer/test_repair.py",
    ),
    fault(
        "tokenizer/dataset/workers.py",
        "workers outlive the process that started them",
        ", initializer=end_with_parent)",
        ")",
        "tests/tokenizer/test_workers.py",
    ),
)
ATTENTION = (
    fault(
        "jax_impl/attention/xla.py",
        "sums are not corrected for a larger maximum",
        "return new_maximum, total * correction + ",
        "return new_maximum, total + ",
        "tests/attention/test_attention.py",
    ),
    fault(
        "jax_impl/attention/xla.py",
        "the gradient of the queries misses the scale",
        "(d_q * scale)",
        "(d_q)",
        "tests/attention/test_attention.py",
    ),
    fault(
        "jax_impl/attention/block_mask.py",
        "a block of which one tile is full counts as full",
        "keys = _lists(jnp.logical_or(*pairs(some)), jnp.logical_and(*pairs(full)))",
        "keys = _lists(jnp.logical_or(*pairs(some)), jnp.logical_or(*pairs(full)))",
        "tests/attention/test_block_mask.py",
    ),
)
MODEL = (
    fault(
        "jax_impl/model/masks.py",
        "a token sees the token after it",
        "causal = key.position <= query.position",
        "causal = key.position <= query.position + 1",
        "tests/model/test_masks.py",
    ),
    fault(
        "jax_impl/model/masks.py",
        "a token sees the summary of its own bar",
        "(key.index < query.visible)",
        "(key.index <= query.visible)",
        "tests/model/test_masks.py",
    ),
    fault(
        "jax_impl/model/masks.py",
        "songs of a row see each other",
        "return (query.document == key.document) & (query.document > 0)",
        "return (key.document > 0) & (query.document > 0)",
        "tests/model/test_masks.py",
    ),
    fault(
        "jax_impl/model/museformer.py",
        "summaries are rotated by no position",
        "q_s, k_s = rotate(q_s, context.summary_rotation), rotate(k_s, context.summary_rotation)",
        "q_s, k_s = q_s, k_s",
        "parity_tests/test_golden_jax.py",
    ),
)
LOADING = (
    fault(
        "jax_impl/loading/packing.py",
        "windows without a note become rows",
        "rows = rows.where(~self._silent(rows.pieces))",
        "pass",
        "tests/loading/test_loader.py",
    ),
    fault(
        "jax_impl/loading/loader.py",
        "every process loads the first one's rows",
        "first += self.config.part * size",
        "first += 0",
        "tests/loading/test_loader.py",
    ),
    fault(
        "jax_impl/loading/loader.py",
        "workers outlive the run",
        "    end_with_parent()\n",
        "    pass\n",
        "tests/loading/test_workers.py",
    ),
    fault(
        "jax_impl/loading/packing.py",
        "a song is augmented alike in every epoch",
        "np.random.SeedSequence([self.config.seed, epoch, song])",
        "np.random.SeedSequence([self.config.seed, song])",
        "tests/loading/test_loader.py",
    ),
)
DEVICE = (
    fault(
        "jax_impl/device/sharding.py",
        "arrays are split along their smallest axis",
        "largest = max(axes, key=lambda axis: (shape[axis], axis))",
        "largest = min(axes, key=lambda axis: (shape[axis], axis))",
        "tests/device/test_sharding.py::test_an_array_is_split_along_its_largest_axis_that_divides",
    ),
    fault(
        "jax_impl/device/memory.py",
        "a step of twice the memory fits",
        "        if needed <= limit:",
        "        if needed <= 2 * limit:",
        "tests/device/test_memory.py",
    ),
    fault(
        "jax_impl/device/memory.py",
        "only the model has to fit",
        "if state + rows > limit:",
        "if state > limit:",
        "tests/training/test_nothing_lost.py",
    ),
)
TRAINING = (
    fault(
        "jax_impl/training/checkpoint.py",
        "a loss that is no number is the best",
        "if loss is not None and math.isfinite(loss)",
        "if loss is not None",
        "tests/training/test_checkpoint.py",
    ),
    fault(
        "jax_impl/training/digest.py",
        "two words may change places",
        "_mix(_places(leaf.shape)[None] + seeds)",
        "_mix(seeds)",
        "tests/training/test_checkpoint.py",
    ),
    fault(
        "jax_impl/training/step.py",
        "a step without a target divides by 0",
        "total = jnp.maximum(jnp.sum(batches.weights), 1)",
        "total = jnp.sum(batches.weights)",
        "tests/training/test_train.py",
    ),
    fault(
        "jax_impl/training/rollback.py",
        "a run goes back each time it is told",
        "if done and done.step == resume_from and",
        "if False and",
        "tests/training/test_nothing_lost.py",
    ),
    fault(
        "jax_impl/training/train.py",
        "two runs write into one folder",
        "held.enter_context(only_writer(folder))",
        "pass",
        "tests/training/test_nothing_lost.py",
    ),
    fault(
        "jax_impl/training/optimizer.py",
        "the first step has no rate",
        "taken = jnp.asarray(step, jnp.float32) + 1 ",
        "taken = jnp.asarray(step, jnp.float32) ",
        "tests/training/test_train.py",
    ),
)
SAMPLING = (
    fault(
        "jax_impl/sampling/cache.py",
        "a summary stands after its span's last token",
        "turn = rotation(cache.length[rows][:, None] - 1, dtype)",
        "turn = rotation(cache.length[rows][:, None], dtype)",
        "tests/sampling/test_cache.py",
    ),
    fault(
        "jax_impl/sampling/draw.py",
        "top-p keeps the whole vocabulary",
        "kept = jnp.cumsum(probabilities) - probabilities < config.top_p",
        "kept = jnp.cumsum(probabilities) - probabilities < 2",
        "tests/sampling/test_draw.py",
    ),
    fault(
        "jax_impl/sampling/sample.py",
        "songs side by side draw with one key",
        "keys = jax.vmap(partial(jax.random.fold_in, jax.random.key(self.config.seed)))(jnp.asarray(numbers))",
        "keys = jax.vmap(partial(jax.random.fold_in, jax.random.key(self.config.seed)))(0 * jnp.asarray(numbers))",
        "tests/sampling/test_sample.py",
    ),
    fault(
        "jax_impl/sampling/stream.py",
        "a streamed bar forgets the length in force",
        "in_force = [TOKEN[Class.DURATION][self._duration],",
        "in_force = [TOKEN[Class.DURATION][6],",
        "tests/sampling/test_stream.py",
    ),
    fault(
        "jax_impl/sampling/outputs.py",
        "any file is taken for a SoundFont",
        'if head[:4] != b"RIFF" or head[8:] != b"sfbk":',
        "if False:",
        "tests/sampling/test_compose.py",
    ),
    fault(
        "jax_impl/sampling/outputs.py",
        "a song without its MIDI file counts as made",
        "for file in formats.files(path)[1:]\n    )",
        "for file in formats.files(path)[2:]\n    )",
        "tests/sampling/test_compose.py",
    ),
)
CLI = (
    fault(
        "jax_impl/cli/demo.py",
        "the demo takes any folder",
        "elif summary is None and any(",
        "elif summary is None and not any(",
        "tests/cli/test_cli.py",
    ),
    fault(
        "tokenizer/disk/destination.py",
        "a suffix in capitals says nothing",
        "suffix = Path(text).suffix.lower()",
        "suffix = Path(text).suffix",
        "tests/cli/test_outputs.py",
    ),
    fault(
        "tokenizer/disk/destination.py",
        "a file that is there is written over unasked",
        "refuse_to_replace(path, inputs, flag=flag, overwrite=overwrite)",
        "pass",
        "tests/cli/test_cli.py",
    ),
    fault(
        "jax_impl/cli/__init__.py",
        "Ctrl-C ends with the status of success",
        "os._exit(130)",
        "os._exit(0)",
        "tests/cli/test_cli.py",
    ),
)
REFERENCE = (
    fault(
        "torch_ref/masks.py",
        "the reference sees one bar less",
        "(distance <= rule.near_bars)",
        "(distance < rule.near_bars)",
        "parity_tests/test_masks.py",
    ),
    fault(
        "torch_ref/masks.py",
        "summaries of the reference see later ones",
        "ss = (k < slots) & (k <= q)",
        "ss = k < slots",
        "parity_tests/test_masks.py",
    ),
    fault(
        "torch_ref/checkpoint.py",
        "a file's code runs",
        "weights_only=True",
        "weights_only=False",
        "parity_tests/test_convert.py",
    ),
)
CONFIGS = (
    fault(
        "configs/ranges.py",
        "a number that is none is taken",
        "if isinstance(number, float) and not math.isfinite(number):",
        "if False:",
        "tests/test_configs.py",
    ),
    fault(
        "configs/data.py",
        "shard 0/N is taken",
        "1 <= int(number) <= int(count)",
        "0 <= int(number) <= int(count)",
        "tests/test_configs.py",
    ),
    fault(
        "configs/model.py",
        "heads are counted wrong",
        "return self.width // HEAD_DIM",
        "return max(self.width // HEAD_DIM - 1, 1)",
        "tests/sampling/test_sample.py",
    ),
)
FAULTS = (
    *DISK,
    *MUSIC,
    *GRID,
    *TOKENS,
    *DATASET,
    *ATTENTION,
    *MODEL,
    *LOADING,
    *DEVICE,
    *TRAINING,
    *SAMPLING,
    *CLI,
    *REFERENCE,
    *CONFIGS,
)
