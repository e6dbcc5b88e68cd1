"""The verifier: what it lets pass, and what it says of a program that breaks a rule."""

from dataclasses import replace

import pytest
from ir_broken import CASES, MADE
from ir_legal import BASE, LEGAL

from attncc.errors import AttnInternalError
from attncc.ir.expr import Apply, Const, Size
from attncc.ir.nodes import Axis, Input, Output, Pick, Program
from attncc.ir.parser import parse
from attncc.ir.rules import RULES
from attncc.ir.verify import verify


def test_a_legal_program_of_all_nodes():
    program = parse(BASE + LEGAL)
    assert verify(program) is program


@pytest.mark.parametrize(("rule", "message", "program"), [*CASES, *MADE])
def test_a_broken_rule_is_named(rule, message, program):
    program = program() if callable(program) else parse(BASE + program)
    with pytest.raises(AttnInternalError) as caught:
        verify(program)
    assert caught.value.message == message
    assert caught.value.help == f"rule {rule}: {RULES[rule]}"


def test_every_rule_is_broken_once():
    assert {rule for rule, _, _ in [*CASES, *MADE]} == set(RULES)


def test_errors_point_at_the_statement():
    with pytest.raises(AttnInternalError) as caught:
        verify(parse(BASE + "a[b]: float = q[b, i, d]"))
    assert str(caught.value).splitlines()[1:3] == ["    a[b]: float = q[b, i, d]", "    ^^^^^^^^^^^^^^^^^^^^^^^^"]


def test_programs_without_text():
    program = Program("p", (Axis("n", Size("n")),), (), (), (), ())
    with pytest.raises(AttnInternalError, match="axis 'n' depends on itself through its size: n -> n"):
        verify(program)
    output = Output("o", "x", ())
    wrong = Pick("a", (), "int", "argmax", "n", "", Apply("abs", (Const(1),)))
    legal = Program("p", (Axis("n"),), (Input("x", (("n",),)),), (), (wrong,), (replace(output, dims=(("n",),)),))
    assert verify(legal) is legal
