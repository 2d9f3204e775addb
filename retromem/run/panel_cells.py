"""A panel cell: one panel measured for one seed. A pure function of its config, named by it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from retrieval.encoder_config import EncoderConfig
from retrieval.encoder_files import sha256_of
from retrieval.errors import UserError
from retromem.measure.judgement import VERSION
from retromem.panels.any_panel import AnyPanelConfig
from retromem.run.cells import readable_hash


@dataclass(frozen=True, kw_only=True)
class PanelCell:
    """Everything that one worker needs."""

    name: str
    """of the panel in its experiment"""
    panel: AnyPanelConfig
    seed: int
    encoder_hash: str
    """'' where no text is read"""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """whose hash that is"""

    def identity(self) -> dict[str, Any]:
        """All that changes the result; not the other seeds."""
        config: dict[str, Any] = asdict(self.panel)
        for name in self.panel.no_part_of_the_result:
            del config[name]
        for name, paths in self.panel.files_read().items():
            config[name] = _content_of(paths)
        return {
            "measure_version": VERSION,
            "panel_version": self.panel.version,
            "panel": config,
            "seed": self.seed,
            "encoder": self.encoder_hash,
        }

    @property
    def folder_name(self) -> str:
        return readable_hash(f"{self.name}-s{self.seed}", self.identity())

    @property
    def weight(self) -> float:
        """Rough seconds on one core, to start long cells first and to say how long a run will take."""
        return self.panel.seconds_a_seed


def _content_of(paths: Sequence[Path]) -> list[str]:
    """sha256 of each; UserError where one cannot be read."""
    try:
        return [sha256_of(path) for path in paths]
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read: {error.strerror}") from None


def plan_panels(panels: Mapping[str, AnyPanelConfig], *, encoder_hash: str, encoder: EncoderConfig) -> list[PanelCell]:
    """Every cell of the panels of an experiment."""
    return [
        PanelCell(
            name=name, panel=panel, seed=seed, encoder_hash=encoder_hash if panel.reads_text else "", encoder=encoder
        )
        for name, panel in panels.items()
        for seed in panel.seeds
    ]
