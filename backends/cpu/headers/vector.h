/* Vectors of the machine: `vreal` holds LANES numbers of the accumulation type, `vint` as many integers of the same width.
   A condition is a vint of 0 and -1. REAL_BITS is 32 or 64. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline, unused))
#define APART static __attribute__((noinline, unused))

#if REAL_BITS == 64
typedef double real;
typedef int64_t lane;
#define R(number) number
#define REAL(function) function
#else
typedef float real;
typedef int32_t lane;
#define R(number) number##f
#define REAL(function) function##f
#endif

/* Width, and rows of a block of a product that fit the registers beside three columns. */
#if defined(__AVX512F__) && defined(__AVX512DQ__)
#define VECTOR 64
#define BLOCK 8
#elif defined(__AVX2__) && defined(__FMA__)
#define VECTOR 32
#define BLOCK 4
#elif defined(__aarch64__)
#define VECTOR 16
#define BLOCK 8
#else
#define VECTOR 16
#define BLOCK 4
#endif
#if VECTOR > 16
#define X86 1
#endif

typedef real vreal __attribute__((vector_size(VECTOR), may_alias));
typedef lane vint __attribute__((vector_size(VECTOR), may_alias));
typedef real vreal_any __attribute__((vector_size(VECTOR), may_alias, aligned(REAL_BITS / 8)));

#define LANES_COUNT (VECTOR * 8 / REAL_BITS)
#define LANES ((long)LANES_COUNT)
#define STRIP (3 * LANES)
#define PADDED(count) (((count) + LANES - 1) / LANES * LANES)

static const lane FIRST_LANES[16] __attribute__((aligned(64))) = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

INLINE long least(long a, long b) { return a < b ? a : b; }
INLINE long most(long a, long b) { return a > b ? a : b; }
INLINE vreal splat(real x) { return x - (vreal){}; }
INLINE vint isplat(long x) { return (lane)x - (vint){}; }
INLINE vint isplat_any(long x) /* a number from data, which may not fit a lane: cut to the lane's range */
{
    const long limit = REAL_BITS == 64 ? INT64_MAX : INT32_MAX;
    return isplat(x > limit ? limit : x < -limit ? -limit : x);
}
INLINE vint msplat(int x) { return -(lane)x - (vint){}; }
INLINE vreal load(const real *at) { return *(const vreal *)at; }
INLINE vreal load_any(const real *at) { return *(const vreal_any *)at; }
INLINE vint iload(const lane *at) { return *(const vint *)at; }
INLINE void store(real *at, vreal x) { *(vreal *)at = x; }
INLINE void store_any(real *at, vreal x) { *(vreal_any *)at = x; }
INLINE void istore(lane *at, vint x) { *(vint *)at = x; }
INLINE vint count_up(long first) { return isplat(first) + iload(FIRST_LANES); }
INLINE vreal to_real(vint x) { return __builtin_convertvector(x, vreal); }
INLINE vint to_int(vreal x) { return __builtin_convertvector(x, vint); }
INLINE vreal pick(vint which, vreal a, vreal b) { return (vreal)((which & (vint)a) | (~which & (vint)b)); }
INLINE vint ipick(vint which, vint a, vint b) { return (which & a) | (~which & b); }
INLINE vreal vabs(vreal x) { return (vreal)((vint)x & ~(vint)splat(R(-0.0))); }
INLINE vreal vsigned(vreal size, vreal sign) { return (vreal)((vint)size | ((vint)sign & (vint)splat(R(-0.0)))); }

/* x itself, with all of its roundings: a product is not fused with what is added to it. */
INLINE vreal rounded(vreal x)
{
#if defined(__x86_64__) || defined(__i386__)
    __asm__("" : "+v"(x));
#elif defined(__aarch64__)
    __asm__("" : "+w"(x));
#else
    __asm__("" : "+m"(x));
#endif
    return x;
}

/* a > b ? a : b and a < b ? a : b: b where either is not a number. */
#if X86
#if REAL_BITS == 64
#define TYPED(instruction) instruction "pd"
#else
#define TYPED(instruction) instruction "ps"
#endif
#define BINARY(name, instruction) \
    INLINE vreal name(vreal a, vreal b) \
    { \
        vreal out; \
        __asm__(TYPED(instruction) " %2, %1, %0" : "=v"(out) : "v"(a), "vm"(b)); \
        return out; \
    }
#define ROUND(name, mode, instruction) \
    INLINE vreal name(vreal x) \
    { \
        vreal out; \
        __asm__(TYPED(instruction) " $" #mode ", %1, %0" : "=v"(out) : "v"(x)); \
        return out; \
    }
BINARY(greater, "vmax")
BINARY(smaller, "vmin")
#if VECTOR == 64
ROUND(vround, 8, "vrndscale")
ROUND(vfloor, 9, "vrndscale")
ROUND(vceil, 10, "vrndscale")
ROUND(above_floor, 1, "vreduce")        /* x - floor(x), 0 for an infinity */
ROUND(above_sixteenth, 0x41, "vreduce") /* x - floor(16 x) / 16, 0 for an infinity */
BINARY(scale2, "vscalef")        /* a 2^floor(b), rounded once */
#else
ROUND(vround, 8, "vround")
ROUND(vfloor, 9, "vround")
ROUND(vceil, 10, "vround")
#endif
INLINE vreal vsqrt(vreal x)
{
    vreal out;
    __asm__(TYPED("vsqrt") " %1, %0" : "=v"(out) : "v"(x));
    return out;
}
#else
INLINE vreal greater(vreal a, vreal b) { return pick(a > b, a, b); }
INLINE vreal smaller(vreal a, vreal b) { return pick(a < b, a, b); }
#define EACH(name, function) \
    INLINE vreal name(vreal x) \
    { \
        for (long l = 0; l < LANES; ++l) x[l] = REAL(function)(x[l]); \
        return x; \
    }
EACH(vround, nearbyint)
EACH(vfloor, floor)
EACH(vceil, ceil)
EACH(vsqrt, sqrt)
#endif

/* The greatest and the least, not a number where either is not. */
INLINE vreal maximum(vreal a, vreal b) { return pick(a != a, a, greater(a, b)); }
INLINE vreal minimum(vreal a, vreal b) { return pick(a != a, a, smaller(a, b)); }
INLINE vint imaximum(vint a, vint b) { return ipick(a > b, a, b); }
INLINE vint iminimum(vint a, vint b) { return ipick(a < b, a, b); }

/* Rows as one: four under way at a time, for each waits for the one before. name: of all rows of a stored tile; name##_next: of what is
   under way and one row more. */
struct under_way { vreal next, second, third, last; };
INLINE struct under_way under_way(vreal start) { return (struct under_way){start, start, start, start}; }
#define ALL_ROWS(name, start, join) \
    INLINE struct under_way name##_next(struct under_way some, vreal row) \
    { \
        return (struct under_way){some.second, some.third, some.last, join(some.next, row)}; \
    } \
    INLINE vreal name##_done(struct under_way some) { return join(join(some.next, some.second), join(some.third, some.last)); } \
    INLINE vreal name(const real *at, long step, long count) \
    { \
        struct under_way some = under_way(splat(start)); \
        _Pragma("GCC unroll 4") for (long n = 0; n < count; ++n) some = name##_next(some, load(at + n * step)); \
        return name##_done(some); \
    }
INLINE vreal plus(vreal a, vreal b) { return a + b; }
ALL_ROWS(greatest_row, -INFINITY, greater)
ALL_ROWS(least_row, INFINITY, smaller)
ALL_ROWS(max_row, -INFINITY, maximum)
ALL_ROWS(min_row, INFINITY, minimum)
ALL_ROWS(sum_row, R(0.0), plus)

/* LANES vectors as a square matrix, transposed: blocks of 1, 2, 4, ... numbers trade places across the diagonal. */
#if LANES_COUNT == 16
#define EVERY_LANE(item, s) item(0, s), item(1, s), item(2, s), item(3, s), item(4, s), item(5, s), item(6, s), item(7, s), \
    item(8, s), item(9, s), item(10, s), item(11, s), item(12, s), item(13, s), item(14, s), item(15, s)
#elif LANES_COUNT == 8
#define EVERY_LANE(item, s) item(0, s), item(1, s), item(2, s), item(3, s), item(4, s), item(5, s), item(6, s), item(7, s)
#elif LANES_COUNT == 4
#define EVERY_LANE(item, s) item(0, s), item(1, s), item(2, s), item(3, s)
#else
#define EVERY_LANE(item, s) item(0, s), item(1, s)
#endif
/* Elements of two vectors, by their numbers in both. whole: a vector of integers of the same size. */
#if defined(__clang__) || __GNUC__ >= 12
#define CHOSEN(whole, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define CHOSEN(whole, a, b, ...) __builtin_shuffle(a, b, (whole){__VA_ARGS__})
#endif
#define SHUFFLED(a, b, item, s) CHOSEN(vint, a, b, EVERY_LANE(item, s))
#define UPPER(l, s) ((l) & (s) ? LANES_COUNT + (l) - (s) : (l))
#define LOWER(l, s) ((l) & (s) ? LANES_COUNT + (l) : (l) + (s))
#define TRADE(s) \
    _Pragma("GCC unroll 16") for (int r = 0; r < LANES_COUNT; ++r) \
        if (!(r & (s))) { \
            vreal a = rows[r], b = rows[r + (s)]; \
            rows[r] = SHUFFLED(a, b, UPPER, s); \
            rows[r + (s)] = SHUFFLED(a, b, LOWER, s); \
        }
INLINE void transpose(vreal rows[LANES_COUNT])
{
    TRADE(1)
#if LANES_COUNT > 2
    TRADE(2)
#endif
#if LANES_COUNT > 4
    TRADE(4)
#endif
#if LANES_COUNT > 8
    TRADE(8)
#endif
}

INLINE real sum_lanes(vreal x)
{
    real out = x[0];
    for (long l = 1; l < LANES; ++l) out += x[l];
    return out;
}

INLINE long least_lane(vint x)
{
    long out = x[0];
    for (long l = 1; l < LANES; ++l) out = least(out, x[l]);
    return out;
}

INLINE long greatest_lane(vint x)
{
    long out = x[0];
    for (long l = 1; l < LANES; ++l) out = most(out, x[l]);
    return out;
}

INLINE real max_lanes(vreal x)
{
    real out = x[0];
    for (long l = 1; l < LANES; ++l) out = x[l] > out || x[l] != x[l] ? x[l] : out;
    return out;
}

INLINE real min_lanes(vreal x)
{
    real out = x[0];
    for (long l = 1; l < LANES; ++l) out = x[l] < out || x[l] != x[l] ? x[l] : out;
    return out;
}

/* Integers: division that rounds down, with the language's results for a divisor of 0: 0, and a for the rest. */
INLINE long floor_div(long a, long b)
{
    if (b == 0 || b == -1) return b == 0 ? 0 : -a;
    return a / b - ((a % b != 0) & ((a < 0) != (b < 0)));
}
INLINE long floor_mod(long a, long b) { return a - floor_div(a, b) * b; }
INLINE long ceil_div(long a, long b) { return -floor_div(-a, b); }
INLINE long isqrt(long x)
{
    long r = (long)sqrt((double)x);
    while (r > 0 && r > x / r) --r;
    while (r + 1 <= x / (r + 1)) ++r;
    return r;
}
INLINE long whole_power(long a, long b)
{
    long out = 1;
    for (; b > 0; --b) out *= a;
    return out;
}
INLINE vreal vsquare(vreal x) { return x * x; }
INLINE vreal vcube(vreal x) { return x * x * x; }
INLINE vreal vfourth(vreal x) { return (x * x) * (x * x); }
INLINE vint isquare(vint x) { return x * x; }
INLINE vint icube(vint x) { return x * x * x; }
INLINE vint ifourth(vint x) { return (x * x) * (x * x); }
INLINE real rmax(real a, real b) { return a > b || a != a ? a : b; }
INLINE real rmin(real a, real b) { return a < b || a != a ? a : b; }
