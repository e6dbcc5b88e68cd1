"""Masks: predicates to closed-form tile ranges.

    plan = analyse(mask, rows=("i",), keys=("j",), sizes={"j": Size("i")})     # a MaskPlan, see plan.py
    nest = loops(plan.forward, {"j": 128})                                     # two loops for a backend, see tiles.py
    for visit in visited(plan, {"i": 1000, "j": 1000}, {"i": 128, "j": 128}):  # what they do, in Python integers
        ...
"""

from .analyse import analyse
from .interpret import Visit, visited
from .plan import Extent, Let, Level, MaskPlan, Search, Split, Walk, show
from .tiles import Cursor, Loops, loops

__all__ = [
    "Cursor",
    "Extent",
    "Let",
    "Level",
    "Loops",
    "MaskPlan",
    "Search",
    "Split",
    "Visit",
    "Walk",
    "analyse",
    "loops",
    "show",
    "visited",
]
