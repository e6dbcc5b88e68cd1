/* Products whose operands are rounded to bfloat16, on the matrix unit of the processor where it has one (AMX): tiles of 16 x 16
   results, 32 products deep. Sums are in 32 bits. Both operands are packed first: rows of a with their depth in a row, rows of b in
   pairs, side by side in each lane. */

/* Numbers of memory that hold so many rows of halves. */
#define PACKED(rows, depth) (((rows) + 15) / 16 * 16 * (((depth) + 31) / 32 * 16))

#if ELEMENT == 17 && VECTOR == 64 && defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__linux__)
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
#define TILE_START(t, at, step) \
    if (add) \
        TILE_LOAD(t, at, step); \
    else \
        __asm__ volatile("tilezero %%tmm" #t :)

/* Two vectors rounded: one after the other, and side by side. */
INLINE vhalves halves(vreal first, vreal second)
{
    vhalves out;
    __asm__("vcvtne2ps2bf16 %2, %1, %0" : "=v"(out) : "v"(second), "v"(first));
    return out;
}
INLINE vhalves paired(vreal first, vreal second)
{
    const vhalves order = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                           8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return __builtin_shuffle(halves(first, second), order);
}

/* 16 rows of a, `depth` numbers of each, 0 up to a multiple of DEEP and in rows that a does not have. `line`: halves in a row. */
APART void pack_left(uint16_t *to, long line, const real *a, long row, long step, long rows, long depth)
{
    for (long k = 0; k < depth; k += DEEP) {
        long deep = least(DEEP, depth - k);
        if (step == 1 && deep == DEEP) {
            for (long m = 0; m < SIDE; ++m) {
                const real *at = a + least(m, rows - 1) * row + k;
                *(vhalves *)(to + m * line + k) = halves(load_any(at), load_any(at + LANES));
            }
        } else if (row == 1 && rows == SIDE) {
            vreal square[LANES_COUNT];
            for (long p = 0; p < SIDE; ++p) {
                const real *at = a + (k + 2 * p) * step;
                vreal first = 2 * p < deep ? load_any(at) : splat(0), second = 2 * p + 1 < deep ? load_any(at + step) : splat(0);
                square[p] = (vreal)paired(first, second);
            }
            transpose(square);
            for (long m = 0; m < SIDE; ++m) *(vreal *)(to + m * line + k) = square[m];
        } else {
            for (long m = 0; m < SIDE; ++m) {
                real numbers[DEEP] __attribute__((aligned(64))) = {0};
                if (m < rows)
                    for (long n = 0; n < deep; ++n) numbers[n] = a[m * row + (k + n) * step];
                *(vhalves *)(to + m * line + k) = halves(load(numbers), load(numbers + LANES));
            }
        }
    }
}

/* c[m][n] = or += the sum over k of a(m, k) b[k][n], as `product`; both rounded to bfloat16. `packed`: memory for PACKED(rows, depth)
   numbers, which keeps a for the calls to come, or 0; `fresh`: whether a is new there. */
APART void rounded_product(const real *a, long a_row, long a_step, const real *b, long b_step, real *c, long c_row, long rows,
                           long columns, long depth, int add, const real *by, real *packed, int fresh)
{
    uint16_t some_left[SIDE * DEEPEST] __attribute__((aligned(64)));
    long all_deep = (depth + DEEP - 1) / DEEP * DEEP;
    vhalves right[DEEPEST / 2][3];
    real some[SIDE * STRIP] __attribute__((aligned(64)));
    if (matrix_unit <= 0 || depth < DEEP / 2 || rows < SIDE / 2) {
        product(a, a_row, a_step, b, b_step, c, c_row, rows, columns, depth, add, by);
        return;
    }
    for (long n = 0; by && n < columns; n += LANES) {
        vreal factor = load_any(by + n), one = splat(1.0f);
        vint same = factor == one;
        int all = 1;
        for (long l = 0; l < LANES; ++l) all &= (int)-same[l];
        for (long m = 0; !all && m < rows; ++m) store_any(c + m * c_row + n, load_any(c + m * c_row + n) * factor);
    }
    for (long k = 0; k < depth; k += DEEPEST, add = 1, a += DEEPEST * a_step, b += DEEPEST * b_step) {
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
                long line = packed ? all_deep : DEEPEST;
                uint16_t *left = packed ? (uint16_t *)packed + m * line + k : some_left;
                if (!packed || (fresh && n == 0)) pack_left(left, line, a + m * a_row, a_row, a_step, high, deep);
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
#else
#define rounded_product(a, a_row, a_step, b, b_step, c, c_row, rows, columns, depth, add, by, packed, fresh) \
    product(a, a_row, a_step, b, b_step, c, c_row, rows, columns, depth, add, by)
static inline void matrix_ask(void) {}
static inline void matrix_begin(void) {}
static inline void matrix_end(void) {}
#endif
