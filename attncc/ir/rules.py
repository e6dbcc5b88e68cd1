"""The rules that every program of the pattern IR keeps, each with a name. `verify.verify` holds a program to them."""

from __future__ import annotations

from typing import NoReturn

from ..errors import AttnInternalError, Span

RULES: dict[str, str] = {
    # axes
    "axis-once": "an axis is declared once",
    "axis-known": "every axis that is named is declared",
    "axis-size": "the size of an axis is an int expression of sizes, constants and entries of int inputs",
    "axis-cycle": "no axis has a size that depends on itself, or is a part of itself",
    "axis-given": "an axis without size and parts occurs in the dims of an input, or is a part of one that does",
    "axes-distinct": "the axes of a value, a pair scope, a reduction or dims are distinct",
    # names
    "name-once": "a value is defined once, hides no visible one, and is called neither '' nor 'admitted'",
    "name-known": "a value is defined before it is read, and visible where it is read; checks see the inputs alone",
    # expressions
    "kind-known": "a kind is bool, int, float or complex; what crosses the signature is not complex",
    "read-arity": "a read has one position for each axis of the value, in its order (for pair values: nodes.pair_values)",
    "read-kind": "a read has the kind of the value",
    "read-int": "a position is an int",
    "op-known": "operations, reductions and functions along axes are those of ops.py",
    "op-arity": "an operation has as many arguments as its row in ops.py says",
    "op-kinds": "logic takes bools, cdiv, exact and isqrt take ints, what orders or rounds takes no complex value",
    "cond-bool": "masks and such-that conditions are bools",
    "count-true": "count has no body: it is the constant true",
    "sink-softmax": "softmax and log_softmax alone have a sink, a real one",
    # values
    "value-axes": "a value has every free axis of its expression; it is constant along the others",
    "value-kind": "a value has the kind of its expression",
    "check-bool": "a check is a bool; a require is one of sizes alone, without index or read",
    # attend
    "attend-keys": "one segment has no keys axis; several have one, a direct sum whose parts are their axes, each once",
    "attend-pairs": "rows and keys have no axis in common, and scores, mask, maps and posts have no axis beside them",
    "attend-scores": "all segments of an attend have the same scores, by name and in order",
    "attend-mix": "a mixing attend has a weight and a name, another has neither name nor axes and kind float",
    "attend-axes": "the result has every axis of weight and mix that is not summed, and no key axis",
    "attend-word": "empty is zero, uniform or error; order is auto, left or right",
    # pick, fold, call
    "pick-op": "a pick is topk, argmax, argsort, sort, positions or in_top",
    "pick-target": "topk and positions go to an axis of their own, argsort and sort may, argmax and in_top do not",
    "pick-args": "positions takes a bool, the others no complex value; in_top alone has a count, an int not along the source",
    "pick-kind": "sort has the kind of its argument, in_top is a bool, the others are ints",
    "pick-axes": "a pick has the free axes of its arguments with the target for the source (argmax: without it)",
    "fold-bounds": "the bounds of a fold are scalar ints, and its step is not 0",
    "fold-carry": "the first and the next value of a carry have its axes and kind",
    "call-op": "a call is vjp, rfft, irfft or grad, and has the fields of its kind alone",
    "call-fft": "an fft has one input with the axes along, and its result has the target for the last of them",
    "call-grad": "a gradient is of a float scalar, with the axes and kind of the value it is with respect to",
    "call-vjp": "the body returns a value of the call's axes and kind; its formals read the call's inputs alone",
    "call-cotangent": "each formal (without formals: input) has at most one cotangent, of its axes and kind",
    # outputs
    "output-once": "an output is declared once",
    "output-axes": "the dims of an output hold every axis of its value; it is constant along the others",
    "output-kind": "an output has the kind of its value",
}
"""Each rule by name, in one sentence."""


def fail(rule: str, message: str, span: Span | None = None) -> NoReturn:
    """Report a broken rule."""
    raise AttnInternalError(message, span, f"rule {rule}: {RULES[rule]}")
