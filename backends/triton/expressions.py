"""Pointwise expressions as Triton text. Values of fewer dims than the result are broadcast by indexing with None."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from attncc.errors import AttnUnsupportedError
from attncc.ir.expr import Apply, Const, Expr, Index, Read, Size, kind_of, walk
from attncc.ir.ops import OPS

from .intrinsics import FUNCTIONS, INFIX, INLINE

_ATOM = 20


@dataclass
class Printer:
    """leaf: text and dims of a value, a position or a size. used: names of the functions that the text calls. fast_tanh: tanh and
    1 / (1 + exp2(u)) by the hardware's tanh."""

    leaf: Callable[[Expr], tuple[str, tuple[str, ...]]]
    fast_tanh: bool = False
    used: set[str] = field(default_factory=set)

    def text(self, expr: Expr, dims: tuple[str, ...]) -> str:
        """The expression as a tile over `dims`; of fewer dims only when the expression has fewer."""
        return self._print(expr, dims)[0]

    def dims(self, expr: Expr) -> set[str]:
        """Dims of an expression."""
        if isinstance(expr, Read | Index | Size):
            return set(self.leaf(expr)[1])
        if isinstance(expr, Apply):
            return set().union(*(self.dims(a) for a in expr.args))
        return set()

    def _print(self, expr: Expr, dims: tuple[str, ...]) -> tuple[str, int]:
        match expr:
            case Const(value):
                return _number(value)
            case Index() | Size() | Read():
                text, own = self.leaf(expr)
                return broadcast(text, own, dims), _ATOM
            case Apply("neg", (a,)):
                return f"-{self._at(a, dims, 9)}", 9
            case Apply("not", (a,)):
                return f"~({self._print(a, dims)[0]})", 10
            case Apply("div", (a, Apply("add", (Const(1.0), Apply("exp2", (u,)))))) if self.fast_tanh and dims:
                return self._logistic(a, u, dims)
            case Apply("tanh", (a,)) if self.fast_tanh and dims:
                self.used.add("tanh_approx")
                return f"tanh_approx({self._print(a, dims)[0]})", _ATOM
            case Apply("div", (a, b)) if dims and self.dims(b) and kind_of(b) == "float":
                self.used.add("rcp")
                below = f"rcp({self._print(b, dims)[0]})"
                return (below, _ATOM) if _is_one(a) else (f"{self._at(a, dims, 8)} * {below}", 8)
            case Apply("exp" | "exp2" as op, (Apply("neg", (Apply("add" | "sub" as sign, (a, b)),)),)) if dims:
                if (inner := self._turned(sign, a, b)) is not None:
                    return self._print(Apply(op, (inner,)), dims)
                return INLINE[op].format(self._print(expr.args[0], dims)[0]), _ATOM
            case Apply("floordiv" | "mod" | "exact" | "cdiv" as op, (a, b)):
                return self._integer(op, a, b, dims)
            case Apply("pow", (a, b)):
                return self._power(a, b, dims)
            case Apply("to_int" | "stop_grad", (a,)):
                if expr.op == "stop_grad" or kind_of(a) == "int":
                    return self._print(a, dims)
                return f"({self._print(a, dims)[0]}).to(tl.int32)", _ATOM
            case Apply("and" | "or" as op, (a, b)) if dims and bool(self.dims(a)) != bool(self.dims(b)):
                return self._chosen(op, a, b, dims)
            case Apply(op, args) if op in INFIX:
                return self._infix(op, args, dims)
            case Apply(op, args) if op in INLINE or op in FUNCTIONS:
                texts = [self._float(a, dims) if OPS[op].result == "float" else self._print(a, dims)[0] for a in args]
                if op in INLINE:
                    return INLINE[op].format(*texts), _ATOM
                self.used.add(op)
                return f"{op}({', '.join(texts)})", _ATOM
            case Apply(op, _):
                raise AttnUnsupportedError(f"the Triton backend has no {op}")
        raise AttnUnsupportedError(f"the Triton backend cannot print {type(expr).__name__} in a tile")

    def _logistic(self, top: Expr, u: Expr, dims: tuple[str, ...]) -> tuple[str, int]:
        """top / (1 + exp2(u)) = top (1 + tanh(-u log(2) / 2)) / 2, the factor taken into u."""
        self.used.add("tanh_approx")
        text = f"0.5 * tanh_approx({self._print(self._scaled(u, -math.log(2.0) / 2), dims)[0]}) + 0.5"
        return (text, 7) if _is_one(top) else (f"{self._at(top, dims, 8)} * ({text})", 8)

    def _turned(self, sign: str, a: Expr, b: Expr) -> Expr | None:
        """-(a + b) or -(a - b) as a difference, which takes one multiply-add where the sum takes one and a negation. None where that
        needs a negation too. The same number but for the sign of a zero, which an exponential does not see."""
        if sign == "sub":
            return Apply("sub", (b, a))
        if not self.dims(b):
            return Apply("sub", (Apply("neg", (b,)), a))
        return Apply("sub", (Apply("neg", (a,)), b)) if not self.dims(a) else None

    def _scaled(self, expr: Expr, factor: float) -> Expr:
        """factor * expr, as a factor of what is the same for the whole tile: the compiler multiplies that once."""
        match expr:
            case Apply("add" | "sub" as op, (a, b)):
                return Apply(op, (self._scaled(a, factor), self._scaled(b, factor)))
            case Apply("neg", (a,)):
                return self._scaled(a, -factor)
            case Apply("mul", (a, b)) if not self.dims(a):
                return Apply("mul", (self._scaled(a, factor), b))
            case Apply("mul", (a, b)) if not self.dims(b):
                return Apply("mul", (self._scaled(b, factor), a))
            case Const(value):
                return Const(value * factor)
        return Apply("mul", (expr, Const(factor)))

    def _float(self, expr: Expr, dims: tuple[str, ...]) -> str:
        """An argument of a function of floats."""
        if kind_of(expr) == "float":
            return self._print(expr, dims)[0]
        if isinstance(expr, Const):
            return repr(float(expr.value))
        return f"tl.cast({self._print(expr, dims)[0]}, tl.float32)"

    def _at(self, expr: Expr, dims: tuple[str, ...], level: int) -> str:
        text, own = self._print(expr, dims)
        return text if own >= level else f"({text})"

    def _chosen(self, op: str, a: Expr, b: Expr, dims: tuple[str, ...]) -> tuple[str, int]:
        """A scalar condition with one of a tile. (The interpreter makes integers of a scalar that `&` spreads over a tile.)"""
        scalar, tile = (b, a) if self.dims(a) else (a, b)
        own = self._print(tile, dims)[0]
        pair = f"{own}, False" if op == "and" else f"True, {own}"
        return f"tl.where({self._print(scalar, ())[0]}, {pair})", _ATOM

    def _infix(self, op: str, args: tuple[Expr, ...], dims: tuple[str, ...]) -> tuple[str, int]:
        sign, level = INFIX[op]
        left = self._at(args[0], dims, level)
        same = isinstance(args[1], Apply) and args[1].op == op and op in ("add", "mul", "and", "or")
        right = self._at(args[1], dims, level if same else level + 1)
        if level == 2:
            left, right = self._at(args[0], dims, 6), self._at(args[1], dims, 6)
        return f"{left} {sign} {right}", level

    def _integer(self, op: str, a: Expr, b: Expr, dims: tuple[str, ...]) -> tuple[str, int]:
        left, right = self._at(a, dims, 9), self._at(b, dims, 9)
        known = _divides(b)
        if known and op == "cdiv" and _nonnegative(a) and _nonnegative(b):
            return f"({self._at(a, dims, 7)} + {self._at(b, dims, 8)} - 1) // {right}", 8
        if known and (op == "exact" or (op != "cdiv" and _nonnegative(a) and _nonnegative(b))):
            return f"{left} {'%' if op == 'mod' else '//'} {right}", 8
        name = ("floor_" if known else "any_") + ("mod" if op == "mod" else "div")
        self.used.add(name)
        if op == "cdiv":
            return f"-{name}(-{left}, {self._print(b, dims)[0]})", 9
        return f"{name}({self._print(a, dims)[0]}, {self._print(b, dims)[0]})", _ATOM

    def _power(self, a: Expr, b: Expr, dims: tuple[str, ...]) -> tuple[str, int]:
        if isinstance(b, Const) and not isinstance(b.value, bool):
            base = self._at(a, dims, 9)
            if isinstance(b.value, int) and 1 <= b.value <= 4:
                if base.isidentifier() or b.value == 1:
                    return " * ".join([base] * b.value), 8
                self.used.add(f"power{b.value}")
                return f"power{b.value}({self._print(a, dims)[0]})", _ATOM
            if b.value == 0.5:
                return f"tl.sqrt({self._print(a, dims)[0]})", _ATOM
            if b.value == -0.5:
                return f"tl.rsqrt({self._print(a, dims)[0]})", _ATOM
            if b.value in (-1, -2):
                self.used.add("rcp")
                inner = self._print(a, dims)[0] if b.value == -1 else f"({self._print(a, dims)[0]}) * ({self._print(a, dims)[0]})"
                return f"rcp({inner})", _ATOM
        if isinstance(a, Const) and a.value == 2:
            return f"tl.exp2({self._float(b, dims)})", _ATOM
        whole = kind_of(b) == "int" or (isinstance(b, Const) and float(b.value).is_integer())
        if isinstance(b, Const) and (not whole or _nonnegative(a)):
            return f"tl.exp2({b.value} * tl.log2({self._float(a, dims)}))", _ATOM
        if whole:
            self.used.add("power_whole")
            power = str(int(b.value)) if isinstance(b, Const) else self._print(b, dims)[0]
            return f"power_whole({self._float(a, dims)}, {power})", _ATOM
        self.used.add("power_any")
        return f"power_any({self._float(a, dims)}, {self._float(b, dims)})", _ATOM


def broadcast(text: str, own: tuple[str, ...], dims: tuple[str, ...]) -> str:
    """A value over some of the dims as one that broadcasts to all of them."""
    if len(dims) < 2 or not own or own == dims:
        return text
    return f"{text}[{', '.join(':' if d in own else 'None' for d in dims)}]"


def _number(value: bool | int | float) -> tuple[str, int]:
    if isinstance(value, bool):
        return ("True" if value else "False"), _ATOM
    if value in (float("inf"), float("-inf")) or value != value:
        return f'float("{value}")', _ATOM
    return repr(value), _ATOM if value >= 0 else 9


def _is_one(expr: Expr) -> bool:
    return isinstance(expr, Const) and not isinstance(expr.value, bool) and expr.value == 1


def _divides(by: Expr) -> bool:
    """Whether a divisor is not 0: of sizes, which calls check, and of the kernel's own numbers; positions and data may be."""
    return all(isinstance(e, Apply | Const | Size) or (isinstance(e, Read) and not e.index and _nonnegative(e)) for e in walk(by))


def _nonnegative(expr: Expr) -> bool:
    """Whether a value is provably >= 0."""
    match expr:
        case Const(value):
            return value >= 0
        case Index() | Size():
            return True
        case Read(source, ()):
            return source.endswith((".first", ".box", ".tile", "tile", ".full_tiles", ".tiles"))
        case Apply("abs" | "relu" | "exp" | "exp2" | "sqrt" | "isqrt" | "sigmoid", _):
            return True
        case Apply("add" | "mul" | "floordiv" | "exact" | "cdiv" | "min" | "div", (a, b)):
            return _nonnegative(a) and _nonnegative(b)
        case Apply("max", (a, b)):
            return _nonnegative(a) or _nonnegative(b)
        case Apply("where", (_, a, b)):
            return _nonnegative(a) and _nonnegative(b)
        case Apply("mod", (_, b)):
            return _nonnegative(b)
        case Apply("to_float" | "to_int" | "floor", (a,)):
            return _nonnegative(a)
    return False
