"""Programs whose gradients every compiling backend takes by kernels, and the comparison with autograd of the oracle in float64."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from attends import GROUPED, SEGMENTS, attend, op, qkv, rand
from ways import agree_by

from attncc.runtime.gradient import Gradient
from attncc.schedules.backward import Launch, Pull, Tape

Case = tuple[str, dict[str, torch.Tensor]]
"""A pattern, and its inputs."""

SIZES = {"b": 1, "h": 2, "i": 19, "j": 23, "d": 8, "e": 12}


def _weights(normalize: str, mask: str = "j <= i + 4", **sizes: int) -> Case:
    return attend(f"score s = dot(q, k) / 2\nmask {mask}\nnormalize {normalize}\nmix v"), qkv(**{**SIZES, **sizes})


def _emit(expr: str, out: str = "l[b, h, i]", mask: str = "j < i - 5") -> Case:
    clauses = f"score s = dot(q, k) / 2\nmask {mask}\nnormalize p = softmax\nmix v\nemit l = {expr}"
    return attend(clauses, outputs=f", {out}"), qkv(**SIZES)


def _with(score: str, clauses: str = "normalize softmax", /, **more: tuple[str, torch.Tensor]) -> Case:
    inputs = "".join(f", {name}[{axes}]" for name, (axes, _) in more.items())
    text = attend(f"score s = {score}\nmask j <= i + 4\n{clauses}\nmix v", inputs)
    return text, {**qkv(**SIZES), **{name: t for name, (_, t) in more.items()}}


def _grouped(normalize: str) -> Case:
    text = f"""pattern t(q[b, i, (g r), d], k[b, j, g, d], v[b, j, g, e]) -> o[b, i, (g r), e] {{
      attend o over j {{ score s = dot(q, k) / 2   mask j <= i   normalize {normalize}   mix v }} }}"""
    return text, {"q": rand(1, 17, 4, 8), "k": rand(1, 15, 2, 8), "v": rand(1, 15, 2, 4)}


NORMALIZERS: dict[str, Case] = {
    "plus one": _weights("softmax(s; plus_one = true)", "j < i - 5"),
    "divided by the sum": _weights("relu(s) ^ 2 / (sum[j](relu(s)) + 1)", "j < i - 5"),
    "divided by the root of a sum": _weights("softplus(s) / sqrt(sum[j](softplus(s)))"),
    "l1": _weights("l1"),
    "l2": _weights("l2"),
    "greatest": _weights("s / max[j](abs(s))"),
    "query axis": _weights("softmax[i](s)", "j <= i - 5 or j > i + 3"),
    "both sides": _weights("w = exp(s)\nnormalize w / sqrt(sum[j](w)) / sqrt(sum[i](w))"),
    "one after the other": _weights("p = softmax[i](s)\nnormalize p / sum[j](p)"),
    "softmax of a softmax": _weights("p = softmax[i](s)\nnormalize softmax[j](p)"),
    "linear": _weights("s / (sum[j](s) + 40)"),
}
"""Normalizers. Rows without a key where the division allows it."""

POSTS: dict[str, Case] = {
    "gain": _with("dot(q, k) / 2", "normalize p = softmax\npost p * u * t", u=("b, j", rand(1, 23)), t=("h, i", rand(2, 19))),
    "squared": _with("dot(q, k) / 2", "normalize p = softmax\npost p ^ 2"),
    "sharpened again": _with("dot(q, k) / 2", "normalize p = softmax\npost w = p ^ 2\npost w / sum[j](w)"),
}

EMITS: dict[str, Case] = {
    "greatest": _emit("max[j](s)"),
    "greatest of many equal": _emit("max[j](relu(s)) + min[j](s)"),
    "entropy": _emit("-sum[j](p * log(p))"),
    "expected position": _emit("sum[j](p * j)"),
    "of every column": _emit("sum[i](p ^ 2)", "l[b, h, j]"),
    "in all": _emit("sum[i, j](p * abs(i - j)) / i.size", "l[b, h]"),
}

SCORES: dict[str, Case] = {
    "distance": _with("-dist2(q, k) / 8"),
    "Gaussian": _with("-dist2(q, k) / 8", "normalize exp"),
    "cosine": _with("dot(unit[d](q), unit[d](k)) * exp(t)", t=("h", rand(2))),
    "two products": _with("dot(q, k) / 4 + dot(q, w) * dot(k, w) / 8", w=("d", rand(8))),
    "bias of a key and a head": (
        """pattern t(q[b, i, (g r), d], k[b, j, g, d], v[b, j, g, e], u[(g r), j]) -> o[b, i, (g r), e] {
          attend o over j { score dot(q, k) / 2 + u   mask j <= i   normalize softmax   mix v } }""",
        {"q": rand(1, 17, 4, 8), "k": rand(1, 15, 2, 8), "v": rand(1, 15, 2, 4), "u": rand(4, 15)},
    ),
    "value of another token": _with("dot(q, k) / 2 + u[c = j div 4] * t[c = i mod 3]", u=("c", rand(6)), t=("c: 6", rand(6))),
    "value of each pair": _with("dot(q, k) / 2 + u", u=("h, i, j", rand(2, 19, 23))),
}

SHAPES: dict[str, Case] = {
    "rows without a key take the mean": (
        attend("score s = dot(q, k) / 2\nmask j < i - 5\nnormalize softmax\nmix v\nempty uniform"),
        qkv(**SIZES),
    ),
    "heads in groups": (GROUPED, {"q": rand(1, 17, 4, 8), "k": rand(1, 15, 2, 8), "v": rand(1, 15, 2, 4), "slope": rand(4)}),
    "heads in groups, query axis": _grouped("softmax[i](s)"),
    "kinds of keys": (SEGMENTS.replace("NORMALIZER", "softmax").replace("score ", "score s = "), {}),
    "kinds of keys, plain weights": (SEGMENTS.replace("NORMALIZER", "sigmoid").replace("score ", "score s = "), {}),
    "chain": (
        """pattern t(x[b, n, c], w[c, d]) -> o[b, n, d], l[b, n] {
          y[b, n, d] = sum[c](x * w)
          attend z[b, n, d] over n' { score -dist2(y, y') / 3   mask n' <= n   normalize softmax   mix y' }
          attend u[b, n, d] over n' { score s = -dist2(z, y') / 3   normalize exp   mix z'   emit l = max[n'](s) }
          o = u * y + z
        }""",
        {"x": rand(2, 13, 8), "w": rand(8, 6) / 4},
    ),
}
for name in SHAPES:
    if name.startswith("kinds"):
        keys = {"q": rand(1, 19, 16), "k": rand(1, 21, 16), "v": rand(1, 21, 8), "mk": rand(9, 16), "mv": rand(9, 8)}
        SHAPES[name] = SHAPES[name][0], keys

CASES: dict[str, Case] = {
    f"{group}: {name}": case
    for group, cases in (
        ("normalizer", NORMALIZERS),
        ("post", POSTS),
        ("emit", EMITS),
        ("score", SCORES),
        ("shape", SHAPES),
    )
    for name, case in cases.items()
}

Way = Callable[[Any, tuple[str, ...]], Gradient | None]


def agree(case: Case, way: Way, dtype: torch.dtype, needs: Collection[str] = (), device: str = "cpu") -> Tape:
    """Outputs and gradients by kernels are those of eager in float64, for cotangents drawn at random.

    needs: which inputs, all when empty. Gives the backward pass that was run.
    """
    inputs = {n: t.to(device, dtype) for n, t in case[1].items()}
    program = op(case[0]).specialise({n: t.dim() for n, t in inputs.items()})
    asked = tuple(o.name for o in program.outputs)
    return agree_by(way(program, asked), program, asked, inputs, needs)


def kernels(tape: Tape) -> list[str]:
    """Names of the pair stages that ran."""
    return [s.name for move in tape.moves if isinstance(move, Launch) for phase in move.phases for s in phase.stages]


def pulled(tape: Tape) -> dict[str, str]:
    """What went through autograd of a single attend, and why."""
    return {", ".join(m.wrt): m.reason for m in tape.moves if isinstance(m, Pull) and m.reason}
