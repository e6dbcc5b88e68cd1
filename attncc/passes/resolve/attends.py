"""`attend`: a scope of pair values. Clauses become the fields of one IR node; nothing on pairs is stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from ...errors import AttnNameError, AttnTypeError, Span
from ...ir.expr import Along, Apply, Const, Expr, Read, axes_of, kind_of, rebuild
from ...ir.nodes import Assign, Segment, pair_values
from ...ir.nodes import Attend as Node
from ...language import tree
from .arithmetic import conjunction, make_and, to_expr
from .expressions import name_text, static_bool, whole
from .normalizers import normalized
from .reads import axis_of, flatten
from .scope import ADMITTED, AttendScope, Scope, reference, unreserved
from .statements import declare, target_axes
from .values import Absent, AxisRef, Value

SETTINGS = {"order": ("auto", "left", "right"), "empty": ("zero", "uniform", "error")}


@dataclass
class Part:
    """One key segment while it is read."""

    axes: list[AxisRef]
    scores: list[tuple[str, Expr]] = field(default_factory=list)
    mask: Value = True
    mix: Expr | None = None
    span: Span | None = None

    @property
    def atoms(self) -> tuple[str, ...]:
        return tuple(a for ref in self.axes for a in ref.atoms)


@dataclass
class Draft:
    """Everything the clauses said."""

    parts: list[Part]
    maps: list[tuple[str, Expr]] = field(default_factory=list)
    posts: list[tuple[str, Expr]] = field(default_factory=list)
    emits: list[Assign] = field(default_factory=list)
    emitted: list[tuple[str, str]] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    keys: tuple[str, ...] = ()

    def node(self) -> Node:
        """What has been said so far, as an IR node without a name."""
        segments = tuple(
            Segment(p.atoms, tuple(p.scores), None if p.mask is True else Const(False) if p.mask is False else p.mask, p.mix)
            for p in self.parts
        )
        return Node("", (), "float", (), segments, tuple(self.maps), tuple(self.posts), tuple(self.emits), self.keys)


def clauses(scope: Scope, items: tuple[tree.Clause, ...]) -> Iterator[tree.Clause]:
    """Clauses with static ifs decided."""
    for item in items:
        if isinstance(item, tree.ClauseIf):
            taken = static_bool(scope, item.cond, "the condition of 'if'")
            yield from clauses(scope, item.then if taken else item.orelse)
        else:
            yield item


def attend(scope: Scope, node: tree.Attend) -> None:
    """Resolve an attend statement into an IR node and bind its results."""
    asserted = target_axes(scope, node.target.dims) if node.target is not None and node.target.dims is not None else None
    outer_names, outer_attend = dict(scope.names), scope.attend
    if outer_attend is not None:
        raise AttnTypeError("an attend cannot stand inside another one", node.span)
    over = _keys(scope, node.axes)
    with scope.binding([*over, *(asserted or [])]):
        try:
            draft = _read(scope, node, over)
        finally:
            inner = dict(scope.names)
            scope.names, scope.attend = outer_names, None
    for name, found in inner.items():  # primed axes made inside stay known
        if isinstance(found, AxisRef) and name not in scope.names:
            scope.names[name] = found
    _emit(scope, node, draft, asserted)


def _keys(scope: Scope, nodes: tuple[tree.Expr, ...]) -> list[AxisRef]:
    """The key axes of an `over`, each one once."""
    out: list[AxisRef] = []
    for node in nodes:
        for ref in flatten([axis_of(scope, node)]):
            if any(set(ref.atoms) & set(other.atoms) for other in out):
                raise AttnTypeError(f"axis '{ref.name}' is named twice", node.span, "each key axis stands in 'over' once")
            out.append(ref)
    return out


def _read(scope: Scope, node: tree.Attend, over: list[AxisRef]) -> Draft:
    items = list(clauses(scope, node.clauses))
    segments = [c for c in items if isinstance(c, tree.Over)]
    if bool(segments) == bool(over):
        raise AttnTypeError(
            "an attend says its keys once: 'attend o over j { .. }', or one 'over j { .. }' block for each kind of key", node.span
        )
    if segments:
        return _segmented(scope, node, items)
    part = Part(over, span=node.span)
    draft = Draft([part])
    scope.attend = AttendScope(part.atoms)
    for clause in items:
        if not _score_side(scope, clause, part):
            _weight_side(scope, clause, draft)
    return draft


def _segmented(scope: Scope, node: tree.Attend, items: list[tree.Clause]) -> Draft:
    """Several kinds of keys under one normalizer: pair values run over their direct sum."""
    draft = Draft([])
    labels: dict[str, str] = {}
    for clause in items:
        if not isinstance(clause, tree.Over):
            continue
        if clause.cond is not None and not static_bool(scope, clause.cond, "the condition of a segment"):
            continue
        part = Part(_keys(scope, clause.axes), span=clause.span)
        names = dict(scope.names)
        scope.attend = AttendScope(part.atoms, labels=labels)
        with scope.binding(part.axes):
            for inner in clauses(scope, clause.clauses):
                if not _score_side(scope, inner, part):
                    raise AttnTypeError(
                        "a segment holds 'score', 'mask', 'mix' and local values",
                        inner.span,
                        "put this clause after the segments",
                    )
        scope.names = {**names, **{n: v for n, v in scope.names.items() if isinstance(v, AxisRef)}}
        draft.parts.append(part)
    if not draft.parts:
        raise AttnTypeError("no segment of this attend is present", node.span)
    if len(draft.parts) == 1:
        scope.attend = AttendScope(draft.parts[0].atoms, labels=labels)
    else:
        draft.keys = (scope.builder.sum_axis(tuple(p.atoms for p in draft.parts)),)
        scope.attend = AttendScope(draft.keys, labels=labels)
    scored = [n for n, _ in draft.parts[0].scores]
    for part in draft.parts:
        if [n for n, _ in part.scores] != scored:
            raise AttnTypeError("all segments must score under the same names", part.span)
    for name in scored:
        _pair(scope, draft, name)
    for clause in items:
        if not isinstance(clause, tree.Over):
            _weight_side(scope, clause, draft)
    return draft


def _local_name(scope: Scope, named: tree.Named, default: str, taken: list[str]) -> str:
    """The name of a pair value in the program: its own, or a fresh one where the program has a value of that name already."""
    assert scope.attend is not None
    label = default if named.name is None else name_text(scope, named.name)
    if named.name is None and label in taken and default == "s":  # nothing could read it, or choose between the two
        raise AttnNameError(
            f"'{label}' is taken: a second value of its kind needs a name",
            named.span,
            "give each one a name: 'score a = .., b = ..'",
        )
    if named.name is None and (label in scope.names or label in taken):
        label = f"~{len(taken)} {default}"  # nothing can refer to it
    elif label == ADMITTED:
        unreserved(label, named.span)
    elif label in scope.names and label not in (*scope.attend.locals, *scope.attend.labels.values()):
        raise AttnNameError(f"'{label}' already names something else here", named.span, "give the pair value another name")
    name = next((n for n, known in scope.attend.labels.items() if known == label), label)
    if name in taken:
        raise AttnNameError(f"'{name}' is named twice in this attend", named.span, "give each one a name: 'score a = .., b = ..'")
    if name == label and (label in scope.builder.taken or label.startswith("~")):
        name = scope.builder.fresh(label.split()[-1])
        while name in taken or name in scope.names:  # the variable of a fold is a name of the scope that no value has
            name = scope.builder.fresh(label.split()[-1])
        scope.attend.labels[name] = label
    return name


def _bind(scope: Scope, name: str, axes: tuple[str, ...], kind: str) -> None:
    """Let the clauses that follow read a pair value, under its label and under its name in the program."""
    assert scope.attend is not None
    scope.names[name] = scope.names[scope.attend.labels.get(name, name)] = reference(name, axes, kind)
    scope.attend.locals.add(name)


def _score_side(scope: Scope, clause: tree.Clause, part: Part) -> bool:
    """score, mask, mix and local values; False for any other clause."""
    assert scope.attend is not None
    match clause:
        case tree.Score(_, items):
            for named in items:
                name = _local_name(scope, named, "s", [n for n, _ in part.scores])
                e = to_expr(scope, whole(scope, named.value), named.value.span)
                if kind_of(e) not in ("float", "int"):
                    raise AttnTypeError(
                        f"a score is a number, found a value of kind {kind_of(e)}",
                        named.value.span,
                        "a condition belongs in 'mask'",
                    )
                part.scores.append((name, e))
                _bind(scope, name, axes_of(e), kind_of(e))
        case tree.Mask(_, node):
            got = conjunction(scope, whole(scope, node), node.span)
            if isinstance(got, Absent):
                return True
            if not isinstance(got, bool):
                got = to_expr(scope, got, node.span)
                if kind_of(got) != "bool":
                    raise AttnTypeError(
                        f"a mask is a condition, found a value of kind {kind_of(got)}",
                        node.span,
                        "an added bias belongs in 'score'",
                    )
            if scope.is_local(to_expr(scope, got, node.span)):
                raise AttnTypeError("a mask cannot depend on the scores", node.span, "use a post, or in_top before the attend")
            part.mask = make_and(scope, part.mask, got, node.span)
        case tree.Mix(_, node):
            if part.mix is not None:
                raise AttnTypeError("there is one 'mix' for each segment", clause.span, "take one of them away")
            part.mix = to_expr(scope, whole(scope, node), node.span)
            if scope.is_local(part.mix):
                raise AttnTypeError(
                    "what is mixed cannot depend on pair values", node.span, "change the weights with 'post' instead"
                )
        case tree.Local(_, name, node):
            text = name_text(scope, name)
            if text in scope.attend.locals:
                raise AttnNameError(f"'{text}' is named twice in this attend", clause.span)
            scope.names[text] = whole(scope, node)
        case _:
            return False
    return True


def _weight_side(scope: Scope, clause: tree.Clause, draft: Draft) -> None:
    """normalize, post, emit, settings; in an attend of several segments, mix and mask of all of them are refused."""
    assert scope.attend is not None
    taken = [n for n, _ in (*draft.parts[0].scores, *draft.maps, *draft.posts)]
    match clause:
        case tree.Normalize(_, items):
            for n, named in enumerate(items):
                name = _local_name(scope, named, "p" if n == 0 else f"p{n}", taken)
                e = normalized(scope, named.value, [n for n, _ in draft.parts[0].scores])
                draft.maps.append((name, e))
                _pair(scope, draft, name)
                taken.append(name)
        case tree.Post(_, named):
            if not draft.maps:
                raise AttnTypeError("'post' comes after 'normalize'", clause.span, "write 'normalize ..' before it")
            default, n = "w", 0
            while named.name is None and default in taken:
                n += 1
                default = f"w{n}"
            name = _local_name(scope, named, default, taken)
            got = whole(scope, named.value)
            if isinstance(got, Absent):
                return
            e = _logs(scope, draft, to_expr(scope, got, named.value.span))
            draft.posts.append((name, e))
            _pair(scope, draft, name)
        case tree.Emit(_, items):
            scope.attend.emits = draft.emits
            _pair(scope, draft, ADMITTED)
            for named in items:
                if named.name is None:
                    raise AttnTypeError("an emit needs a name", named.span, "emit name = ...")
                _emit_one(scope, named, draft)
            scope.attend.emits = None
        case tree.Setting(_, key, word):
            if word not in SETTINGS[key]:
                raise AttnTypeError(f"'{key} {word}' is not known", clause.span, f"{key} is one of: {', '.join(SETTINGS[key])}")
            if key in draft.settings:
                raise AttnTypeError(f"'{key}' is given twice", clause.span, "take one of them away")
            draft.settings[key] = word
        case tree.Local(_, name, node):
            scope.names[name_text(scope, name)] = whole(scope, node)
        case _:
            raise AttnTypeError(
                "with several segments this clause belongs inside them", clause.span, "write it in each 'over .. { }' block"
            )


def _pair(scope: Scope, draft: Draft, name: str) -> None:
    """Bind the name of a pair value to a reference to it."""
    found = pair_values(draft.node())[name]
    _bind(scope, name, found.axes, found.kind)


def _emit_one(scope: Scope, named: tree.Named, draft: Draft) -> None:
    assert named.name is not None and scope.attend is not None
    name = name_text(scope, named.name)
    got = whole(scope, named.value)
    if isinstance(got, Absent):
        draft.emitted.append((name, ""))
        scope.names[name] = got
        return
    e = _logs(scope, draft, to_expr(scope, got, named.value.span))
    unique = scope.builder.fresh(name)
    if unique in scope.attend.locals:  # emit p = p: the stored value is another one than the pair value
        unique = scope.builder.fresh(name)
    draft.emits.append(Assign(unique, axes_of(e), kind_of(e), e, named.span))
    draft.emitted.append((name, unique))
    scope.names[name] = reference(unique, axes_of(e), kind_of(e))
    scope.attend.locals.add(unique)


def _logs(scope: Scope, draft: Draft, e: Expr) -> Expr:
    """The logarithm of a softmax weight is score - lse, finite where the weight underflows: a map of its own."""
    maps = dict(draft.maps)
    if isinstance(e, Apply) and e.op == "log" and isinstance(e.args[0], Read):
        found = maps.get(e.args[0].source)
        if isinstance(found, Along) and found.op == "softmax":
            assert scope.attend is not None
            name = "log_" + e.args[0].source
            if name not in maps:
                at = [n for n, _ in draft.maps].index(e.args[0].source)
                draft.maps.insert(at, (name, Along("log_softmax", found.axes, found.body, found.cond, found.sink)))
                scope.attend.locals.add(name)
            return Read(name, e.args[0].index, "float")
    return rebuild(e, lambda child: _logs(scope, draft, child))


def _emit(scope: Scope, node: tree.Attend, draft: Draft, asserted: list[AxisRef] | None) -> None:
    """Assemble the IR node and bind its results in the scope."""
    over = draft.keys or draft.parts[0].atoms
    atoms = [a for p in draft.parts for a in p.atoms]
    for part in draft.parts:
        if not part.scores:
            raise AttnTypeError(
                "an attend needs a 'score'", part.span, "write 'score dot(q, k)', or 'score 0' where there is none"
            )
    if not draft.maps:
        raise AttnTypeError(
            "an attend needs a 'normalize'", node.span, "write 'normalize softmax', or 'normalize identity' for the plain scores"
        )
    mixes = [p.mix for p in draft.parts]
    if any(m is None for m in mixes) and not all(m is None for m in mixes):
        raise AttnTypeError("every segment needs a 'mix', or none", node.span)
    if node.target is None and mixes[0] is not None:
        raise AttnTypeError("what this attend mixes has no name", node.span, "attend NAME over ... { }")
    if node.target is not None and mixes[0] is None:
        raise AttnTypeError("an attend with a name needs a 'mix'", node.span, "leave the name out when there are only emits")
    found = draft.node()
    values = pair_values(found)
    weight = values[(draft.posts or draft.maps)[-1][0]]
    free = tuple(a for a in weight.axes if a not in over)
    rows = tuple(dict.fromkeys((*free, *(a for v in values.values() for a in v.axes if a not in over))))  # a post may sum some
    name = ""
    axes: tuple[str, ...] = ()
    if node.target is not None:
        label = name_text(scope, node.target.name)
        axes = tuple(dict.fromkeys((*free, *(a for m in mixes if m is not None for a in axes_of(m) if a not in atoms))))
        if asserted is not None:
            axes = _ordered(scope, label, axes, tuple(a for ref in asserted for a in ref.atoms), node.target.span)
        name = scope.builder.fresh(label)
    empty, order = draft.settings.get("empty", "zero"), draft.settings.get("order", "auto")
    scope.builder.emit(replace(found, name=name, axes=axes, rows=rows, empty=empty, order=order, span=node.span), node.span)
    if node.target is not None:
        declare(scope, name_text(scope, node.target.name), reference(name, axes, "float"), node.target.span)
    emitted = {e.name: e for e in draft.emits}
    for label, unique in draft.emitted:
        e = emitted.get(unique)
        declare(scope, label, Absent(label) if e is None else reference(unique, e.axes, e.kind), node.span)


def _ordered(scope: Scope, name: str, axes: tuple[str, ...], asserted: tuple[str, ...], span: Span) -> tuple[str, ...]:
    extra = [a for a in axes if a not in asserted and a not in scope.lifted]
    missing = [a for a in asserted if a not in axes]
    if extra or missing:
        what = f"has axis '{extra[0]}' too" if extra else f"has no axis '{missing[0]}'"
        raise AttnTypeError(f"'{name}' is declared over ({', '.join(asserted)}), but it {what}", span)
    return (*[a for a in axes if a in scope.lifted and a not in asserted], *asserted)
