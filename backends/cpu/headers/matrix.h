/* Products whose operands are rounded to bfloat16, on the matrix unit of the processor where it has one (AMX): tiles of 16 x 16
   results, 32 products deep. Sums are in 32 bits. Both operands are packed first: rows of a with their depth in a row, rows of b in
   pairs, side by side in each lane. */

static const real NOTHING = 0; /* for products that start from 0, with step 0 */

/* Numbers of memory for a packed operand, or for its rows as numbers. */
#define HELD(rows, depth) (((rows) + 15) / 16 * 16 * (((depth) + 31) / 32 * 32))

#if defined(__AMX_BF16__) || defined(__AMXBF16__) /* the latter of older clangs */
#define AMX 1
#endif
#if ELEMENT == 17 && VECTOR == 64 && AMX && defined(__AVX512BF16__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>

enum { SIDE = 16, DEEP = 32, DEEPEST = 256 };
typedef uint16_t vhalves __attribute__((vector_size(64), may_alias));

/* Whether this process may use the unit; asked once. The kernel grants it for all threads. */
static int matrix_unit = -1;
static void matrix_ask(void)
{
    if (matrix_unit < 0) matrix_unit = syscall(SYS_arch_prctl, 0x1023, 18) == 0;
}
static void matrix_begin(void)
{
    struct {
        uint8_t palette, start, none[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } shape __attribute__((aligned(64))) = {.palette = 1};
    for (int t = 0; t < 7; ++t) shape.bytes[t] = 64, shape.rows[t] = SIDE;
    if (matrix_unit > 0) __asm__ volatile("ldtilecfg %0" : : "m"(shape));
}
static void matrix_end(void)
{
    if (matrix_unit > 0) __asm__ volatile("tilerelease");
}

#define TILE_LOAD(t, at, step) __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t : : "r"(at), "r"((long)(step)) : "memory")
#define TILE_STORE(t, at, step) __asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" : : "r"(at), "r"((long)(step)) : "memory")
#define TILE_DOT(c, a, b) __asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #c :)
#define TILE_ZERO(t) __asm__ volatile("tilezero %%tmm" #t :)
#define TILE_START(t, at, step) \
    if (add) \
        TILE_LOAD(t, at, step); \
    else \
        TILE_ZERO(t)

/* Two vectors rounded: one after the other, and side by side. */
INLINE vhalves halves(vreal first, vreal second)
{
    vhalves out;
    __asm__("vcvtne2ps2bf16 %2, %1, %0" : "=v"(out) : "v"(second), "v"(first));
    return out;
}
INLINE vhalves paired(vreal first, vreal second)
{
    vhalves both = halves(first, second);
    return CHOSEN(vhalves, both, both, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23,
                  8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

/* Elements of the array, side by side. */
INLINE vhalves paired_elements(const element *first, const element *second)
{
    vbits out = __builtin_convertvector(*(const vsmall *)first, vbits);
    if (second) out |= __builtin_convertvector(*(const vsmall *)second, vbits) << 16;
    return (vhalves)out;
}
INLINE vhalves paired_numbers(const real *first, const real *second)
{
    return paired(load_any(first), second ? load_any(second) : splat(0));
}
INLINE vhalves two_rows(const real *at) { return halves(load_any(at), load_any(at + LANES)); }
INLINE vhalves as_stored(const element *at)
{
    vhalves out;
    memcpy(&out, at, sizeof(out));
    return out;
}

/* Rows of a, the depth of each side by side, 0 up to a multiple of DEEP. `from`: the first row that is wanted. */
#define PACK(name, type, same, pair, straight) \
    APART void name(uint16_t *to, const type *a, long row, long step, long from, long rows, long depth) \
    { \
        long line = (depth + DEEP - 1) / DEEP * DEEP; \
        for (long first = from; first < rows; first += SIDE) \
            for (long k = 0; k < depth; k += DEEP) { \
                long deep = least(DEEP, depth - k), high = least(SIDE, rows - first); \
                uint16_t *out = to + first * line + k; \
                const type *in = a + first * row + k * step; \
                if (step == 1 && deep == DEEP) { \
                    for (long m = 0; m < high; ++m) *(vhalves *)(out + m * line) = straight(in + m * row); \
                } else if (row == 1 && high == SIDE) { \
                    vreal square[LANES_COUNT] = {}; \
                    for (long p = 0; 2 * p < deep; ++p) \
                        square[p] = (vreal)pair(in + 2 * p * step, 2 * p + 1 < deep ? in + (2 * p + 1) * step : 0); \
                    transpose(square); \
                    for (long m = 0; m < SIDE; ++m) *(vreal *)(out + m * line) = square[m]; \
                } else { \
                    for (long m = 0; m < high; ++m) \
                        for (long n = 0; n < DEEP; ++n) out[m * line + n] = n < deep ? same(in[m * row + n * step]) : 0; \
                } \
            } \
    }
INLINE element unchanged(element x) { return x; }
PACK(pack_numbers, real, narrow, paired_numbers, two_rows)
PACK(pack_elements, element, unchanged, paired_elements, as_stored)

/* c[m][n] = or += the sum over k of a(m, k) b[k][n], as `product`. Rows of a are packed, or straight in the array: then only those
   that are no whole tile are packed. */
APART void matrix_product(const uint16_t *packed, const uint16_t *straight, long straight_line, const real *b, long b_step, real *c,
                          long c_row, long rows, long columns, long depth, int add, const real *by)
{
    long all_deep = (depth + DEEP - 1) / DEEP * DEEP;
    vhalves right[DEEPEST / 2][3];
    real some[SIDE * STRIP] __attribute__((aligned(64)));
    for (long n = 0; by && n < columns; n += LANES) {
        vreal factor = load_any(by + n);
        vint other = factor != splat(1.0f);
        int any = 0;
        for (long l = 0; l < LANES; ++l) any |= other[l];
        for (long m = 0; any && m < rows; ++m) store_any(c + m * c_row + n, load_any(c + m * c_row + n) * factor);
    }
    for (long k = 0; k < depth; k += DEEPEST, add = 1, b += DEEPEST * b_step) {
        long deep = least(DEEPEST, depth - k), pairs = (deep + DEEP - 1) / DEEP * SIDE;
        for (long n = 0; n < columns; n += STRIP) {
            long wide = least(3, (columns - n + LANES - 1) / LANES);
            for (long p = 0; p < pairs; ++p)
                for (long w = 0; w < wide; ++w) {
                    const real *at = b + 2 * p * b_step + n + w * LANES;
                    vreal first = 2 * p < deep ? load_any(at) : splat(0), second = 2 * p + 1 < deep ? load_any(at + b_step) : splat(0);
                    right[p][w] = paired(first, second);
                }
            for (long m = 0; m < rows; m += SIDE) {
                long high = least(SIDE, rows - m), step = high < SIDE ? STRIP : c_row;
                real *to = c + m * c_row + n, *at = high < SIDE ? some : to;
                if (high < SIDE && add)
                    for (long r = 0; r < high; ++r)
                        for (long w = 0; w < wide; ++w) store(some + r * STRIP + w * LANES, load_any(to + r * c_row + w * LANES));
                int here = straight && high == SIDE;
                const uint16_t *left = here ? straight + m * straight_line + k : packed + m * all_deep + k;
                long line = here ? straight_line : all_deep;
                TILE_START(0, at, step * 4);
                if (wide > 1) { TILE_START(1, at + LANES, step * 4); }
                if (wide > 2) { TILE_START(2, at + 2 * LANES, step * 4); }
                for (long p = 0; p < pairs; p += SIDE) {
                    TILE_LOAD(3, left + 2 * p, 2 * line);
                    TILE_LOAD(4, &right[p][0], sizeof(right[0]));
                    TILE_DOT(0, 3, 4);
                    if (wide > 1) {
                        TILE_LOAD(5, &right[p][1], sizeof(right[0]));
                        TILE_DOT(1, 3, 5);
                    }
                    if (wide > 2) {
                        TILE_LOAD(6, &right[p][2], sizeof(right[0]));
                        TILE_DOT(2, 3, 6);
                    }
                }
                TILE_STORE(0, at, step * 4);
                if (wide > 1) TILE_STORE(1, at + LANES, step * 4);
                if (wide > 2) TILE_STORE(2, at + 2 * LANES, step * 4);
                if (high < SIDE)
                    for (long r = 0; r < high; ++r)
                        for (long w = 0; w < wide; ++w) store_any(to + r * c_row + w * LANES, load(some + r * STRIP + w * LANES));
            }
        }
    }
}

/* A tile of a: SIDE rows, DEEP numbers each, where it lies or, cut off or beyond the last row, packed with zeros. */
INLINE const element *left_tile(const element *a, long a_row, long rows, long depth, element *packed, long *line)
{
    *line = a_row;
    if (rows >= SIDE && depth >= DEEP) return a;
    memset(packed, 0, SIDE * DEEP * sizeof(element));
    for (long m = 0; m < least(SIDE, rows); ++m) memcpy(packed + m * DEEP, a + m * a_row, (size_t)least(DEEP, depth) * sizeof(element));
    *line = DEEP;
    return packed;
}

/* Scores of few columns, as in few.h: c[n][m] = sum over k of a[m][k] b[k][n]. */
enum { MATRIX_DEPTH = 1024 };
APART void matrix_scores(const element *a, long a_row, const real *b, long b_step, real *c, long c_row, long rows, long columns, long depth)
{
    vhalves right[MATRIX_DEPTH / 2];
    element packed[2][SIDE * DEEP] __attribute__((aligned(64)));
    real turned[2 * SIDE * SIDE] __attribute__((aligned(64)));
    for (long k = 0; k < (depth + DEEP - 1) / DEEP * DEEP; k += 2)
        right[k / 2] = paired(k < depth ? load_any(b + k * b_step) : splat(0), k + 1 < depth ? load_any(b + (k + 1) * b_step) : splat(0));
    for (long m = 0; m < rows; m += 2 * SIDE) {
        int two = rows - m > SIDE;
        TILE_ZERO(0);
        TILE_ZERO(1);
        for (long k = 0; k < depth; k += DEEP) {
            long line;
            const element *at = a + m * a_row + k, *left = left_tile(at, a_row, rows - m, depth - k, packed[0], &line);
            for (long l = 0; l < 2 * SIDE; ++l) __builtin_prefetch(at + (2 * SIDE + l) * a_row, 0, 3);
            TILE_LOAD(4, right + k / 2, 64);
            TILE_LOAD(2, left, 2 * line);
            TILE_DOT(0, 2, 4);
            if (two) {
                left = left_tile(at + SIDE * a_row, a_row, rows - m - SIDE, depth - k, packed[1], &line);
                TILE_LOAD(3, left, 2 * line);
                TILE_DOT(1, 3, 4);
            }
        }
        TILE_STORE(0, turned, 64);
        TILE_STORE(1, turned + SIDE * SIDE, 64);
        for (long w = 0; w <= two; ++w) {
            vreal square[LANES_COUNT];
            _Pragma("GCC unroll 16") for (int l = 0; l < LANES_COUNT; ++l) square[l] = load(turned + (w * SIDE + l) * SIDE);
            transpose(square);
            _Pragma("GCC unroll 16") for (int n = 0; n < LANES_COUNT; ++n)
                if (n < columns) store(c + n * c_row + m + w * SIDE, square[n]);
        }
    }
}

/* Pairs of elements of two rows: of each eight the first four, and the others. */
INLINE vhalves first_pairs(vhalves a, vhalves b)
{
    vhalves out;
    __asm__("vpunpcklwd %2, %1, %0" : "=v"(out) : "v"(a), "v"(b));
    return out;
}
INLINE vhalves other_pairs(vhalves a, vhalves b)
{
    vhalves out;
    __asm__("vpunpckhwd %2, %1, %0" : "=v"(out) : "v"(a), "v"(b));
    return out;
}

/* Mixtures of few columns, as in few.h: c[k][n] = c[k][n] by[n] + sum over m of a[m][k] b[n][m], depth a multiple of MIX_STEP. */
enum { MIX_STEP = 64 };
APART void matrix_mix(const element *a, long a_row, const real *b, long b_row, real *c, long c_row, long rows, long columns, long depth,
                      const real *by)
{
    vhalves left[DEEPEST / DEEP][SIDE] = {}, right[4][SIDE];
    real sums[4][SIDE][SIDE] __attribute__((aligned(64)));
    for (long m0 = 0; m0 < rows; m0 += DEEPEST, by = 0) {
        long count = least(DEEPEST, rows - m0);
        vreal factor = by ? load_any(by) : splat(1);
        for (long m = 0; m < count; m += DEEP)
            for (long n = 0; n < columns; ++n) {
                const real *at = b + n * b_row + m0 + m;
                vreal one = load_any(at), two = m + LANES < count ? load_any(at + LANES) : splat(0);
                one = pick(count_up(m) < isplat(count), one, splat(0));
                two = pick(count_up(m + LANES) < isplat(count), two, splat(0));
                left[m / DEEP][n] = halves(one, two);
            }
        for (long k = 0; k < depth; k += MIX_STEP) {
            TILE_ZERO(0);
            TILE_ZERO(1);
            TILE_ZERO(2);
            TILE_ZERO(3);
            for (long m = 0; m < count; m += DEEP) {
                for (long p = 0; p < SIDE; ++p) {
                    const element *at = a + (m0 + m + 2 * p) * a_row + k;
                    long here = count - m - 2 * p;
                    for (long w = 0; w < 2; ++w) {
                        vhalves one = here > 0 ? as_stored(at + w * DEEP) : (vhalves){}, two = here > 1 ? as_stored(at + a_row + w * DEEP) : (vhalves){};
                        __builtin_prefetch(at + w * DEEP + DEEP * a_row, 0, 3);
                        __builtin_prefetch(at + w * DEEP + (DEEP + 1) * a_row, 0, 3);
                        right[2 * w][p] = first_pairs(one, two);
                        right[2 * w + 1][p] = other_pairs(one, two);
                    }
                }
                TILE_LOAD(4, left[m / DEEP], 64);
                TILE_LOAD(5, right[0], 64);
                TILE_DOT(0, 4, 5);
                TILE_LOAD(6, right[1], 64);
                TILE_DOT(1, 4, 6);
                TILE_LOAD(5, right[2], 64);
                TILE_DOT(2, 4, 5);
                TILE_LOAD(6, right[3], 64);
                TILE_DOT(3, 4, 6);
            }
            TILE_STORE(0, sums[0], 64);
            TILE_STORE(1, sums[1], 64);
            TILE_STORE(2, sums[2], 64);
            TILE_STORE(3, sums[3], 64);
            for (long w = 0; w < 4; ++w) {
                vreal square[LANES_COUNT] = {};
                real *row = c + (k + w * SIDE) * c_row;
                for (long n = 0; n < columns; ++n) {
                    vreal one = load(sums[w / 2 * 2][n]), two = load(sums[w / 2 * 2 + 1][n]);
                    square[n] = w % 2 ? CHOSEN(vint, one, two, 8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31)
                                      : CHOSEN(vint, one, two, 0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
                }
                transpose(square);
                _Pragma("GCC unroll 16") for (int l = 0; l < LANES_COUNT; ++l)
                    store_any(row + l * c_row, load_any(row + l * c_row) * factor + square[l]);
            }
        }
    }
}
#define ON_MATRIX_UNIT(depth) (matrix_unit > 0 && (depth) >= DEEP / 2)
#else
static inline void matrix_ask(void) {}
static inline void matrix_begin(void) {}
static inline void matrix_end(void) {}
#endif
