"""A legal program of all nodes: its declarations, and the nodes."""

BASE = """
program p
axis b; axis i; axis d; axis j = |i|; axis k = 4; axis m; axis r = j ++ k; axis t = 3; axis h = |d| div 2 + 1
input q[b, (i d)]: float
input mask[1, i, m]: bool const
input len[b]: int const
input x[d]: float
input z[]: float
require |d| >= 1
assume len[b] >= 1
"""

LEGAL = """
a[b, i]: float = sum[d](q[b, i, d]) * x[0]
w[b]: float = sum[j](z[]) - mean[b](z[]) * b
c[b, i]: float = a[b, i] - mean[i](a[b, i])
g[b, i, j, d]: float = softmax[j | j <= i](q[b, j, d], sink = z[])
o[d, b, i, t]: float = attend rows (b, i) over (j) {
  score s = sum[d](q[b, i, d] * q[b, j, d])
  score n = s[b, i, j] + 1
  mask j <= i and n[b, i, j] < 3.0
  map p = softmax[j | admitted[b, i, j]](s[b, i, j])
  post v = p[b, i, j] * n[b, i, j]
  mix q[b, j, d] * to_float(admitted[b, i, j])
  emit e[i, j]: float = sum[b](v[b, i, j])
  emit f[k]: float = sum[i, j | j mod |k| == k](e[i, j])
}
o2[b, i, d]: float = attend rows (b, i) keys (r) {
  over (j) { score s = q[b, i, 0] + j; mix q[b, j, d] * s[b, i, j] }
  over (k) { score s = q[b, i, 1] + k; mask s[b, i, k] > 0.0 }
  map p = exp(s[b, i, r])
}
attend rows (b) over (i) { score s = q[b, i, 0]; emit all[b]: float = lse[i](s[b, i]); empty error; order left }
top[b, t]: int = pick topk[i -> t | i < len[b]](a[b, i])
best[b]: int = pick argmax[i](a[b, i])
rank[i, b]: int = pick argsort[i](a[b, i])
sorted[b, j]: float = pick sort[i -> j](a[b, i])
some[b, t]: int = pick positions[i -> t](a[b, i] > 0.0)
most[b, i]: bool = pick in_top[i -> i | i != 3](a[b, i], count = len[b] + 1)
one[b, i]: float = 1.0
fold n = 1 .. |d| - 1 by 1 {
  carry y[i, b]: float = one then y1
  carry same[b]: int = best then same
  y1[b, i]: float = y[i, b] * n[] + same[b]
}
zf[b, i, h]: complex = call rfft(q) along (d) -> h
zb[b, i, d]: float = call irfft(zf) along (i, h) -> d
sc[]: float = sum[b, i](a[b, i])
ga[i, b]: float = call grad(sc, a)
inv[i, b]: float = call vjp(a, z) grad gg {
  formal u[b, i]: float = a[b, i] * z[]
  v1[b, i]: float = exp(u[b, i])
  return v1
  cotangent u { back[b, i]: float = gg[i, b] * v1[b, i]; return back }
}
output o[b, i, (d t), 1]: float = o
output a[i, t, b]?: float = a
"""
