"""Every choice a user can make, as frozen dataclasses; defaults live here and nowhere else (stdlib only)."""

from configs.check import CheckConfig
from configs.cluster import ClusterConfig
from configs.data import PEDAL, AugmentConfig, DataConfig, Pedal, PrepareConfig
from configs.errors import InputError
from configs.model import MASK_RULES, MODEL_SIZES, ComputeConfig, MaskRule, ModelConfig
from configs.sample import Constraints, SampleConfig
from configs.train import TrainConfig

__all__ = [
    "MASK_RULES",
    "MODEL_SIZES",
    "PEDAL",
    "AugmentConfig",
    "CheckConfig",
    "ClusterConfig",
    "ComputeConfig",
    "Constraints",
    "DataConfig",
    "InputError",
    "MaskRule",
    "ModelConfig",
    "Pedal",
    "PrepareConfig",
    "SampleConfig",
    "TrainConfig",
]
