"""Fusion: an attend becomes pair stages, or the reason why it cannot is raised.

`fuse(program, node)` gives definitions that run before (operands that are not plain reads, norms), the stages in order, and
definitions that run after (what is computed from their results). A normalizer that the mixed weights are linear in runs inside
the one sweep over the keys: softmax by a running maximum, a division by row sums after the last tile. Any other is frozen: a
stage of its own computes its statistic (a log-sum-exp, a sum), and the next stage reads it as a value of the row or of the key.
"""

from .build import Fusion, fuse

__all__ = ["Fusion", "fuse"]
