/* Elementwise functions of vectors, with their errors in units of the last place (32 and 64 bits). Polynomials are best fits in the
   sense of Chebyshev, found by Remez's exchange, the low coefficients rounded first. NaN gives NaN; infinities give the limits. */

#if REAL_BITS == 64
#define MANTISSA 52
#define BIAS 1023
#define LEAST_NORMAL R(0x1p-1022)
#define LOWEST R(-1080.0)
#define HIGHEST R(1030.0)
#define LN2_HIGH R(0x1.62e42fefa38p-1)
#define LN2_LOW R(0x1.ef35793c7673p-45)
#else
#define MANTISSA 23
#define BIAS 127
#define LEAST_NORMAL R(0x1p-126)
#define LOWEST R(-160.0)
#define HIGHEST R(140.0)
#define LN2_HIGH R(0x1.62e4p-1)
#define LN2_LOW R(0x1.7f7d1cp-20)
#endif
#define LOG2E R(1.4426950408889634)

/* c[0] + c[1] x + ... by Horner's rule. */
#define POLYNOMIAL(x, ...) \
    ({ \
        static const real c_[] = {__VA_ARGS__}; \
        enum { TERMS = sizeof(c_) / sizeof(real) }; \
        vreal sum_ = splat(c_[TERMS - 1]); \
        _Pragma("GCC unroll 32") for (int n_ = TERMS - 2; n_ >= 0; --n_) sum_ = sum_ * (x) + splat(c_[n_]); \
        sum_; \
    })

/* 2^f for f in [0, 1]. */
INLINE vreal exp2_part(vreal f)
{
#if REAL_BITS == 64
    return POLYNOMIAL(f, 1.0, 0x1.62e42fefa39f5p-1, 0x1.ebfbdff82c01bp-3, 0x1.c6b08d7066659p-5, 0x1.3b2ab6f7136c9p-7,
                      0x1.5d87ff5281b7bp-10, 0x1.4308f99308568p-13, 0x1.ffcfd87216201p-17, 0x1.628e7bd1101bcp-20,
                      0x1.b86899e832676p-24, 0x1.c280e8e484f10p-28, 0x1.58bf6c8dfc6cdp-31);
#else
    return POLYNOMIAL(f, 1.0f, 0x1.62e42cp-1f, 0x1.ebfd3ap-3f, 0x1.c68af6p-5f, 0x1.3cfd82p-7f, 0x1.473738p-10f, 0x1.c4458p-13f);
#endif
}

#if VECTOR < 64
/* a 2^n for a whole n, in two factors, so that results below the normal numbers are right. */
INLINE vreal scale2(vreal a, vreal n)
{
    vint whole = to_int(n), half = whole >> 1;
    vreal first = (vreal)((half + BIAS) << MANTISSA), second = (vreal)((whole - half + BIAS) << MANTISSA);
    return a * first * second;
}
#endif

#if VECTOR == 64 && REAL_BITS == 32
/* 2^(x - floor(x)), 1 for an infinity: sixteenths from a table that fills one vector, what is above them by a polynomial that is short,
   so that little waits for it. x + 3 2^18, rounded down, has floor(16 x) in its last bits. */
INLINE vreal exp2_above_floor(vreal x)
{
    static const real table[] __attribute__((aligned(64))) = {
        0x1.000000p+0f, 0x1.0b5586p+0f, 0x1.172b84p+0f, 0x1.2387a6p+0f, 0x1.306fe0p+0f, 0x1.3dea64p+0f, 0x1.4bfdaep+0f, 0x1.5ab07ep+0f,
        0x1.6a09e6p+0f, 0x1.7a1148p+0f, 0x1.8ace54p+0f, 0x1.9c4918p+0f, 0x1.ae89fap+0f, 0x1.c199bep+0f, 0x1.d5818ep+0f, 0x1.ea4afap+0f};
    vreal rest = above_sixteenth(x), place, start;
    __asm__("vaddps %{rd-sae%}, %2, %1, %0" : "=v"(place) : "v"(x), "v"(splat(0x1.8p19f)));
    __asm__("vpermps %2, %1, %0" : "=v"(start) : "v"(place), "v"(load(table)));
    return start + start * rest * POLYNOMIAL(rest, 0x1.62e43ep-1f, 0x1.ebe55cp-3f, 0x1.d04d0ep-5f);
}
#endif

/* 2^x: 1.1 with vectors of 64 bytes, else 1.5; 1.5. */
INLINE vreal vexp2(vreal x)
{
#if VECTOR == 64 && REAL_BITS == 32
    return scale2(exp2_above_floor(x), x);
#elif VECTOR == 64
    return scale2(exp2_part(above_floor(x)), x);
#else
    x = smaller(splat(HIGHEST), greater(splat(LOWEST), x));
    vreal n = vfloor(x);
    return scale2(exp2_part(x - n), n);
#endif
}

/* e^x: 2, 2. */
INLINE vreal vexp(vreal x)
{
    x = smaller(splat(HIGHEST), greater(splat(LOWEST), x));
    vreal n = vfloor(x * splat(LOG2E));
    vreal rest = (x - n * splat(LN2_HIGH)) - n * splat(LN2_LOW);
    return scale2(exp2_part(rest * splat(LOG2E)), n);
}

/* x = 2^e (1 + t) with 1 + t between sqrt(1/2) and sqrt(2); gives log(1 + t). Positive finite x. */
INLINE vreal log_part(vreal x, vreal *e)
{
    vint small = x < splat(LEAST_NORMAL);
    x = pick(small, x * splat(R(1.0) * ((lane)1 << (MANTISSA + 1))), x);
    vint bits = (vint)x, shift = bits - (vint)splat(R(0x1.6a09e6p-1));
    vint exponent = shift >> MANTISSA;
    *e = to_real(exponent - (small & isplat(MANTISSA + 1)));
    vreal t = (vreal)(bits - (exponent << MANTISSA)) - splat(R(1.0));
#if REAL_BITS == 64
    vreal s = t / (splat(2.0) + t), z = s * s, half = t * t * splat(0.5);
    vreal r = z * POLYNOMIAL(z, 0x1.5555555555555p-1, 0x1.9999999999d11p-2, 0x1.24924924397f8p-2, 0x1.c71c724b66eb6p-3,
                             0x1.745ce1c8cacecp-3, 0x1.3b20247f29728p-3, 0x1.0f67446b7e675p-3, 0x1.0f0dd0541c2cdp-3);
    return t - (half - s * (half + r));
#else
    vreal z = t * t;
    vreal r = POLYNOMIAL(t, 0x1.555554p-2f, -0x1.000228p-2f, 0x1.99a034p-3f, -0x1.54723cp-3f, 0x1.22d61cp-3f, -0x1.0d7b06p-3f,
                         0x1.05b554p-3f, -0x1.3a90eep-4f);
    return t + (t * z * r - splat(0.5f) * z);
#endif
}

/* What a logarithm is outside the positive finite numbers. */
INLINE vreal log_edges(vreal x, vreal inside)
{
    vreal out = pick(x == splat(R(0.0)), splat(-INFINITY), inside);
    out = pick(x == splat(INFINITY), x, out);
    return pick((x < splat(R(0.0))) | (x != x), splat(NAN), out);
}

/* log(x): 2, 2. */
INLINE vreal vlog(vreal x)
{
    vreal e, part = log_part(x, &e);
    return log_edges(x, e * splat(LN2_HIGH) + (part + e * splat(LN2_LOW)));
}

/* log2(x): 2.5, 2.5. */
INLINE vreal vlog2(vreal x)
{
    vreal e, part = log_part(x, &e);
#if REAL_BITS == 64
    return log_edges(x, e + (part * splat(0x1.71547652b82fep+0) + part * splat(0x1.777d0ffda0d24p-56)));
#else
    return log_edges(x, e + (part * splat(0x1.715476p+0f) + part * splat(0x1.4ae0cp-26f)));
#endif
}

/* 1 / (1 + x) for x >= 0, 0 for infinity: 1 with vectors of 64 bytes, else 1.5; 1.5. An estimate of 14 bits and a step of Newton's take
   less time than a division, which keeps a unit of its own busy for long. The step starts from x itself: the rounding of 1 + x leaves no
   trace. */
INLINE vreal vinverse_above_one(vreal x)
{
#if VECTOR == 64 && REAL_BITS == 32
    vreal size = smaller(splat(0x1.fffffep127f), x), guess;
    __asm__("vrcp14ps %1, %0" : "=v"(guess) : "v"(splat(1.0f) + size));
    return guess + guess * ((splat(1.0f) - guess) - size * guess);
#else
    return splat(R(1.0)) / (splat(R(1.0)) + x);
#endif
}

/* tanh(x): 2.5, 2.5. */
INLINE vreal vtanh(vreal x)
{
    vreal size = vabs(x), z = x * x;
#if REAL_BITS == 64
    vreal near = POLYNOMIAL(z, -0x1.5555555555552p-2, 0x1.1111111110c60p-3, -0x1.ba1ba1b9d2a95p-5, 0x1.664f487105fbap-6,
                            -0x1.226e32d84f30ep-7, 0x1.d6d35b980c568p-9, -0x1.7d9c44d8093dbp-10, 0x1.350c1e825f633p-11,
                            -0x1.f119d8b4d731bp-13, 0x1.8032633e20a67p-14, -0x1.fb20c592105bep-16, 0x1.96a40e403924ap-18);
#else
    vreal near = POLYNOMIAL(z, -0x1.555534p-2f, 0x1.11075ep-3f, -0x1.b842c4p-5f, 0x1.524c4p-6f, -0x1.767a14p-8f);
#endif
    vreal far = splat(R(1.0)) - splat(R(2.0)) * vinverse_above_one(vexp(size + size));
    return pick(size < splat(R(0.625)), x + x * z * near, vsigned(far, x));
}

/* 1 / (1 + e^-x): 3, 3; 0 where the result would be below the normal numbers. */
INLINE vreal vsigmoid(vreal x) { return vinverse_above_one(vexp(-x)); }

/* x / (1 + e^-x), with the limit 0 at -infinity. */
INLINE vreal vsilu(vreal x) { return pick(x == splat(-INFINITY), splat(R(0.0)), x * vsigmoid(x)); }

/* log(1 + x): 4, 4. */
INLINE vreal vlog1p(vreal x)
{
    vreal u = splat(R(1.0)) + x;
    vreal low = pick(u - u == splat(R(0.0)), x - (u - splat(R(1.0))), splat(R(0.0)));
    vreal out = vlog(u) + pick(u == splat(R(0.0)), u, low / u);
    return pick(vabs(x) < splat(LEAST_NORMAL), x, out);
}

/* e^x - 1: 2, 2. With x = n log(2) + r that is 2^n (e^r - 1) + (2^n - 1), where the second term is 0 for n = 0. Halves are added, so
   that 2^n stays finite as long as the result does. */
INLINE vreal vexpm1(vreal x)
{
    vreal u = smaller(splat(REAL_BITS == 64 ? R(710.0) : R(89.0)), greater(splat(LOWEST), x));
    vreal n = vround(u * splat(LOG2E));
    vreal r = (u - n * splat(LN2_HIGH)) - n * splat(LN2_LOW);
#if REAL_BITS == 64
    vreal rest = POLYNOMIAL(r, 0x1.0p-1, 0x1.5555555555559p-3, 0x1.5555555555556p-5, 0x1.111111110f661p-7, 0x1.6c16c16c15976p-10,
                            0x1.a01a01afec0d0p-13, 0x1.a01a01ae2d241p-16, 0x1.71ddf84b672d5p-19, 0x1.27e4be803b645p-22,
                            0x1.af6628fbe521ep-26, 0x1.205a9753f1726p-29);
#else
    vreal rest = POLYNOMIAL(r, 0x1.0p-1f, 0x1.5554aap-3f, 0x1.555538p-5f, 0x1.122c5p-7f, 0x1.6cd506p-10f);
#endif
    vreal half = scale2(splat(R(0.5)), n);
    vreal out = half * (r + r * r * rest) + (half - splat(R(0.5)));
    return pick(x == splat(R(0.0)), x, out + out);
}

/* log(1 + e^x). */
INLINE vreal vsoftplus(vreal x) { return maximum(x, splat(R(0.0))) + vlog1p(vexp(-vabs(x))); }

/* -log(1 + e^-x). */
INLINE vreal vlogsigmoid(vreal x) { return minimum(x, splat(R(0.0))) - vlog1p(vexp(-vabs(x))); }

/* erf(x): 2.5, 2.5. Below 1 a polynomial in x^2, above it 1 - 2^-g(x). */
INLINE vreal verf(vreal x)
{
    vreal size = vabs(x), z = x * x;
#if REAL_BITS == 64
    vreal near = POLYNOMIAL(z, 0x1.06eba8214db69p-3, -0x1.812746b037a25p-2, 0x1.ce2f21a0458d7p-4, -0x1.b82ce31354c50p-6,
                            0x1.565bcd2c6a5f3p-8, -0x1.c02db943dff2dp-11, 0x1.f9a3bea3bde5ep-14, -0x1.f4ddafeb12956p-17,
                            0x1.ba77bcfadb75cp-20, -0x1.643ad4df79770p-23, 0x1.17aabbbcfbb8bp-26, -0x1.e69818697afa6p-30,
                            0x1.70e8169c1d7a9p-33);
    vreal far = smaller(splat(6.0), size);
    vreal g = POLYNOMIAL(far, 0x1.6c5570321c2ebp-25, 0x1.a0be7d5de2256p+0, 0x1.d63f09a35ec03p-1, 0x1.2fa6678c916c1p-3,
                         -0x1.c41ed225935ddp-6, -0x1.332942b4f1ce8p-12, 0x1.3ce535ecb233dp-9, -0x1.a267fead2bba8p-11,
                         -0x1.033589e060aabp-15, 0x1.4e2105412db40p-13, -0x1.86dfb5150e28dp-14, 0x1.25131088ce575p-15,
                         -0x1.47762424b2bb4p-17, 0x1.1ba6ca60a0c19p-19, -0x1.7ef1d67b0aecbp-22, 0x1.8d458e238bab7p-25,
                         -0x1.32a884308c5b0p-28, 0x1.4c239dd0f22d9p-32, -0x1.c280d2bfb5470p-37, 0x1.1fd84aea9aae2p-42);
#else
    vreal near = POLYNOMIAL(z, 0x1.06eba2p-3f, -0x1.81267p-2f, 0x1.ce089p-4f, -0x1.b59a94p-6f, 0x1.421a9cp-8f, -0x1.26a602p-11f);
    vreal far = smaller(splat(4.0f), size);
    vreal g = POLYNOMIAL(far, 0x1.0b8c9cp-11f, 0x1.a03fe6p+0f, 0x1.d76e8ap-1f, 0x1.30701p-3f, -0x1.01b4c4p-5f, 0x1.15eea8p-8f,
                         -0x1.18b9dep-12f);
#endif
    return pick(size < splat(R(1.0)), x + x * near, vsigned(splat(R(1.0)) - vexp2(-g), x));
}

/* x times the normal distribution function. */
INLINE vreal vgelu(vreal x) { return splat(R(0.5)) * x * (splat(R(1.0)) + verf(x * splat(R(0.70710678118654752)))); }

/* gelu's form with tanh. */
INLINE vreal vgelu_tanh(vreal x)
{
    vreal inner = splat(R(0.79788456080286536)) * (x + splat(R(0.044715)) * x * x * x);
    return splat(R(0.5)) * x * (splat(R(1.0)) + vtanh(inner));
}

/* x, or e^x - 1 below 0. */
INLINE vreal velu(vreal x) { return pick(x > splat(R(0.0)), x, vexpm1(x)); }

INLINE vreal vrsqrt(vreal x) { return splat(R(1.0)) / vsqrt(x); }
INLINE vreal vrelu(vreal x) { return greater(splat(R(0.0)), x); }
INLINE vreal vsign(vreal x) { return to_real((vint)(x < splat(R(0.0))) - (vint)(x > splat(R(0.0)))); }
