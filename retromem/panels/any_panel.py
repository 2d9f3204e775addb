"""Every panel that a config can name, told apart by its `panel:` field."""

from retromem.panels.toy_features import ToyFeaturesConfig

AnyPanelConfig = ToyFeaturesConfig
