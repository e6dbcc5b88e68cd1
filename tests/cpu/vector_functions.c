/* Every vector function of functions.h over an array, for test_cpu_functions.py. */
#include "vector.h"
#include "functions.h"

#define EXPORT __attribute__((visibility("default")))
#define OVER(name) \
    EXPORT void over_##name(const real *from, real *to, long count) \
    { \
        for (long n = 0; n < count; n += LANES) store_any(to + n, v##name(load_any(from + n))); \
    }

/* 1 / (1 + 2^x), as it is printed. */
INLINE vreal vlogistic(vreal x) { return vinverse_above_one(vexp2(x)); }

OVER(exp2)
OVER(logistic)
OVER(exp)
OVER(log)
OVER(log2)
OVER(tanh)
OVER(sigmoid)
OVER(inverse_above_one)
OVER(erf)
OVER(log1p)
OVER(expm1)
OVER(softplus)
OVER(logsigmoid)
OVER(sqrt)
OVER(rsqrt)
OVER(silu)
OVER(gelu)
OVER(gelu_tanh)
OVER(elu)
OVER(relu)
OVER(round)
OVER(floor)
OVER(ceil)
OVER(sign)

/* A square of LANES x LANES, transposed in place. */
EXPORT void turn(real *square)
{
    vreal rows[LANES_COUNT];
    for (long n = 0; n < LANES; ++n) rows[n] = load_any(square + n * LANES);
    transpose(rows);
    for (long n = 0; n < LANES; ++n) store_any(square + n * LANES, rows[n]);
}
EXPORT const long lanes = LANES;
