"""Any FFN that a config can name, and its size at a given number of parameters. Free of torch."""

from models.expert_kinds import ExpertsConfig
from models.ffn_kinds import DenseConfig, GatedConfig, LinearConfig, TopKConfig
from models.memory_kinds import LookupConfig, OneNeuronExpertsConfig, ProductKeysConfig
from models.presets import PresetConfig
from models.stack_kinds import StackConfig

AnyFFNConfig = (
    LinearConfig
    | DenseConfig
    | GatedConfig
    | TopKConfig
    | ExpertsConfig
    | ProductKeysConfig
    | OneNeuronExpertsConfig
    | LookupConfig
    | StackConfig
    | PresetConfig
)
"""told apart by `kind`"""

_LARGEST = 2**40


def sized(config: AnyFFNConfig, num_params: int, dim_in: int, dim_out: int, *, active: bool = False) -> AnyFFNConfig:
    """The largest FFN of this kind with at most so many parameters, or active ones.

    Raises:
        ValueError: not even the smallest fits, whose parameters are named; or every size has as many active ones.
    """

    def count(size: int) -> int:
        of_this = config.resized(size)
        return of_this.num_active_params(dim_in, dim_out) if active else of_this.num_params(dim_in, dim_out)

    smallest = count(1)
    if smallest > num_params:
        what = "active parameters" if active else "parameters"
        raise ValueError(f"{config.family} has {smallest:,} {what} at least, more than {num_params:,}")
    if config.resized(1) == config.resized(_LARGEST):
        return config
    if count(_LARGEST) == smallest:
        raise ValueError(f"{config.family} has {smallest:,} active parameters in every size: give num_params instead")
    low, high = 1, 2
    while count(high) <= num_params:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) <= num_params else (low, middle)
    return config.resized(low)
