"""Resolve: a syntax tree, parameters and the tensors that are present become a `Program`.

Everything static happens here: overloads, families, bundles, absence, packs, primes, inlining of definitions and patterns.

    scope.py         what a name means; the builder that collects axes, checks and nodes
    values.py        what an expression can be before it is an IR expression: static, axis, pack, absent
    expressions.py   operators, names, static folding
    reads.py         brackets: gathers, affine reads, direct sums
    functions.py     the built-in functions, a table; use.py: a call taken apart; choices.py: those that make nodes
    calls.py         definitions, inlined; arguments.py: what a call passes; inline.py: patterns, inlined
    names.py         which names are axes, from the syntax alone
    signatures.py    bundles, families, numbers of `where`; renames.py: axes renamed by an include
    params.py        parameters and their types
    layouts.py       stored dims, sizes, products and direct sums
    ranks.py         packs
    overloads.py     which pattern of a name is meant
    declared.py      what is known of a pattern before there are tensors
    statements.py    assignments, folds, static ifs, checks
    attends.py       attends and their clauses
    outputs.py       outputs; finish.py: dropping what no output needs
    program.py       the whole
"""

from . import calls, reads

__all__ = ("calls", "reads")
"""Imported with the package: both register how their syntax nodes are resolved."""
