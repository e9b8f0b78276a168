"""The kernels and the training step, compiled for an H800 that is not there:
no spilled registers, no hidden memory, our kernels inside.
"""

import json
import re
import subprocess
import sys

import pytest

from jax_impl.device import gpu_target
from tests.attention import hopper_target

KERNELS = ["block_sparse_dkv", "block_sparse_dq", "block_sparse_forward"]
pytestmark = pytest.mark.skipif(not gpu_target.installed(), reason="needs XLA's CUDA plugin, which ./hid test installs")


@pytest.fixture(scope="module")
def compiled() -> dict[str, dict]:
    program = [sys.executable, hopper_target.__file__]
    run = subprocess.run(program, env=hopper_target.environment(), capture_output=True, encoding="utf-8")
    assert run.returncode == 0, run.stderr[-3000:]
    return {result["case"]: result for result in map(json.loads, run.stdout.splitlines())}


CASES = hopper_target.CASES
SHARED_BYTES_OF_A_BLOCK = 227 * 1024
REGISTERS_OF_A_PROCESSOR = 65536
THREADS = 3 * 128  # of a program


@pytest.mark.parametrize("case", CASES)
def test_no_kernel_spills_registers(compiled, case):
    reports = compiled[case]["kernels"]
    assert sorted({report["kernel"] for report in reports}) == KERNELS
    for report in reports:
        assert report["spill_lines"] == 1  # the report says something
        assert report["spill_bytes"] == 0 and report["warnings"] == []
        (registers,) = report["registers_at_entry"]
        # set_max_registers moves them from the copy warpgroup to the others
        assert registers * THREADS <= REGISTERS_OF_A_PROCESSOR


@pytest.mark.parametrize("case", CASES)
def test_exponentials_are_made_while_the_tensor_cores_work(compiled, case):
    """In the loops over full blocks and over those in part, of which forward has two each in bf16: two steps a turn,
    and one that is left. No barrier is waited for in between: the compiler would wait for the product there, too.
    """
    in_twos = "bfloat16" in case
    for report in compiled[case]["kernels"]:
        hidden = [product["exponentials"] for product in report["under_products"] if product["exponentials"]]
        assert len(hidden) == (6 if in_twos and report["kernel"] == "block_sparse_forward" else 2)
        assert len(set(hidden)) == 1 and hidden[0] >= 32  # a thread's share of 64 x 64 scores
        assert not any(product["waits"] for product in report["under_products"])


@pytest.mark.parametrize("case", CASES)
def test_a_program_has_a_processor_to_itself_and_fits_its_shared_memory(compiled, case):
    """Two compute warpgroups that take turns at the tensor cores are what hides latency, not a second program:
    registers allow one.
    """
    for report in compiled[case]["kernels"]:
        (shared_bytes,), (registers,) = report["shared_bytes"], report["registers_at_entry"]
        assert 0 < shared_bytes <= SHARED_BYTES_OF_A_BLOCK
        assert REGISTERS_OF_A_PROCESSOR // (registers * THREADS) == 1


def test_the_compiler_is_one_that_gets_such_kernels_right(compiled):
    """ptxas before 12.9.86 miscompiles some of them; the plugin carries its own."""
    versions = {report["compiler"] for case in CASES for report in compiled[case]["kernels"]}
    assert versions and min(tuple(map(int, version.split("."))) for version in versions) >= (12, 9, 86)


@pytest.mark.parametrize("case", CASES[:-1])
def test_a_backward_pass_needs_no_memory_beyond_the_output_with_what_it_is_rounded_by_and_lse_and_delta(compiled, case):
    rows = compiled[case]["lse_and_delta"]
    assert compiled[case]["temporaries"] <= 2 * compiled[case]["out"] + 2 * rows
    assert compiled[case]["forward_temporaries"] <= compiled[case]["out"] + rows


def test_fp32_inputs_need_their_halves_besides(compiled):
    rows, heads, num_queries, tokens = hopper_target.SHAPES["large"]
    num_keys = tokens + hopper_target.summaries(tokens)
    halves = rows * heads * 64 * 4 * (2 * num_queries + 2 * num_keys)  # of q, d_out, k, v
    assert compiled["large float32"]["temporaries"] <= halves + 2 * compiled["large float32"]["lse_and_delta"]


@pytest.mark.parametrize("rule", ["span", "v121"])
def test_building_the_masks_of_24576_tokens_holds_no_boolean_for_every_pair(compiled, rule):
    bits = compiled["masks"]["booleans"] / 8
    assert compiled["masks"][rule]["outputs"] < 1.2 * bits  # with the summaries' own mask, and lists
    assert compiled["masks"][rule]["temporaries"] < bits


def test_the_training_step_is_lowered_to_our_kernels(compiled):
    """Both attention calls of a layer; the layers are a loop, so each kernel stands there once per call, forward also
    rematerialized.
    """
    lines = [line for line in compiled["train step"]["text"].splitlines() if "custom_call @mosaic_gpu" in line]
    calls = [kernel for line in lines for kernel in KERNELS if kernel in line]
    assert len(calls) == len(lines)
    assert calls.count("block_sparse_dq") == calls.count("block_sparse_dkv") == 2
    assert calls.count("block_sparse_forward") == 4


def test_a_whole_training_step_is_compiled_without_a_gpu_to_time_kernels_on(compiled):
    assert 20e6 < compiled["short train step"]["total"] < 200e6


def test_on_several_devices_each_computes_its_rows(compiled):
    text = compiled["two devices"]["text"]
    assert all(kernel in text for kernel in KERNELS)
    assert re.search(r"bf16\[1,2,256,64\].* custom-call", text)  # one of the two rows
    assert not re.search(r"all-gather|all-reduce|all-to-all|collective-permute", text)
