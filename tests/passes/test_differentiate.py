"""Backward passes before they are run: which attends have stages, how many, what is kept, and the algebra behind it."""

from __future__ import annotations

from pathlib import Path

import golden
import golden_bindings
import pytest
from attends import op
from backward_cases import CASES

import attncc
from attncc.ir.expr import Apply, Const, Expr, Read
from attncc.ir.nodes import values_of
from attncc.ir.pairs import value
from attncc.passes.differentiate.build import Derivative
from attncc.passes.differentiate.monomials import monomial, monomials
from attncc.schedules.backward import Differentiated, Launch, Pull, Tape, differentiated
from attncc.schedules.plan import Fused

DATA = Path(__file__).parents[1] / "golden"


def _made(name: str) -> Differentiated:
    text, inputs = CASES[name]
    program = op(text).specialise({n: t.dim() for n, t in inputs.items()})
    made = differentiated(program, tuple(o.name for o in program.outputs))
    assert made is not None
    return made


def _tape(made: Differentiated, *needs: str) -> Tape:
    inputs = [i.name for i in made.program.inputs if i.kind == "float" and (not needs or i.name in needs)]
    return made.backward(inputs, tuple(o.name for o in made.program.outputs))


def _stages(tape: Tape) -> list[str]:
    return [s.name for move in tape.moves if isinstance(move, Launch) for phase in move.phases for s in phase.stages]


# What is kept.


@pytest.mark.parametrize("name", [n for n in CASES if n.startswith(("normalizer", "post", "emit"))])
def test_what_is_kept_is_outputs_and_two_values_a_row(name: str) -> None:
    made = _made(name)
    rows = [v for v in made.saved if v.name != "o"]
    assert all(len(v.axes) == 3 for v in rows), [v.name for v in rows]
    lines = {v.axes: [x.name for x in rows if x.axes == v.axes] for v in rows}
    most = (
        4
        if name == "emit: greatest of many equal"
        else 3
        if "softmax of" in name or "sharpened" in name or "in all" in name
        else 2
    )
    assert all(len(found) <= most for found in lines.values()), lines


def test_weights_alone_need_nothing() -> None:
    text = "pattern t(q[i, d], k[j, d], v[j, e]) -> o[i, e] { attend o over j { score dot(q, k) / 4 normalize sigmoid mix v } }"
    program = op(text).specialise({"q": 2, "k": 2, "v": 2})
    made = differentiated(program, ("o",))
    assert made is not None and made.saved == ()


# Which stages.


STAGES = {
    "normalizer: plus one": [],
    "normalizer: divided by the sum": [],
    "normalizer: l2": [],
    "normalizer: query axis": ["o_backward_lse"],
    "normalizer: both sides": ["o_backward_sum_w"],
    "normalizer: one after the other": ["o_backward_lse"],
    "normalizer: softmax of a softmax": ["o_backward_lse"],
    "normalizer: greatest": ["o_backward_max_w_ties"],
    "post: squared": [],
    "post: gain": [],
    "emit: entropy": ["o_backward_lse"],
    "emit: of every column": ["o_backward_lse"],
    "emit: expected position": [],
}
"""Stages beside those that sum for the rows and for the keys."""


@pytest.mark.parametrize("name", STAGES)
def test_stages(name: str) -> None:
    assert _stages(_tape(_made(name))) == [*STAGES[name], "o_backward_rows", "o_backward_keys"]


@pytest.mark.parametrize("needs", ["q", "k", "v"])
def test_one_input_needs_one_side(needs: str) -> None:
    side = "rows" if needs == "q" else "keys"
    assert _stages(_tape(_made("normalizer: plus one"), needs)) == [f"o_backward_{side}"]


def test_steps_that_no_needed_input_reaches_are_left_out() -> None:
    text = """pattern t(x[n, c], y[n, c]) -> o[n, c] {
      attend z[n, c] over n' { score dot(x, x') normalize softmax mix x' }
      attend o over n' { score dot(y, y') normalize softmax mix z' }
    }"""
    made = differentiated(op(text).specialise({"x": 2, "y": 2}), ("o",))
    assert made is not None
    assert _stages(_tape(made, "y")) == ["o_backward_rows", "o_backward_keys"]
    assert _stages(_tape(made, "x")) == ["o_backward_keys", "z_backward_rows", "z_backward_keys"]


def test_names_of_kernels_do_not_depend_on_what_was_asked_before() -> None:
    made = _made("normalizer: both sides")
    first = _stages(_tape(made))
    _tape(made, "q")
    assert _stages(_made("normalizer: both sides").backward(("q", "k", "v"), ("o",))) == first


def test_explain_says_how_each_gradient_is_taken() -> None:
    text, inputs = CASES["score: value of each pair"]
    told = str(op(text).explain(*inputs.values()))
    assert "gradients: kernels: delta, o_backward_rows, o_backward_keys" in told
    assert "gradients of u: by autograd of o alone: u has a value for each pair, and no stage sums its gradient" in told


# The shipped patterns.


FUSED: dict[str, list[str]] = {
    "agent": ["u", "o"],
    "arbex": ["o"],
    "attencraft": ["core"],
    "autoint": ["core"],
    "csci_s2a": ["core"],
    "davit": ["core"],
    "dcal": ["core"],
    "deconstructing": ["core"],
    "dreamtuner": ["core"],
    "dynamic_mask": ["core"],
    "gaussian_kernel": ["core, lse"],
    "imagine_yourself": ["branch", "branch~1", "branch~2", "branch~3"],
    "linear": ["core"],
    "minilm": ["klrow_qk", "klrow_vv"],
    "neighborhood": ["out, lse"],
    "reversed": ["core, recv"],
    "routing": ["o"],
    "selformer": ["core"],
    "selftok": ["o"],
    "sigmoid": ["core"],
    "soft": ["pooled", "o"],
    "softmax": ["core, lse"],
}
"""Attends of the last level of each operator's first case that have kernels for both passes."""

ELSEWHERE: dict[str, str] = {}
"""Fused attends without backward stages, and why."""


@pytest.mark.parametrize("slug", sorted(golden.shipped() & {path.name for path in DATA.iterdir()}))
def test_every_fused_attend_of_a_shipped_pattern_is_differentiated_by_kernels(slug: str) -> None:
    case = next(iter(golden.cases(DATA, slug)))
    level = case.levels[-1]
    params, _ = golden_bindings.parameters(slug, level["name"], case.about["attrs"])
    made = attncc.load(golden_bindings.pattern_name(slug, level["name"]), **params)
    program = made.specialise({n: case.tensor(f"in.{n}").dim() for n in level["inputs"]})
    found = differentiated(program, tuple(level["outputs"]))
    kernels: list[str] = []
    if found is not None:
        for step, derivative in zip(found.forward.steps, found.derivatives, strict=True):
            name = ", ".join(v.name for v in values_of(step.node))
            if isinstance(derivative, Derivative):
                kernels.append(name)
            elif isinstance(step, Fused) and step.fusion is not None:
                assert ELSEWHERE.get(f"{slug}: {name}") == derivative
        fused = {id(s.node): d for s, d in zip(found.forward.steps, found.derivatives, strict=True) if isinstance(s, Fused)}
        for move in _tape(found).moves:
            if isinstance(move, Pull) and isinstance(derivative := fused.get(id(move.node)), Derivative):
                assert set(move.reason.split("; ")) <= set(derivative.opaque.values())
    if slug in FUSED:
        assert set(FUSED[slug]) <= set(kernels), kernels


# The algebra.


X, Y, Z = value("x"), value("y"), value("z")


def _times(*parts: Expr) -> Expr:
    out = parts[0]
    for part in parts[1:]:
        out = Apply("mul", (out, part))
    return out


def test_a_derivative_as_a_multiple() -> None:
    guard = Apply("eq", (Z, Const(0.0)))
    whole = monomial(Apply("where", (guard, Const(0.0), Apply("div", (X, Y)))))
    slope = monomial(Apply("where", (guard, Const(0.0), Apply("neg", (Apply("div", (Apply("div", (X, Y)), Y)),)))))
    left = slope.over(whole)
    assert left is not None and left.expr() == Apply("neg", (Apply("div", (Const(1), Y)),))
    assert whole.over(slope) is None


def test_guards_have_to_agree() -> None:
    guarded = monomial(Apply("where", (Apply("eq", (Z, Const(0.0))), Const(0.0), X)))
    assert monomial(X).over(guarded) is None
    assert guarded.over(monomial(X)) is not None


def test_squares_are_products() -> None:
    assert monomial(Apply("pow", (X, Const(2)))).factors == (X, X)
    left = monomial(_times(Const(2), X, X)).over(monomial(Apply("pow", (X, Const(2)))))
    assert left is not None and left.expr() == Const(2)


def test_sums_are_several_monomials() -> None:
    found = monomials(Apply("sub", (_times(X, Y), Z)))
    assert [m.factors for m in found] == [(X, Y), (Z, Const(-1))]
    assert monomials(Const(0.0)) == []
    assert isinstance(X, Read)
