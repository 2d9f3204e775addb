"""A cell: one memory on one set, size, twin and seed. A pure function of its config, named by it.

The folder is called by a readable prefix and a hash of all that changes the result; device, paths and the number of
workers are left out.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any

from models.any_ffn import AnyFFNConfig, sized
from models.decoder_budget import DecoderBudget
from retrieval.encoder import Encoder
from retrieval.encoder_config import EncoderConfig
from retrieval.errors import UserError
from retromem.configuration import is_of_others
from retromem.knowledge.knowledge_set import KnowledgeSet
from retromem.knowledge.sources import KnowledgeConfig, build_knowledge
from retromem.measure.judgement import VERSION
from retromem.measure.search_bounds import can_be_asked, refuse_search, why_unasked
from retromem.measure.settings import CapacitySearch, MeasureConfig, SmallestSearch
from retromem.memories.dial import Dialled
from retromem.memories.memory_configs import AnyMemoryConfig, Sizable
from retromem.run.experiment import ArmsConfig, ExperimentConfig
from retromem.seam import Checked, Role, needs_keys

MOST_PARAMS = 10**9
"""of an FFN, as float32 with gradients and Adam's two moments"""
_TOO_MANY = f"{MOST_PARAMS:,} parameters, which take 16 GB to train"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Everything that one worker needs; where it computes is not part of it."""

    study: str
    knowledge: KnowledgeConfig
    knowledge_hash: str
    encoder_hash: str
    """'' for the keys task"""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """whose hash that is"""
    model_hash: str = ""
    """of a language model that the memory is made of; empty where there is none"""
    max_calibration: int = 512
    """of the set"""
    place: str = field(default="", compare=False)
    """of the memory in its study: `arms 0, memory 1`"""
    memory: AnyMemoryConfig
    num_facts: int
    """largest N in reach of the search, where there is one"""
    capacity: CapacitySearch | None
    smallest: SmallestSearch | None
    """the memory's dial is searched, and what its config says of it counts for nothing"""
    seed: int
    twin: bool
    raw_keys: bool
    role: Role
    halves: bool
    shuffled: bool
    measures: MeasureConfig

    def identity(self) -> dict[str, Any]:
        """All that changes the result, ready for JSON."""
        settings = asdict(self)
        for name in ("knowledge", "encoder", "place"):  # hashes stand for two; where it stands is no matter
            del settings[name]
        if not self.model_hash:
            del settings["model_hash"]
        versions: dict[str, Any] = {"measure_version": VERSION, "memory_version": self.memory.version}
        if parts := versions_of_others(self.memory):
            versions["versions_of_others"] = parts
        return {**versions, **settings}

    @property
    def folder_name(self) -> str:
        size = "capacity" if self.capacity else f"n{self.num_facts}"
        size += f"-smallest-{self.smallest.phrasing}" if self.smallest else ""
        parts = [self.study, *(["twin"] if self.twin else []), self.name, size, f"s{self.seed}"]
        return readable_hash("-".join(parts), self.identity())

    @property
    def name(self) -> str:
        """Of the memory, as its rows will have it."""
        suffix = ("-raw" if self.raw_keys else "") + ("-shuffled" if self.shuffled else "")
        name = self.memory.searched_name if self.smallest and isinstance(self.memory, Dialled) else self.memory.name
        return name + suffix

    @property
    def weight(self) -> float:
        """Rough seconds on one core, to start long cells first and to say how long a run will take."""
        training = getattr(self.memory, "training", None)
        searches = 10.0 if self.capacity else 6.0 if self.smallest else 1.0
        if isinstance(training, DecoderBudget):
            return 0.4 + 4e-4 * training.exposures * self.num_facts
        if training is None or not training.steps:
            return 0.4 * searches
        return float(searches * training.steps * (0.0003 if not self.encoder_hash else 0.003))


def versions_of_others(config: Any) -> dict[str, int]:
    """Of the classes of a user's within this config: the `version` of each, 1 where it has none."""
    found: dict[str, int] = {}
    if is_dataclass(config):
        cls = type(config)
        if is_of_others(config):
            found[f"{cls.__module__}:{cls.__name__}"] = getattr(cls, "version", 1)
        for part in fields(config):
            found |= versions_of_others(getattr(config, part.name))
    return found


def readable_hash(readable: str, identity: Mapping[str, Any]) -> str:
    """The name of a cell's folder: what a reader looks for, and a hash of all that changes the result."""
    canonical = json.dumps(identity, sort_keys=True).encode()
    # ASCII alone, or a locale without other letters could not name the folder, and another could not find it.
    return f"{re.sub(r'[^ -~]|[/,]', '_', readable)[:90]}-{hashlib.sha256(canonical).hexdigest()[:8]}"


def plan(config: ExperimentConfig, *, encoder_hash: str, text_dim: int) -> list[Cell]:
    """Every cell of the studies of an experiment. `encoder_hash`, `text_dim`: of the encoder of those that name none.

    UserError where a size is larger than its set, where a set cannot be asked or read as it says, or where two
    memories of a study could not be told apart.
    """
    cells: list[Cell] = []
    for study_name, study in config.studies.items():
        whole = build_knowledge(study.knowledge)
        if study.encoder and not whole.text:
            raise UserError(f"studies.{study_name}.encoder: {whole.name} has no text to encode; leave it out")
        own = Encoder(study.encoder) if study.encoder else None
        study_hash, study_dim = (own.content_hash, own.dim) if own else (encoder_hash, text_dim)
        for number, arms in enumerate(study.arms):
            path = f"studies.{study_name}.arms.{number}"
            block = _Block(arms=arms, whole=whole, config=config, dim=key_dim(whole, study_dim), path=path)
            block.refuse()
            cells += [
                Cell(
                    study=study_name,
                    knowledge=study.knowledge,
                    knowledge_hash=whole.content_hash,
                    encoder_hash=study_hash if whole.text and needs_keys(memory) else "",
                    encoder=study.encoder or config.encoder,
                    model_hash=memory.content_hash() if isinstance(memory, Checked) else "",
                    max_calibration=whole.max_calibration,
                    place=f"arms {number}, memory {place}",
                    memory=memory,
                    num_facts=num_facts,
                    capacity=arms.capacity,
                    smallest=arms.smallest,
                    seed=seed,
                    twin=twin,
                    raw_keys=arms.keys == "raw",
                    role=arms.role,
                    halves=arms.halves,
                    shuffled=arms.shuffled,
                    measures=config.measures,
                )
                for place, memory in enumerate(block.memories())
                # Both sides of a search for the smallest are asked at the same sizes.
                for num_facts in block.sizes(trained=hasattr(memory, "training") or arms.smallest is not None)
                # Uniformly drawn values are dealt anew for each seed as it is: a twin would be the same again.
                for twin in ((False,) if whole.uniform else arms.twins)
                for seed in arms.seeds
            ]
    _refuse_namesakes(cells)
    return list({cell.folder_name: cell for cell in cells}.values())


def unsearched(config: ExperimentConfig) -> list[str]:
    """What is searched at sizes of its own choice, and cannot be asked at any: a sentence each."""
    told = [
        why_unasked(arms.smallest, build_knowledge(study.knowledge), config.measures)
        for study in config.studies.values()
        for arms in study.arms
        if arms.smallest and not arms.num_facts
    ]
    return [sentence for sentence in dict.fromkeys(told) if sentence]


@dataclass(frozen=True, kw_only=True)
class _Block:
    """One block of arms of a study, on its set."""

    arms: ArmsConfig
    whole: KnowledgeSet
    config: ExperimentConfig
    dim: int
    """of the keys"""
    path: str
    """in the config"""

    def refuse(self) -> None:
        """UserError where what is asked or read is not there."""
        arms, whole, asked = self.arms, self.whole, self.whole.phrasings()
        if arms.capacity and arms.capacity.phrasing not in asked:
            raise UserError(
                f"{self.path}.capacity.phrasing: {whole.name} has no {arms.capacity.phrasing} questions; it is asked "
                f"in {', '.join(asked)} ones"
            )
        for number, memory in enumerate(arms.memories):
            path = f"{self.path}.memories.{number}"
            if memory.stores == "statements" and whole.text is None:
                raise UserError(f"{path}: {memory.name} reads statements, and {whole.name} has no text")
            if isinstance(memory, Checked):
                try:
                    memory.check()
                except UserError as error:
                    raise UserError(f"{path}.{error}") from None
            most = int(whole.values.num_candidates_R().max(initial=0))
            if getattr(memory, "code_dim", None) == 1 and most > 2:
                raise UserError(
                    f"{path}.code_dim: {most:,} values have two codes between them in one dimension: name 2 or more"
                )
        try:
            for num_facts in self.sizes(trained=False):  # those of all memories
                whole.prefix(num_facts)
        except UserError as error:
            raise UserError(f"{self.path}.num_facts: {error}") from None
        if arms.smallest:
            measures = self.config.measures
            for num_facts in self.sizes(trained=True):
                prefix = whole.prefix(num_facts)
                refuse_search(arms.smallest, arms.memories, prefix, dim=self.dim, measures=measures, path=self.path)

    def sizes(self, *, trained: bool) -> Sequence[int]:
        """As asked for; else four up to what weights are trained on, and for others on from there to the whole set."""
        arms, num_all = self.arms, self.whole.num_facts
        if arms.capacity:
            return [min(arms.capacity.high, num_all)]
        if arms.num_facts:
            return arms.num_facts
        most = min(self.config.max_weight_facts, num_all)
        sizes = {max(1, most >> halvings) for halvings in range(4)}
        if not trained:
            sizes |= {most << doublings for doublings in range(1, 40) if most << doublings < 0.75 * num_all}
            sizes.add(num_all)
        if arms.smallest:  # of a set that nobody knew when the config was written: what cannot be asked is left out
            measures = self.config.measures
            sizes = {size for size in sizes if can_be_asked(arms.smallest, self.whole.prefix(size), measures)}
        return sorted(sizes)

    def memories(self) -> Iterator[AnyMemoryConfig]:
        """Each FFN in every size that is asked for. UserError where a size cannot be had."""
        for number, memory in enumerate(self.arms.memories):
            try:
                yield from self._sized(memory) if isinstance(memory, Sizable) else [memory]
            except ValueError as error:
                raise UserError(f"{self.path}.memories.{number}.ffn: {error}") from None

    def _sized(self, memory: Sizable) -> Iterator[AnyMemoryConfig]:
        """One FFN at the parameters that the block names, or at those that its largest demand asks for."""
        arms, dim = self.arms, memory.rotate_to or self.dim
        dims = dim, memory.code_dim or dim
        if not (arms.num_params or arms.num_active_params or arms.widths_from_demand):
            _check_most(memory.ffn, *dims)
            yield memory
        for num_params in arms.num_params:
            yield memory.with_ffn(_check_most(sized(memory.ffn, num_params, *dims), *dims))
        for num_params in arms.num_active_params:
            yield memory.with_ffn(_check_most(sized(memory.ffn, num_params, *dims, active=True), *dims))
        if arms.widths_from_demand:
            demand_bits = self.whole.prefix(max(self.sizes(trained=True))).demand_bits()
            for bits_per_param in arms.widths_from_demand:
                if demand_bits / bits_per_param > MOST_PARAMS:
                    raise ValueError(
                        f"widths_from_demand of {bits_per_param:g} would give {demand_bits:,.0f} bits more than "
                        f"{_TOO_MANY}: name {_rounded_up(demand_bits / MOST_PARAMS)} or more"
                    )
                yield memory.with_ffn(_holding(memory.ffn, math.ceil(demand_bits / bits_per_param), *dims))


def _refuse_namesakes(cells: Sequence[Cell]) -> None:
    """Rows know a memory by its name: two of one name would be merged, as if they were seeds of one."""
    named: dict[tuple[str, str, str], Cell] = {}
    for cell in cells:
        other = named.setdefault((cell.study, cell.name, cell.role), cell)
        if other.memory != cell.memory:
            raise UserError(
                f"studies.{cell.study}: two memories are called {cell.name}, but differ in their settings; give each a "
                "name of its own (`called:`), or a study of its own"
            )


def _check_most(ffn: AnyFFNConfig, dim_in: int, dim_out: int) -> AnyFFNConfig:
    """The same; ValueError where it is too large to be trained."""
    num_params = ffn.num_params(dim_in, dim_out)
    if num_params > MOST_PARAMS:
        raise ValueError(f"{ffn.label} has {num_params:,} parameters; none may have more than {_TOO_MANY}")
    return ffn


def _rounded_up(number: float) -> str:
    """To two digits."""
    step = 10.0 ** (math.floor(math.log10(number)) - 1)
    return f"{math.ceil(number / step) * step:.2g}"


def _holding(ffn: AnyFFNConfig, num_params: int, dim_in: int, dim_out: int) -> AnyFFNConfig:
    """The smallest of this kind with at least so many parameters; two units at least."""
    if ffn.resized(2).num_params(dim_in, dim_out) >= num_params:
        return ffn.resized(2)
    largest = sized(ffn, num_params, dim_in, dim_out)
    if largest.size is None or largest.num_params(dim_in, dim_out) == num_params:
        return largest
    return largest.resized(largest.size + 1)


def key_dim(knowledge: KnowledgeSet, text_dim: int) -> int:
    """Dimensions of the keys: the encoder's for texts."""
    return text_dim if knowledge.all_keys is None else knowledge.all_keys.shape[1]
