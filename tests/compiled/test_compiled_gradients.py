"""Gradients of every kind of attend by compiling backends, against eager in float64."""

from __future__ import annotations

from collections.abc import Collection

import pytest
import torch
from attends import attend, op, qkv, rand
from attncc.backends.triton.configs import Config
from backward_cases import CASES, pulled
from ways import WAYS, Tape, agree_both, both, on

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

TILES = {"cpu": WAYS["cpu"].tiles(), "triton": Config(16, 16, 4, 1)}
DTYPES = {"cpu": torch.float64, "triton": torch.float32}
SOME = (
    "normalizer: divided by the root of a sum", "normalizer: both sides", "post: sharpened again", "emit: greatest of many equal",
    "score: value of each pair", "shape: heads in groups, query axis", "shape: kinds of keys", "shape: chain",
)  # fmt: skip
"""Each takes two compilations; the stages themselves are tested with Triton's interpreter, every one."""


def run(way: str, text: str, inputs: dict[str, torch.Tensor], needs: Collection[str] = ()) -> Tape:
    return agree_both(way, op(text), {n: t.to(DTYPES[way]) for n, t in inputs.items()}, needs=needs, tiles=TILES[way])


@on("name", cpu=SOME, triton=CASES)
def test_gradients(way: str, name: str) -> None:
    tape = run(way, *CASES[name])
    assert list(pulled(tape)) == (["u"] if name == "score: value of each pair" else [])


PROJECTED = """pattern t(x[b, n, c], wq[c, d], wk[c, d], bq[d], bk[d], u[b, n], v[b, n, e]) -> o[b, n, e] {
  q[b, n, d], k[b, n, d] = sum[c](x * wq) + bq, sum[c](x * wk) + bk
  attend o over n' { score dot(q, k') / 2 + RULE   mask n' <= n + 3   normalize NORMALIZER   mix v' }
}"""
ZERO = {
    "bias of the keys": ("softmax", "u'", {"bk"}),
    "bias of the rows": ("softmax", "u", {"bk", "u"}),
    "query axis": ("softmax[n](s)", "u", {"bq"}),
    "sink": ("softmax(s; sink = 1)", "u", set()),
    "sigmoid": ("sigmoid", "u", set()),
}


@both
@pytest.mark.parametrize("name", ZERO)
def test_what_all_keys_of_a_row_share_has_no_gradient(way: str, name: str) -> None:
    """Under a softmax along the keys the gradient of a bias of the keys is 0, not the rounding of a sum that cancels."""
    normalizer, rule, zero = ZERO[name]
    inputs = {
        "x": rand(1, 19, 5), "wq": rand(5, 4) / 2, "wk": rand(5, 4) / 2, "bq": rand(4), "bk": rand(4), "u": rand(1, 19), "v": rand(1, 19, 3)
    }  # fmt: skip
    text = PROJECTED.replace("NORMALIZER", normalizer).replace("RULE", rule)
    run(way, text, inputs)
    leaves = {n: t.to(WAYS[way].device, DTYPES[way]).requires_grad_() for n, t in inputs.items()}
    op(text)(**leaves, backend=way).sin().sum().backward()
    found = {n for n, t in leaves.items() if t.grad is not None and not t.grad.any()}
    assert found == zero


@both
def test_a_score_that_is_nan_stays_nan(way: str) -> None:
    """Forward nothing is left out, whatever its gradient is."""
    text = attend("score dot(q, k) / 4 + u\nnormalize softmax\nmix v", ", u[b, i]")
    bias = torch.zeros(1, 37)
    bias[0, 3] = float("nan")
    inputs = {n: t.to(WAYS[way].device) for n, t in qkv(b=1, u=bias).items()}
    assert op(text)(**inputs, backend=way).isnan().all(-1).any(1)[0].tolist() == [i == 3 for i in range(37)]


PAIRS = {
    "sum along the keys so far": "s * cumsum[n'](sigmoid(dot(q, k')))",
    "table at a position of the score": "s + t[r = clamp(floor(s * 2) + 4, 0, 7)]",
    "both": "s * cumsum[n'](sigmoid(dot(q, k'))) + t[r = clamp(floor(s * 2) + 4, 0, 7)]",
}


@both
@pytest.mark.parametrize("name", PAIRS)
def test_values_of_pairs_made_from_what_the_products_read_too(way: str, name: str) -> None:
    """A gradient that no stage sums is autograd's of the whole attend: it holds all that the attend does with an input, once."""
    text = f"""pattern p(q[b, n, d], k[b, n, d], v[b, n, e], t[b, n, r: 8]) -> o[b, n, e] {{
      attend o over n' {{ s = dot(q, k')   score {PAIRS[name]}   mask n' <= n   normalize softmax   mix v' }} }}"""
    run(way, text, {"q": rand(1, 19, 4), "k": rand(1, 19, 4), "v": rand(1, 19, 3), "t": rand(1, 19, 8)})
