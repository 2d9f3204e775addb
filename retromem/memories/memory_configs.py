"""Every memory that a config can name, told apart by its `memory:` field and loaded when it is named."""

from collections.abc import Mapping
from typing import Annotated

from retromem.memories.closed_form_memory import ClosedFormMemoryConfig
from retromem.memories.ffn_memory import FFNMemoryConfig
from retromem.seam import MemoryConfig

Sizable = FFNMemoryConfig | ClosedFormMemoryConfig
"""memories whose FFN a block can make larger or smaller"""

MEMORIES: Mapping[str, str] = {
    "ffn": "retromem.memories.ffn_memory:FFNMemoryConfig",
    "closed_form": "retromem.memories.closed_form_memory:ClosedFormMemoryConfig",
    "signs": "retromem.memories.sign_memory:SignMemoryConfig",
    "willshaw": "retromem.memories.willshaw_memory:WillshawMemoryConfig",
    "faiss": "retromem.memories.faiss_memory:FaissMemoryConfig",
    "bm25": "retromem.memories.lexical_memory:LexicalMemoryConfig",
    "hybrid": "retromem.memories.hybrid_memory:HybridMemoryConfig",
    "closed_book": "retromem.memories.closed_book_memory:ClosedBookConfig",
    "rag": "retromem.memories.rag_memory:RagMemoryConfig",
    "retro": "retromem.memories.retro_memory:RetroMemoryConfig",
    "knn_lm": "retromem.memories.knn_lm_memory:KnnLmConfig",
    "knn_distilled": "retromem.memories.distilled_memory:DistilledConfig",
    "causal_lm": "retromem.memories.causal_lm_config:CausalLMConfig",
    "paired": "retromem.memories.paired_memory:PairedMemoryConfig",
    "frequency": "retromem.memories.floors:FrequencyConfig",
    "static": "retromem.memories.static_function:StaticFunctionConfig",
}
"""`module:Class` by `memory`"""

AnyMemoryConfig = Annotated[MemoryConfig, "memory", "retromem.memories.memory_configs:MEMORIES"]
