"""How the attrs of a golden case become parameters: by equal name, except what this table says, per operator and level.

The attrs of a case describe the whole operator. At an inner level (`core`, ...) some of them have done their work outside the
boundary: the head axis is already in the inputs, a projection's bias has been added. Those attrs are listed here, with the
reason. Every other attr must be a parameter of the pattern, and an attr listed here must not be one: the runner fails the level
in both cases, so nothing is dropped silently.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

HEADS = "the inputs of this level have the head axis already"
BEFORE = "acts before this boundary"
AFTER = "acts after this boundary"
OTHER = "belongs to another part of the operator"
KEY = "selects the module; this level exists once"


@dataclass(frozen=True)
class Outside:
    """At `level` the attrs (space separated) are no parameters, because of `why`; only in cases whose attrs contain `when`."""

    level: str
    attrs: str
    why: str
    when: Mapping[str, Any] = field(default_factory=dict)


CAA_GATE = "layers pad_idx ln_eps target_positions"
SELFTOK_ENCODER = "stage x_heads t_heads qk_norm qk_norm_eps ln_eps"
SD = {"kind": "agentsd"}

OUTSIDE: dict[str, tuple[Outside, ...]] = {
    "agent": (
        Outside("core", "heads", HEADS),
        Outside("core", "qkv_bias ln_eps", BEFORE),
        Outside("core", "height width", "the row and column biases have these sizes", {"kind": "swin"}),
        Outside("core", "height width", "the row and column biases have these sizes", {"kind": "pvt"}),
        Outside("core", "height width", "the row and column biases have these sizes", {"kind": "deit"}),
        Outside("core", "merge height width sx sy ratio agent_ratio", BEFORE, SD),
        Outside("merge", "kind merge", KEY),
        Outside("merge", "heads scale k_scale2 k_shortcut", AFTER),
    ),
    "arbex": (Outside("core", "kind", KEY), Outside("core", "heads", HEADS), Outside("core", "ln_eps activation", AFTER)),
    "atconv": (Outside("core", "layout height width", BEFORE),),
    "attencraft": (
        Outside("jsd", "power cross_power threshold token_sets", OTHER),
        Outside("frozen_token_core", "heads", HEADS),
    ),
    "attentive_eraser": (Outside("core", "heads", HEADS), Outside("core", "pool", BEFORE)),
    "autoint": (Outside("core", "heads", HEADS), Outside("core", "units has_residual predict ln_eps", AFTER)),
    "caa_policy": (
        Outside("module", f"bn_momentum {CAA_GATE}", OTHER),
        Outside("core", "heads", HEADS),
        Outside("core", f"bn_train bn_eps bn_momentum {CAA_GATE}", BEFORE),
        Outside("gate", f"heads {CAA_GATE}", AFTER),
        Outside("training_step", "bn_momentum", "the running statistics are no inputs here"),
    ),
    "csci_s2a": (Outside("core", "heads", HEADS), Outside("core", "inner_norm inner_norm_eps", AFTER)),
    "davit": (
        Outside("core", "heads", HEADS),
        Outside("core", "qkv_bias window height width ffn ln_eps", "acts around this boundary"),
        Outside("core_spatial", "kind", KEY),
        Outside("core_spatial", "heads", HEADS),
        Outside("core_spatial", "qkv_bias window height width ffn ln_eps", "acts around this boundary"),
        Outside("core_channel", "kind", KEY),
        Outside("core_channel", "heads", HEADS),
        Outside("core_channel", "qkv_bias window height width ffn ln_eps", "acts around this boundary"),
        Outside("spatial_block", "kind", KEY),
    ),
    "dcal": (Outside("core", "heads", HEADS),),
    "deconstructing": (Outside("core", "heads", HEADS),),
    "dreamtuner": (
        Outside("core", "heads", HEADS),
        Outside("core", "token_side", BEFORE),
        Outside("subject_encoder", "omega_ref token_side", OTHER),
    ),
    "dynamic_mask": (
        Outside("core", "heads_q heads_kv", HEADS),
        Outside("core", "rms_eps", BEFORE),
        Outside("core_bias", "heads_q heads_kv", HEADS),
        Outside("core_bias", "rms_eps bias_form", BEFORE),
    ),
    "halonet": (Outside("core", "heads", HEADS), Outside("core", "pool", AFTER)),
    "hyperzzw": (Outside("core", "bn_eps", AFTER),),
    "imagine_yourself": (
        Outside("core", "heads", HEADS),
        Outside("zero_conv", "heads stream_scales", "all branches weigh 1 at this level"),
    ),
    "medusa": (Outside("core", "depth", BEFORE),),
    "motionclr": (
        Outside("core", "heads", HEADS),
        Outside("core", "ln_eps", BEFORE),
        Outside("self_core", "heads", HEADS),
        Outside("self_core", "ln_eps", BEFORE),
    ),
    "mqsa": (
        Outside("core_short", "heads", HEADS),
        Outside("core_short", "window count_eps", BEFORE),
        Outside("core_short", "alpha ln_eps", AFTER),
        Outside("core_long", "heads", HEADS),
        Outside("core_long", "window count_eps", BEFORE),
        Outside("core_long", "alpha ln_eps", AFTER),
    ),
    "polarized": (Outside("core_spatial", "ln_eps", OTHER),),
    "reversed": (Outside("core", "heads", HEADS), Outside("core", "temperature", BEFORE)),
    "routing": (Outside("core", "heads", HEADS), Outside("core", "rotary", BEFORE)),
    "selformer": (Outside("core", "heads", HEADS), Outside("core", "ln_eps ffn", AFTER)),
    "selftok": (
        Outside("image_core", f"mode token_causal {SELFTOK_ENCODER}", BEFORE),
        Outside("token_core", SELFTOK_ENCODER, BEFORE),
        Outside("joint_core", "heads ln_eps", HEADS),
    ),
    "sigmoid": (Outside("core", "heads", HEADS), Outside("core", "layer_scale", AFTER)),
    "soft": (Outside("core", "heads", HEADS),),
    "ulsam": (Outside("pool", "bn_momentum", AFTER),),
    "vimaedit": (
        Outside("core", "heads", HEADS),
        Outside("self", "ip_scale", OTHER),
        Outside("self_core", "heads", HEADS),
        Outside("self_core", "ip_scale", OTHER),
    ),
    "visctrl": (Outside("core", "heads", HEADS),),
    "vit_analytics": (Outside("core", "heads", HEADS),),
    "volo_outlook": (Outside("core", "heads", HEADS),),
}


def pattern_name(slug: str, level: str) -> str:
    """The pattern of a level: `<slug>` for "module", else `<slug>_<level>`."""
    return slug if level == "module" else f"{slug}_{level}"


def parameters(slug: str, level: str, attrs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """The attrs that are parameters of the level's pattern, and those that are not, each with the reason."""
    dropped = {
        name: rule.why
        for rule in OUTSIDE.get(slug, ())
        if rule.level == level and all(attrs.get(key) == value for key, value in rule.when.items())
        for name in rule.attrs.split()
        if name in attrs
    }
    return {name: value for name, value in attrs.items() if name not in dropped}, dropped
