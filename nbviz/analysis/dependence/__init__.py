"""Which input pixels every value of a forward pass depends on, followed operation by operation.

`Dependence` is a dispatch mode: while it is on, each tensor computed from the seeded input carries
a `Shadow` (`shadow.py`), which holds for every element the box of pixels that it depends on and
the cell of the feature map's grid that it belongs to. What an operation does to shadows is a rule,
found by the operation's name: `rules.py` (pointwise, reductions, products, attention), `layout.py`
(views, concatenation, padding, indexing) and `windows.py` (convolution, pooling, upsampling).
`mode.py` dispatches to them, and keeps in-place writes right for every tensor that shares the
memory.
"""

from nbviz.analysis.dependence.mode import Dependence
from nbviz.analysis.dependence.shadow import Shadow

__all__ = ["Dependence", "Shadow"]
