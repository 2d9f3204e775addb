"""Any FFN that a config can name, and its size at a given number of parameters. Free of torch."""

from collections.abc import Mapping
from typing import Annotated

from models.ffn_kinds import FFNConfig

FFN_KINDS: Mapping[str, str] = {
    "linear": "models.ffn_kinds:LinearConfig",
    **dict.fromkeys(("relu", "gelu", "silu", "identity"), "models.ffn_kinds:DenseConfig"),
    **dict.fromkeys(("swiglu", "geglu", "reglu", "glu", "bilinear"), "models.ffn_kinds:GatedConfig"),
    "topk": "models.ffn_kinds:TopKConfig",
    "experts": "models.expert_kinds:ExpertsConfig",
    "product_keys": "models.memory_kinds:ProductKeysConfig",
    "peer": "models.memory_kinds:OneNeuronExpertsConfig",
    "lookup": "models.memory_kinds:LookupConfig",
    "stack": "models.stack_kinds:StackConfig",
    **dict.fromkeys(("gpt2", "bert", "gptj", "palm", "llama", "mixtral", "deepseek"), "models.presets:PresetConfig"),
}
"""`module:Class` by `kind`"""

AnyFFNConfig = Annotated[FFNConfig, "kind", "models.any_ffn:FFN_KINDS"]
"""a class of that table, by its field `kind`"""

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
