"""What each operator rejects: a call that works, one thing changed, and the error that must come.

A row is (what is changed, error class, part of the message). A dict changes parameters; a string names tensors that are changed:
`-x` left out, `+x[2, 3]` given as well, `x[:3]`-like cuts in CUTS; both can stand in a tuple.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch
from changes import INF, NAN, Base, Change, Rows, S, T, V, cut, drop, of, ones, put
from reject_rows import MORE

import attncc
from attncc.errors import AttnAbsentError, AttnError, AttnNameError
from attncc.testing.calls import Sample, sample

GRID = {"window": (3, 3)}
AGENT = {"heads": 2, "height": 4, "width": 4, "agents": 4}
SOFT = {"height": 4, "width": 4, "ratio": 2, "heads": 2}
VIT = {"heads": 2, "grid": (2, 2), "n_cls": 1, "metric": "chebyshev"}
TOK = {"stage": "encoder_attention", "x_heads": 2, "t_heads": 2}

TABLE: Rows = [
    (Base("softmax"), [
        ({"mask_kind": "x"}, V, "'mask_kind' must be one of"), ({"causal_align": "x"}, V, "'causal_align' must be one of"),
        ({"scale": 0}, V, "scale != 0"), ({"scale": INF}, V, "abs(scale) < inf"), ({"scale": NAN}, V, "abs(scale) < inf"),
        ({"softcap": -1}, V, "0 <= softcap"), ({"window_left": -2}, V, "window_left >= -1"),
        ({"window_right": -2}, V, "window_right >= -1"), ({"causal_align": "bottom_right"}, V, 'causal_align == "top_left" or causal'),
        ({"alibi": True}, AttnAbsentError, "input 'slopes' is missing"),
        (put("slopes", ones(4)), T, "'slopes' is not used with these parameters"),
        (cut("q", 1), S, "no multiple of 2 (g = 2)"),
    ]),
    (Base("softmax", {"prefix_lm": True, "causal": True}), [
        ({"causal": False}, V, "not prefix_lm or causal"), (drop("prefix"), AttnAbsentError, "'prefix' is missing"),
        (of("prefix", torch.Tensor.double), T, "'prefix' must be a tensor of kind int"),
    ]),
    (Base("softmax", {"document": True}), [(of("doc_q", torch.Tensor.double), T, "'doc_q' must be a tensor of kind int")]),
    (Base("softmax", {"mask_kind": "bool"}), [
        (of("mask", lambda m: m.new_ones(3, 1, *m.shape[2:])), V, "a requirement does not hold"),
        (of("mask", torch.Tensor.double), T, "'mask' must be a tensor of kind bool"), (cut("mask", 3), S, "dim 3 of 'mask'"),
    ]),
    (Base("sigmoid", {"heads": 2}, {"c": 4}), [
        ({"pos": "x"}, V, "'pos' must be one of"), ({"normalizer": "x"}, V, "'normalizer' must be one of"),
        ({"heads": 3}, S, "4 is not a multiple of 3"), ({"heads": 0}, S, "not a multiple of 0"),
        ({"log_temp": INF}, V, "abs(log_temp) < inf"), ({"logit_bias": NAN}, V, "abs(logit_bias) < inf"),
        ({"layer_scale": True}, AttnAbsentError, "'ls_gamma' is missing"), (put("ls_gamma", ones(4)), T, "'ls_gamma' is not used"),
    ]),
    (Base("sigmoid_core", {}, {"d": 3}), [({"pos": "rope"}, V, 'pos != "rope" or d mod 2 == 0')]),
    (Base("sigmoid_core", {}, {"i": 3, "j": 4}), [
        ({"normalizer": "sigmoid_div_pos"}, V, 'normalizer == "sigmoid" or i == j'),
        ({"normalizer": "sigmoid_div_sqrt_pos"}, V, 'normalizer == "sigmoid" or i == j'),
    ]),
    (Base("sigmoid_flash"), [
        (cut("q", 2), S, "no multiple of 2 (g = 2)"), ({"causal": True, "window_right": 2}, V, "not (causal and window_right >= 0)"),
        ({"window_left": 2}, V, "causal or window_left < 0 or window_right >= 0"), ({"window_left": -2}, V, "window_left >= -1"),
        ({"key_padding": True}, AttnAbsentError, "'key_mask' is missing"),
    ]),
    (Base("gaussian_kernel"), [
        ({"bandwidth": "x"}, V, "'bandwidth' must be one of"), (put("sigma", ones(2)), S, "dim 0 of 'sigma' has size 2, expected 1"),
        (of("sigma", torch.zeros_like), V, "sigma > 0"), ({"window": -2}, V, "window >= -1"), (cut("k", 3), S, "dim 3 of 'k'"),
        (cut("k", 1), S, "dim 1 of 'k'"),
    ]),
    (Base("linear", {}, {"i": 3, "j": 4}), [
        ({"feature": "x"}, V, "'feature' must be one of"), ({"normalize": "x"}, V, "'normalize' must be one of"),
        ({"scale": 0}, V, "scale != 0"), ({"scale": INF}, V, "abs(scale) < inf"), ({"eps": -1.0}, V, "0 <= eps"),
        ({"normalize": "none", "eps": 1e-6}, V, 'eps == 0 or normalize != "none"'), ({"causal": True}, V, "i == j or not causal"),
        ({"causal": True, "feature": "softmax_q/softmax_k_over_tokens"}, V, "a requirement does not hold"),
        (put("initial_state", ones(2, 2, 4, 4)), V, "not present(initial_state) or"),
    ]),
    (Base("linear", {"causal": True}, {"i": 4}, ("initial_state",)), [({"normalize": "k_channel"}, V, 'normalize != "k_channel"')]),
    (Base("linear", optional=("key_lengths",)), [
        ({"feature": "softmax_q/softmax_k_over_tokens"}, V, "not (causal or present(key_lengths))"),
        (of("key_lengths", torch.Tensor.double), T, "kind int"), (of("key_lengths", lambda n: n + 99), V, "key_lengths <= j.size"),
        (of("key_lengths", lambda n: n - 99), V, "0 <= key_lengths"),
    ]),
    (Base("neighborhood", GRID), [
        ({"dilation": (1, 1, 1)}, V, "'dilation' must be a list of 2"), ({"window": (3, 3, 3)}, S, "'q' has 5 dims"),
        ({"window": (99, 3)}, V, "window * dilation <= g"), ({"dilation": 9}, V, "window * dilation <= g"),
        ({"stride": 4}, V, "1 <= stride <= window"), ({"window": 0}, V, "window >= 1"), ({"dilation": 0}, V, "dilation >= 1"),
        ({"stride": 0}, V, "1 <= stride"), (cut("q", 3), S, "no multiple of 2 (hk = 2)"), (cut("k", 1), S, "dim 1 of 'k'"),
        (cut("v", 2), S, "dim 2 of 'v'"),
    ]),
    (Base("neighborhood", GRID, optional=("rpb",)), [
        (cut("rpb", 1), S, "dim 1 of 'rpb'"), ({"causal": True}, V, "not present(rpb) or"), ({"stride": 2}, V, "not present(rpb) or"),
    ]),
    (Base("neighborhood", GRID, {"g0": 6, "g1": 6}, ("rpb",)), [
        (({"window": (4, 4)}, of("rpb", lambda r: r.new_ones(r.shape[0], 7, 7))), V, "not present(rpb) or"),
    ]),
    (Base("neighborhood", GRID, optional=("extra_k", "extra_v")), [
        (drop("extra_v"), V, "present(extra_k) == present(extra_v)"), (drop("extra_k"), V, "present(extra_k) == present(extra_v)"),
    ]),
    (Base("neighborhood1d", {"window": 3}), [({"window": 0}, V, "window >= 1"), ({"dilation": 0}, V, "dilation >= 1")]),
    (Base("neighborhood2d", {"window": 3}), [({"window": (3, 0)}, V, "window >= 1"), ({"window": (3, 3, 3)}, V, "a list of 2")]),
    (Base("neighborhood3d", {"window": 3}), [({"window": 0}, V, "window >= 1"), ({"causal": (True, False)}, V, "a list of 3")]),
    (Base("reversed", {"heads": 2}, {"e": 4}), [
        ({"temperature": 0.0}, V, "0 < temperature"), ({"temperature": -1.0}, V, "0 < temperature"),
        ({"prune_ratio": 0.5}, V, "present(prune_index) == present(prune_ratio)"),
        ({"prune_index": 1}, V, "present(prune_index) == present(prune_ratio)"),
        ({"prune_ratio": 0.5, "prune_index": 2}, V, "prune_index * prune_ratio < 1"),
        ({"prune_ratio": 0.49, "prune_index": 2}, V, "r >= 1"), ({"heads": 3}, S, "no multiple of 9"),
    ]),
    (Base("agent", {**AGENT, "kind": "swin"}, {"c": 4}), [
        ({"kind": "x"}, T, "no overload of 'agent' fits"), ({"heads": 3}, S, "4 is not a multiple of 3"),
        ({"agents": 5}, V, "p1 * p2 == agents"), ({"height": 5}, S, "expected 20 (r = 5 * s = 4)"),
        ({"merge": True}, AttnNameError, "no parameter 'merge'"),
    ]),
    (Base("agent", {**AGENT, "kind": "deit"}), [({"height": 5}, S, "dim 1 of 'x'")]),
    (Base("agent", {**AGENT, "kind": "pvt", "sr": 2}), [({"sr": 3}, S, "4 is not a multiple of 3")]),
    (Base("agent", {**AGENT, "kind": "cswin", "stripe": (4, 2)}), [({"stripe": (4, 3)}, S, "4 is not a multiple of 3")]),
    (Base("agent", {"kind": "agentsd", "heads": 2}, {"n": 8, "a": 3}), [(put("agent", lambda t: t["x"]), V, "2 * a < n")]),
    (Base("hornet", {"order": 3}), [
        ({"spatial_mixer": "x"}, V, "'spatial_mixer' must be one of"), ({"order": 0}, AttnNameError, "is not an input"),
        (cut("w_pw0", 0), S, "dim 1 of 'w_pw1'"), ({"scale": INF}, V, "abs(scale) < inf"),
    ]),
    (Base("soft", SOFT), [
        ({"heads": 3}, S, "dim 0 of 'w_q'"), ({"height": 5}, S, "expected 20 (r = 5 * s = 4)"), ({"ratio": 5}, V, "height >= ratio"),
        (({"conv": 2}, put("w_conv", ones(2, 1, 2, 2))), V, "conv mod 2 == 1"),
    ]),
    (Base("soft", {**SOFT, "normalised": True}), [({"ridge": 0.1}, V, "ridge == 0 or not normalised")]),
    (Base("routing", {"variant": "torch", "heads": 2, "window_size": 2}), [
        ({"variant": "x"}, V, "'variant' must be one of"), ({"heads": 3}, S, "'wq'"), ({"causal": True}, V, "present(mem_key)"),
    ]),
    (Base("minilm"), [
        ({"relations": []}, V, "len(relations) >= 1"), ({"relations": [("x", "k", 1)]}, V, "'relations[0][0]' must be one of"),
        ({"relations": [("q", "k", 1), ("q", "k", 2)]}, V, "distinct("), (of("lengths", torch.zeros_like), V, "1 <= lengths"),
        (of("lengths", lambda n: n + 99), V, "lengths <= n.size"), (cut("s_q", 1), S, "dim 1 of 's_q'"),
        (cut("t_k", 2), S, "dim 2 of 't_k'"), (of("t_q", torch.Tensor.requires_grad_), T, "'t_q' gets no gradient"),
    ]),
    (Base("volo_outlook", {"heads": 2}, {"c": 4}), [
        ({"heads": 3}, S, "4 is not a multiple of 3"), ({"padding": 0}, V, "a requirement does not hold"), (cut("wa", 0), S, "dim 0 of 'wa'"),
        ({"kernel": 99}, S, "dim 0 of 'wa'"),
    ]),
    (Base("halonet", {"heads": 2, "block": 4, "halo": 1}, {"c": 4}), [
        ({"block": 3}, S, "is not a multiple of 3"), ({"query_stride": 3}, V, "4 / 3 is not a whole number"), ({"halo": -1}, V, "halo >= 0"),
        (cut("rel_y", 0), S, "dim 0 of 'rel_y'"), (cut("rel_x", 1), S, "dim 1 of 'rel_x'"), ({"heads": 3}, S, "no multiple of 3"),
        ({"scale": 0.0}, V, "0 < scale"),
    ]),
    (Base("gaam", {"form": "multihead", "norm_axis": 1, "heads": 2}), [
        ({"form": "x"}, T, "no overload of 'gaam' fits"), ({"combine": "x"}, T, "no overload of 'gaam' fits"),
        ({"norm_axis": 9}, V, "norm_axis < rank(x)"), ({"heads": 0}, V, "heads >= 1"), ({"heads": 99}, V, "does not have the size heads"),
    ]),
    (Base("davit", {"kind": "spatial", "heads": 2, "height": 4, "width": 4, "window": 2}, {"c": 4}), [
        ({"kind": "x"}, T, "no overload of 'davit' fits"), ({"heads": 3}, S, "4 is not a multiple of 3"),
        ({"height": 5}, S, "expected 20"), ({"window": 0}, V, "window >= 1"),
    ]),
    (Base("polarized"), [({"variant": "x"}, V, "'variant' must be one of")]),
    (Base("csci_s2a", {"heads": 2, "num_head_tokens": 2}, {"c": 4}), [
        ({"variant": "x"}, V, "'variant' must be one of"), ({"num_head_tokens": 99}, V, "1 <= T <= n"),
        ({"groups": [[0], [1]]}, V, '(variant == "groups") == present(groups)'),
        ({"variant": "groups"}, V, '(variant == "groups") == present(groups)'),
        ({"variant": "groups", "groups": [[0], [0]]}, V, "partition(groups, T)"),
        ({"variant": "groups", "groups": [[0], [2]]}, V, "partition(groups, T)"), ({"heads": 3}, S, "4 is not a multiple of 3"),
    ]),
    (Base("dcal", {"stage": "glca", "heads": 2}), [
        ({"stage": "x"}, T, "no overload of 'dcal' fits"), ({"ratio": 0.0}, V, "0 < ratio <= 1"), ({"ratio": 1.5}, V, "0 < ratio <= 1"),
    ]),
    (Base("dcal", {"stage": "pwca", "heads": 2}), [({"heads": 3}, S, "no multiple of 9"), (cut("x2", 0), S, "dim 0 of 'x2'")]),
    (Base("dynamic_mask_core"), [({"window": 0}, V, "window >= 1"), ({"bias_form": "x"}, V, "'bias_form' must be one of")]),
    (Base("hyperzzw_core", {"op": "local", "kernel_size": 3}), [
        ({"op": "x"}, T, "no overload of 'hyperzzw_core' fits"), ({"kernel_size": 5}, S, "dim 1 of 'hk'"),
    ]),
    (Base("hyperzzw_core", {"op": "global"}), [(cut("x", 2), S, "dim 1 of 'hk'"), (cut("hk", 2), S, "'hk'")]),
    (Base("hyperzzw_core", {"op": "hyper_interact"}), [(cut("xin", 2), S, "'xin'"), (cut("hk_s", 0), S, "'hk_s'")]),
    (Base("motionclr", {"heads": 2, "replace_word": 1}, {"c": 4}), [
        ({"replace_word": 99}, V, "replace_word <= n - 2"), ({"heads": 3}, S, "4 is not a multiple of 3"),
        ({"reweight_weight": 0.5}, V, "present(reweight_weight) == present(reweight_word)"),
        ({"erase_weight": 0.5}, V, "a requirement does not hold"),
        (lambda t: {**t, "x": t["x"][:1], "xf": t["xf"][:1]}, V, "b >= 2 or not"),
    ]),
    (Base("vit_analytics", VIT), [
        ({"metric": "x"}, V, "'metric' must be one of"), ({"grid": (3, 3)}, V, "n == n_cls + Y * X"), ({"heads": 3}, S, "no multiple of 9"),
    ]),
    (Base("caa_policy_gate"), [({"bn_momentum": 2.0}, V, "bn_momentum <= 1"), ({"bn_eps": 0.0}, V, "bn_eps > 0")]),
    (Base("caa_policy_gate", optional=("gate_running_mean", "gate_running_var")), [
        (of("gate_running_var", torch.Tensor.neg), V, "gate_running_var >= 0"),
    ]),
    (Base("caa_policy_gate", {"bn_train": True}, {"b": 2, "l": 3}), [(of("F", lambda f: f[:1, :1]), V, "not bn_train or b * l > 1")]),
    (Base("caa_policy_read", {"heads": 2}, {"c": 4}), [({"heads": 3}, S, "4 is not a multiple of 3")]),
    (Base("caa_policy_decoder", {"heads": 2, "layers": 1}), [
        (of("tgt", lambda i: i * 0 + 99), V, "tgt < vocab.size"), (of("tgt", lambda i: i * 0 - 1), V, "0 <= tgt"),
        ({"pad_idx": 99}, V, "pad_idx < vocab"), ({"layers": 0}, AttnNameError, "is not an input"),
    ]),
    (Base("selftok", TOK, {"cx": 4, "ct": 4}), [
        ({"stage": "x"}, T, "no overload of 'selftok' fits"), ({"x_heads": 3}, S, "4 is not a multiple of 3"), ({"mode": "x"}, V, "'mode'"),
    ]),
    (Base("selftok", {**TOK, "mode": "bi"}, {"cx": 4, "ct": 4}), [
        ({"token_causal": True}, V, "a requirement does not hold"), ({"t_heads": 1}, V, "x_heads == t_heads"),
    ]),
    *MORE,
]  # fmt: skip

ROWS = [(base, *row) for base, rows in TABLE for row in rows]


@cache
def works(n: int) -> Sample:
    """The call that works; its result is finite somewhere."""
    from attncc.testing.defaults import completed

    base = next(b for i, (b, _) in enumerate(TABLE) if i == n)
    decl = attncc.load(base.pattern, **base.params)
    first: AttnError | None = None
    for params in completed(decl._library, decl._decl, base.params):
        try:
            op = attncc.load(base.pattern, **params)
            made = sample(op, 0, base.sizes or None, optional=base.optional or None, dtype=torch.float64)
            op(**made.tensors, backend="eager")
            return made
        except AttnError as error:
            first = first or error
    assert first is not None
    raise first


def label(row: tuple[Base, Change, type[AttnError], str]) -> str:
    base, change, _, message = row
    params = change if isinstance(change, dict) else change[0] if isinstance(change, tuple) else {}
    what = ",".join(f"{k}={v}" for k, v in params.items()) or message[:24]
    return f"{base.pattern}-{what}".replace(" ", "_")


@pytest.mark.parametrize(("base", "change", "error", "message"), ROWS, ids=[label(r) for r in ROWS])
def test_rejected(base: Base, change: Change, error: type[AttnError], message: str) -> None:
    good = works(next(i for i, (b, _) in enumerate(TABLE) if b is base))
    params, tensors = dict(good.op.params), dict(good.tensors)
    if isinstance(change, tuple):
        params |= change[0]
        tensors = change[1](tensors)
    elif callable(change):
        tensors = change(tensors)
    else:
        params |= change
    with pytest.raises(AttnError) as caught:
        attncc.load(base.pattern, **params)(**tensors, backend="eager")
    assert type(caught.value) is error, caught.value
    assert message in caught.value.message, caught.value
    assert caught.value.line is not None, "the error points somewhere"


def test_every_operator_that_ships_is_here() -> None:
    """One pattern of each shipped file at least."""
    here = {base.pattern for base, _ in TABLE}
    missing = [p.name for p in attncc.patterns() if not any(n == p.name or n.startswith(p.name + "_") for n in here)]
    assert missing == []
