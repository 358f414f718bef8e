"""Look inside a vision network, live, in a notebook."""

from nbviz import demos
from nbviz.network import Network
from nbviz.scanning import Scan, scan
from nbviz.widgets.activation_browser import ActivationBrowser
from nbviz.widgets.explorer import Explorer
from nbviz.widgets.filter_grid import FilterGrid
from nbviz.widgets.image_map import ImageMap
from nbviz.widgets.linking import link
from nbviz.widgets.occlusion_probe import OcclusionProbe
from nbviz.widgets.saved_page import SavedPage, save_html
from nbviz.widgets.top_patches import TopPatches

__all__ = [
    "ActivationBrowser",
    "Explorer",
    "FilterGrid",
    "ImageMap",
    "Network",
    "OcclusionProbe",
    "SavedPage",
    "Scan",
    "TopPatches",
    "__version__",
    "demos",
    "link",
    "save_html",
    "scan",
]

__version__ = "0.1.0"
