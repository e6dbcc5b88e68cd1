"""What operators reject, rows for test_rejects.py: encoders, editing, gates and selection."""

from __future__ import annotations

import torch
from changes import INF, NAN, Base, Rows, S, T, V, cut, drop, of, ones, put

from attncc.errors import AttnAbsentError, AttnNameError

ARBEX = {"kind": "window_cross_attention", "heads": 2, "window": 2}
BALANCE = {"kind": "reliability_balancing", "trust": 0.5}
WORDS = {"self_size": 3, "cross_size": 2, "concept_tokens": [1, 2, 0]}
MASR = {"alpha": 0.5, "k_segments": 1, "k_frames": 2, "radius": 1}
STEP = {"alpha_t": 0.3, "alpha_prev": 0.5}

MORE: Rows = [
    (Base("deconstructing", {"heads": 2}, {"g": 1}), [
        ({"variant": "x"}, T, "no overload of 'deconstructing'"), ({"heads": 0}, V, "heads >= 1"),
        ({"rope_theta": 0.0}, V, "0 < rope_theta"), ({"norm": "joint"}, AttnNameError, "no parameter 'norm'"),
        (put("x_src", ones(2, 3, 4)), T, "'x_src' is not used"), ({"variant": "staticembqk"}, AttnAbsentError, "'x_src' is missing"),
    ]),
    (Base("deconstructing", {"heads": 2, "variant": "rndembqk"}, {"n": 4, "l": 6, "g": 1}), [(cut("x_src", 0, 3), V, "n <= l")]),
    (Base("deconstructing", {"variant": "mlp"}), [({"heads": 2}, AttnNameError, "no parameter 'heads'")]),
    (Base("deconstructing_core", {"rope": False}, {"g": 1, "r": 2, "n": 4, "d": 3}), [({"rope": True}, V, "not rope or d mod 2 == 0")]),
    (Base("deconstructing_core", sizes={"g": 1, "r": 2, "n": 3, "d": 2}), [({"indicators": True}, V, "n >= 4")]),
    (Base("deconstructing_core", sizes={"g": 1, "r": 1, "n": 4, "d": 2}), [({"indicators": True}, V, "g * r >= 2")]),
    (Base("deconstructing_core", {"variant": "approximate"}), [
        ({"norm": "per_order"}, V, 'order2 == "diag" or norm == "joint"'), ({"eps": -1.0}, V, "0 <= eps"),
        ({"indicators": True}, V, "'indicators' must be false"), ({"order2": "x"}, V, "'order2' must be one of"),
    ]),
    (Base("autoint", {"units": [4, 6]}), [
        ({"form": "x"}, V, "'form' must be one of"), ({"heads": 4}, V, "6 / 4 is not a whole number"), ({"ln_eps": 0.0}, V, "0 < ln_eps"),
        ({"units": [4]}, AttnNameError, "'wq1' is not an input"), ({"units": [4, 6, 6]}, AttnAbsentError, "'wq2' is missing"),
        ({"form": "paper"}, T, "'bq0' is not used"), (drop("wv1"), AttnAbsentError, "'wv1' is missing"),
        ({"predict": True}, AttnAbsentError, "'w_pred' is missing"), ({"has_residual": False}, T, "'wr0' is not used"),
        (cut("wk1", 1), S, "dim 1 of 'wk1'"),
    ]),
    (Base("selformer", {"heads": 2, "key_padding": True}, {"c": 4}), [
        ({"heads": 3}, S, "4 is not a multiple of 3"), ({"empty_row": "zero"}, V, "'empty_row' must be"), ({"ln_eps": 0.0}, V, "0 < ln_eps"),
        (drop("key_mask"), AttnAbsentError, "'key_mask' is missing"), ({"key_padding": False}, T, "'key_mask' is not used"),
        (of("key_mask", torch.Tensor.double), T, "kind bool"), (cut("key_mask", 1), S, "dim 1 of 'key_mask'"),
        ({"ffn": True}, AttnAbsentError, "'w1' is missing"), (cut("wo", 0), S, "dim 0 of 'wo'"),
    ]),
    (Base("visctrl", {"heads": 2}, {"b": 3, "c": 4}), [
        ({"heads": 3}, S, "4 is not a multiple of 3"), (of("kv_index", lambda i: i + 9), V, "kv_index < b.size"),
        (of("kv_index", lambda i: i - 9), V, "0 <= kv_index"), (of("kv_index", torch.Tensor.double), T, "kind int"),
        (cut("kv_index", 0), S, "dim 0 of 'kv_index'"),
    ]),
    (Base("attentive_eraser", {"heads": 2, "pool": 2}, {"c": 4}), [
        ({"heads": 3}, S, "4 is not a multiple of 3"), ({"pool": 0}, V, "pool >= 1"), (cut("x", 0), S, "dim 0 of 'x' has size 1"),
        (of("mask", lambda m: m + 2), V, "mask == 0 or mask == 1"), (cut("mask", 3), S, "'mask'"), (cut("x", 1), S, "dim 1 of 'x'"),
        ({"ss_scale": -1.0}, V, "0 <= ss_scale"), ({"ss_scale": INF}, V, "ss_scale < inf"),
    ]),
    (Base("mqsa", {"heads": 2}, {"d": 2, "n": 4}), [
        ({"heads": 3}, S, "no multiple of 3"), ({"window": 0}, V, "1 <= window"), ({"window": 6}, V, "window <= n + 1"),
        ({"alpha": 1.5}, V, "0 <= alpha <= 1"), ({"alpha": NAN}, V, "0 <= alpha"), ({"scale": 0.0}, V, "0 < scale"),
        ({"ln_eps": 0.0}, V, "0 < ln_eps"), ({"count_eps": 0.0}, V, "0 < count_eps"),
    ]),
    (Base("ulsam", {"num_splits": 2}, {"b": 1, "h": 1, "w": 1}), [
        ({"num_splits": 3}, S, "'x'"), ({"num_splits": 0}, V, "num_splits >= 1"), ({"mode": "x"}, V, "'mode' must be one of"),
        ({"bn_eps": 0.0}, V, "0 < bn_eps"), ({"bn_momentum": 1.5}, V, "bn_momentum <= 1"), ({"mode": "train"}, V, "b * h * w > 1"),
    ]),
    (Base("stepnet"), [
        (cut("w1", 1), S, "dim 1 of 'w1'"), (cut("w2", 0), S, "dim 0 of 'w2'"), (cut("f", 3), S, "dim 3 of 'f'"),
        (lambda t: {n: x[:0] if n in ("w1", "b1") else x[:, :0] if n == "w2" else x for n, x in t.items()}, V, "m >= 1"),
        (lambda t: {n: x[..., :0] if n in "xf" else x for n, x in t.items()}, V, "h * w >= 1"),
    ]),
    (Base("stepnet_se_gate"), [(cut("w1", 1), S, "dim 1 of 'w1'"), (cut("w2", 1), S, "dim 1 of 'w2'")]),
    (Base("dreamtuner", {"heads": 2}, {"c": 4, "m": 9, "b": 2}), [
        ({"heads": 3}, S, "4 is not a multiple of 3"), ({"token_side": 2}, V, "token_side ^ 2 == m"),
        (cut("ref", 1), V, "token_side ^ 2 == m"), ({"omega_ref": -1.0}, V, "0 <= omega_ref"), ({"omega_ref": NAN}, V, "0 <= omega_ref"),
        (cut("mask", 0), S, "dim 0 of 'mask'"), (cut("ref", 2), S, "dim 2 of 'ref'"),
    ]),
    (Base("dreamtuner_core"), [(cut("v_ref", 2), S, "dim 2 of 'v_ref'"), (cut("v", 2), S, "dim 2 of 'v'")]),
    (Base("dreamtuner_subject_encoder", {"heads": 2, "beta": 1.0}, {"c": 4}), [
        ({"beta": INF}, V, "abs(beta) < inf"), ({"ln_eps": 0.0}, V, "0 < ln_eps"),
    ]),
    (Base("imagine_yourself", {"heads": 2}, {"c": 4}), [
        ({"heads": 3}, S, "4 is not a multiple of 3"), ({"stream_scales": [1, 1, 1]}, V, "a list of 4"),
        ({"stream_scales": [1, 1, 1, INF]}, V, "abs(scale) < inf"), (of("ctx_ul2", lambda x: x[:, :0]), V, "m{s} >= 1"),
    ]),
    (Base("imagine_yourself_core"), [(cut("v_byt5", 2), S, "dim 2 of 'v_byt5'")]),
    (Base("arbex", ARBEX, {"c": 4}), [
        ({"kind": "x"}, T, "no overload of 'arbex'"), ({"heads": 3}, S, "4 is not a multiple of 3"), ({"window": 0}, V, "window >= 1"),
        (cut("x_img", 3), S, "no multiple of 2 (wx = 2)"), (cut("x_lmk", 2), S, "dim 2 of 'x_lmk'"), (cut("table", 0), S, "dim 0 of 'table'"),
        ({"scale": 0.0}, V, "0 < scale"), ({"ln_eps": 0.0}, V, "0 < ln_eps"), ({"activation": "relu"}, T, "no overload of 'arbex'"),
    ]),
    (Base("arbex", BALANCE, {"cls": 2, "m": 1}), [
        ({"temperature": 0.0}, V, "0 < temperature"), ({"delta": 0.0}, V, "0 < delta"), ({"trust": 1.5}, V, "trust <= 1"),
        ({"heads": 3}, S, "2 is not a multiple of 3"), (of("labels", lambda x: x + 2), V, "labels < cls.size"),
    ]),
    (Base("medusa", {"depth": 2, "scales": 1}, {"r0": 2, "s0": 2}), [
        ({"gate": "x"}, V, "'gate' must be one of"), ({"depth": 0}, AttnNameError, "'w_enc0' is not an input"), ({"scales": 0}, AttnNameError, "'f0' is not an input"),
        ({"scales": 2}, AttnAbsentError, "'f1' is missing"), (cut("x", 2), V, "r0 >= 2 ^ (depth - 1)"), (cut("f0", 1), S, "'w_head0'"),
    ]),
    (Base("vimaedit_core", {"inject": True}, optional=("equalizer",)), [
        (of("mapper", lambda m: m + 99), V, "mapper < t.size"), (of("mapper", lambda m: m - 99), V, "-1 <= mapper"),
        ({"ip_scale": INF}, V, "abs(ip_scale) < inf"), (cut("q", 0), S, "expected 4 (b = 4)"),
        (lambda t: {**t, "mapper": t["mapper"] * 0 - 1, "alphas": t["alphas"] * 0 + 1}, V, "mapper >= 0 or alphas == 0"),
    ]),
    (Base("vimaedit_self", {"heads": 2, "inject": True}, {"c": 4}), [({"heads": 3}, S, "4 is not a multiple of 3")]),
    (Base("vimaedit_grounding", {"self_size": 3, "cross_size": 2}), [
        ({"self_size": 2}, S, "'self_q'"), ({"cross_size": 3}, S, "'cross_q'"), ({"order": -1}, V, "order >= 0"),
        ({"gamma": 1.5}, V, "gamma <= 1"), ({"th": [0.5]}, V, "a list of 2"), ({"th": [0.5, 1.5]}, V, "max(th) <= 1"),
        (cut("prev_map", 2), S, "dim 2 of 'prev_map'"),
    ]),
    (Base("vimaedit_variance_step", STEP), [
        ({"alpha_t": 0.0}, V, "0 < alpha_t"), ({"alpha_prev": 0.2}, V, "alpha_t <= alpha_prev"), ({"eta": -1.0}, V, "0 <= eta"),
        (({"eta": 3.0}, of("mask", torch.ones_like)), V, "(full * mask) ^ 2"),
    ]),
    (Base("masr", MASR, {"n": 5}), [
        ({"alpha": 1.5}, V, "alpha <= 1"), ({"k_segments": 99}, V, "k_segments <= s"), ({"k_segments": 0}, V, "1 <= k_segments"),
        ({"k_frames": 0}, V, "k_frames >= 1"), ({"radius": -1}, V, "radius >= 0"), ({"dilation": 0}, V, "dilation >= 1"),
        ({"cos_eps": 0.0}, V, "cos_eps > 0"), (of("segment", lambda s: s + 1), V, "segment[n = 0] == 0"),
        (of("segment", lambda s: 2 * torch.arange(len(s))), V, "segment <= segment"), (cut("segment", 0), S, "dim 0 of 'segment'"),
        (of("segment", lambda s: (torch.arange(len(s)) == 1).long()), V, "<= segment"), (cut("captions", 2), S, "dim 2 of 'captions'"),
    ]),
    (Base("atconv"), [
        ({"act": "x"}, V, "'act' must be one of"), ({"layout": "x"}, T, "no overload of 'atconv'"), ({"kernel_size": 5}, S, "'w_gen'"),
        ({"bias": False}, T, "'b_k' is not used"), (drop("b_gen"), AttnAbsentError, "'b_gen' is missing"),
        ({"stride": 2}, AttnNameError, "no parameter 'stride'"), ({"kernel_size": 0}, V, "kernel_size >= 1"),
        (({"kernel_size": 2}, lambda t: {**t, "w_gen": t["w_gen"][:4, :4], "b_gen": t["b_gen"][:4]}), V, "kernel_size mod 2 == 1"),
    ]),
    (Base("atconv", {"layout": "bnc", "height": 2, "width": 3}), [({"width": 2}, S, "expected 4 (h = 2 * w = 2)"), ({"height": 0}, V, "height >= 1")]),
    (Base("attencraft", WORDS, {"t": 4}), [
        ({"self_size": 2}, S, "'self_q'"), ({"concept_tokens": [1, 2, 4]}, V, "max(set) < t"), ({"concept_tokens": [1, 2]}, V, "a list of 3"),
        ({"token_sets": [[1], [2]]}, V, "a list of 3"), ({"token_sets": [[1], [], [0]]}, V, "len(set) >= 1"),
        ({"token_sets": [[1], [2], [-1]]}, V, "0 <= min(set)"), ({"power": -1}, V, "power >= 0"), ({"cross_power": 0}, V, "cross_power >= 1"),
        ({"threshold": 1.0}, V, "threshold < 1"), ({"mask_of_concept": [0, 1, 3]}, V, "max(mask_of_concept) <= 2"),
    ]),
    (Base("attencraft_jsd", WORDS, {"t": 4}), [({"concept_tokens": [1, 2, 4]}, V, "max(concept_tokens) < t")]),
    (Base("attencraft_frozen_token", {"heads": 2}, {"c": 4, "t": 3}), [
        ({"frozen_tokens": 4}, V, "frozen_tokens <= t"), ({"frozen_tokens": -1}, V, "0 <= frozen_tokens"), ({"heads": 3}, S, "4 is not a multiple"),
    ]),
]  # fmt: skip
