"""Every choice a user can make, as frozen dataclasses; defaults live here and nowhere else (stdlib only)."""

from configs.check import CheckConfig
from configs.cluster import ClusterConfig
from configs.data import ALIGN, PEDAL, Align, AugmentConfig, DataConfig, Pedal, PrepareConfig
from configs.errors import InputError
from configs.evaluate import EvaluateConfig
from configs.finetune import FinetuneConfig
from configs.model import MASK_RULES, MODEL_SIZES, ComputeConfig, MaskRule, ModelConfig
from configs.sample import Constraints, SampleConfig
from configs.train import TrainConfig

__all__ = [
    "ALIGN",
    "MASK_RULES",
    "MODEL_SIZES",
    "PEDAL",
    "Align",
    "AugmentConfig",
    "CheckConfig",
    "ClusterConfig",
    "ComputeConfig",
    "Constraints",
    "DataConfig",
    "EvaluateConfig",
    "FinetuneConfig",
    "InputError",
    "MaskRule",
    "ModelConfig",
    "Pedal",
    "PrepareConfig",
    "SampleConfig",
    "TrainConfig",
]
