"""Options that several commands share, and how their texts become values."""

from __future__ import annotations

import json
from typing import Any

import typer

FILE = typer.Argument(..., metavar="FILE", help="An .attn file, or the name of a shipped pattern.")
PATTERN = typer.Option(None, "--pattern", metavar="NAME", help="Which pattern of the file.")
PARAM = typer.Option([], "--param", "-p", metavar="NAME=VALUE", help="A parameter: window=7, window=5,7, kind=swin, causal=true.")
SIZE = typer.Option([], "--size", "-s", metavar="AXIS=N", help="The length of an axis: i=4096.")
WITH = typer.Option([], "--with", metavar="NAME", help="An optional input to make as well.")
SEED = typer.Option(0, "--seed", help="Seed of the sample data.")
DTYPE = typer.Option("float32", "--dtype", help="float64, float32, bfloat16, float16.")
BACKWARD = typer.Option(
    None, "--backward", metavar="FORM", help="The Triton backward pass: split, joint (adds atomically), both; else as ATTNCC_BACKWARD says."
)
TARGET = typer.Option(None, "--target", metavar="TARGET", help="cuda:80, cuda:90, cuda:100, hip:gfx942, ...")

_WORDS = {"true": True, "false": False, "none": None, "null": None, **{w: float(w) for w in ("inf", "-inf", "nan")}}


def parse_value(text: str) -> Any:
    """A parameter's value: JSON, or bare words, or a list with commas and without brackets.

    >>> parse_value("7"), parse_value("5,7"), parse_value("swin"), parse_value("true"), parse_value('"7"')
    (7, [5, 7], 'swin', True, '7')
    """
    text = text.strip()
    if not text:
        return text
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return json.loads(f"[{text}]")
    except ValueError:
        pass
    if "," in text and not text.startswith(("[", "{", '"')):
        return [parse_value(part) for part in text.split(",")]
    return text


def parse_params(items: list[str]) -> dict[str, Any]:
    """`NAME=VALUE` texts by name. Raises typer.BadParameter."""
    out: dict[str, Any] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not name.strip().isidentifier():
            raise typer.BadParameter(f"'{item}' is not NAME=VALUE", param_hint="--param")
        out[name.strip()] = parse_value(value)
    return out


def parse_sizes(items: list[str]) -> dict[str, int]:
    """`AXIS=N` texts by name. Raises typer.BadParameter."""
    out = {}
    for item in items:
        name, equals, value = item.partition("=")
        try:
            out[name.strip()] = int(value)
        except ValueError:
            equals = ""
        if not equals or not name.strip() or out[name.strip()] < 0:
            raise typer.BadParameter(f"'{item}' is not AXIS=N with a whole number N", param_hint="--size")
    return out


def parse_backward(form: str | None) -> tuple[str, ...]:
    """The forms of a backward pass that an option names, () for none. Raises typer.BadParameter."""
    if form not in (None, "split", "joint", "both"):
        raise typer.BadParameter(f"'{form}' is none of split, joint, both", param_hint="--backward")
    return () if form is None else ("split", "joint") if form == "both" else (form,)


def parse_dtype(name: str) -> Any:
    """A torch dtype by its name. Raises typer.BadParameter."""
    import torch

    short = {"fp64": "float64", "fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "half": "float16"}
    full = short.get(name, name)
    if full not in ("float64", "float32", "bfloat16", "float16"):
        raise typer.BadParameter(f"'{name}' is none of float64, float32, bfloat16, float16", param_hint="--dtype")
    return getattr(torch, full)


def short_dtype(name: str) -> str:
    """`bf16`, `fp16` or `fp32` for any usual name of it. Raises typer.BadParameter."""
    short = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "half": "fp16"}.get(name, name)
    if short not in ("bf16", "fp16", "fp32"):
        raise typer.BadParameter(f"'{name}' is none of bf16, fp16, fp32", param_hint="--dtype")
    return short
