"""Dependencies: the graph, the order, and what some outputs need."""

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_exprs import CALM
from ir_programs import programs

from attncc.errors import AttnInternalError, AttnNameError
from attncc.ir.expr import Read
from attncc.ir.graph import graph, live, order, ordered
from attncc.ir.nodes import Assign, Output, Program, used_by, values_of
from attncc.ir.parser import parse
from attncc.ir.printer import show, show_node
from attncc.ir.verify import verify

TEXT = """
program p
axis b; axis i; axis j = |i|; axis d
input q[b, i, d]: float
input k[b, j, d]: float
a[b, i]: float = sum[d](q[b, i, d])
unused[b]: float = sum[i](a[b, i])
z[b]: float = 0.0
u[b]: float = 1.0
o[b, i, d]: float = attend rows (b, i) over (j) {
  score s = a[b, i] * k[b, j, 0]
  score n = s[b, i, j] * 2.0
  score never = 3.0
  mask n[b, i, j] < 3.0
  map p = exp(s[b, i, j])
  map r = s[b, i, j]
  post v = p[b, i, j] * u[b]
  mix k[b, j, d]
  emit e[b]: float = sum[i, j](r[b, i, j])
  emit f[b]: float = e[b] + 1.0
}
fold n = 1 .. 3 by 1 {
  carry x[b]: float = z then x1
  carry y[b]: float = u then y1
  carry w[b]: float = z then w1
  x1[b]: float = x[b] + y[b]
  y1[b]: float = y[b] * 2.0
  w1[b]: float = w[b] + e[b]
}
output o[b, i, d]: float = o
output f[b]?: float = f
output x[b]?: float = x
output same[b, i]?: float = a
"""


def test_graph():
    program = verify(parse(TEXT))
    found = graph(program)
    assert set(found.predecessors("a")) == {"q"}
    assert set(found.predecessors("o")) == set(found.predecessors("e")) == {"a", "k", "u"}
    assert set(found.predecessors("x")) == {"z", "u", "e"}
    assert set(found.predecessors(("output", "x"))) == {"x"}
    assert found.nodes["e"]["by"] is found.nodes["o"]["by"] is program.nodes[4]
    assert found.nodes["q"]["by"] is program.inputs[0]
    assert found.nodes[("output", "f")]["by"] is program.outputs[1]
    assert nx.descendants(found, "unused") == set()


def lines(program):
    return [show_node(node).splitlines() for node in program.nodes]


def test_live_keeps_what_an_output_needs():
    program = parse(TEXT)
    kept = verify(live(program))
    assert [o.name for o in kept.outputs] == ["o"]
    assert [next(values_of(n)).name for n in kept.nodes] == ["a", "u", "o"]
    attend = lines(kept)[2]
    assert attend == [
        "o[b, i, d]: float = attend rows (b, i) over (j) {",
        "  score s = a[b, i] * k[b, j, 0]",
        "  score n = s[b, i, j] * 2.0",
        "  mask n[b, i, j] < 3.0",
        "  map p = exp(s[b, i, j])",
        "  post v = p[b, i, j] * u[b]",
        "  mix k[b, j, d]",
        "  empty zero",
        "  order auto",
        "}",
    ]


def test_live_drops_the_mix_and_the_weights_that_nothing_reads():
    kept = verify(live(parse(TEXT), ["f"]))
    assert lines(kept)[1] == [
        "attend rows (b, i) over (j) {",
        "  score s = a[b, i] * k[b, j, 0]",
        "  score n = s[b, i, j] * 2.0",
        "  mask n[b, i, j] < 3.0",
        "  map r = s[b, i, j]",
        "  emit e[b]: float = sum[i, j](r[b, i, j])",
        "  emit f[b]: float = e[b] + 1.0",
        "  empty zero",
        "  order auto",
        "}",
    ]


def test_live_drops_carried_values():
    kept = verify(live(parse(TEXT), {"x"}))
    assert lines(kept)[2] == [
        "fold n = 1 .. 3 by 1 {",
        "  carry x[b]: float = z then x1",
        "  carry y[b]: float = u then y1",
        "  x1[b]: float = x[b] + y[b]",
        "  y1[b]: float = y[b] * 2.0",
        "}",
    ]
    assert [next(values_of(n)).name for n in kept.nodes] == ["z", "u", "x"]


def test_live_refuses_an_unknown_output():
    with pytest.raises(AttnNameError) as caught:
        live(parse(TEXT), ["o", "lse"])
    assert caught.value.message == "there is no output 'lse'"
    assert caught.value.help == "the outputs are: o, f, x, same"


@given(programs(), st.data())
@settings(CALM, max_examples=100)
def test_live_programs_are_legal_and_minimal(program, data):
    names = [o.name for o in program.outputs]
    asked = data.draw(st.sets(st.sampled_from(names), min_size=1))
    kept = verify(live(program, asked))
    assert {o.name for o in kept.outputs} == asked
    assert live(kept, asked) == kept
    needed = {o.value for o in kept.outputs}.union(*(used_by(n) for n in kept.nodes))
    for node in kept.nodes:
        assert any(value.name in needed for value in values_of(node))
    assert parse(show(kept)) == kept


@given(programs(), st.randoms(use_true_random=False))
@settings(CALM, max_examples=100)
def test_ordered_mends_any_order(program, random):
    shuffled = list(program.nodes)
    random.shuffle(shuffled)
    mended = verify(ordered(program.with_nodes(tuple(shuffled))))
    assert sorted(map(show_node, mended.nodes)) == sorted(map(show_node, program.nodes))
    named = program.with_nodes(tuple(n for n in program.nodes if list(values_of(n))))
    assert ordered(named) == named


def test_a_cycle_is_named():
    def value(name, of):
        return Assign(name, (), "float", Read(of, (), "float"))

    nodes = (
        value("c", "b"),
        value("first", "first2"),
        value("b", "a"),
        value("a", "c"),
        Assign("first2", (), "float", Read("x", (), "float")),
    )
    program = Program("p", (), (), (), nodes, (Output("o", "a", ()),))
    for find in (order, ordered):
        with pytest.raises(AttnInternalError) as caught:
            find(program)
        assert caught.value.message == "values depend on one another: c -> a -> b -> c"
