"""Look inside a vision network, live, in a notebook."""

from nbviz import demos
from nbviz.network import Network
from nbviz.widgets.activation_browser import ActivationBrowser
from nbviz.widgets.filter_grid import FilterGrid
from nbviz.widgets.linking import link
from nbviz.widgets.occlusion_probe import OcclusionProbe

__all__ = [
    "ActivationBrowser",
    "FilterGrid",
    "Network",
    "OcclusionProbe",
    "__version__",
    "demos",
    "link",
]

__version__ = "0.1.0"
