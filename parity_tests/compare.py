"""The same weights and rows through both implementations, and how far each is from the truth, PyTorch in fp64.

An fp32 program is right when its error against fp64 is that of fp32 rounding. How much that is, the other program says:
the budget of a stream, the logits, the loss or a gradient is a small multiple of PyTorch's own largest error on things
of that kind. A wrong epsilon, projection or rotation is ten to a million times over it. `hid-museformer parity` prints
the table.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import jax
import numpy as np
import torch
from flax import nnx
from torch import Tensor

from configs import ComputeConfig, ModelConfig
from jax_impl.attention import unpack
from jax_impl.batch import Batch
from jax_impl.model import masks as jax_masks
from jax_impl.model.museformer import Streams
from jax_impl.model.v121 import to_v121
from jax_impl.training.step import cross_entropy
from parity_tests.pairs import jax_model, torch_model
from torch_ref import masks as torch_masks
from torch_ref import train
from torch_ref.rows import Rows, Summaries

# Times PyTorch's largest error; of 16 comparisons of sound programs (tiny and small), rounding alone reached 1.7
BUDGET = 3.0
FULL_FP32 = "highest"  # what a GPU multiplies in by default is less
CALLS = ("summarize", "update")
# A few fp32 roundings, where PyTorch happens to be nearly exact (the loss is one number).
FLOOR = 4 * float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Line:
    """One thing compared. jax, torch: largest error against fp64, relative to the largest value (of masks: share of
    bits that differ).
    budget: what the JAX error may be."""

    name: str
    jax: float
    torch: float
    budget: float

    @property
    def holds(self) -> bool:
        return self.jax <= self.budget  # no number at all does not hold

    @property
    def kind(self) -> str:
        return self.name.split()[0]


@dataclass(frozen=True)
class Expected:
    """What PyTorch says of one thing: in fp64 (of masks: bits) and in fp32. where: what of it counts (padding does
    not).
    """

    truth: np.ndarray
    fp32: np.ndarray
    where: np.ndarray | None


def compare(
    weights: dict[str, np.ndarray], config: ModelConfig, batch: Batch, slots: int, attention: str
) -> list[Line]:
    """Masks, streams after every layer, logits, loss, and every gradient by v1.2.1's name, in the order in which they
    are computed: the first line that does not hold is where the two part. weights: under v1.2.1's names. slots:
    summaries of a row, a multiple of 64.
    """
    expected = expected_values(weights, config, batch, slots)
    values = jax_values(weights, config, batch, slots, attention)
    return judge({name: values[name] for name in expected}, expected)


def judge(values: dict[str, np.ndarray], expected: dict[str, Expected]) -> list[Line]:
    """A line for each value."""
    lines = [_line(name, value, expected[name]) for name, value in values.items()]
    largest = {kind: max(line.torch for line in lines if line.kind == kind) for kind in {line.kind for line in lines}}
    return [
        replace(line, budget=max(BUDGET * largest[line.kind], 0.0 if line.kind == "mask" else FLOOR)) for line in lines
    ]


def table(lines: list[Line]) -> str:
    """For people: the worst of each kind, and everything that does not hold."""
    rows = [f"{'':2}{'compared':52} {'JAX':>9} {'PyTorch':>9} {'budget':>9}   largest error against fp64, relative"]
    for kind in dict.fromkeys(line.kind for line in lines):
        of_kind = [line for line in lines if line.kind == kind]
        worst = max(of_kind, key=lambda line: line.jax)
        for line in [line for line in of_kind if not line.holds] or [worst]:
            more = f" ({len(of_kind)} in all)" if line is worst and len(of_kind) > 1 else ""
            rows.append(
                f"{' ' if line.holds else '!'} {line.name + more:52} {line.jax:9.1e} {line.torch:9.1e} "
                f"{line.budget:9.1e}"
            )
    failed = [line for line in lines if not line.holds]
    rows.append(
        f"{len(lines)} compared, all agree"
        if not failed
        else f"{len(failed)} of {len(lines)} differ, first: {failed[0].name}"
    )
    return "\n".join(rows)


def mask_pairs(
    batch: Batch, rows: Rows, config: ModelConfig, slots: int
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(call, JAX mask, PyTorch mask), bool [B, queries, slots + T]."""
    yield from zip(CALLS, jax_mask_bits(batch, config, slots), torch_mask_bits(rows, config, slots), strict=True)


def jax_mask_bits(batch: Batch, config: ModelConfig, slots: int) -> list[np.ndarray]:
    tokens = batch.tokens.shape[1]

    @jax.jit
    def both(batch: Batch) -> list[jax.Array]:
        data = jax_masks.summaries(batch, config.mask_rule, slots)
        calls = (jax_masks.summarize_mask, slots), (jax_masks.update_mask, tokens)
        return [unpack(build(batch, data, config.mask_rule), queries, slots + tokens) for build, queries in calls]

    return list(map(np.asarray, both(batch)))


def torch_mask_bits(rows: Rows, config: ModelConfig, slots: int) -> Iterator[np.ndarray]:
    summaries, (size, length) = Summaries.of(rows, config.mask_rule, slots), rows.tokens.shape
    yield torch_masks.dense(torch_masks.summarize_mod(rows, summaries), size, slots, slots + length)[:, 0].numpy()
    yield torch_masks.dense(torch_masks.update_mod(rows, summaries, config.mask_rule), size, length, slots + length)[
        :, 0
    ].numpy()


def expected_values(
    weights: dict[str, np.ndarray], config: ModelConfig, batch: Batch, slots: int
) -> dict[str, Expected]:
    """All that is compared, by name and in the order in which it is computed."""
    config, rows = replace(config, dropout=0.0), Rows.of(batch._asdict())
    out = {
        f"mask of {call}": Expected(bits, bits, None)
        for call, bits in zip(CALLS, torch_mask_bits(rows, config, slots), strict=True)
    }
    models = torch_model(weights, config).double(), torch_model(weights, config)
    outputs = [model(rows, slots, keep_streams=True) for model in models]
    real = batch.document > 0
    used = (Summaries.of(rows, config.mask_rule, slots).document > 0).numpy()

    def add(name: str, tensors: list[Tensor], where: np.ndarray | None) -> None:
        out[name] = Expected(*(tensor.detach().numpy() for tensor in tensors), where)

    for layer in range(config.layers + 1):
        add(_stream("summary", layer), [output.summary[layer] for output in outputs], used)
        add(_stream("regular", layer), [output.regular[layer] for output in outputs], real)
    add("logits", [output.logits for output in outputs], real)
    losses = []
    for output in outputs:
        summed, targets = train.loss(output.logits, rows, "all")
        losses.append(summed / targets)
        losses[-1].backward()
    add("loss", losses, None)
    for name, _ in models[0].named_parameters():
        # The last layer's summaries lead nowhere: no gradient means 0.
        parameters = [model.get_parameter(name) for model in models]
        add(f"gradient of {name}", [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters], None)
    return out


def jax_values(
    weights: dict[str, np.ndarray], config: ModelConfig, batch: Batch, slots: int, attention: str
) -> dict[str, jax.Array]:
    """The same from the JAX program, in fp32."""
    graph, parameters = nnx.split(jax_model(weights, replace(config, dropout=0.0)))
    compute = ComputeConfig(attention=attention, precision="fp32", remat="layer")

    def loss(parameters, batch):
        logits = nnx.merge(graph, parameters)(batch, max_spans=slots, compute=compute, dropout_key=None)
        return cross_entropy(logits, batch, "all") / batch.weights.sum()

    with jax.default_matmul_precision(FULL_FP32):
        value, gradient = jax.jit(jax.value_and_grad(loss))(parameters, batch)
    gradients = {f"gradient of {name}": array for name, array in to_v121(nnx.to_pure_dict(gradient)).items()}
    return forward_values(weights, config, batch, slots, attention) | {"loss": value} | gradients


def forward_values(
    weights: dict[str, np.ndarray], config: ModelConfig, batch: Batch, slots: int, attention: str
) -> dict[str, jax.Array]:
    """Those up to the logits."""
    out = {f"mask of {call}": bits for call, bits in zip(CALLS, jax_mask_bits(batch, config, slots), strict=True)}
    graph, parameters = nnx.split(jax_model(weights, replace(config, dropout=0.0)))
    compute = ComputeConfig(attention=attention, precision="fp32", remat="none")

    @jax.jit
    def forward(parameters, batch: Batch) -> tuple[Streams, jax.Array]:
        model = nnx.merge(graph, parameters)
        streams = model.layer_streams(batch, max_spans=slots, compute=compute)
        return streams, model(batch, max_spans=slots, compute=compute, dropout_key=None)

    with jax.default_matmul_precision(FULL_FP32):
        streams, logits = forward(parameters, batch)
    for layer in range(config.layers + 1):
        out[_stream("summary", layer)] = streams.summary[layer]
        out[_stream("regular", layer)] = streams.regular[layer]
    return out | {"logits": logits}


def _stream(stream: str, layer: int) -> str:
    return f"stream of {stream} after layer {layer}" if layer else f"embedding of {stream}"


def _line(name: str, value: jax.Array, expected: Expected) -> Line:
    """Both errors, relative to the largest true value."""
    truth, theirs, ours = (np.asarray(x, np.float64) for x in (expected.truth, expected.fp32, value))
    if name.startswith("mask"):
        return Line(name, float((ours != truth).mean()), 0.0, budget=0.0)
    if expected.where is not None:
        truth, theirs, ours = (x[expected.where] for x in (truth, theirs, ours))
    scale = max(float(np.abs(truth).max(initial=0)), 1e-30)
    return Line(name, *(float(np.abs(x - truth).max(initial=0)) / scale for x in (ours, theirs)), budget=0.0)
