"""The settings of a language model of transformers as a memory: which one, how it is written, what it may read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from models.decoder_budget import DecoderBudget
from retrieval.errors import UserError
from retrieval.vector_index import IndexSpec
from retromem.memories.named_config import NamedConfig
from retromem.memories.neighbours import Neighbours
from retromem.seam import Memory, Stores

_LORA: Mapping[str, object] = {"peft_type": "LORA", "r": 8}


@dataclass(frozen=True, kw_only=True)
class CausalLMConfig(NamedConfig):
    """Any causal language model of transformers: as it is, with an adapter of peft trained on the facts, or trained
    itself. It answers by the likelihood of each candidate, and writes."""

    version: ClassVar[int] = 2
    memory: Literal["causal_lm"] = "causal_lm"
    model: str = ""
    """folder or hub id of a model with its tokenizer, weights in safetensors; it must be given"""
    write: Literal["none", "peft", "full"] = "peft"
    """none: it is asked as it is. peft: the adapter below is trained and stored. full: all weights are"""
    peft: Mapping[str, object] = field(default_factory=lambda: dict(_LORA))
    """settings of a PeftConfig of peft, told apart by `peft_type` (LORA, PREFIX_TUNING, IA3, ...), for write: peft"""
    training: DecoderBudget = field(
        default_factory=lambda: DecoderBudget(exposures=30, batch_size=32, learning_rate=1e-3)
    )
    """passes over the texts, learning rate"""
    trains_on: Literal["questions", "questions_and_statements"] = "questions_and_statements"
    """every question that is written, with its answer, and the fact's statement too"""
    learns: Literal["values", "texts"] = "values"
    """which tokens have a loss: those of the value and the end, or all"""
    precision: Literal["float32", "float16"] = "float32"
    """of what is stored, which is what answers"""
    load_in: Literal["float32", "bfloat16", "8bit", "4bit"] = "float32"
    """the model that is shared; 8 and 4 bits by bitsandbytes, where that is installed"""
    trust_remote_code: bool = False
    """of a model that brings Python code of its own: run it. No saved memory says so, whoever has saved it"""

    reads: int = 0
    """k, statements that a search over the written ones finds, put before the question; 0: it reads nothing, and no
    encoder is needed"""
    neighbours: Neighbours = "retrieved"
    """random and oracle (the statement of the very fact asked for) are controls"""
    factory: str = "Flat"
    """FAISS factory string of the store it reads from"""

    def __post_init__(self) -> None:
        _ = self.spec
        if self.write == "full" and self.load_in != "float32":
            raise ValueError("write: full trains the weights themselves: load_in must be float32")
        if self.write == "peft" and "peft_type" not in self.peft:
            raise ValueError("peft must name its peft_type, such as { peft_type: LORA, r: 8 }")

    def check(self) -> None:
        """UserError for whatever could not be loaded or trained, before anything is."""
        from retromem.language.pretrained_folder import find_pretrained, load_tokenizer, refuse_missing

        if not self.model:
            raise UserError("model: is missing; name a folder or a hub id of a causal language model")
        if self.load_in in ("8bit", "4bit"):
            refuse_missing("bitsandbytes", f"load_in: {self.load_in}", "bitsandbytes")
            refuse_missing("accelerate", f"load_in: {self.load_in}", "accelerate")
        found = find_pretrained(self.model, trust_remote_code=self.trust_remote_code)
        load_tokenizer(found, trust_remote_code=self.trust_remote_code)
        if self.write == "peft":
            refuse_missing("peft", "write: peft", "'.[lm]' (or pip install peft)")
            from models.pretrained_weights import adapter_settings

            try:
                adapter_settings(self.peft)
            except ValueError as error:
                raise UserError(f"peft.{error}") from None

    def content_hash(self) -> str:
        """Of the files of the model."""
        from retromem.language.pretrained_folder import find_pretrained

        return find_pretrained(self.model, trust_remote_code=self.trust_remote_code).content().sha256

    @property
    def spec(self) -> IndexSpec:
        """Of the store it reads from."""
        return IndexSpec(factory=self.factory)

    @property
    def needs_keys(self) -> bool:
        """Of an encoder: for the search."""
        return self.reads > 0

    @property
    def stores(self) -> Stores:
        return "statements" if self.trains_on_statements or self.reads else "questions"

    @property
    def trains_on_statements(self) -> bool:
        """Whether statements are among the texts it is trained on."""
        return self.write != "none" and self.trains_on == "questions_and_statements"

    def named(self, setting: str | None = None) -> str:
        arm = f"-k{self.reads}" if self.neighbours == "retrieved" else f"-{self.neighbours}"
        model = self.model.rstrip("/").rpartition("/")[2]
        return f"causal-lm-{model}-{self.write_label}{arm if self.reads else ''}"

    @property
    def write_label(self) -> str:
        """Of its name: `lora-r8-float16`."""
        if self.write == "none":
            return "as-is"
        parts = [str(self.peft["peft_type"]).lower() if self.write == "peft" else "full"]
        if self.write == "peft":
            parts += [f"r{self.peft['r']}"] if "r" in self.peft else []
            parts += [f"v{self.peft['num_virtual_tokens']}"] if "num_virtual_tokens" in self.peft else []
        parts += ["q"] if self.trains_on == "questions" else []
        parts += ["texts"] if self.learns == "texts" else []
        parts += [] if self.precision == "float32" else [self.precision]
        parts += [] if self.load_in == "float32" else [f"in-{self.load_in}"]
        return "-".join(parts + (["untrained"] if self.training.exposures == 0 else []))

    @property
    def family(self) -> str:
        return f"causal-lm-{self.write}{'-reading' if self.reads else ''}"

    def build(self, *, seed: int) -> Memory:
        if self.reads:
            from retromem.memories.reading_lm_memory import ReadingLMMemory

            return ReadingLMMemory(self, seed=seed)
        from retromem.memories.causal_lm_memory import CausalLMMemory

        return CausalLMMemory(self, seed=seed)

    def saved(self) -> dict[str, Any]:
        return {**super().saved(), "peft": dict(self.peft), "trust_remote_code": False}
