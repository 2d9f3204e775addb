"""Every panel that a config can name, told apart by its `panel:` field."""

from retromem.panels.limits.architecture import ArchitectureConfig
from retromem.panels.limits.code_dimension import CodeDimensionConfig
from retromem.panels.limits.depth_at_work import DepthAtWorkConfig
from retromem.panels.limits.encoder_keys import EncoderKeysConfig
from retromem.panels.limits.generalisation_gap import GeneralisationConfig
from retromem.panels.limits.interference import InterferenceConfig
from retromem.panels.limits.optimisation_gap import OptimisationConfig
from retromem.panels.limits.overload import OverloadConfig
from retromem.panels.limits.rank_limits import RankLimitsConfig
from retromem.panels.limits.ranks_in_training import RanksInTrainingConfig
from retromem.panels.limits.reworded_capacity import RewordedCapacityConfig
from retromem.panels.retrieval.change_prices import ChangePricesConfig
from retromem.panels.retrieval.document_reading import ReadingConfig
from retromem.panels.retrieval.embedding_limits import EmbeddingLimitsConfig
from retromem.panels.retrieval.index_recall import IndexRecallConfig
from retromem.panels.retrieval.limit_small_recall import LimitSmallConfig
from retromem.panels.retrieval.near_duplicate_recall import NearDuplicatesPanelConfig
from retromem.panels.retrieval.pair_curve import PairCurveConfig
from retromem.panels.retrieval.passages import PassagesConfig
from retromem.panels.retrieval.plan_accuracy import PlanAccuracyConfig
from retromem.panels.theory.capacity_slope import CapacitySlopeConfig
from retromem.panels.theory.key_sparsity import KeySparsityConfig
from retromem.panels.theory.neurons import NeuronsConfig
from retromem.panels.theory.pattern_counts import ActivationPatternsConfig
from retromem.panels.theory.pattern_use import PatternUseConfig
from retromem.panels.theory.perceptron_limits import ClassicalBoundsConfig
from retromem.panels.theory.physical_limit import PhysicalCapacityConfig
from retromem.panels.theory.sparse_units import SparseUnitsConfig
from retromem.panels.theory.superposed_facts import SuperposedFactsConfig
from retromem.panels.theory.toy_features import ToyFeaturesConfig

AnyPanelConfig = (
    PhysicalCapacityConfig
    | ActivationPatternsConfig
    | PatternUseConfig
    | ClassicalBoundsConfig
    | ToyFeaturesConfig
    | NeuronsConfig
    | CapacitySlopeConfig
    | SuperposedFactsConfig
    | KeySparsityConfig
    | SparseUnitsConfig
    | InterferenceConfig
    | OptimisationConfig
    | GeneralisationConfig
    | RewordedCapacityConfig
    | OverloadConfig
    | RanksInTrainingConfig
    | RankLimitsConfig
    | DepthAtWorkConfig
    | ArchitectureConfig
    | CodeDimensionConfig
    | EncoderKeysConfig
    | EmbeddingLimitsConfig
    | LimitSmallConfig
    | NearDuplicatesPanelConfig
    | PairCurveConfig
    | PassagesConfig
    | ReadingConfig
    | IndexRecallConfig
    | ChangePricesConfig
    | PlanAccuracyConfig
)
