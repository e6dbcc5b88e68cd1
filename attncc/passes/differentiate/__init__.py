"""The backward pass of an attend, as pair stages.

`Derivative(program, node)` says what the forward pass keeps (a log-sum-exp a row, the output; never a weight), and for which
inputs there is a gradient; `backward(needs)` gives the stages for some of them. Anything else raises AttnUnsupportedError.
"""

from .build import Backward, Derivative, Part

__all__ = ["Backward", "Derivative", "Part"]
