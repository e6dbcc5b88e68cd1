"""attncc itself: the backend under test, its softmax as a yardstick for other weights, and the eager backend, which is the oracle."""

from __future__ import annotations

from ..forms import Attention, Form, Problem
from .base import Peer, Setting


def own(problem: Problem, setting: Setting) -> Attention:
    """The backend of the suite."""
    return problem.call(setting.backend)


def softmax(form: Form) -> Form:
    """The same mask under softmax."""
    return form.with_weights("softmax")


def yardstick(problem: Problem, setting: Setting) -> Attention:
    """The backend of the suite on softmax."""
    return problem.with_form(softmax(problem.form)).call(setting.backend)


def oracle(problem: Problem, setting: Setting) -> Attention:
    """The eager backend."""
    return problem.call("eager")


PEERS = {
    "attncc": Peer(own, about="the backend of the suite"),
    "attncc softmax": Peer(yardstick, softmax, "the same backend on softmax"),
    "oracle": Peer(oracle, about="attncc's eager backend, which interprets the pattern with PyTorch"),
}

