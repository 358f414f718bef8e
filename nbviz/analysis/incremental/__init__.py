"""Exact inference of only what masks changed of an image.

The unmasked image runs once, and its maps are kept. For a batch of masks each operation computes
only the window of places that a mask can have changed, gathered from the kept maps and the changed
windows before it; where the window has grown to most of the map, whole maps go on. `graph.py` makes
a program of a traced network, `classify.py` and `operations.py` say what its nodes do to windows,
`reach.py` how far changes reach and which masks go together, `windows.py` holds maps and windows,
and `inference.py` runs them. The idea is Krypton's (Nakandala, Kumar, Papakonstantinou, SIGMOD
2019: "Incremental and Approximate Inference for Faster Occlusion-based Deep CNN Explanations").
"""

from nbviz.analysis.incremental.graph import NotIncremental
from nbviz.analysis.incremental.inference import IncrementalInference
from nbviz.analysis.incremental.reach import Arithmetic

__all__ = ["Arithmetic", "IncrementalInference", "NotIncremental"]
