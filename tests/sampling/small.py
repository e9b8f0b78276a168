"""What the tests of sampling sample with. Programs are shared by those that ask for as many songs side by side and as
many tokens: mostly 1 or 3, and 250.
"""

from configs import ComputeConfig, Constraints, ModelConfig, SampleConfig
from jax_impl.model.museformer import MuseFormer
from jax_impl.sampling.sample import Sampler
from jax_impl.sampling.task import task_of

COMPUTE = ComputeConfig(attention="xla", precision="fp32", remat="none")
CONFIG = ModelConfig(layers=1, width=64, ffn=64, max_bars=32)
HOT = dict(temperature=1.0, top_p=1.0, max_length=250)


def sampler_for(model: MuseFormer, config: SampleConfig, prompt, wanted: Constraints) -> Sampler:
    return Sampler(model, task_of(model.config, config, COMPUTE, prompt, wanted))
