"""Resolve: a syntax tree, parameters and the tensors that are present become a `Program`.

Everything static happens here: overloads, families, bundles, absence, packs, primes, inlining of definitions and patterns.

    scope.py        what a name means; the builder that collects axes, checks and nodes
    values.py       what an expression can be before it is an IR expression: static, axis, pack, absent
    expressions.py  operators, names, static folding
    reads.py        brackets: gathers, affine reads, direct sums
    functions.py    the built-in functions, a table
    calls.py        definitions and patterns, inlined
    renames.py      the axes of a bundle under other names
    signatures.py   parameters, bundles, families, dims, sizes
    statements.py   assignments, folds, static ifs, checks
    attends.py      attends and their clauses
    program.py      the whole: overload choice and outputs
"""
