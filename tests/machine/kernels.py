"""Triton kernels whose machine code has counts known by construction. Compiled by path, never run."""

import triton
import triton.language as tl


@triton.jit
def stream(X, Y, N, a, b, BLOCK: tl.constexpr, FMAS: tl.constexpr, EXPS: tl.constexpr):
    """Per element of the loop: one load, FMAS multiply-adds, EXPS exponentials, one store."""
    lanes = tl.arange(0, BLOCK)
    for i in range(0, N, BLOCK):
        x = tl.load(X + i + lanes)
        for _ in tl.static_range(FMAS):
            x = tl.fma(x, a, b)
        for _ in tl.static_range(EXPS):
            x = tl.exp2(x)
        tl.store(Y + i + lanes, x)


@triton.jit
def product(A, B, C, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    """One tl.dot of BM x BK by BK x BN in each iteration of its loop."""
    rows, columns, depth = tl.arange(0, BM), tl.arange(0, BN), tl.arange(0, BK)
    total = tl.zeros([BM, BN], C.dtype.element_ty)
    for k in range(0, K, BK):
        x = tl.load(A + rows[:, None] * K + (k + depth)[None, :])
        y = tl.load(B + columns[None, :] * K + (k + depth)[:, None])
        total = tl.dot(x, y, total, out_dtype=C.dtype.element_ty)
    tl.store(C + rows[:, None] * BN + columns[None, :], total)


@triton.jit
def nested(X, Y, N, M, BLOCK: tl.constexpr):
    """A loop in a loop: exponentials inside, one reciprocal square root in each turn of the outer."""
    lanes = tl.arange(0, BLOCK)
    x = tl.load(X + lanes)
    for i in range(N):
        for j in range(M):
            x = tl.exp2(x * j)
        x = tl.rsqrt(x + i)
    tl.store(Y + lanes, x)


@triton.jit
def sometimes(X, Y, N, BLOCK: tl.constexpr):
    """A loop that stores, after a logarithm, only when the largest value is positive."""
    lanes = tl.arange(0, BLOCK)
    for i in range(N):
        x = tl.load(X + i * BLOCK + lanes)
        if tl.max(x, 0) > 0:
            tl.store(Y + i * BLOCK + lanes, tl.log2(x))


@triton.jit
def held(X, Y, N, BLOCK: tl.constexpr):
    """A loop that carries BLOCK values: with too few registers they are spilled in the loop."""
    lanes = tl.arange(0, BLOCK)
    x = tl.load(X + lanes)
    for i in range(N):
        x = tl.fma(x, tl.load(Y + i * BLOCK + lanes), x)
    tl.store(X + lanes, x)


@triton.jit
def weights(Q, K, V, O, N, scale, BM: tl.constexpr, BN: tl.constexpr, D: tl.constexpr, SPECIAL: tl.constexpr):
    """Two products with exponential weights between them: per pair of rows one exponential and 4 D matrix FLOP."""
    rows = tl.program_id(0) * BM
    q = tl.make_tensor_descriptor(Q, [N, D], [D, 1], [BM, D]).load([rows, 0])
    k = tl.make_tensor_descriptor(K, [N, D], [D, 1], [BN, D])
    v = tl.make_tensor_descriptor(V, [N, D], [D, 1], [BN, D])
    total = tl.zeros([BM, D], tl.float32)
    for j in tl.range(0, N, BN, warp_specialize=SPECIAL):
        p = tl.exp2(tl.dot(q, k.load([j, 0]).T) * scale)
        total = tl.dot(p.to(Q.dtype.element_ty), v.load([j, 0]), total)
    tl.make_tensor_descriptor(O, [N, D], [D, 1], [BM, D]).store([rows, 0], total.to(Q.dtype.element_ty))


@triton.jit
def foreign(X, BLOCK: tl.constexpr):
    """NVIDIA assembly: no binary for another target can be right."""
    lanes = tl.arange(0, BLOCK)
    x = tl.load(X + lanes)
    x = tl.inline_asm_elementwise("tanh.approx.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1)
    tl.store(X + lanes, x)
