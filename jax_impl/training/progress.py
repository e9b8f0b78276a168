"""What a run says while it goes: a progress bar, lines of metrics.jsonl, and an error where the numbers end."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from tqdm import tqdm

from configs import InputError, TrainConfig
from jax_impl.training.metrics import Metrics
from jax_impl.training.step import Measured

ADVICE = (
    "Checkpoints from before it are intact. "
    "Try a new --output-dir with a lower --learning-rate, a longer --warmup-steps or --precision fp32"
)


class Diverged(InputError):
    """The loss or the gradient is no longer a number; the message names the step."""


class Progress:
    """Collects the steps' numbers between two lines of metrics.jsonl.

    carried: what a checkpoint kept of the steps since the last line and of all steps, so that the lines after a restart
    equal an uninterrupted run's.
    epoch_rows: rows of the first epoch, as --epochs counts them; the others have about as many.
    needed_flops: per token; peak_flops: of all devices together, None where unknown.
    metrics: None in a process that only looks whether the numbers are numbers: of several, one writes and shows them.
    """

    def __init__(
        self,
        config: TrainConfig,
        metrics: Metrics | None,
        steps: range,
        carried: dict,
        epoch_rows: int,
        needed_flops: float,
        peak_flops: float | None,
    ):
        self._config, self._metrics = config, metrics
        self._needed_flops, self._peak_flops = needed_flops, peak_flops
        self._losses, self._norms = list(carried.get("losses", [])), list(carried.get("norms", []))
        # Not known of a run that was begun before it was counted
        self._all_tokens = carried.get("tokens") if steps[0] > 1 else 0
        self._epochs_per_step = config.batch_size * config.gradient_accumulation_steps / epoch_rows
        self._began = self._line_began = time.monotonic()
        self._tokens = 0
        self._waited = 0.0
        self._bar = tqdm(
            total=steps[-1], initial=steps[0] - 1, unit="step", dynamic_ncols=True, disable=None if metrics else True
        )
        self._last_step = steps[-1]

    def carried(self) -> dict:
        return {"losses": self._losses, "norms": self._norms, "tokens": self._all_tokens}

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Time spent here is input wait."""
        began = time.monotonic()
        yield
        self._waited += time.monotonic() - began

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time spent here counts for no step."""
        began = time.monotonic()
        yield
        self._line_began += time.monotonic() - began

    def step(self, step: int, measured: Measured) -> None:
        """The numbers of a step, once the device has them. Raises Diverged."""
        loss, norm = float(measured.loss), float(measured.gradient_norm)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise Diverged(f"training failed at step {step}: loss {loss}, gradient norm {norm}. {ADVICE}")
        self._losses.append(loss)
        self._norms.append(norm)
        tokens = int(measured.tokens)
        self._tokens += tokens
        if self._all_tokens is not None:
            self._all_tokens += tokens
        self._bar.update()
        if step % self._config.log_every == 0 or step == self._last_step:
            self._line(step, float(measured.learning_rate))

    def _line(self, step: int, learning_rate: float) -> None:
        now = time.monotonic()
        seconds = max(now - self._line_began, 1e-9)
        speed = self._tokens / seconds
        values = {
            "loss": float(np.mean(self._losses)),
            "learning_rate": learning_rate,
            "gradient_norm": float(np.mean(self._norms)),
            "tokens": self._all_tokens,
            "epoch": round(step * self._epochs_per_step, 4),
            "tokens_per_second": round(speed, 1),
            "mfu": round(speed * self._needed_flops / self._peak_flops, 4) if self._peak_flops else None,
            "input_wait": round(self._waited / seconds, 4),
            "seconds": round(now - self._began, 3),
        }
        if self._metrics:
            self._metrics.write("train", step, values)
            self._bar.set_postfix({"loss": f"{values['loss']:.3f}", "tokens/s": f"{speed:.0f}"}, refresh=False)
            if self._bar.disable:  # no terminal: a line each time
                print(f"step {step}: loss {values['loss']:.4f}, {speed:.0f} tokens/s", flush=True)
        self._losses, self._norms, self._tokens, self._waited, self._line_began = [], [], 0, 0.0, now

    def validation(self, step: int, loss: float, guesses: dict[str, float], by_kind: dict[str, float]) -> None:
        """by_kind: the loss of each kind of token, {} where it is not to be said. Raises Diverged, before a checkpoint
        of such weights is saved.
        """
        if not math.isfinite(loss):
            raise Diverged(f"training failed at step {step}: validation loss {loss}. {ADVICE}")
        if not self._metrics:
            return
        self._metrics.write("validation", step, {"loss": loss, **guesses} | ({"by_kind": by_kind} if by_kind else {}))
        guessed = ", ".join(f"{name} guess {value:.4f}" for name, value in guesses.items())
        tqdm.write(f"step {step}: validation loss {loss:.4f} ({guessed})")

    def close(self) -> None:
        self._bar.close()
