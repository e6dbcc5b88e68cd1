"""The derivative of a definition as a kernel: what autograd of that one node would give, in one pass over memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from ..errors import AttnUnsupportedError
from ..ir.expr import axes_of, sources_of
from ..ir.nodes import Assign, Node, Value
from ..ir.pairs import Part
from ..passes.differentiate.definitions import cotangent_of, shares
from .definitions import printable, refusal
from .plan import Fused
from .token import lower_definitions


@dataclass(frozen=True)
class Token:
    """The kernel of one definition's derivative. reads: values of the forward pass that it needs. grads: the name under which it
    reads the cotangent of the definition."""

    step: Fused
    reads: frozenset[str]
    grads: Mapping[str, str]
    parts: tuple[Part, ...]


def token_pull(
    node: Node,
    wrt: Collection[str],
    arrays: Mapping[str, tuple[str, ...]],
    acc: Collection[str],
    features: Collection[str],
    tokens: Collection[str],
    name: Callable[[str], str],
    given: bool,
) -> Token | None:
    """From the cotangent of a definition to those of `wrt`; None where autograd has to do it.

    arrays: axes of what it reads. acc: values in the accumulation type. features, tokens: as in `lower_definition`. name: gives
    fresh names. given: the cotangent comes from the caller, in the type of the definition; others are in the accumulation type.
    """
    if not isinstance(node, Assign) or refusal(node, features, tokens, derivative=True):
        return None
    cotangent = cotangent_of(node, name(f"d_{node.name}"))
    try:
        found = shares(node, cotangent, wrt, features, name)
        if not found or any(printable(s.made.expr) for s in found):
            return None
        made = tuple(s.made for s in found)
        summed = {s.made.name for s in found if set(s.made.axes) - set(axes_of(s.read))}
        kept = {cotangent.source} if node.name in acc or not given else set()  # 16 bits may not have the range for others
        kept |= {s.made.name for s in found if s.read.source in acc} | summed
        known = {**arrays, cotangent.source: node.axes}
        kernel = lower_definitions(made, known, features, {*acc, *kept}, tokens)
    except AttnUnsupportedError:
        return None
    values = tuple(Value(a.name, a.axes, "float") for a in made)
    alike = len(made) == 1 and made[0].axes == node.axes
    over = cotangent.source if alike else ""
    step = Fused(made[-1], (), (kernel,), (), (), (), frozenset(kept), values, beside=made[:-1], over=over)
    reads = frozenset(n for a in made for n in sources_of(a.expr)) - {cotangent.source}
    parts = tuple(Part(s.read.source, s.made.name, s.made.axes, axes_of(s.read)) for s in found)
    return Token(step, reads, {node.name: cotangent.source}, parts)
