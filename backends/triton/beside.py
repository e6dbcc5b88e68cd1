"""Definitions beside kernels, as PyTorch text for a module of its own: pointwise, of values that kernels leave.

What an emit makes of its sums, such as a histogram divided by how many pairs it has, is a pass over few numbers. Every operand is
brought to the axes of the definition, in their order, where a missing one has size 1. Sizes and what is made of them are numbers of
Python; floats are computed with 32 bits, however they are stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attncc.errors import AttnUnsupportedError
from attncc.ir.expr import Apply, Const, Expr, Index, Read, Size, kind_of, of_sizes
from attncc.ir.nodes import Assign

_INFIX = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**", "eq": "==", "ne": "!=", "le": "<=", "lt": "<", "ge": ">=", "gt": ">",
    "and": "&", "or": "|",
}  # fmt: skip
_FUNCTIONS = {
    name: f"torch.{name}"
    for name in (
        "exp", "exp2", "expm1", "log", "log2", "log1p", "sqrt", "rsqrt", "abs", "sign", "sin", "cos", "tanh", "sigmoid", "relu", "erf",
        "floor", "ceil", "round", "isnan",
    )
} | {"not": "torch.logical_not"}  # fmt: skip


class Beside:
    """Texts of definitions. tensor, size: names of tensors and of sizes; arrays: the axes of every value; place: text of a device."""

    def __init__(
        self, tensor: Callable[[str], str], size: Callable[[str], str], arrays: Mapping[str, tuple[str, ...]], place: str
    ) -> None:
        self.tensor, self.size, self.arrays, self.place = tensor, size, arrays, place

    def line(self, node: Assign) -> str:
        """The definition as an assignment, in the type of the outputs. Raises AttnUnsupportedError for one that is not pointwise."""
        text = self._text(node.expr, node)
        shape = ", ".join(map(self.size, node.axes))
        text = f"torch.as_tensor({text}, device={self.place})" if of_sizes(node.expr) else f"({text})"
        return f"    {self.tensor(node.name)} = {text}.expand({shape}).to(dtype)"

    def _text(self, expr: Expr, node: Assign) -> str:
        match expr:
            case Const(value):
                return f'float("{value}")' if value in (float("inf"), float("-inf")) or value != value else repr(value)
            case Size(axis):
                return self.size(axis)
            case Index(axis) if axis in node.axes:
                shape = ", ".join("-1" if a == axis else "1" for a in node.axes)
                return f"torch.arange({self.size(axis)}, device={self.place}).reshape({shape})"
            case Read(source, index, kind, None) if all(isinstance(i, Index) for i in index):
                text = self._read(source, tuple(i.axis for i in index if isinstance(i, Index)), node)
                return f"{text}.float()" if kind == "float" else text
            case Apply("stop_grad", (a,)):
                return self._text(a, node)
            case Apply("to_float" | "to_int" as op, (a,)):
                text, kind = self._text(a, node), op.removeprefix("to_")
                return f"{kind}({text})" if of_sizes(a) else f"({text}).{'float' if kind == 'float' else 'long'}()"
            case Apply("not", (a,)) if of_sizes(a):
                return f"(not {self._text(a, node)})"
            case Apply("neg", (a,)):
                return f"(-{self._text(a, node)})"
            case Apply("where", (c, a, b)) if of_sizes(c):
                return f"({self._text(a, node)} if {self._text(c, node)} else {self._text(b, node)})"
            case Apply("where", (c, a, b)):
                return f"torch.where({', '.join(self._text(x, node) for x in (c, a, b))})"
            case Apply("min" | "max" as op, (a, b)):
                return self._extreme(op, a, b, node)
            case Apply(op, (a, b)) if op in _INFIX:
                return f"({self._text(a, node)} {_INFIX[op]} {self._text(b, node)})"
            case Apply(op, (a,)) if op in _FUNCTIONS and kind_of(a) != "complex":
                text = self._text(a, node)
                return f"{_FUNCTIONS[op]}({f'torch.as_tensor({text}, device={self.place})' if of_sizes(a) else text})"
        raise self._refused(node)

    def _extreme(self, op: str, a: Expr, b: Expr, node: Assign) -> str:
        left, right = self._text(a, node), self._text(b, node)
        if of_sizes(a) and of_sizes(b):
            return f"{op}({left}, {right})"
        if of_sizes(a) or of_sizes(b):
            left, right = (right, left) if of_sizes(a) else (left, right)
            return f"torch.clamp({left}, {'min' if op == 'max' else 'max'}={right})"
        return f"torch.{op}imum({left}, {right})"

    def _read(self, source: str, axes: tuple[str, ...], node: Assign) -> str:
        own = [a for a in node.axes if a in axes]
        if len(set(axes)) != len(axes) or set(axes) != set(own) or len(axes) != len(self.arrays.get(source, ())):
            raise self._refused(node)
        text = self.tensor(source)
        order = [axes.index(a) for a in own]
        text += f".permute({', '.join(map(str, order))})" if order != sorted(order) else ""
        return text + (f"[{', '.join(':' if a in axes else 'None' for a in node.axes)}]" if own != list(node.axes) else "")

    @staticmethod
    def _refused(node: Assign) -> AttnUnsupportedError:
        return AttnUnsupportedError(
            f"{node.name} runs on PyTorch beside the kernels and is not pointwise, so there is no self-contained module", node.span,
            "ask for fewer outputs",
        )  # fmt: skip
