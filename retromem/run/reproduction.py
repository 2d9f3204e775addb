"""Which published numbers are measured again: those of a tier, those of some source, and those whose files are here."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import get_args, get_type_hints

from retrieval.errors import UserError
from retromem.configuration import build, read_config
from retromem.knowledge.limit_small import limit_small
from retromem.panels.panel_config import PanelConfig
from retromem.panels.published.limit_small_words import LimitSmallWordsConfig
from retromem.panels.published.published_panel import PublishedPanel
from retromem.run.experiment import ExperimentConfig

CONFIG = Path("configs/reproduce.yaml")
TIERS: tuple[str, ...] = get_args(get_type_hints(PublishedPanel)["tier"])


def reproduction(
    *, tier: str = "quick", only: str | None = None, limit_small_folder: Path | None = None, path: Path = CONFIG
) -> ExperimentConfig:
    """The experiment of a tier; full holds the quick numbers too.

    `only`: words that the source or the setting of each must hold, in any case. `limit_small_folder`: where LIMIT-small
    lies, which is not ours to ship; without it its numbers are left out.

    Raises:
        UserError: no such tier, no number of these words, or files that are not there or are others.
    """
    if tier not in TIERS:
        raise UserError(f"TIER={tier}: is no tier; name one of {', '.join(TIERS)}")
    whole = build(ExperimentConfig, read_config(path), source=str(path))
    panels = {
        name: panel for name, panel in whole.panels.items() if tier == "full" or getattr(panel, "tier", tier) == tier
    }
    panels = _with_files(panels, limit_small_folder)
    return replace(whole, panels=panels if only is None else _named(panels, only))


def _with_files(panels: Mapping[str, PanelConfig], folder: Path | None) -> dict[str, PanelConfig]:
    if folder is None:
        return {name: panel for name, panel in panels.items() if not isinstance(panel, LimitSmallWordsConfig)}
    limit_small(folder)  # says what is wrong with it
    return {
        name: replace(panel, folder=str(folder)) if isinstance(panel, LimitSmallWordsConfig) else panel
        for name, panel in panels.items()
    }


def _named(panels: Mapping[str, PanelConfig], words: str) -> dict[str, PanelConfig]:
    rows = {name: panel.row([]) for name, panel in panels.items() if isinstance(panel, PublishedPanel)}
    found = [name for name, row in rows.items() if words.casefold() in f"{row.source}, {row.setting}".casefold()]
    if not found:
        sources = ", ".join(dict.fromkeys(row.source for row in rows.values()))
        raise UserError(
            f"ONLY={words}: is in no source or setting of this tier (TIER=full has more); sources are {sources}"
        )
    return {name: panels[name] for name in found}
