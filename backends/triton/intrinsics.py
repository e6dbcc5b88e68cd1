"""Pointwise operations on tiles: how each prints, and the bodies of those that Triton lacks.

`INLINE` rows are formats of Triton expressions; `{0}` is an argument that needs no parentheses around it. `FUNCTIONS` rows are
small jitted functions that a module defines when it uses them, with one body that runs anywhere (HIP, the interpreter) and,
where the hardware has an instruction for it, one for NVIDIA. Inline assembly raises under the interpreter and breaks compiling
for HIP, so a module for CUDA holds both and picks at import.
"""

from __future__ import annotations

from dataclasses import dataclass

INLINE: dict[str, str] = {
    "min": "tl.minimum({0}, {1})",
    "max": "tl.maximum({0}, {1})",
    "where": "tl.where({0}, {1}, {2})",
    "abs": "tl.abs({0})",
    "sqrt": "tl.sqrt({0})",
    "rsqrt": "tl.rsqrt({0})",
    "exp": "tl.exp({0})",
    "exp2": "tl.exp2({0})",
    "log": "tl.log({0})",
    "log2": "tl.log2({0})",
    "sin": "tl.sin({0})",
    "cos": "tl.cos({0})",
    "erf": "tl.erf({0})",
    "to_float": "({0}).to(tl.float32)",
    "relu": "tl.maximum({0}, 0.0)",
    "isnan": "(({0}) != ({0}))",
}

INFIX: dict[str, tuple[str, int]] = {
    "or": ("|", 3),
    "and": ("&", 5),
    "eq": ("==", 2),
    "ne": ("!=", 2),
    "le": ("<=", 2),
    "lt": ("<", 2),
    "ge": (">=", 2),
    "gt": (">", 2),
    "add": ("+", 7),
    "sub": ("-", 7),
    "mul": ("*", 8),
    "div": ("/", 8),
}
"""Operators with Python's precedence; higher binds tighter. Comparisons are always put in parentheses inside `&` and `|`."""


@dataclass(frozen=True, slots=True)
class Function:
    """A jitted function of a generated module: its arguments, what it is for, its body, the NVIDIA body if any, what it calls."""

    args: str
    doc: str
    body: str
    nvidia: str = ""
    uses: tuple[str, ...] = ()


def _assembly(instruction: str) -> str:
    return f'return tl.inline_asm_elementwise("{instruction} $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1)'


FUNCTIONS: dict[str, Function] = {
    "rcp": Function("x", "1 / x, to an ulp", "return 1.0 / x", _assembly("rcp.approx.ftz.f32")),
    "sigmoid": Function("x", "1 / (1 + e^-x)", "return rcp(1.0 + tl.exp2(x * -1.4426950408889634))", uses=("rcp",)),
    "silu": Function("x", "x sigmoid(x)", "return x * rcp(1.0 + tl.exp2(x * -1.4426950408889634))", uses=("rcp",)),
    "tanh": Function(
        "x",
        "hyperbolic tangent, odd by construction, without overflow",
        "t = tl.exp2(tl.abs(x) * -2.8853900817779268)\n    y = (1.0 - t) * rcp(1.0 + t)\n"
        "    small = x * (1.0 - x * x * (1.0 / 3.0))\n    return tl.where(tl.abs(x) < 0.02, small, tl.where(x < 0.0, -y, y))",
        uses=("rcp",),
    ),
    "tanh_approx": Function(
        "x",
        "hyperbolic tangent, off by up to 2^-11 of itself",
        "t = tanh(x)\n    c = t * 8193.0  # keeps 11 bits, as the instruction does\n    return c - (c - t)",
        _assembly("tanh.approx.f32"),
        uses=("tanh",),
    ),
    "softplus": Function("x", "log(1 + e^x)", "return tl.maximum(x, 0.0) + log1p(tl.exp(-tl.abs(x)))", uses=("log1p",)),
    "logsigmoid": Function("x", "-log(1 + e^-x)", "return tl.minimum(x, 0.0) - log1p(tl.exp(-tl.abs(x)))", uses=("log1p",)),
    "log1p": Function(
        "x",
        "log(1 + x), right for small x (Kahan)",
        "u = 1.0 + x\n    return tl.where(u == 1.0, x, tl.log(u) * x / tl.where(u == 1.0, 1.0, u - 1.0))",
    ),
    "expm1": Function(
        "x",
        "e^x - 1, right for small x (Kahan)",
        "u = tl.exp(x)\n    edge = (u == 1.0) | (u == 0.0) | (u == float('inf'))\n"
        "    low = tl.where(edge, 1.0, tl.log(tl.where(u == 0.0, 1.0, u)))\n"
        "    return tl.where(u == 1.0, x, tl.where((u == 0.0) | (u == float('inf')), u - 1.0, (u - 1.0) * x / low))",
    ),
    "elu": Function("x", "x, or e^x - 1 below 0", "return tl.where(x > 0.0, x, expm1(tl.minimum(x, 0.0)))", uses=("expm1",)),
    "gelu": Function("x", "x times the normal distribution function", "return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))"),
    "gelu_tanh": Function(
        "x", "gelu's tanh form", "return 0.5 * x * (1.0 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))", uses=("tanh",)
    ),
    "power2": Function("x", "x squared", "return x * x"),
    "power3": Function("x", "x cubed", "return x * x * x"),
    "power4": Function("x", "x to the fourth", "return x * x * (x * x)"),
    "power_whole": Function(
        "x, y",
        "x to a whole power, of either sign",
        "size = tl.where(y == 0, 1.0, tl.exp2(y * tl.log2(tl.abs(x))))\n"
        "    return tl.where(x < 0.0, tl.where(y % 2 != 0, -size, size), size)",
    ),
    "power_any": Function(
        "x, y",
        "x to the power y; of a negative x, a whole y alone",
        "size = tl.where(y == 0.0, 1.0, tl.exp2(y * tl.log2(tl.abs(x))))\n    odd = tl.floor(y * 0.5) * 2.0 != y\n"
        "    below = tl.where(tl.floor(y) != y, float('nan'), tl.where(odd, -size, size))\n    return tl.where(x < 0.0, below, size)",
    ),
    "tan": Function("x", "tangent", "return tl.sin(x) / tl.cos(x)"),
    "atan": Function(
        "x",
        "arc tangent: |x| to at most tan(pi / 8), then a polynomial fitted to atan(x) / x there",
        "a = tl.abs(x)\n    far = a > 2.414213562373095\n    mid = a > 0.4142135623730950\n"
        "    t = tl.where(far, -1.0, tl.where(mid, a - 1.0, a)) / tl.where(far, a, tl.where(mid, a + 1.0, 1.0))\n"
        "    start = tl.where(far, 1.5707963267948966, tl.where(mid, 0.7853981633974483, 0.0))\n    z = t * t\n"
        "    p = -0.14239982918 + z * (0.10572814475 - 0.060332417 * z)\n"
        "    y = start + t * (0.99999999939 + z * (-0.33333307493 + z * (0.19998210798 + z * p)))\n"
        "    return tl.where(x < 0.0, -y, y)",
    ),
    "sign": Function("x", "-1, 0 or 1", "return (x > 0).to(x.dtype) - (x < 0).to(x.dtype)"),
    "floor": Function("x", "the integer below or at x", "return tl.floor(x).to(tl.int32)"),
    "ceil": Function("x", "the integer above or at x", "return tl.ceil(x).to(tl.int32)"),
    "round": Function(
        "x",
        "the integer nearest to x, of two the even one",
        "low = tl.floor(x)\n    tie = tl.where(tl.floor(low * 0.5) * 2.0 != low, 1.0, 0.0)\n"
        "    up = tl.where(x - low == 0.5, tie, tl.where(x - low > 0.5, 1.0, 0.0))\n    return (low + up).to(tl.int32)",
    ),
    "floor_div": Function(
        "a, b", "division that rounds down", "q = a // b\n    return q - ((a % b != 0) & ((a < 0) != (b < 0))).to(tl.int32)"
    ),
    "floor_mod": Function("a, b", "the rest with the divisor's sign", "return a - floor_div(a, b) * b", uses=("floor_div",)),
    "any_div": Function(
        "a, b", "division that rounds down, 0 by 0", "return tl.where(b == 0, 0, floor_div(a, tl.where(b == 0, 1, b)))", uses=("floor_div",)
    ),
    "any_mod": Function("a, b", "the rest with the divisor's sign, a where that is 0", "return a - any_div(a, b) * b", uses=("any_div",)),
    "isqrt": Function(
        "x",
        "the integer below or at the square root",
        "r = tl.sqrt(x.to(tl.float32)).to(tl.int32)\n    r = tl.where(r * r > x, r - 1, r)\n"
        "    return tl.where((r + 1) * (r + 1) <= x, r + 1, r)",
    ),
}


def definitions(used: set[str], nvidia: bool) -> str:
    """Source of the functions in `used` and what they call. nvidia: with the assembly bodies, chosen when not interpreting."""
    needed: list[str] = []

    def visit(name: str) -> None:
        for other in FUNCTIONS[name].uses:
            visit(other)
        if name not in needed:
            needed.append(name)

    for name in sorted(used):
        visit(name)
    return "\n\n".join(_definition(name, FUNCTIONS[name], nvidia) for name in needed)


def _definition(name: str, row: Function, nvidia: bool) -> str:
    plain = f'@triton.jit\ndef {name}({row.args}):\n    """{row.doc}"""\n    {row.body}\n'
    if not (row.nvidia and nvidia):
        return plain
    fast = f'@triton.jit\ndef {name}({row.args}):\n    """{row.doc}, by the instruction"""\n    {row.nvidia}\n'
    indent = "\n".join
    return (
        "if INTERPRETED:\n"
        + indent(f"    {line}" if line else "" for line in plain.splitlines())
        + "\nelse:\n"
        + indent(f"    {line}" if line else "" for line in fast.splitlines())
        + "\n"
    )
