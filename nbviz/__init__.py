"""Look inside a vision network, live, in a notebook."""

from nbviz import demos
from nbviz.network import Network
from nbviz.widgets.filter_grid import FilterGrid

__all__ = ["FilterGrid", "Network", "__version__", "demos"]

__version__ = "0.1.0"
