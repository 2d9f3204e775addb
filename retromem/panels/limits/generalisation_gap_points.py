"""Points of the generalisation gap: wordings on biographies, noise on random keys, each beside an exact index."""

from collections.abc import Sequence
from functools import partial

from models.ffn_kinds import GatedConfig
from models.training_budget import TrainingBudget
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.random_keys import KeysConfig, keys_set
from retromem.measure.answers import accuracy, written
from retromem.measure.judgement import Setting, judge
from retromem.measure.latency import EncoderCost
from retromem.measure.robustness import with_key_noise
from retromem.measure.settings import MeasureConfig
from retromem.measure.trained_ffn import most_facts_around
from retromem.memories.faiss_memory import FaissMemoryConfig
from retromem.memories.ffn_memory import FFNMemoryConfig
from retromem.panels.limits.generalisation_gap import INDEX, NOISY_FFN, GeneralisationConfig
from retromem.panels.points import Point
from retromem.seam import MemoryConfig

_DIM, _NUM_VALUES, _BITS_A_FACT, _ACCURACY = 16, 16, 4.0, 0.99
_CODE_DIM = 64
_NOISY_FFN = GatedConfig(kind="swiglu", width=32)
_EXPECTED_BITS = 2.64
"""a parameter, without noise"""
_MEASURES = MeasureConfig(robustness=False)


def generalisation_points(config: GeneralisationConfig, seed: int, encoded: Sequence[KnowledgeSet]) -> list[Point]:
    """Everything of one seed; `encoded` are its text sets, with keys."""
    points = []
    for knowledge in encoded:
        # Full batch however many wordings there are: each key is shown as often.
        num_keys = knowledge.num_facts * max(config.wordings)
        budget = TrainingBudget(steps=max(1, config.steps // 2), full_batch_up_to=num_keys)
        for width in config.widths:
            memory = FFNMemoryConfig(ffn=GatedConfig(width=width), code_dim=_CODE_DIM, training=budget)
            points += _by_phrasing(None, memory, knowledge, seed)
        points += _by_phrasing(INDEX, FaissMemoryConfig(), knowledge, seed)
    return points + _with_noise(config, seed) + _capacities(config, seed)


def _by_phrasing(series: str | None, memory: MemoryConfig, knowledge: KnowledgeSet, seed: int) -> list[Point]:
    """Accuracy in every phrasing; a series without a name is called by its parameters."""
    setting = Setting(study="generalisation", role="arm", seed=seed)
    assert knowledge.text is not None
    x = float(knowledge.text.num_written)
    judged = judge(memory, knowledge, setting=setting, measures=_MEASURES, encoder=EncoderCost(), quick=True)
    series = series or f"FFN of {judged.rows[0].num_params:,} parameters"
    return [
        Point(quantity=f"accuracy_{row.phrasing}", series=series, x=x, y=row.accuracy, seed=seed)
        for row in judged.rows
        if row.accuracy is not None
    ]


def _keys(num_facts: int, seed: int) -> KnowledgeSet:
    return keys_set(KeysConfig(dim=_DIM, num_values=_NUM_VALUES, num_facts=num_facts, seed=seed))


def _noisy_ffn(noise: float, steps: int, num_facts: int) -> FFNMemoryConfig:
    budget = TrainingBudget(steps=steps, key_noise=noise, full_batch_up_to=num_facts)
    return FFNMemoryConfig(ffn=_NOISY_FFN, training=budget)


def _with_noise(config: GeneralisationConfig, seed: int) -> list[Point]:
    """Accuracy under every query noise, by the noise in training."""
    knowledge = _keys(config.num_noisy_facts, seed)
    configs: dict[str, MemoryConfig] = {
        f"trained with noise {noise:g}": _noisy_ffn(noise, config.steps, config.num_noisy_facts)
        for noise in config.written_noises
    }
    points = []
    for series, memory_config in {**configs, INDEX: FaissMemoryConfig()}.items():
        memory = written(memory_config, knowledge, seed=seed)
        for noise in config.query_noises:
            asked = with_key_noise(knowledge.ask("identical"), noise, seed=seed)
            y = accuracy(memory, asked)
            points.append(Point(quantity="accuracy_noisy", series=series, x=noise, y=y, seed=seed))
    return points


def _capacities(config: GeneralisationConfig, seed: int) -> list[Point]:
    """Bits per parameter of the most facts that are right without noise, by the noise in training."""
    num_params = _NOISY_FFN.num_params(_DIM, _DIM)
    expected = _EXPECTED_BITS * num_params / _BITS_A_FACT
    high = int(2 * expected)
    whole = _keys(high, seed)

    def reaches(num_facts: int, *, noise: float) -> bool:
        knowledge = whole.prefix(num_facts)
        memory = written(_noisy_ffn(noise, config.steps, num_facts), knowledge, seed=seed)
        return accuracy(memory, knowledge.ask("identical")) >= _ACCURACY

    points = []
    for noise in config.written_noises:
        facts = most_facts_around(
            partial(reaches, noise=noise), expected=int(expected), resolution=config.resolution, high=high
        )
        bits = facts * _BITS_A_FACT / num_params
        points.append(Point(quantity="capacity_bits_per_param", series=NOISY_FFN, x=noise, y=bits, seed=seed))
    published = Point(quantity="capacity_bits_per_param", series="published, no noise", x=0.0, y=_EXPECTED_BITS)
    return [*points, published]
