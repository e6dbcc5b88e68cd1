"""Testing of patterns, shipped or your own, with pytest and hypothesis.

    op = attncc.compile("mine.attn", window=7)

    def test_mine():                                   # many calls drawn from the signature, a failure shrunk to a snippet
        attncc.testing.assert_matches_oracle(op)

    @given(attncc.testing.samples(op))                 # or the calls themselves
    def test_shape(sample):
        assert op(**sample.tensors).shape == sample.tensors["q"].shape

    sample_inputs           tensors by input name, for given sizes and seed
    assert_matches_oracle   every backend here against float64, outputs and gradients
    samples, sizes, parameters, dtypes, layouts, masks, optional_inputs      hypothesis strategies
    tolerance, allowed_error                                                 the one rule of how exact is exact enough
"""

from __future__ import annotations

_EXPORTS = {
    "Sample": "calls", "sample": "calls", "sample_inputs": "calls",
    "assert_matches_oracle": "search",
    "samples": "strategies", "sizes": "strategies", "parameters": "strategies", "dtypes": "strategies", "layouts": "strategies",
    "masks": "strategies", "optional_inputs": "strategies",
    "tolerance": "tolerances", "allowed_error": "tolerances",
}  # fmt: skip


def __getattr__(name: str) -> object:
    """Names are loaded at first use: hypothesis is needed for the strategies alone."""
    if name in _EXPORTS:
        from importlib import import_module

        return getattr(import_module(f".{_EXPORTS[name]}", __name__), name)
    raise AttributeError(f"module 'attncc.testing' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS])
