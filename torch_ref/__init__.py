"""The model a second time, written from its description in PyTorch with FlexAttention:
readable, and the yardstick of the JAX one. parity_tests and benchmarks call it.
"""
