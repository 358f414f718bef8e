"""One pass over a data set, kept in a store, and gone on with where it was interrupted."""

from nbviz.scanning.driver import scan
from nbviz.scanning.result import Scan

__all__ = ["Scan", "scan"]
