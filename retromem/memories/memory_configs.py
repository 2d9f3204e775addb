"""Every memory that a config can name, told apart by its `memory:` field."""

from retromem.memories.closed_form_memory import ClosedFormMemoryConfig
from retromem.memories.faiss_memory import FaissMemoryConfig
from retromem.memories.ffn_memory import FFNMemoryConfig
from retromem.memories.floors import FrequencyConfig
from retromem.memories.hybrid_memory import HybridMemoryConfig
from retromem.memories.lexical_memory import LexicalMemoryConfig
from retromem.memories.paired_memory import PairedMemoryConfig
from retromem.memories.sign_memory import SignMemoryConfig
from retromem.memories.static_function import StaticFunctionConfig
from retromem.memories.willshaw_memory import WillshawMemoryConfig

Sizable = FFNMemoryConfig | ClosedFormMemoryConfig
"""memories whose FFN a block can make larger or smaller"""

AnyMemoryConfig = (
    FFNMemoryConfig
    | ClosedFormMemoryConfig
    | SignMemoryConfig
    | WillshawMemoryConfig
    | FaissMemoryConfig
    | LexicalMemoryConfig
    | HybridMemoryConfig
    | PairedMemoryConfig
    | FrequencyConfig
    | StaticFunctionConfig
)
