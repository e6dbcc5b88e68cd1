"""Histograms of pairs in Triton against the oracle."""

import itertools

import pytest
from attends import op, qkv
from attncc.backends.triton.run import module_of
from keyed_cases import HISTOGRAMS, TABLES, cut, histogram
from triton_cases import agree
from triton_cases import agree_both as gradients_agree

from attncc.errors import AttnValueError
from attncc.schedules.backward import differentiated

WEIGHTS = itertools.cycle([("softmax", "j <= i + 5"), ("sigmoid", "true"), ("l1", "j != i")])


@pytest.mark.parametrize(
    ("name", "weights"), list(zip(HISTOGRAMS, WEIGHTS, strict=False)), ids=lambda x: x if isinstance(x, str) else x[0]
)
def test_histograms(name: str, weights: tuple[str, str]) -> None:
    text, more = histogram(name, *weights)
    agree(op(text), qkv(b=1, **more))


@pytest.mark.parametrize("name", [n for n in TABLES if n not in ("difference", "gain", "clusters")])
def test_gradients_of_tables(name: str) -> None:
    text, inputs = TABLES[name]
    gradients_agree(op(text), inputs)


@pytest.mark.parametrize("name", ["difference", "plane"])
def test_gradients_by_bands(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cut(monkeypatch)
    text, inputs = TABLES[name]
    gradients_agree(op(text), {n: t[:1] if t.dim() == 4 else t for n, t in inputs.items()})


def test_gradients_by_atomic_additions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTNCC_TABLES", "atomic")
    text, inputs = TABLES["plane"]
    gradients_agree(op(text), inputs)


def test_histograms_by_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    cut(monkeypatch)
    text, more = histogram("by distance", "softmax", "j <= i + 5")
    agree(op(text), qkv(b=1, **more))


def launches(name: str) -> str:
    """The launching functions of the gradients of a case."""
    text, inputs = TABLES[name]
    program = op(text).specialise({n: t.dim() for n, t in inputs.items()})
    made = differentiated(program, ["o"])
    assert made is not None
    plan = made.backward([n for n, t in inputs.items() if t.is_floating_point()], ["o"]).plan
    return "".join(x.text for x in module_of(plan, dict.fromkeys(plan.features, 16), "interpreter", 32).launches)


def test_what_a_launch_chooses_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts or bands by sizes; one array and no shares where atomic additions are asked for, unless results must be the same."""
    cuttable, data = launches("difference"), launches("buckets")
    assert "d_r[0].flatten(2, 3).narrow(2, 0, c)" in cuttable and "d_r = d_r.sum(0)" in cuttable
    assert "flatten" not in data and "d_r = d_r.sum(0)" in data
    monkeypatch.setenv("ATTNCC_TABLES", "atomic")
    wished = launches("difference")
    assert "d_r = torch.zeros((b, h, c)" in wished and "share" not in wished and "flatten" not in wished
    monkeypatch.setattr("torch.are_deterministic_algorithms_enabled", lambda: True)
    with pytest.warns(UserWarning, match="ATTNCC_TABLES=atomic gives way"):
        assert launches("difference") == cuttable
    monkeypatch.setenv("ATTNCC_TABLES", "atoms")
    with pytest.raises(AttnValueError, match="must be 'atomic' or unset, found 'atoms'"):
        launches("difference")
