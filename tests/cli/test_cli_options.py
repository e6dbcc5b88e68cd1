"""Texts of options become values."""

from __future__ import annotations

import math

import pytest
import torch
import typer

from attncc.cli import options


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7), ("-1", -1), ("0.5", 0.5), ("1e-5", 1e-5), ("true", True), ("False", False), ("none", None), ("null", None),
        ("swin", "swin"), ('"7"', "7"), ("5,7", [5, 7]), ("[5, 7]", [5, 7]), ("a,b", ["a", "b"]), ("1,true", [1, True]),
        ("[[0, 1], [2, 3]]", [[0, 1], [2, 3]]), ('{"heads": 2}', {"heads": 2}), ("inf", math.inf), ("-inf", -math.inf),
        ("elu+1", "elu+1"), ("softmax_q/elu+1_k", "softmax_q/elu+1_k"), ("", ""), (" 3 ", 3), ('["q", "k"],["k", "k"]', [["q", "k"], ["k", "k"]]),
    ],
)  # fmt: skip
def test_values(text: str, value: object) -> None:
    found = options.parse_value(text)
    assert found == value
    assert type(found) is type(value)


def test_nan() -> None:
    assert math.isnan(options.parse_value("nan"))


def test_params_and_sizes() -> None:
    assert options.parse_params(["window=5,7", "kind=swin", "a=b=c"]) == {"window": [5, 7], "kind": "swin", "a": "b=c"}
    assert options.parse_sizes(["i=32", "j = 0"]) == {"i": 32, "j": 0}


@pytest.mark.parametrize("item", ["window", "=7", "1x=7", "a b=7"])
def test_bad_params(item: str) -> None:
    with pytest.raises(typer.BadParameter, match="NAME=VALUE"):
        options.parse_params([item])


@pytest.mark.parametrize("item", ["i", "i=", "i=x", "i=1.5", "=3", "i=-1"])
def test_bad_sizes(item: str) -> None:
    with pytest.raises(typer.BadParameter, match="AXIS=N"):
        options.parse_sizes([item])


def test_dtypes() -> None:
    assert options.parse_dtype("bf16") is options.parse_dtype("bfloat16") is torch.bfloat16
    assert options.short_dtype("float16") == options.short_dtype("fp16") == "fp16"
    for bad in ("float8", "int64", ""):
        with pytest.raises(typer.BadParameter):
            options.parse_dtype(bad)
    with pytest.raises(typer.BadParameter):
        options.short_dtype("float64")
