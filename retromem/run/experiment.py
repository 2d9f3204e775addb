"""What an experiment is: studies, each one comparison of memories on one knowledge set, and panels.

Every field is overlaid by a YAML file and by dotted overrides (`--studies.cities.knowledge.num_written 2`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from retrieval.encoder_config import EncoderConfig
from retromem.knowledge.sources import KnowledgeConfig
from retromem.measure.settings import CapacitySearch, MeasureConfig, SmallestSearch
from retromem.memories.dial import dial_of
from retromem.memories.memory_configs import AnyMemoryConfig, Sizable
from retromem.panels.any_panel import AnyPanelConfig
from retromem.seam import Role


@dataclass(frozen=True, kw_only=True)
class ArmsConfig:
    """Memories that are run on the same sizes, seeds and twins."""

    memories: tuple[AnyMemoryConfig, ...]
    """what is compared"""
    num_facts: tuple[int, ...] = ()
    """sizes; where empty: four, halving from the largest that weights are trained on; stores go on from there. Of a
    search for the smallest those with enough questions for its goal"""
    capacity: CapacitySearch | None = None
    """search the capacity of each memory instead of running the sizes"""
    smallest: SmallestSearch | None = None
    """search the smallest memory of each family at each size: the size of its FFN or of its codes is then left open"""
    seeds: tuple[int, ...] = (0, 1, 2)
    """of initial weights, dealt labels and random splits together"""
    twins: tuple[bool, ...] = (False,)
    """false: the real values; true: values permuted among the subjects of each relation"""
    keys: Literal["centred", "raw"] = "centred"
    """raw: embeddings as the encoder gives them, the offset of the wording left in"""
    role: Role = "arm"
    """what the report makes of them"""
    halves: bool = False
    """judge on half of the facts; memories that can be taught are taught on the other half"""
    shuffled: bool = False
    """null: answers are shuffled before they are scored"""
    widths_from_demand: tuple[float, ...] = ()
    """replace each FFN's size by those that would store the demand at these bits per parameter"""
    num_params: tuple[int, ...] = ()
    """replace each FFN's size by the largest with at most so many parameters"""
    num_active_params: tuple[int, ...] = ()
    """the same, by the parameters that one answer is computed from"""

    def __post_init__(self) -> None:
        for name in ("memories", "seeds", "twins"):
            if not getattr(self, name):
                raise ValueError(f"{name} must name one or more")
        sizes = ("widths_from_demand", "num_params", "num_active_params")
        for name in ("seeds", "twins", "num_facts", *sizes):
            if len(set(named := getattr(self, name))) < len(named):
                raise ValueError(f"{name} must name each once, not {list(named)}")
        given = [name for name in sizes if getattr(self, name)]
        if len(given) > 1:
            raise ValueError("give one of widths_from_demand, num_params and num_active_params")
        for memory in self.memories:
            if given and not isinstance(memory, Sizable):
                raise ValueError(
                    f"{given[0]} sizes the FFN of ffn and closed_form memories, not {memory.memory}: give it another "
                    "block of arms"
                )
        if not all(0 < bits_per_param < math.inf for bits_per_param in self.widths_from_demand):
            raise ValueError(f"widths_from_demand must be more than 0 and finite, not {list(self.widths_from_demand)}")
        if self.smallest:
            self._check_smallest(given)
        if self.capacity and self.capacity.phrasing != "identical":
            for memory in self.memories:
                if getattr(memory, "exact_keys_only", False):
                    raise ValueError(
                        f"{memory.memory} answers the written wording alone: search its capacity in identical ones"
                    )
        if any(memory.memory == "paired" for memory in self.memories) and not self.halves:
            raise ValueError("a paired memory is taught on other facts than it is asked for: add `halves: true`")
        if self.halves and self.capacity:
            raise ValueError("halves and a search for the capacity do not go together")
        if self.halves and any(size < 2 for size in self.num_facts):
            raise ValueError("halves need two facts or more")

    def _check_smallest(self, sizes_given: Sequence[str]) -> None:
        """ValueError where there is nothing to search, or something else says which sizes are run."""
        assert self.smallest
        unlike = {
            "capacity": self.capacity,
            "halves": self.halves,
            "shuffled": self.shuffled,
            "keys: raw": self.keys == "raw",
            f"role: {self.role}": self.role != "arm",
        }
        for other in (*(name for name, given in unlike.items() if given), *sizes_given):
            raise ValueError(f"smallest and {other} do not go together: leave one of them out")
        for number, memory in enumerate(self.memories):
            dial = dial_of(memory)
            if dial is None:
                raise ValueError(
                    f"memories.{number}: {memory.name} has no dial, so there is no smallest of its family; FFNs have "
                    "their width, an index has rotate_to (with factory LSH, PQ8x4np, SQ4, RaBitQ ...)"
                )
            try:
                dial.between(self.smallest.low, self.smallest.high)
            except ValueError as error:
                raise ValueError(f"memories.{number}: {error}") from None


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """Values of one setting of a study, each of which it is run with."""

    settings: tuple[str, ...]
    """dotted paths inside the study that are given each value together: `arms.0.memories.0.training.learning_rate`,
    `knowledge.label_noise`, `encoder.truncate_dim`"""
    values: tuple[object, ...]
    """of the setting, in the order of the page"""
    study: str = ""
    """left empty: a run that has made one study a value keeps here which study they were"""

    def __post_init__(self) -> None:
        for name in ("settings", "values"):
            if not getattr(self, name):
                raise ValueError(f"{name} must name one or more")

    @property
    def axis(self) -> str:
        """What is swept, in a word for each setting of another name."""
        return " and ".join(dict.fromkeys(setting.rpartition(".")[2] for setting in self.settings))


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """One comparison: every row of it carries the same knowledge hash."""

    knowledge: KnowledgeConfig
    """the facts"""
    arms: tuple[ArmsConfig, ...]
    """who answers"""
    encoder: EncoderConfig | None = None
    """of this study; that of the experiment where empty"""
    sweep: SweepConfig | None = None
    """run the study once for each value of a setting, and draw what comes out over it"""

    def __post_init__(self) -> None:
        if not self.arms:
            raise ValueError("arms must name one or more blocks of memories")


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """A title, a question, and the studies and panels that answer it."""

    title: str
    """of the report"""
    question: str
    """one sentence that the report answers"""
    studies: Mapping[str, StudyConfig] = field(default_factory=dict)
    """comparisons of memories, by name"""
    panels: Mapping[str, AnyPanelConfig] = field(default_factory=dict)
    """measurements beside a formula or a null, by name"""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """serves every memory of every text study that names none, and panels"""
    measures: MeasureConfig = field(default_factory=MeasureConfig)
    """what is asked"""
    max_weight_facts: int = 4000
    """sizes chosen by themselves stop here for memories that are trained"""
    seconds_expected: float | None = None
    """of the whole run on two cores, as measured; shown before it starts. A rough guess where empty"""

    def __post_init__(self) -> None:
        if self.max_weight_facts < 1:
            raise ValueError(f"max_weight_facts must be 1 or more, not {self.max_weight_facts}")
