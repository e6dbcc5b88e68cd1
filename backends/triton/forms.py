"""The forms of a backward pass: split, or joint.

    split   one kernel for what the rows get, one for what the keys get; seven products; the same result on every run. The default
    joint   one kernel for both; five products; what the rows get is added atomically, so results differ in their last bits from run
            to run

No search chooses joint by itself, since it changes results. A caller does, in one of two ways: ATTNCC_BACKWARD=joint asks for it in
the whole process, and a file of pinned configurations (`pins.py`) that has one for a joint kernel asks for it in that kernel. Both
give way to `torch.use_deterministic_algorithms(True)`: the pass is split then, and a warning says so once. A pass without a side to
join (several kinds of keys, sums by key) stays split.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

import torch

from attncc.errors import AttnValueError
from attncc.schedules.backward import Differentiated, Rewrite, Tape
from attncc.schedules.joint_atomic import NOTE, joint_atomic
from attncc.schedules.plan import Fused
from attncc.tile.nodes import Program

FORMS = ("split", "joint")
VARIABLE = "ATTNCC_BACKWARD"

Pinned = Callable[[Program], bool]
"""Whether a configuration is pinned for a kernel."""


def rewrite(form: str) -> Rewrite | None:
    """What makes a form of the split one. Raises AttnValueError for a word that is none."""
    return joint_atomic if checked(form) == "joint" else None


def checked(form: str, where: str = "the form of a backward pass") -> str:
    """The form itself. Raises AttnValueError for a word that is none."""
    if form not in FORMS:
        raise AttnValueError(f"{where} must be one of {', '.join(FORMS)}, found '{form}'")
    return form


def asked() -> str:
    """What the environment asks for."""
    return checked(os.environ.get(VARIABLE) or "split", VARIABLE)


def kernels(tape: Tape) -> list[Program]:
    """The joint kernels of a pass."""
    steps = (s for s in tape.plan.steps if isinstance(s, Fused))
    return [k for s in steps for k in s.kernels if NOTE in k.notes]


def why(tape: Tape) -> tuple[str, str]:
    """The form that a call takes and the reason, in words. tape: the joint pass."""
    if not kernels(tape):
        return "split", "no phase has both sides of the same pairs to join"
    if asked() == "joint":
        if torch.are_deterministic_algorithms_enabled():
            return "split", f"{VARIABLE}=joint gives way to torch.use_deterministic_algorithms(True)"
        return "joint", f"{VARIABLE}=joint: five products a pair, and sums in no fixed order"
    return (
        "split",
        f"the same result on every run; {VARIABLE}=joint: five products a pair instead of seven, sums in no fixed order",
    )


@dataclass
class Forms:
    """Both forms of a differentiated program."""

    split: Differentiated
    joint: Differentiated = field(init=False)

    def __post_init__(self) -> None:
        self.joint = replace(self.split, rewrite=joint_atomic)

    def tape(self, needs: Collection[str], outputs: Collection[str], pinned: Pinned | None = None) -> Tape:
        """The pass in the form that is asked for. pinned: None where nothing is pinned."""
        wanted = asked() == "joint"
        if wanted or pinned is not None:
            tape = self.joint.backward(needs, outputs)
            found = kernels(tape)
            if found and (wanted or (pinned is not None and any(map(pinned, found)))):
                if not torch.are_deterministic_algorithms_enabled():
                    return tape
                warnings.warn(
                    f"the joint backward pass of '{self.split.program.name}' adds atomically, and torch.use_deterministic_algorithms"
                    "(True) is set: the split one runs instead",
                    stacklevel=2,
                )
        return self.split.backward(needs, outputs)
