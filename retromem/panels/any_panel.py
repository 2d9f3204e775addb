"""Every panel that a config can name, told apart by its `panel:` field and loaded when it is named."""

from typing import Annotated

from retromem.panels.panel_config import PanelConfig

PANELS = {
    "physical_capacity": "retromem.panels.theory.physical_limit:PhysicalCapacityConfig",
    "activation_patterns": "retromem.panels.theory.pattern_counts:ActivationPatternsConfig",
    "pattern_use": "retromem.panels.theory.pattern_use:PatternUseConfig",
    "classical_bounds": "retromem.panels.theory.perceptron_limits:ClassicalBoundsConfig",
    "toy_features": "retromem.panels.theory.toy_features:ToyFeaturesConfig",
    "neurons": "retromem.panels.theory.neurons:NeuronsConfig",
    "capacity_slope": "retromem.panels.theory.capacity_slope:CapacitySlopeConfig",
    "facts_in_superposition": "retromem.panels.theory.superposed_facts:SuperposedFactsConfig",
    "key_sparsity": "retromem.panels.theory.key_sparsity:KeySparsityConfig",
    "sparse_units": "retromem.panels.theory.sparse_units:SparseUnitsConfig",
    "interference": "retromem.panels.limits.interference:InterferenceConfig",
    "optimisation": "retromem.panels.limits.optimisation_gap:OptimisationConfig",
    "generalisation": "retromem.panels.limits.generalisation_gap:GeneralisationConfig",
    "reworded_capacity": "retromem.panels.limits.reworded_capacity:RewordedCapacityConfig",
    "overload": "retromem.panels.limits.overload:OverloadConfig",
    "ranks_in_training": "retromem.panels.limits.ranks_in_training:RanksInTrainingConfig",
    "rank_limits": "retromem.panels.limits.rank_limits:RankLimitsConfig",
    "depth_at_work": "retromem.panels.limits.depth_at_work:DepthAtWorkConfig",
    "architecture": "retromem.panels.limits.architecture:ArchitectureConfig",
    "code_dimension": "retromem.panels.limits.code_dimension:CodeDimensionConfig",
    "embedding_limits": "retromem.panels.retrieval.embedding_limits:EmbeddingLimitsConfig",
    "limit_small": "retromem.panels.retrieval.limit_small_recall:LimitSmallConfig",
    "near_duplicates": "retromem.panels.retrieval.near_duplicate_recall:NearDuplicatesPanelConfig",
    "pair_curve": "retromem.panels.retrieval.pair_curve:PairCurveConfig",
    "passages": "retromem.panels.retrieval.passages:PassagesConfig",
    "reading": "retromem.panels.retrieval.document_reading:ReadingConfig",
    "index_recall": "retromem.panels.retrieval.index_recall:IndexRecallConfig",
    "change_prices": "retromem.panels.retrieval.change_prices:ChangePricesConfig",
    "plans": "retromem.panels.retrieval.plan_accuracy:PlanAccuracyConfig",
    "decoder_depth": "retromem.panels.decoders.decoder_depth:DecoderDepthConfig",
    "decoder_layers_that_hold": "retromem.panels.decoders.layers_that_hold:LayersThatHoldConfig",
    "decoder_neurons": "retromem.panels.decoders.decoder_neurons:DecoderNeuronsConfig",
    "binary_perceptron_load": "retromem.panels.published.binary_perceptron_load:BinaryPerceptronLoadConfig",
    "capacity_ratio": "retromem.panels.published.capacity_ratio:CapacityRatioConfig",
    "ffn_capacity": "retromem.panels.published.ffn_capacity:FFNCapacityConfig",
    "free_embedding_documents": "retromem.panels.published.free_embedding_documents:FreeEmbeddingDocumentsConfig",
    "hopfield_load": "retromem.panels.published.hopfield_load:HopfieldLoadConfig",
    "vector_bytes": "retromem.panels.published.vector_bytes:VectorBytesConfig",
    "limit_small_words": "retromem.panels.published.limit_small_words:LimitSmallWordsConfig",
    "line_regions": "retromem.panels.published.line_regions:LineRegionsConfig",
    "moment_curve_sets": "retromem.panels.published.moment_curve_sets:MomentCurveSetsConfig",
    "perceptron_load": "retromem.panels.published.perceptron_load:PerceptronLoadConfig",
    "rounding_loss": "retromem.panels.published.rounding_loss:RoundingLossConfig",
    "static_function_overhead": "retromem.panels.published.static_function_overhead:StaticFunctionOverheadConfig",
    "toy_plateau": "retromem.panels.published.toy_plateau:ToyPlateauConfig",
    "two_token_facts": "retromem.panels.published.two_token_facts:TwoTokenFactsConfig",
    "two_token_noise": "retromem.panels.published.two_token_noise:TwoTokenNoiseConfig",
    "willshaw_load": "retromem.panels.published.willshaw_load:WillshawLoadConfig",
}
"""`module:Class` by name"""

AnyPanelConfig = Annotated[PanelConfig, "panel", "retromem.panels.any_panel:PANELS"]
