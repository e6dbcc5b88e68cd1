"""Names and what they mean, and the builder that collects a program while it is resolved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from ...errors import AttnNameError, AttnTypeError, Span
from ...ir.expr import Along, Apply, Expr, Index, Read, Reduce, Size, axes_of, kind_of, sources_of, substitute, walk
from ...ir.nodes import Assign, Axis, Check, Input, Node
from ...language import tree
from .budget import MAX_NODES, Budget
from .values import AxisRef, Lazy, PackOf, Value

ADMITTED = "admitted"
"""Inside an attend: which pairs take part."""


def unreserved(name: str, span: Span) -> None:
    """Raises AttnNameError for a name that the language has taken."""
    if name == ADMITTED:
        raise AttnNameError(f"'{ADMITTED}' is the name of the mask inside an attend", span, "choose another name")


@dataclass
class Library:
    """Declarations that can be called: those of a file, then those of the prelude."""

    patterns: dict[str, list[tree.Pattern]] = field(default_factory=dict)
    defines: dict[str, tree.Define] = field(default_factory=dict)
    bundles: dict[str, tree.Bundle] = field(default_factory=dict)

    def add(self, file: tree.File) -> None:
        """Add a file's declarations; a definition or bundle of the same name replaces an earlier file's."""
        seen: set[tuple[type, str]] = set()
        for decl in file.decls:
            if isinstance(decl, tree.Pattern):
                self.patterns.setdefault(decl.name, []).append(decl)
                continue
            if (type(decl), decl.name) in seen:
                raise AttnNameError(f"'{decl.name}' is declared twice", decl.span, "give one of them another name")
            seen.add((type(decl), decl.name))
            if isinstance(decl, tree.Define):
                self.defines[decl.name] = decl
            else:
                self.bundles[decl.name] = decl


class Builder:
    """The program under construction: axes, inputs, checks and a stack of node lists (the last one is being filled)."""

    def __init__(self) -> None:
        self.axes: dict[str, Axis] = {}
        self.inputs: dict[str, Input] = {}
        self.checks: list[Check] = []
        self.blocks: list[list[Node]] = [[]]
        self.taken: set[str] = set()
        self.sums: dict[tuple[tuple[str, ...], ...], str] = {}
        self.count = 0
        self.budget = Budget()
        self.contracted: set[str] = set()  # axes summed by a dot in the expression being resolved

    def fresh(self, name: str) -> str:
        """`name`, or `name~1`, `name~2`, ... when it is taken."""
        out, n = name, 0
        while out in self.taken:
            n += 1
            out = f"{name}~{n}"
        self.taken.add(out)
        return out

    def axis(self, name: str, size: Expr | None = None, parts: tuple[tuple[str, ...], ...] = ()) -> str:
        """Add an axis under a fresh name."""
        unique = self.fresh(name)
        self.axes[unique] = Axis(unique, size, parts)
        return unique

    def sum_axis(self, parts: tuple[tuple[str, ...], ...], name: str | None = None) -> str:
        """The axis that is the direct sum of some parts; the same parts give the same axis."""
        if parts not in self.sums:
            label = name or "_".join("".join(atoms) if len(atoms) > 1 else atoms[0] if atoms else "1" for atoms in parts)
            total: Expr | None = None
            for atoms in parts:
                size = AxisRef("", atoms).size()
                total = size if total is None else Apply("add", (total, size))
            self.sums[parts] = self.axis(label, total, parts)
        return self.sums[parts]

    def emit(self, node: Node, span: Span | None = None) -> None:
        """Append a node to the block being filled."""
        self.count += 1
        if self.count > MAX_NODES:
            raise AttnTypeError(
                f"the pattern unrolls into more than {MAX_NODES} steps", span, "use a fold over a range, or fewer layers"
            )
        self.blocks[-1].append(node)

    def assign(self, name: str, expr: Expr, axes: tuple[str, ...] | None = None, span: Span | None = None) -> Read:
        """Store an expression under a fresh name and give the reference to it."""
        unique = self.fresh(name)
        axes = axes_of(expr) if axes is None else axes
        self.emit(Assign(unique, axes, kind_of(expr), expr, span), span)
        return reference(unique, axes, kind_of(expr))


def reference(name: str, axes: tuple[str, ...], kind: str) -> Read:
    """The plain reference to a value: each axis at its own position."""
    return Read(name, tuple(Index(a) for a in axes), kind)


def is_plain(expr: Expr) -> bool:
    """A reference whose positions are distinct bare axes, without a fill."""
    if not isinstance(expr, Read) or expr.fill is not None:
        return False
    axes = [i.axis for i in expr.index if isinstance(i, Index)]
    return len(axes) == len(expr.index) == len(set(axes))


def captures(expr: Expr, at: Mapping[str, Expr]) -> bool:
    """Whether positions put into an expression meet a reduction over one of their axes, or move what a softmax runs along."""
    used = {a for pos in at.values() for a in axes_of(pos)}
    inner = [e for e in walk(expr) if isinstance(e, Reduce | Along)]
    return any(used & set(e.axes) or (isinstance(e, Along) and at.keys() & set(e.axes)) for e in inner)


@dataclass
class AttendScope:
    """What is open while the clauses of an attend are resolved.

    locals: names of its pair values in the program. labels: what they are called in the source, where that is something else
    because the program has a value of that name already, in a pattern that calls this one.
    """

    over: tuple[str, ...]
    locals: set[str] = field(default_factory=set)
    emits: list[Assign] | None = None
    labels: dict[str, str] = field(default_factory=dict)


@dataclass
class Scope:
    """The names of one pattern or definition being resolved.

    axis_names: names used as axes anywhere in it (a bare one is its index; its size where `sizing`).
    primes: for each enclosing construct that binds primed axes, base atom -> primed atom. twins: all primed axes made so far.
    lifted: axes that a call brought in beyond the signature; they ride along as batch.
    carried: names a fold may assign again. outputs: the axes of each declared output. ranks: number of stored dims of inputs not
    bound yet, for `rank(x)`.
    copies: private copies of an axis made by a call, with the axis they copy. returns: whether `return` may stand here.
    """

    builder: Builder
    library: Library
    names: dict[str, Value] = field(default_factory=dict)
    axis_names: set[str] = field(default_factory=set)
    primes: list[dict[str, str]] = field(default_factory=list)
    twins: dict[str, str] = field(default_factory=dict)
    lifted: tuple[str, ...] = ()
    assigned: set[str] = field(default_factory=set)
    carried: set[str] = field(default_factory=set)
    outputs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    ranks: dict[str, int] = field(default_factory=dict)
    copies: dict[str, str] = field(default_factory=dict)
    attend: AttendScope | None = None
    sizing: bool = False
    integral: bool = False
    depth: int = 0
    where: str = ""
    returns: bool = False

    @contextmanager
    def mode(self, sizing: bool | None = None, integral: bool | None = None) -> Iterator[None]:
        """Change how bare axes (`sizing`) and integer division (`integral`) read."""
        old = self.sizing, self.integral
        self.sizing = self.sizing if sizing is None else sizing
        self.integral = self.integral if integral is None else integral
        try:
            yield
        finally:
            self.sizing, self.integral = old

    @contextmanager
    def binding(self, axes: list[AxisRef]) -> Iterator[None]:
        """Let the primed axes among `axes` be what primes of tensors mean."""
        bound: dict[str, str] = {}
        inverse = {twin: base for base, twin in self.twins.items()}
        for ref in axes:
            for atom in ref.atoms:
                if atom in inverse:
                    bound[inverse[atom]] = atom
        self.primes.append(bound)
        try:
            yield
        finally:
            self.primes.pop()

    def bound_primes(self) -> dict[str, str]:
        """Base atom -> primed atom for every enclosing construct, the innermost winning."""
        out: dict[str, str] = {}
        for frame in self.primes:
            out.update(frame)
        return out

    def twin(self, ref: AxisRef, name: str) -> AxisRef:
        """The primed copy of an axis: equal size, its own index."""
        atoms = []
        for atom in ref.atoms:
            if atom not in self.twins:
                axis = self.builder.axes[atom]
                parts = tuple(self.twin(AxisRef("", part), "").atoms for part in axis.parts)
                made = self.builder.axis(atom + "'", Size(atom), parts)
                if parts:
                    self.builder.sums.setdefault(parts, made)
                self.twins[atom] = made
            atoms.append(self.twins[atom])
        return AxisRef(name, tuple(atoms))

    def is_local(self, expr: Expr) -> bool:
        """Whether an expression reads a name of the attend being resolved."""
        return self.attend is not None and any(s in self.attend.locals for s in sources_of(expr))

    def store(self, expr: Expr, hint: str, span: Span) -> Read:
        """Make an expression a value of its own, to be read at other positions."""
        if not self.is_local(expr):
            return self.builder.assign(hint, expr, span=span)
        assert self.attend is not None
        if self.attend.emits is None:
            raise AttnTypeError(
                "a pair value can be read at other positions only when it is a name",
                span,
                "name it first: 'post w = ...', then 'w[..]'",
            )
        name = self.builder.fresh(hint)
        self.attend.emits.append(Assign(name, axes_of(expr), kind_of(expr), expr, span))
        self.attend.locals.add(name)
        return reference(name, axes_of(expr), kind_of(expr))

    def moved(self, expr: Expr, at: Mapping[str, Expr], span: Span) -> Expr:
        """An expression at other positions; stored first where that would catch an axis that is bound inside it."""
        return substitute(self.store(expr, "t", span) if captures(expr, at) else expr, at)

    def axis_ref(self, name: str, span: Span) -> AxisRef:
        """The axis of a name, primes allowed. Raises AttnNameError when there is none."""
        found = self.find_axis(name)
        if isinstance(found, AxisRef):
            return found
        if isinstance(found, PackOf):
            raise AttnTypeError(f"'{name}' is a pack of axes", span, f"write '*{name}'")
        known = sorted(n for n, v in self.names.items() if isinstance(v, AxisRef) and not n.startswith("~"))
        raise AttnNameError(f"unknown axis '{name}'", span, f"axes here: {', '.join(known)}" if known else "")

    def get(self, name: str) -> Value:
        """The value of a name in this scope, worked out now if that was put off. KeyError when there is none."""
        found = self.names[name]
        if isinstance(found, Lazy):
            found = self.names[name] = found.get()
        return found

    def find_axis(self, name: str) -> AxisRef | PackOf | None:
        value = self.names.get(name)
        if isinstance(value, AxisRef) or (isinstance(value, PackOf) and all(isinstance(i, AxisRef) for i in value.items)):
            return value
        if name.endswith("'"):
            base = self.find_axis(name[:-1])
            if isinstance(base, AxisRef):
                made: AxisRef | PackOf = self.twin(base, name)
            elif isinstance(base, PackOf):
                made = PackOf(tuple(self.twin(item, item.name + "'") for item in base.items))
            else:
                return None
            self.names[name] = made
            return made
        return None
