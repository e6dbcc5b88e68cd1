"""Whether the products of a program take operands in the accumulation type, which no tensor unit for 16 bits does."""

from __future__ import annotations

from .nodes import Dot, Load, Program, statements


def exact(program: Program) -> bool:
    """Whether some product is one of two operands in the accumulation type, because the array of one has it."""
    acc = {a.name for a in program.args if a.acc}
    loads = {s.out: s for s in statements(program.body) if isinstance(s, Load)}
    wide = {name for name, load in loads.items() if load.arg in acc}
    for stmt in statements(program.body):
        if isinstance(stmt, Dot) and (stmt.cast in wide if stmt.cast else bool({stmt.a, stmt.b} & wide)):
            return True
    return False
