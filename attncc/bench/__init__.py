"""The benchmark suites: attncc beside its peers in one process, checked first, timed in interleaved rounds.

    forms       what is computed: weights and masks, as attncc patterns and in plain words for the peers
    peers/      what else computes the same, one file or one row each
    cases       one row of a suite: shapes, direction, peers, goals; cpu and gpu: the two suites
    work        floating-point operations and bytes of a case, and the floor they set
    timing      rounds and medians: by the clock, by device events, or a stub for dry runs
    machine     what the machine is, its matrix product rate and bandwidth
    check       results against the oracle in float64
    child       memory and first calls, in processes of their own
    run         a whole suite
    results     the JSON of a run
    table, plot, readme     showing it
    device      the tests and the suite on a bare machine with a GPU, in one command

Importing this loads nothing.
"""
