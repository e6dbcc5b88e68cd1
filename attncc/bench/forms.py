"""What a benchmark computes: weights and a mask, written once as an attncc pattern and in the words that the peers understand."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

Attention = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""q, k, v [b, h, n, d] -> o [b, h, n, d]; q and o may have other lengths, k and v fewer heads."""

RELU = """# Attention with the weights relu(s), as plain as it gets.
pattern relu(q[b, h, i, d], k[b, h, j, d], v[b, h, j, e]; causal: bool = false) -> o[b, h, i, e] {
  attend o over j {
    score      dot(q, k) / sqrt(d)
    mask       not causal or j <= i
    normalize  relu
    mix        v
  }
}
"""


@dataclass(frozen=True)
class Mask:
    """Which keys a query sees.

    kind: "none"; "causal"; "window", the last `reach` keys up to its own; "neighborhood", a window of `reach` x `reach` positions
    (odd) on a `grid`, moved inside at the borders.
    """

    kind: str = "none"
    reach: int = 0
    grid: tuple[int, int] = (0, 0)

    def __str__(self) -> str:
        if self.kind == "window":
            return f"sliding window {self.reach}"
        if self.kind == "neighborhood":
            return f"neighborhood {self.reach}x{self.reach} on {self.grid[0]}x{self.grid[1]}"
        return "full" if self.kind == "none" else self.kind

    def pairs(self, n: int) -> int:
        """How many pairs of n queries and n keys count."""
        match self.kind:
            case "causal":
                return n * (n + 1) // 2
            case "window":
                return sum(min(i + 1, self.reach) for i in range(n))
            case "neighborhood":
                return n * self.reach**2
        return n * n

    def admits(self, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
        """Whether query i sees key j, for positions in row-major order."""
        match self.kind:
            case "causal":
                return j <= i
            case "window":
                return (j <= i) & (j > i - self.reach)
            case "neighborhood":
                rows, columns = self.grid
                return self._near(i // columns, j // columns, rows) & self._near(i % columns, j % columns, columns)
        return (i >= 0) & (j >= 0)

    def _near(self, i: torch.Tensor, j: torch.Tensor, size: int) -> torch.Tensor:
        start = (i - self.reach // 2).clamp(0, size - self.reach)
        return (j >= start) & (j < start + self.reach)

    def dense(self, n: int, device: str) -> torch.Tensor | None:
        """The mask as a bool tensor [n, n]; None when every pair counts."""
        if self.kind == "none":
            return None
        at = torch.arange(n, device=device)
        return self.admits(at[:, None], at[None, :])


@dataclass(frozen=True)
class Form:
    """Weights ("softmax", "sigmoid", "relu", "gaussian", "linear") and a mask."""

    weights: str
    mask: Mask = Mask()

    def with_weights(self, weights: str) -> Form:
        """The same mask under other weights."""
        return replace(self, weights=weights)

    def op(self) -> Any:
        """The attncc op."""
        import attncc

        mask = self.mask
        causal = mask.kind in ("causal", "window")
        if self.weights == "softmax" and mask.kind == "neighborhood":
            return attncc.load("neighborhood2d", window=mask.reach)
        if self.weights == "softmax":
            more: dict[str, Any] = {"window_left": mask.reach - 1} if mask.kind == "window" else {}
            return attncc.load("softmax", causal=causal, **more)
        assert mask.kind in ("none", "causal"), f"{self.weights} has no {mask.kind} mask here"
        if self.weights == "relu":
            return attncc.compile(RELU, causal=causal)
        return attncc.load({"sigmoid": "sigmoid_core", "gaussian": "gaussian_kernel", "linear": "linear"}[self.weights], causal=causal)


@dataclass(frozen=True)
class Problem:
    """A form with sizes: batch, heads, positions, head dimension. queries: when they are fewer than positions, as in decoding (0: as
    many; only without a mask). group: query heads of a key head."""

    form: Form
    b: int
    h: int
    n: int
    d: int
    dtype: torch.dtype = torch.float32
    device: str = "cpu"
    queries: int = 0
    group: int = 1

    @property
    def rows(self) -> int:
        """How many queries there are."""
        return self.queries or self.n

    def with_form(self, form: Form) -> Problem:
        """The same sizes under another form."""
        return replace(self, form=form)

    def tensors(self, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Random q, k, v and the cotangent of the output. They are drawn on the device; one seed gives one set."""
        generator = torch.Generator(self.device).manual_seed(seed)
        rows, keys = (self.b, self.h, self.rows, self.d), (self.b, self.h // self.group, self.n, self.d)
        shapes = (rows, keys, keys, rows)
        q, k, v, up = (torch.randn(shape, generator=generator, device=self.device).to(self.dtype) for shape in shapes)
        return q, k, v, up

    @property
    def scale(self) -> float:
        """The factor of the dot products."""
        return self.d**-0.5

    @property
    def bias(self) -> float:
        """What sigmoid attention adds to a score."""
        return -math.log(self.n)

    @property
    def sigma(self) -> float:
        """The width of the Gaussian kernel: distances of random vectors grow with sqrt(d)."""
        return math.sqrt(self.d)

    def call(self, backend: str) -> Attention:
        """The attncc op on a backend, as a function of q, k, v."""
        op = self.form.op()
        options: Mapping[str, Any] = {}
        if self.form.weights in ("softmax", "gaussian", "linear") and self.form.mask.kind != "neighborhood":
            options = {"outputs": "core"}
        if self.form.weights == "gaussian":
            options = {**options, "sigma": torch.full((1,), self.sigma, dtype=self.dtype, device=self.device)}

        def run(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            if self.form.mask.kind == "neighborhood":
                q, k, v = (t.unflatten(2, self.form.mask.grid) for t in (q, k, v))
                return op(q, k, v, backend=backend).flatten(2, 3)
            return op(q, k, v, backend=backend, **options)

        return run
