"""The model that comes with the program."""

from pathlib import Path

MODEL = Path(__file__).with_name("model.safetensors")
