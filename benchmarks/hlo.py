"""Bytes and operations of each kernel of a compiled GPU program, read from XLA's text of it. Used by step_roofline.py.

What a fusion reads of an operand is what its instructions take of it (a slice is a slice), and what it writes in place
is what it updates. Loops count by their trips.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8}
FREE = {
    "parameter",
    "constant",
    "tuple",
    "get-tuple-element",
    "bitcast",
    "after-all",
    "partition-id",
    "iota",
    "reshape",
}
SLICES = {"slice", "dynamic-slice", "gather"}
SPECIAL = {
    "exponential",
    "log",
    "log-plus-one",
    "rsqrt",
    "sqrt",
    "tanh",
    "logistic",
    "power",
    "sine",
    "cosine",
    "divide",
}
MOVES = {"broadcast", "transpose", "copy", "concatenate", "pad", "convert", "reverse", "dynamic-update-slice", "dot"}
INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.-]+) = (.*)$")
COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{$")
ARRAY = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")


@dataclass(frozen=True)
class Array:
    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.elements * BYTES.get(self.dtype, 0)


@dataclass(frozen=True)
class Instruction:
    name: str
    operation: str
    arrays: tuple[Array, ...]  # what it returns
    operands: tuple[str, ...]
    text: str  # everything behind the operands
    is_root: bool

    @property
    def bytes(self) -> int:
        return sum(array.bytes for array in self.arrays)

    def called(self, word: str) -> str | None:
        found = re.search(rf"\b{word}=%?([\w.-]+)", self.text)
        return found and found[1]

    @property
    def scope(self) -> str:
        """The names under which the program was written, op_name."""
        found = re.search(r'op_name="([^"]*)"', self.text)
        return found[1] if found else ""


@dataclass
class Kernel:
    """One launch, so many times a step. FLOPs: of products, by dtype of what is multiplied; integer, floating, special:
    operations of other kinds.
    """

    instruction: Instruction
    times: int
    inside: list[Instruction]  # of a fusion
    bytes: int = 0
    flops: dict[str, float] = field(default_factory=dict)
    integer: float = 0
    floating: float = 0
    special: float = 0


def kernels(text: str) -> Iterator[Kernel]:
    """Of a compiled program's text, in no order."""
    program, entry = _parse(text)
    yield from _of(program, entry, 1)


def _parse(text: str) -> tuple[dict[str, list[Instruction]], str]:
    program, entry, here = {}, "", []
    for line in text.splitlines():
        if header := COMPUTATION.match(line):
            here = program.setdefault(header[2], [])
            entry = header[2] if header[1] else entry
        elif found := INSTRUCTION.match(line):
            here.append(_instruction(found[2], found[3], bool(found[1])))
    return program, entry


def _instruction(name: str, rest: str, is_root: bool) -> Instruction:
    end = _closing(rest) if rest.startswith("(") else rest.index(" ")
    operation, _, behind = rest[end:].strip().partition("(")
    close = _closing("(" + behind) - 1
    arrays = tuple(
        Array(dtype, tuple(map(int, filter(None, shape.split(","))))) for dtype, shape in ARRAY.findall(rest[:end])
    )
    operands = tuple(re.findall(r"%([\w.-]+)", behind[:close]))
    return Instruction(name, operation, arrays, operands, behind[:close] + behind[close:], is_root)


def _closing(text: str) -> int:
    """Behind the bracket that closes the first one."""
    depth = 0
    for at, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return at + 1
    raise ValueError(f"no closing bracket: {text[:80]}")


def _of(program: dict, name: str, times: int) -> Iterator[Kernel]:
    by_name = {instruction.name: instruction for instruction in program[name]}
    for instruction in program[name]:
        if instruction.operation == "while":
            trips = re.search(r'known_trip_count":\{"n":"(\d+)"', instruction.text)
            yield from _of(program, instruction.called("body"), times * int(trips[1] if trips else 1))
        elif instruction.operation in ("call", "async-start"):
            yield from _of(program, instruction.called("to_apply") or instruction.called("calls"), times)
        elif instruction.operation == "conditional":
            branches = re.search(r"branch_computations=\{([^}]*)\}", instruction.text)
            names = branches[1].replace("%", "").split(", ") if branches else [instruction.called("true_computation")]
            yield from _of(program, names[0], times)
        elif instruction.operation not in FREE and not instruction.operation.endswith("-done"):
            inside = program[instruction.called("calls")] if instruction.operation == "fusion" else [instruction]
            kernel = Kernel(instruction, times, inside)
            is_fusion = instruction.operation == "fusion"
            kernel.bytes = _fusion_bytes(inside) if is_fusion else _plain_bytes(instruction, by_name)
            _count(kernel, by_name if inside == [instruction] else {one.name: one for one in inside})
            yield kernel


def _plain_bytes(instruction: Instruction, by_name: dict[str, Instruction]) -> int:
    operands = [by_name[operand].bytes for operand in instruction.operands if operand in by_name]
    if instruction.operation in SLICES:
        return 2 * instruction.bytes
    if instruction.operation == "dynamic-update-slice":
        return 2 * operands[1]
    return sum(operands) + instruction.bytes


def _fusion_bytes(inside: list[Instruction]) -> int:
    """What it reads of each operand, by the shares that its instructions need of each other, and what it writes."""
    users: dict[str, list[Instruction]] = {}
    for one in inside:
        for operand in one.operands:
            users.setdefault(operand, []).append(one)
    by_name, shares = {one.name: one for one in inside}, {}

    def share(one: Instruction) -> float:
        """Of an instruction's elements, those that are needed."""
        if one.name not in shares:
            needed = sum(_share_of_operand(user, one, share) for user in users.get(one.name, []))
            shares[one.name] = 1.0 if one.is_root else min(1.0, needed)
        return shares[one.name]

    def written(root: Instruction) -> int:
        if root.operation == "tuple":
            return sum(written(by_name[operand]) for operand in root.operands)
        if root.operation == "bitcast":
            return written(by_name[root.operands[0]])
        if root.operation == "dynamic-update-slice":
            return by_name[root.operands[1]].bytes
        return root.bytes

    root = next(one for one in inside if one.is_root)
    return int(sum(share(one) * one.bytes for one in inside if one.operation == "parameter") + written(root))


def _share_of_operand(user: Instruction, operand: Instruction, share: Callable[[Instruction], float]) -> float:
    if user.operation in SLICES and user.operands[0] == operand.name:
        return share(user) * user.arrays[0].elements / operand.arrays[0].elements
    if user.operation == "dynamic-update-slice" and user.operands[0] == operand.name:
        return 0.0
    if user.arrays and user.arrays[0].elements == operand.arrays[0].elements:  # element by element
        return share(user)
    return 1.0


def _count(kernel: Kernel, by_name: dict[str, Instruction]) -> None:
    for one in kernel.inside:
        if one.operation == "dot":
            left = by_name[one.operands[0]]
            contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", one.text)[1]
            depth = math.prod(left.arrays[0].shape[int(axis)] for axis in contracted.split(",") if axis)
            dtype = left.arrays[0].dtype
            kernel.flops[dtype] = kernel.flops.get(dtype, 0.0) + 2.0 * one.arrays[0].elements * depth
        elif one.operation in FREE | SLICES | MOVES | {"fusion", "custom-call", "sort", "scatter"} or not one.arrays:
            continue
        else:
            source = by_name[one.operands[0]] if one.operation.startswith("reduce") else one
            elements, dtype = source.arrays[0].elements, source.arrays[0].dtype
            if one.operation in SPECIAL:
                kernel.special += elements
            elif dtype in ("f32", "bf16", "f16"):
                kernel.floating += elements
            else:
                kernel.integer += elements * (4 if dtype in ("u64", "s64") and one.operation == "multiply" else 1)
