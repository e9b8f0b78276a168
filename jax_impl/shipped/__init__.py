"""The model that comes with this program, as a file of `export`: what is sampled from where no run is named."""

from pathlib import Path

MODEL = Path(__file__).with_name("model.safetensors")
NAME = "the model that comes with this program"  # what a user reads, who need not know where it lies
