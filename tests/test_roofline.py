"""The reckoning of a compiled step: what its parser counts, on a program that is small enough to count by hand."""

import sys

import pytest

from tests import ROOT

sys.path.append(str(ROOT / "benchmarks"))

import hlo

PROGRAM = """
HloModule step, entry_computation_layout={()->f32[]}

%fused_update (stack: f32[4,8,128], part: bf16[8,128], at: s32[]) -> f32[4,8,128] {
  %stack = f32[4,8,128]{2,1,0} parameter(0)
  %part = bf16[8,128]{1,0} parameter(1)
  %at = s32[] parameter(2)
  %wide = f32[8,128]{1,0} convert(%part)
  %more = f32[1,8,128]{2,1,0} bitcast(%wide)
  ROOT %updated = f32[4,8,128]{2,1,0} dynamic-update-slice(%stack, %more, %at, %at, %at)
}

%fused_half (whole: f32[8,128]) -> f32[8,64] {
  %whole = f32[8,128]{1,0} parameter(0)
  %turned = f32[8,128]{1,0} negate(%whole)
  %half = f32[8,64]{1,0} slice(%turned), slice={[0:8], [64:128]}
  ROOT %grown = f32[8,64]{1,0} exponential(%half)
}

%fused_product (a: bf16[8,128], b: bf16[128,32]) -> f32[8,32] {
  %a = bf16[8,128]{1,0} parameter(0)
  %b = bf16[128,32]{1,0} parameter(1)
  ROOT %ab = f32[8,32]{1,0} dot(%a, %b), lhs_contracting_dims={1}, metadata={op_name="jit(step)/update/dot_general"}
}

%body (carry: (s32[], f32[8,128])) -> (s32[], f32[8,128]) {
  %carry = (s32[], f32[8,128]{1,0}) parameter(0)
  %count = s32[] get-tuple-element(%carry), index=0
  %value = f32[8,128]{1,0} get-tuple-element(%carry), index=1
  %half_of = f32[8,64]{1,0} fusion(%value), kind=kLoop, calls=%fused_half
  ROOT %next = (s32[], f32[8,128]{1,0}) tuple(%count, %value)
}

%condition (carry: (s32[], f32[8,128])) -> pred[] {
  %carry.1 = (s32[], f32[8,128]{1,0}) parameter(0)
  ROOT %yes = pred[] constant(true)
}

ENTRY %main (stack.1: f32[4,8,128], part.1: bf16[8,128], at.1: s32[]) -> f32[4,8,128] {
  %stack.1 = f32[4,8,128]{2,1,0} parameter(0)
  %part.1 = bf16[8,128]{1,0} parameter(1)
  %at.1 = s32[] parameter(2)
  %b.1 = bf16[128,32]{1,0} parameter(3)
  %x.1 = f32[8,128]{1,0} parameter(4)
  %product.1 = f32[8,32]{1,0} fusion(%part.1, %b.1), kind=kCustom, calls=%fused_product
  %start = (s32[], f32[8,128]{1,0}) tuple(%at.1, %x.1)
  %loop = (s32[], f32[8,128]) while(%start), condition=%yes, body=%body, config={"known_trip_count":{"n":"3"}}
  ROOT %result = f32[4,8,128]{2,1,0} fusion(%stack.1, %part.1, %at.1), kind=kLoop, calls=%fused_update
}
"""


@pytest.fixture(scope="module")
def kernels() -> dict[str, hlo.Kernel]:
    return {kernel.instruction.name: kernel for kernel in hlo.kernels(PROGRAM)}


def test_every_launch_is_found_and_a_loops_as_often_as_it_turns(kernels):
    assert {name: kernel.times for name, kernel in kernels.items()} == {"product.1": 1, "half_of": 3, "result": 1}


def test_an_update_in_place_reads_and_writes_only_its_part(kernels):
    assert kernels["result"].bytes == 8 * 128 * 2 + 8 * 128 * 4 + 4  # part read, part written, the place


def test_of_what_is_sliced_only_the_slice_is_read(kernels):
    assert kernels["half_of"].bytes == 2 * 8 * 64 * 4
    assert kernels["half_of"].special == 8 * 64


def test_a_products_arithmetic_is_counted_by_what_it_multiplies(kernels):
    assert kernels["product.1"].flops == {"bf16": 2 * 8 * 128 * 32}
    assert kernels["product.1"].bytes == 8 * 128 * 2 + 128 * 32 * 2 + 8 * 32 * 4
    assert kernels["product.1"].inside[-1].scope == "jit(step)/update/dot_general"
