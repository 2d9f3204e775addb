"""What a config can choose of a residual stream. Free of torch."""

from typing import Literal

Residual = Literal["none", "plain", "layerscale", "rezero", "deepnorm"]
Norm = Literal["none", "pre", "post"]
Normaliser = Literal["layer", "rms"]
