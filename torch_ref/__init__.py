"""The model a second time, written from its description in PyTorch with FlexAttention:
readable, and the yardstick of the JAX one.
"""
