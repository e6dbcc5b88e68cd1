"""Random attends: a pattern as text, and tensors that fit it, both functions of a seed."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

import torch

MASKS = (
    "", "", "j <= i", "j <= i and i - j < 5", "abs(i - j) <= 3", "(i - j) mod 3 == 0", "(i + j) mod 2 == 0 and j <= i", "j < lens",
    "j >= lens", "doc_q == doc_k", "doc_q <= doc_k and j <= i", "j <= i or j < 4", "i div 4 == j div 4", "not (j <= i)",
    "abs(i div 4 - j div 4) <= 1", "i == j or j == 0", "j mod 4 == 0 or i == j", "keep", "2 * j <= i",
    "j <= i + 2 and (j - i) mod 2 == 0",
)  # fmt: skip
GRID_MASKS = (
    "", "abs(y - y') <= 1 and abs(x - x') <= 2", "neighborhood[y, y'](; window = 3) and neighborhood[x, x'](; window = 3)",
    "y' <= y", "y' < y or y' == y and x' <= x", "(y - y') mod 2 == 0 and abs(x - x') <= 1", "abs(y - y') + abs(x - x') <= 2",
)  # fmt: skip
SCORES = (
    "dot(q, K) / sqrt(d)", "dot(q, K) * 0.3", "-0.1 * dist2(q, K)", "dot(unit[d](q), unit[d](K)) * 2", "dot(q * w, K) / sqrt(d)",
    "dot(elu(q) + 1, elu(K) + 1) / d", "dot(q, K) / d",
)  # fmt: skip
TERMS = ("slope", "key bias", "query gain", "cap", "gate", "table")
NORMALIZERS = (
    "softmax", "softmax", "softmax", "softmax(s; plus_one = true)", "softmax(s; sink = 0.5)", "softmax[ROWS]", "sigmoid", "relu",
    "relu(s) ^ 2", "exp", "identity", "gelu(s)", "silu(s)", "tanh(s)", "softplus(s)", "sum(eps = 1)",
    "relu(s) / (1 + sqrt(sum[KEYS](relu(s) ^ 2)))", "exp(s) / (1 + sum[KEYS](exp(s)))", "softmax(s) - 0.1 * sigmoid(s)",
    "sigmoid(s) / (0.5 + sum[KEYS](sigmoid(s)))",
)  # fmt: skip
POSTS = ("", "", "", "p * gp", "p / (1 + 0.1 * DISTANCE)", "p * p", "p + 0.1 * s", "p * 2 - p ^ 2")
EMITS = (
    "lse(s)", "max(s)", "min(s)", "-sum(where(p > 0, p * log(max(p, 1e-9)), 0))", "sum(p)", "max(p)", "sum(p * DISTANCE)",
    "mean(s)", "sum(p ^ 2)",
)  # fmt: skip
LENGTHS = (1, 2, 7, 17, 33, 70, 130, 200)
FEATURES = (2, 3, 8, 16, 33, 44, 64, 80)


@dataclass(frozen=True)
class Sample:
    """An attend as the text of a pattern and the tensors of a call, in float32."""

    source: str
    tensors: dict[str, torch.Tensor]


def sample(seed: int, longest: int = 200) -> Sample:
    """The attend of a seed. longest: of an axis."""
    chance = random.Random(seed)
    source, inputs = _pattern(chance)
    return Sample(source, _tensors(chance, inputs, longest))


def _pattern(chance: random.Random) -> tuple[str, list[str]]:
    grid, grouped = chance.random() < 0.2, chance.random() < 0.25
    heads, key_heads = ("(g r)", "g") if grouped else ("h", "h")
    rows, keys, prime = ("y, x", "y', x'", "'") if grid else ("i", "j", "")
    stored = rows if grid else "j"
    distance = "(abs(y - y') + abs(x - x'))" if grid else "abs(i - j)"
    inputs = [f"q[b, {heads}, {rows}, d]", f"k[b, {key_heads}, {stored}, d]", f"v[b, {key_heads}, {stored}, e]"]
    words = {"ROWS": rows, "KEYS": keys, "DISTANCE": distance, "K": f"k{prime}"}

    def chosen(among: tuple[str, ...]) -> str:
        return re.sub(r"\b(ROWS|KEYS|DISTANCE|K)\b", lambda m: words[m[0]], chance.choice(among))

    score = chosen(SCORES)
    if "* w" in score:
        inputs.append(f"w[{heads}, d]")
    for term in chance.sample(TERMS, chance.choice((0, 1, 1, 2, 3))):
        match term:
            case "slope":
                inputs.append(f"rate[{heads}]")
                score = f"{score} - rate * {distance} * 0.1"
            case "key bias":
                inputs.append(f"kb[b, {key_heads}, {stored}]")
                score = f"{score} + kb{prime}"
            case "query gain":
                inputs.append(f"qb[b, {heads}, {rows}]")
                score = f"({score}) * qb"
            case "cap":
                score = f"2 * tanh(({score}) / 2)"
            case "gate":
                inputs.append(f"gk[b, {key_heads}, {stored}]")
                score = f"({score}) + log(sigmoid(gk{prime}))"
            case "table" if not grid:
                inputs.append(f"table[{heads}, t]")
                score = f"{score} + table[t = clamp(i - j, -3, 3) + 3]"
    mask = chance.choice(GRID_MASKS if grid else MASKS)
    inputs += ["lens[b]: int"] if "lens" in mask else []
    inputs += ["doc_q[b, i]: int", "doc_k[b, j]: int"] if "doc_q" in mask else []
    inputs += ["keep[b, j]: bool"] if mask == "keep" else []
    clauses = [f"score s = {score}", f"mask {mask}" if mask else "", f"normalize {chosen(NORMALIZERS)}"]
    post = chosen(POSTS)
    if post == "p * gp":
        inputs.append(f"gp[b, {key_heads}, {stored}]")
        post = f"p * gp{prime}"
    clauses += [f"post {post}" if post else "", f"mix v{prime}"]
    emits = [chosen(EMITS) for _ in range(chance.choice((0, 0, 1, 2)))]
    outputs = [f"o[b, {heads}, {rows}, e]", *(f"x{n}[b, {heads}, {rows}]" for n in range(len(emits)))]
    clauses += [f"emit x{n} = {emit}" for n, emit in enumerate(emits)]
    if not grid and chance.random() < 0.12:
        outputs.append(f"columns[b, {heads}, j]")
        clauses.append("emit columns = sum[i](p)")
    body = "\n".join(f"    {c}" for c in clauses if c)
    over = f"({keys})" if grid else keys
    return f"pattern f({', '.join(inputs)}) -> {', '.join(outputs)} {{\n  attend o over {over} {{\n{body}\n  }}\n}}\n", inputs


def _tensors(chance: random.Random, inputs: list[str], longest: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(chance.randint(0, 1 << 30))
    lengths = [n for n in LENGTHS if n <= longest]
    i = chance.choice(lengths)
    sizes = {
        "b": chance.choice((1, 2, 3)), "h": chance.choice((1, 2, 5)), "g": chance.choice((1, 2)), "r": chance.choice((1, 3)),
        "i": i, "j": chance.choice((i, chance.choice(lengths))), "y": chance.choice((1, 3, 7, 9)), "x": chance.choice((1, 4, 8, 11)),
        "d": chance.choice(FEATURES), "e": chance.choice((1, *FEATURES)), "t": 7,
    }  # fmt: skip
    found = {}
    for text in inputs:
        name, axes = text.split("[")
        axes, _, kind = axes.partition("]")
        shape = [sizes["g"] * sizes["r"] if a == "(g r)" else sizes[a] for a in axes.split(", ")]
        if "int" in kind:
            found[name] = torch.randint(0, sizes["j"] + 1 if name == "lens" else 3, shape, generator=generator)
        elif "bool" in kind:
            found[name] = torch.rand(shape, generator=generator) < 0.6
        else:
            values = torch.randn(shape, generator=generator) * (1 if name in ("w", "table") else chance.choice((1, 1, 3)))
            found[name] = _laid_out(values, chance)
    return found


def _laid_out(t: torch.Tensor, chance: random.Random) -> torch.Tensor:
    """The tensor as it is, with two axes swapped in memory, every other element of a larger one, or one row expanded."""
    match chance.choice(("", "", "", "swapped", "apart", "expanded")):
        case "swapped" if t.dim() >= 3:
            return t.transpose(1, 2).contiguous().transpose(1, 2)
        case "apart":
            return torch.stack((t, t), -1)[..., 0]
        case "expanded" if len(t) > 1:
            return t[:1].expand(t.shape)
    return t
