"""The backward pass of a fused attend, as pair stages.

`Derivative(node, fusion, name)` takes the stages that `fuse` made. `backward(needs, given)` gives the phases for the gradients of some
values, from the cotangents of what the attend stores; `kept` is then what the forward pass has to leave (a statistic a row, never a
weight). What no stage can sum raises AttnUnsupportedError with the reason.

    ends        finals: cotangents of sums and statistics, a row at a time
    build       stages in reverse: cotangents of scores and weights at a pair
    extremes    greatest and smallest values of a row, sums for each key; distances: clamps that are no part of the function
    statistics  cotangents of what earlier stages computed
    sums        the last stages, which sum over pairs; tables: what is read at a key of the pair
    shifts      gradients that are 0 since a normalizer takes no notice of what all keys of a row share
    weights     weights under a known log-sum-exp, computed again
    script      phases, and how their values add up; monomials: when a derivative is a multiple of what is stored
"""
