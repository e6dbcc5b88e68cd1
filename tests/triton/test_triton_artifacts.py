"""`attncc compile`: what lies in the folder, that it stands alone, and what the machine code is like."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from attncc.backends.triton.artifact import write
from attncc.backends.triton.machine import Worker, available

import attncc
from attncc.errors import AttnUnsupportedError

pytestmark = pytest.mark.skipif(not available(), reason="the installed Triton has no binary tools")

CAUSAL = """
# Causal attention, grouped heads.
pattern causal(q[b, i, (g r), d], k[b, j, g, d], v[b, j, g, e]) -> o[b, i, (g r), e], lse[b, (g r), i] {
  attend o over j { score dot(q, k) / sqrt(d)   mask j <= i   normalize softmax   mix v   emit lse = lse(s) }
}
"""
SIGMOID = """
pattern weighed(q[b, h, i, d], k[b, h, j, d], v[b, h, j, e]) -> o[b, h, i, e] {
  attend o over j { score dot(q, k) / sqrt(d) - log(j.size)   normalize sigmoid   mix v }
}
"""
DISTANCE = """
pattern kernel(q[b, h, i, d], k[b, h, j, d], v[b, h, j, e], sigma[h, d]) -> o[b, h, i, e] {
  attend o over j { score -dist2(q / sigma, k / sigma) / 2   mask abs(i - j) <= 20   normalize softmax   mix v }
}
"""

ALONE = """
import sys
sys.modules["attncc"] = None
sys.path.insert(0, sys.argv[1])
import torch
from {name} import {name}
torch.manual_seed(0)
{body}
"""


def run_alone(folder: Path, name: str, body: str) -> str:
    """Run code in a process where attncc cannot be imported."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ALONE.format(name=name, body=body), str(folder)],
        capture_output=True, text=True, env={**os.environ, "TRITON_INTERPRET": "1"}, cwd=folder, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@functools.cache
def _worker() -> Worker:
    """One compiling process for all tests; it ends with this one."""
    return Worker()


def made(text: str, folder: Path, target: str = "cuda:90", dtype: str = "bf16", **sizes: int) -> dict:
    op = attncc.compile(text)
    return write(op.ir, [o.name for o in op.ir.outputs], folder, target, dtype, sizes, op.title, op.name, _worker())


@pytest.mark.parametrize("head", [64, 128])
@pytest.mark.parametrize(("text", "name"), [(CAUSAL, "causal"), (SIGMOID, "weighed")], ids=["softmax", "sigmoid"])
def test_hopper(text: str, name: str, head: int, tmp_path: Path) -> None:
    manifest = made(text, tmp_path, d=head, e=head)
    (kernel,) = manifest["kernels"]
    assert kernel["spills"] == 0
    assert kernel["products"]
    assert all(opcode.startswith("HGMMA") for opcode in kernel["products"]), kernel["products"]
    forms = [""]
    if (whole := kernel.get("whole")) is not None:  # the warp-specialized form, for lengths that fill their tiles
        assert whole["spills"] == 0 and "% " in whole["when"] and whole["warps"] > 4
        forms.append(".whole")
    code = {f"{name}{form}.{kind}" for form in forms for kind in ("ptx", "cubin")}
    assert {p.name for p in tmp_path.iterdir()} == {f"{name}.py", "manifest.json", *code}
    assert json.loads((tmp_path / "manifest.json").read_text()) == manifest


PADDED = """
pattern padded(q[b, h, i, d], k[b, h, j, d], v[b, h, j, e], length[b]: int) -> o[b, h, i, e] {
  attend o over j { score dot(q, k) / sqrt(d)   mask j < length   normalize softmax   mix v }
}
"""


def test_lengths_that_are_data(tmp_path: Path) -> None:
    """Loops between 64-bit numbers that are loaded: their tiles start at 32-bit positions, as descriptors ask for."""
    made(PADDED, tmp_path)
    assert "k_desc.load([j_start, 0])" in (tmp_path / "padded.py").read_text()


def test_manifest(tmp_path: Path) -> None:
    manifest = made(CAUSAL, tmp_path, b=2, g=4, r=2, i=4096, j=4096)
    (kernel,) = manifest["kernels"]
    assert manifest["signature"]["inputs"][0] == {"name": "q", "dims": "b, i, (g r), d", "kind": "float"}
    assert manifest["fixed"] == {"d": 64, "e": 64}
    assert kernel["grid"] == "ceil(i / 128) * b * g * r"
    assert kernel["roofline"]["flops"] == 2 * 2 * 8 * 4096**2 * (64 + 64)
    assert kernel["roofline"]["bound"] == "compute"
    assert kernel["shared_memory"] > 0


def test_a_module_stands_alone(tmp_path: Path) -> None:
    made(CAUSAL, tmp_path)
    run_alone(
        tmp_path,
        "causal",
        """
q, k, v = torch.randn(2, 37, 6, 64), torch.randn(2, 41, 3, 64), torch.randn(2, 41, 3, 64)
o, lse = causal(q, k, v)
heads = lambda t: t.transpose(1, 2)
wide = lambda t: heads(t).repeat_interleave(2, 1)
want = torch.nn.functional.scaled_dot_product_attention(heads(q), wide(k), wide(v), is_causal=True)
torch.testing.assert_close(heads(o), want)
assert lse.shape == (2, 6, 37)
half = [t.bfloat16() for t in (q, k, v)]
assert causal(*half)[0].dtype == torch.bfloat16
torch.testing.assert_close(heads(causal(*half)[0].float()), want, rtol=0, atol=0.05)
torch.testing.assert_close(causal(*[t.double().float().flip(1).flip(1) for t in (q, k, v)])[0], o)
try:
    causal(q, k[:, :, :2], v)
except ValueError as error:
    assert "'v' has shape" in str(error) or "'q' has shape" in str(error) or "'k' has shape" in str(error)
else:
    raise AssertionError("shapes that do not fit")
""",
    )


def test_definitions_come_along(tmp_path: Path) -> None:
    manifest = made(DISTANCE, tmp_path)
    assert len(manifest["kernels"]) == 4
    run_alone(
        tmp_path,
        "kernel",
        """
q, k, v, sigma = torch.randn(1, 2, 30, 64), torch.randn(1, 2, 34, 64), torch.randn(1, 2, 34, 64), 4 + torch.rand(2, 64)
s = -torch.cdist(q / sigma[:, None], k / sigma[:, None]) ** 2 / 2
near = (torch.arange(30)[:, None] - torch.arange(34)).abs() <= 20
torch.testing.assert_close(kernel(q, k, v, sigma), torch.softmax(s.masked_fill(~near, float("-inf")), -1) @ v, rtol=1e-4, atol=1e-4)
""",
    )


@pytest.mark.parametrize("target", ["cuda:80", "cuda:100", "hip:gfx942"])
def test_other_targets(target: str, tmp_path: Path) -> None:
    (kernel,) = made(SIGMOID, tmp_path, target)["kernels"]
    assert kernel["spills"] == 0


def test_single_precision(tmp_path: Path) -> None:
    (kernel,) = made(CAUSAL, tmp_path, dtype="fp32", d=16, e=16)["kernels"]
    assert kernel["spills"] == 0
    assert not kernel["products"]  # ieee products do not run on the tensor cores


def test_what_runs_on_torch_is_named(tmp_path: Path) -> None:
    text = SIGMOID.replace("{\n", "{\n  x = sum[i](q)\n", 1).replace("/ sqrt(d)", "/ sqrt(d) + sum[d](x)")
    with pytest.raises(AttnUnsupportedError, match="runs on PyTorch"):
        made(text, tmp_path)


def test_source_reads_well(tmp_path: Path) -> None:
    """Names of the pattern, a header with decisions, full tiles without a mask."""
    made(CAUSAL, tmp_path)
    text = (tmp_path / "causal.py").read_text()
    assert text.startswith('"""Causal attention, grouped heads.')
    assert "holds where j <= i" in text
    full = text.split("# tiles of admitted pairs alone")[1].split("# the other tiles")[0]
    assert "tl.where" not in full
    assert "mask=" not in full
    assert "q = q_desc.load([b, i_start, g, r, 0])" in text or "q = tl.load(q_ptr + " in text
    assert len(text.splitlines()) < 230


DOCUMENTS = """
pattern documents(q[b, h, i, d], k[b, h, j, d], v[b, h, j, e], x[b, i]: int, y[b, j]: int) -> o[b, h, i, e] {
  attend o over j { score dot(q, k) / sqrt(d)   mask x == y and j <= i   normalize softmax   mix v }
}
"""
DILATED = """
pattern dilated(q[b, h, i, d], k[b, h, j, d], v[b, h, j, e]) -> o[b, h, i, e] {
  attend o over j { score dot(q, k) / sqrt(d)   mask (i - j) mod 3 == 0 and abs(i - j) <= 60   normalize softmax   mix v }
}
"""


@pytest.mark.parametrize(
    ("text", "name", "more", "mask"),
    [
        (
            DOCUMENTS,
            "documents",
            "i // 70 * torch.ones(1, 1, dtype=torch.int64)",
            "(i[:, None] // 70 == i // 70) & (i <= i[:, None])",
        ),
        (DILATED, "dilated", "", "((i[:, None] - i) % 3 == 0) & ((i[:, None] - i).abs() <= 60)"),
    ],
    ids=["documents", "dilated"],
)
def test_masks_come_along(text: str, name: str, more: str, mask: str, tmp_path: Path) -> None:
    made(text, tmp_path)
    run_alone(
        tmp_path,
        name,
        f"""
i = torch.arange(200)
q, k, v = (torch.randn(1, 2, 200, 64) for _ in range(3))
keep = {mask}
want = torch.softmax((q @ k.mT / 8).masked_fill(~keep, float("-inf")), -1) @ v
torch.testing.assert_close({name}(q, k, v{f", {more}, {more}" if more else ""}), want)
""",
    )


def test_a_backward_pass(tmp_path: Path) -> None:
    """Two functions that stand alone: the second gives the gradients, from what the first keeps."""
    op = attncc.compile(CAUSAL)
    manifest = write(op.ir, ["o"], tmp_path, "cuda:80", "bf16", {"d": 16, "e": 16}, op.title, op.name, _worker(), "joint")
    assert manifest["functions"] == ["causal_forward", "causal_backward"]
    assert manifest["backward"]["form"] == "joint" and not manifest["backward"]["deterministic"]
    found = {k["name"]: k.get("when") for k in manifest["kernels"]}
    forms = {"o_backward_single_kernel": "r == 1", "o_backward_kernel": "not (r == 1)"}
    assert found == {"o_kernel": None, "delta_kernel": None, **forms, "d_q_kernel": None}
    body = """
q, k, v = (torch.randn(2, 21, h, 16, requires_grad=True) for h in (2 * R, 2, 2))
o, *kept = causal_forward(q.detach(), k.detach(), v.detach())
up = torch.randn(o.shape)
found = causal_backward(q.detach(), k.detach(), v.detach(), o, *kept, up)
score = torch.einsum("bihd,bjhd->bhij", q, k.repeat_interleave(R, 2)) / 4
p = score.masked_fill(torch.ones(21, 21).triu(1).bool(), float("-inf")).softmax(-1)
exact = torch.einsum("bhij,bjhe->bihe", p, v.repeat_interleave(R, 2))
want = torch.autograd.grad(exact, (q, k, v), up)
print([a.shape == b.shape and bool((a - b).abs().max() < 1e-5) for a, b in zip((o, *found), (exact, *want))])
"""
    for r in (2, 1):
        assert _printed(tmp_path, "causal", body.replace("R", str(r))) == "[True, True, True, True]"


RATES = """
pattern decays(q[b, h, i, d], k[b, h, j, d], v[b, h, j, e], rate[h]) -> o[b, h, i, e] {
  attend o over j { score dot(q, k) - rate * abs(i - j)   normalize sigmoid   mix v }
}
"""


def test_a_gradient_that_is_a_sum(tmp_path: Path) -> None:
    """One value a head is read in every batch and row: its gradient is their sum."""
    op = attncc.compile(RATES)
    write(op.ir, ["o"], tmp_path, "cuda:80", "bf16", {"d": 16, "e": 16}, op.title, op.name, _worker(), "split")
    body = """
q, k, v = (torch.randn(2, 3, 21, 16, requires_grad=True) for _ in range(3))
rate = torch.rand(3, requires_grad=True)
given = [t.detach() for t in (q, k, v, rate)]
up = torch.randn(2, 3, 21, 16)
*found, got = decays_backward(*given, up)
at = torch.arange(21)
exact = torch.sigmoid(q @ k.mT - rate[:, None, None] * (at[:, None] - at).abs()) @ v
*_, want = torch.autograd.grad(exact, (q, k, v, rate), up)
print(got.shape == want.shape and bool((got - want).abs().max() < 1e-4))
"""
    assert _printed(tmp_path, "decays", body) == "True"


TWINS = """
pattern nearby(q[b, i, d], k[b, i, d], v[b, i, e]) -> o[b, i, e] {
  attend o over i' { score dot(q, k') / 4   mask abs(i - i') <= 3   normalize softmax   mix v' }
}
"""


def test_gradients_of_self_attention(tmp_path: Path) -> None:
    """Keys are read along another name of the queries' axis."""
    op = attncc.compile(TWINS)
    write(op.ir, ["o"], tmp_path, "cuda:80", "bf16", {"d": 16, "e": 16}, op.title, op.name, _worker(), "split")
    body = """
q, k, v = (torch.randn(2, 21, 16, requires_grad=True) for _ in range(3))
given = [t.detach() for t in (q, k, v)]
o, *kept = nearby_forward(*given)
up = torch.randn(2, 21, 16)
found = nearby_backward(*given, o, *kept, up)
at = torch.arange(21)
exact = (q @ k.mT / 4).masked_fill((at[:, None] - at).abs() > 3, float("-inf")).softmax(-1) @ v
want = torch.autograd.grad(exact, (q, k, v), up)
print([a.shape == b.shape and bool((a - b).abs().max() < 1e-5) for a, b in zip((o, *found), (exact, *want))])
"""
    assert _printed(tmp_path, "nearby", body) == "[True, True, True, True]"


HISTOGRAM = """
pattern shares(q[b, i, d], k[b, j, d], v[b, j, e], group[b, j]: int) -> o[b, i, e], mass[g: 4, b, i], mean[b, i, g: 4] {
  attend o over j {
    score dot(q, k) / 4   mask j <= i   normalize p = softmax   mix v
    emit mass = sum[j | group == g](p), mean = sum[j | group == g](p) / max(count[j | group == g](), 1) + 0.5 * g
  }
}
"""


def test_histograms_beside_an_output(tmp_path: Path) -> None:
    """What an emit makes of its sums is a line of PyTorch in the module."""
    made(HISTOGRAM, tmp_path, "cuda:80", d=16, e=16)
    body = """
q, k, v = (torch.randn(2, 21, 16) for _ in range(3))
group = torch.randint(0, 5, (2, 21))
o, mass, mean = shares(q, k, v, group)
p = (q @ k.mT / 4).masked_fill(torch.ones(21, 21).triu(1).bool(), float("-inf")).softmax(-1)
one = (group[..., None] == torch.arange(4)).float()
wants = p @ v, (p @ one).permute(2, 0, 1), p @ one / one.sum(1, keepdim=True).clamp(min=1) + 0.5 * torch.arange(4)
for got, want in zip((o, mass, mean), wants):
    assert got.shape == want.shape and got.dtype == want.dtype, (got.shape, want.shape)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
assert all(t.dtype == torch.bfloat16 for t in shares(q.bfloat16(), k.bfloat16(), v.bfloat16(), group))
"""
    run_alone(tmp_path, "shares", body)


def test_what_is_not_pointwise_beside_an_output_is_refused(tmp_path: Path) -> None:
    op = attncc.compile(HISTOGRAM)
    with pytest.raises(AttnUnsupportedError, match="runs on PyTorch"):
        write(op.ir, ["o", "mass"], tmp_path, "cuda:80", "bf16", {"d": 16, "e": 16}, op.title, op.name, _worker(), "split")


def _printed(folder: Path, name: str, body: str) -> str:
    """What code prints that has all names of a written module."""
    alone = ALONE.replace("import {name}\n", "import *\n")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", alone.format(name=name, body=body), str(folder)],
        capture_output=True, text=True, env={**os.environ, "TRITON_INTERPRET": "1"}, cwd=folder, check=False,
    )  # fmt: skip
    return done.stdout.strip() or done.stderr[-2000:]


def test_no_backward_pass_alone(tmp_path: Path) -> None:
    with pytest.raises(AttnUnsupportedError, match=r"part of the backward pass of 'kernel' runs on PyTorch|is a sum of"):
        write(attncc.compile(DISTANCE).ir, ["o"], tmp_path, backward="split", target="cuda:80", worker=_worker())
    with pytest.raises(attncc.AttnError, match="must be one of split, joint, found 'both'"):
        write(attncc.compile(SIGMOID).ir, ["o"], tmp_path, backward="both", target="cuda:80", worker=_worker())
