"""Pointwise expressions as C: of one position at a time, or of a vector of lanes. A part without lanes stays a scalar until
it meets one with lanes. What no vector instruction does is worked out lane by lane (`escape`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from attncc.errors import AttnUnsupportedError
from attncc.ir.expr import Apply, Const, Expr, Index, Read, Size, kind_of

_ATOM = 20
_SIGNS = {
    "or": ("||", 4), "and": ("&&", 5), "eq": ("==", 9), "ne": ("!=", 9), "le": ("<=", 10), "lt": ("<", 10), "ge": (">=", 10),
    "gt": (">", 10), "add": ("+", 12), "sub": ("-", 12), "mul": ("*", 13), "div": ("/", 13),
}  # fmt: skip
_LANE_SIGNS = {"or": ("|", 6), "and": ("&", 8)}
_COMPARED = ("eq", "ne", "le", "lt", "ge", "gt")
VECTOR_FUNCTIONS = {
    "exp", "exp2", "log", "log2", "tanh", "sigmoid", "silu", "log1p", "expm1", "softplus", "logsigmoid", "erf", "gelu",
    "gelu_tanh", "elu", "relu", "sqrt", "rsqrt",
}  # fmt: skip
"""Functions of floats with a vector body in functions.h, called `v` and their name."""
LIBRARY_FUNCTIONS = {"sin", "cos", "tan", "atan"}
"""Functions of floats of the C library."""
_LANE_BY_LANE = {"floordiv", "mod", "cdiv", "exact", "isqrt", "pow", *LIBRARY_FUNCTIONS}
_WHOLE = {"floordiv": "floor_div", "mod": "floor_mod", "cdiv": "ceil_div", "isqrt": "isqrt"}


@dataclass(frozen=True, slots=True)
class Text:
    """C text of a value. kind: float, int, bool. lanes: a vector. level: how tightly its last operator binds. wide: 64-bit
    integers."""

    code: str
    kind: str
    lanes: bool = False
    level: int = _ATOM
    wide: bool = False

    def at(self, level: int) -> str:
        return self.code if self.level >= level else f"({self.code})"


class Printer:
    """bits: of a float. leaf: the text of a read, position or size, in lanes where asked and possible. escape: a name for an
    expression that is computed lane by lane."""

    def __init__(
        self, bits: int, leaf: Callable[[Expr, bool], Text], escape: Callable[[Expr], Text], wide: Callable[[str], bool]
    ) -> None:
        self.bits, self.leaf, self.escape, self.wide = bits, leaf, escape, wide

    def scalar(self, expr: Expr) -> Text:
        """The value at one position."""
        return self._print(expr, False)

    def lanes(self, expr: Expr, kind: str = "") -> str:
        """A vector, of a kind."""
        text = self._print(expr, True)
        return self.spread(self.converted(text, kind or text.kind)).code

    def number(self, value: bool | int | float, kind: str = "") -> str:
        """A constant."""
        if kind == "float" or isinstance(value, float):
            value = float(value)
            if value != value:
                return "NAN"
            if value in (float("inf"), float("-inf")):
                return "INFINITY" if value > 0 else "-INFINITY"
            return repr(value) + ("f" if self.bits == 32 else "")
        return str(int(value))

    def _print(self, expr: Expr, lanes: bool) -> Text:
        match expr:
            case Const(value):
                kind = kind_of(expr)
                return Text(self.number(value), kind, level=_ATOM if kind == "bool" or not value < 0 else 14)
            case Index() | Size() | Read():
                return self.leaf(expr, lanes)
            case Apply("stop_grad", (a,)):
                return self._print(a, lanes)
            case Apply():
                if lanes and self._alone(expr):
                    return self.escape(expr)
                return self._apply(expr, lanes)
        raise AttnUnsupportedError(f"the CPU backend cannot print {type(expr).__name__} in a tile")

    def _alone(self, expr: Apply) -> bool:
        """Whether an operation on lanes has to be worked out lane by lane."""
        if not any(self._has_lanes(a) for a in expr.args):
            return False
        if any(kind_of(a) == "int" and self._is_wide(a) for a in expr.args):
            return True
        if expr.op == "pow":
            return _power(expr) is None
        return expr.op in _LANE_BY_LANE and _shift(expr) is None

    def _has_lanes(self, expr: Expr) -> bool:
        if isinstance(expr, Apply):
            return any(self._has_lanes(a) for a in expr.args)
        return not isinstance(expr, Const) and self.leaf(expr, True).lanes

    def _is_wide(self, expr: Expr) -> bool:
        if isinstance(expr, Apply):
            return any(self._is_wide(a) for a in expr.args if kind_of(a) == "int")
        return isinstance(expr, Read) and self.wide(expr.source)

    def _apply(self, expr: Apply, lanes: bool) -> Text:
        op = expr.op
        args = [self._exponent(a, lanes) if op in ("exp", "exp2") else self._print(a, lanes) for a in expr.args]
        if (shift := _shift(expr)) is not None and args[0].lanes:
            return replace(args[0], code=f"{args[0].at(11)} {shift}", level=11 if op == "floordiv" else 8)
        if op in _COMPARED:
            kind = "float" if any(a.kind == "float" for a in args) else "int" if any(a.kind == "int" for a in args) else "bool"
            return self._sign(op, [self.converted(a, kind) for a in args], "bool")
        if op in ("and", "or"):
            return self._sign(op, args, "bool")
        if op == "not":
            return Text(f"{'~' if args[0].lanes else '!'}{args[0].at(14)}", "bool", args[0].lanes, 14)
        if op == "where":
            return self._where(args, kind_of(expr))
        if op in VECTOR_FUNCTIONS or op in LIBRARY_FUNCTIONS:
            return self._function(op, self.converted(args[0], "float"))
        kind = kind_of(expr)
        if kind == "complex" or op in ("complex", "real", "imag"):
            raise AttnUnsupportedError("complex numbers are not in the CPU backend")
        if op == "div" and args[1].lanes and (above := _above_one(expr.args[1])) is not None:
            inverse = Text(f"vinverse_above_one({self.lanes(above, 'float')})", "float", True)
            top = self.converted(args[0], "float")
            return inverse if expr.args[0] in (Const(1), Const(1.0)) else self._sign("mul", [top, inverse], kind)
        if op in ("add", "sub", "mul", "div"):
            return self._sign(op, [self.converted(a, kind) for a in args], kind)
        if op == "neg" and (parts := _one_sided(expr.args[0], self._has_lanes)) is not None:
            return self._apply(Apply("sub", (Apply("neg", (parts[0],)), parts[1])), lanes)
        if op == "neg":
            a = self.converted(args[0], kind)
            return Text(f"-{a.at(15)}", kind, a.lanes, 14, a.wide)
        if op in ("min", "max"):
            return self._extreme(op, [self.converted(a, kind) for a in args], expr)
        if op == "pow":
            return self._pow(expr, args, kind)
        if op in _WHOLE:
            return Text(f"{_WHOLE[op]}({', '.join(a.code for a in args)})", "int", wide=any(a.wide for a in args))
        return self._unary(op, args, kind, expr)

    def _exponent(self, expr: Expr, lanes: bool) -> Text:
        """An exponent; in a difference s - m, and under a bound of one, s is rounded first. Another kernel, in which s is a value of its
        own, then finds the same weights: they are to be those that a row's sum was taken of."""
        match expr:
            case Apply("sub", (s, m)) if kind_of(expr) == "float":
                args = [self.converted(self._print(a, lanes), "float") for a in (s, m)]
                if args[0].lanes and not args[0].code.startswith("load("):
                    args[0] = Text(f"rounded({args[0].code})", "float", True)
                return self._sign("sub", args, "float")
            case Apply("min", (Apply("sub") as s, Const() as bound)) if kind_of(expr) == "float":
                args = [self.converted(a, "float") for a in (self._exponent(s, lanes), self._print(bound, lanes))]
                return self._extreme("min", args, expr)
        return self._print(expr, lanes)

    def _unary(self, op: str, args: list[Text], kind: str, expr: Apply) -> Text:
        a = args[0]
        if op == "exact":
            if isinstance(expr.args[1], Const):
                return Text(f"{a.at(13)} / {args[1].at(14)}", "int", level=13, wide=a.wide)
            return Text(f"floor_div({a.code}, {args[1].code})", "int", wide=a.wide)
        if op == "to_float":
            return self.converted(a, "float")
        if op == "to_int":
            return self.converted(a, "int")
        if op == "isnan":
            return self._sign("ne", [a, a], "bool")
        if op in ("floor", "ceil", "round"):
            if a.kind != "float":
                return a
            body = f"v{op}({a.code})" if a.lanes else f"REAL({'nearbyint' if op == 'round' else op})({a.code})"
            return self.converted(Text(body, "float", a.lanes), "int")
        if op == "abs":
            a = self.converted(a, kind)
            if kind == "float":
                return Text(f"vabs({a.code})" if a.lanes else f"REAL(fabs)({a.code})", kind, a.lanes)
            return Text(f"imaximum({a.code}, -{a.at(15)})" if a.lanes else f"labs({a.code})", kind, a.lanes, wide=a.wide)
        if op == "sign":
            a = self.converted(a, kind)
            if kind == "float":
                return Text(f"vsign({a.code})", kind, True) if a.lanes else Text(f"vsign(splat({a.code}))[0]", kind)
            zero = "isplat(0)" if a.lanes else "0"
            minus, plus = (f"({a.at(11)} < {zero})", f"({a.at(11)} > {zero})")
            return Text(f"{minus} - {plus}" if a.lanes else f"{plus} - {minus}", kind, a.lanes, 12, a.wide)
        raise AttnUnsupportedError(f"the CPU backend has no {op}")

    def _sign(self, op: str, args: list[Text], kind: str) -> Text:
        lanes = any(a.lanes for a in args)
        if lanes:
            args = [self.spread(a) for a in args]
        sign, level = _LANE_SIGNS[op] if lanes and op in _LANE_SIGNS else _SIGNS[op]
        tight = level if op in ("add", "mul", "and", "or") else level + 1
        if op in ("and", "or") or op in _COMPARED:
            left, right = args[0].at(11), args[1].at(11)
        else:
            regroups = op in ("add", "mul") and kind != "float"  # floats are rounded in the order given, which is that of every kernel
            left, right = args[0].at(level), args[1].at(tight if regroups and args[1].level == level else level + 1)
        return Text(f"{left} {sign} {right}", kind, lanes, level, any(a.wide for a in args))

    def _where(self, args: list[Text], kind: str) -> Text:
        cond, a, b = args[0], self.converted(args[1], kind), self.converted(args[2], kind)
        wide = a.wide or b.wide
        if not any(x.lanes for x in (cond, a, b)):
            return Text(f"{cond.at(3)} ? {a.at(3)} : {b.at(3)}", kind, False, 2, wide)
        a, b = self.spread(a), self.spread(b)
        if not cond.lanes:
            vector = "vreal" if kind == "float" else "vint"
            return Text(f"{cond.at(3)} ? ({vector}){a.at(14)} : ({vector}){b.at(14)}", kind, True, 2, wide)
        return Text(f"{'pick' if kind == 'float' else 'ipick'}({cond.code}, {a.code}, {b.code})", kind, True, _ATOM, wide)

    def _function(self, op: str, a: Text) -> Text:
        if op in LIBRARY_FUNCTIONS:
            return Text(f"REAL({op})({a.code})", "float")
        if a.lanes:
            return Text(f"v{op}({a.code})", "float", True)
        return Text(f"v{op}(splat({a.code}))[0]", "float")

    def _extreme(self, op: str, args: list[Text], expr: Apply) -> Text:
        kind, wide = args[0].kind, any(a.wide for a in args)
        if not any(a.lanes for a in args):
            name = {"float": f"r{op}"}.get(kind, "least" if op == "min" else "most")
            return Text(f"{name}({args[0].code}, {args[1].code})", kind, wide=wide)
        args = [self.spread(a) for a in args]
        if kind != "float":
            return Text(f"i{op}imum({args[0].code}, {args[1].code})", kind, True, wide=wide)
        for at, other in ((0, 1), (1, 0)):
            if isinstance(expr.args[at], Const):
                name = "greater" if op == "max" else "smaller"
                return Text(f"{name}({args[at].code}, {args[other].code})", kind, True)
        return Text(f"{op}imum({args[0].code}, {args[1].code})", kind, True)

    def _pow(self, expr: Apply, args: list[Text], kind: str) -> Text:
        how = _power(expr)
        if kind != "float":
            if args[0].lanes and how in ("vsquare", "vcube", "vfourth"):
                return Text(f"i{how[1:]}({args[0].code})", kind, True)
            return Text(f"whole_power({args[0].code}, {args[1].code})", kind, wide=args[0].wide)
        if how is None:
            a, b = (self.converted(x, "float") for x in args)
            return Text(f"REAL(pow)({a.code}, {b.code})", "float")
        a = self.converted(args[1] if how == "vexp2" else args[0], kind)
        if how == "reciprocal":
            return self._sign("div", [Text(self.number(1.0), "float"), a], "float")
        name = "vsquare" if how == "reciprocal square" else how
        made = Text(f"{name}({a.code})", "float", True) if a.lanes else Text(f"{name}(splat({a.code}))[0]", "float")
        if how == "reciprocal square":
            return self._sign("div", [Text(self.number(1.0), "float"), made], "float")
        return made

    # Kinds and lanes.

    def converted(self, text: Text, kind: str) -> Text:
        """The value as another kind."""
        if text.kind == kind:
            return text
        if text.level == _ATOM and not text.lanes and kind == "float" and _is_number(text.code):
            return replace(text, code=self.number(int(text.code), "float"), kind=kind, wide=False)
        if text.lanes:
            whole = f"-{text.at(15)}" if text.kind == "bool" else text.code
            if kind == "float":
                return Text(f"to_real({whole})", kind, True)
            if kind == "int":
                return Text(whole, kind, True, 14) if text.kind == "bool" else Text(f"to_int({text.code})", kind, True)
            zero = "splat(0)" if text.kind == "float" else "isplat(0)"
            return Text(f"{text.at(11)} != {zero}", kind, True, 9)
        if kind == "bool":
            return Text(f"{text.at(11)} != 0", kind, False, 9)
        return Text(f"({'real' if kind == 'float' else 'long'}){text.at(14)}", kind, False, 14, wide=kind == "int")

    def spread(self, text: Text) -> Text:
        """A scalar in every lane."""
        if text.lanes:
            return text
        name = {"float": "splat", "bool": "msplat"}.get(text.kind, "isplat_any" if text.wide else "isplat")
        return Text(f"{name}({text.code})", text.kind, True)


def _is_number(code: str) -> bool:
    return code.lstrip("-").isdigit()


def _shift(expr: Apply) -> str | None:
    """Division by a power of two, and its remainder, as an operator and an operand."""
    if expr.op not in ("floordiv", "mod") or not isinstance(expr.args[1], Const):
        return None
    by = expr.args[1].value
    if isinstance(by, bool) or not isinstance(by, int) or by < 1 or by & (by - 1):
        return None
    return f">> {by.bit_length() - 1}" if expr.op == "floordiv" else f"& {by - 1}"


def _power(expr: Apply) -> str | None:
    """What does a power with a constant exponent or base."""
    base, exponent = expr.args
    if isinstance(exponent, Const) and not isinstance(exponent.value, bool):
        known = {
            2: "vsquare", 3: "vcube", 4: "vfourth", 0.5: "vsqrt", -0.5: "vrsqrt", -1: "reciprocal", -2: "reciprocal square",
        }  # fmt: skip
        return known.get(exponent.value)
    if isinstance(base, Const) and not isinstance(base.value, bool) and base.value == 2 and kind_of(exponent) != "bool":
        return "vexp2"
    return None


def _above_one(expr: Expr) -> Expr | None:
    """2^u of a value 1 + 2^u."""
    match expr:
        case Apply("add", (Const(1), Apply("exp2", _) as x)) | Apply("add", (Apply("exp2", _) as x, Const(1))):
            return x
    return None


def _one_sided(expr: Expr, lanes: Callable[[Expr], bool]) -> tuple[Expr, Expr] | None:
    """(a, x) of a float x + a where x alone differs between lanes: -(x + a) is -a - x, an operation less on lanes."""
    if isinstance(expr, Apply) and expr.op == "add" and kind_of(expr) == "float":
        a, b = expr.args
        if lanes(a) != lanes(b):
            return (b, a) if lanes(a) else (a, b)
    return None
