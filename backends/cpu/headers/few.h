/* Products of few columns, as of one query, or a few, with many keys. Vectors along the columns would be almost empty, so they run along
   what there is much of: in scores along the rows of a, which are turned in registers, and in mixtures along the features.

       scores   c[n][m] = start[m] + sum over k of a[m][k] b[k][n]    summed as `product` does, k from 0 up: the same to the last bit
       mix      c[k][n] = c[k][n] by[n] + sum over m of a[m][k] b[n][m]

   Rows of a are what the machine reads, once; they may be elements of the array. Columns are taken one, four or FEW at a time: c and b
   have room for FEW of them, and rows of scores for whole vectors, of which what lies beyond the rows of a is no score. Memory is asked
   for the rows that follow, those of the next tile too. */

enum { FEW = LANES_COUNT / 2, FEW_WIDE = VECTOR == 64 ? 4 : 2, FEW_ROWS = 32, FEW_AHEAD = 16, FEW_MOST = 256 };

/* Whether products of few columns can be: LANES numbers of a row at a time. */
INLINE int few(long columns) { return LANES >= 4 && columns <= FEW; }
INLINE long some_columns(long left) { return left == 1 ? 1 : LANES > 8 && left > 4 ? 8 : least(FEW, 4); }

/* The sum of all lanes of integers. */
INLINE long whole_lanes(vint x)
{
    long out = 0;
    for (long l = 0; l < LANES; ++l) out += x[l];
    return out;
}

#define FEW_SUMS(COLUMNS, k, vector) \
    _Pragma("GCC unroll 8") for (int n = 0; n < COLUMNS; ++n) sum[n] += splat(b[(k) * b_step + n]) * (vector);

/* LANES numbers of each row, turned. */
#define FEW_SQUARE(COLUMNS, fill) \
    { \
        vreal square[LANES_COUNT]; \
        _Pragma("GCC unroll 16") for (int l = 0; l < LANES_COUNT; ++l) { \
            square[l] = fill(row[l] + k); \
            __builtin_prefetch(row[l] + k + ahead, 0, 3); \
        } \
        transpose(square); \
        _Pragma("GCC unroll 16") for (int l = 0; l < LANES_COUNT; ++l) FEW_SUMS(COLUMNS, k + l, square[l]) \
    }

/* Twice as many bfloat16, turned in pairs: a pair is a number of 32 bits whose upper half is the second. */
#define FEW_PAIRS(COLUMNS) \
    for (; k + 2 * LANES <= depth; k += 2 * LANES) { \
        vreal square[LANES_COUNT]; \
        _Pragma("GCC unroll 16") for (int l = 0; l < LANES_COUNT; ++l) { \
            memcpy(&square[l], row[l] + k, sizeof(vreal)); \
            __builtin_prefetch(row[l] + k + ahead, 0, 3); \
        } \
        transpose(square); \
        _Pragma("GCC unroll 16") for (int l = 0; l < LANES_COUNT; ++l) { \
            vbits pair = (vbits)square[l]; \
            FEW_SUMS(COLUMNS, k + 2 * l, (vreal)(pair << 16)) \
            FEW_SUMS(COLUMNS, k + 2 * l + 1, (vreal)(pair & 0xffff0000)) \
        } \
    }

#define SCORES(name, type, COLUMNS, fill, PAIRS) \
    APART void name(const type *a, long a_row, const real *b, long b_step, real *c, long c_row, long rows, long depth, const real *start, \
                    long start_step) \
    { \
        for (long m = 0; m < rows; m += LANES) { \
            const type *row[LANES_COUNT]; \
            long ahead = LANES * a_row, k = 0; \
            vreal sum[COLUMNS], first; \
            for (long l = 0; l < LANES; ++l) row[l] = a + least(m + l, rows - 1) * a_row; \
            for (long l = 0; l < LANES; ++l) first[l] = start[least(m + l, rows - 1) * start_step]; \
            _Pragma("GCC unroll 8") for (int n = 0; n < COLUMNS; ++n) sum[n] = first; \
            PAIRS(COLUMNS) \
            for (; k < depth; k += LANES) FEW_SQUARE(COLUMNS, fill) \
            _Pragma("GCC unroll 8") for (int n = 0; n < COLUMNS; ++n) store(c + n * c_row + m, sum[n]); \
        } \
    }

/* The sums of a mixture for FEW_WIDE vectors of features, or one; `to` holds those of the rows before, where there are any. */
#define MIXED(name, type, COLUMNS, WIDE, fill) \
    INLINE void name(const type *a, long a_step, const real *b, long b_row, long b_step, long rows, int add, real *to) \
    { \
        vreal sum[COLUMNS][WIDE]; \
        _Pragma("GCC unroll 8") for (int n = 0; n < COLUMNS; ++n) \
            _Pragma("GCC unroll 4") for (int w = 0; w < WIDE; ++w) sum[n][w] = add ? load(to + n * FEW_MOST + w * LANES) : splat(0); \
        for (long m = 0; m < rows; ++m, a += a_step, b += b_step) { \
            vreal row[WIDE]; \
            _Pragma("GCC unroll 4") for (int w = 0; w < WIDE; ++w) { \
                row[w] = fill(a + w * LANES); \
                __builtin_prefetch(a + w * LANES + FEW_AHEAD * a_step, 0, 3); \
            } \
            _Pragma("GCC unroll 8") for (int n = 0; n < COLUMNS; ++n) \
                _Pragma("GCC unroll 4") for (int w = 0; w < WIDE; ++w) sum[n][w] += splat(b[n * b_row]) * row[w]; \
        } \
        _Pragma("GCC unroll 8") for (int n = 0; n < COLUMNS; ++n) \
            _Pragma("GCC unroll 4") for (int w = 0; w < WIDE; ++w) store(to + n * FEW_MOST + w * LANES, sum[n][w]); \
    }

#if defined(ON_MATRIX_UNIT)
#define SCORES_elements \
    if (ON_MATRIX_UNIT(depth) && depth <= MATRIX_DEPTH && start == &NOTHING) { \
        matrix_scores(a, a_row, b, b_step, c, c_row, rows, columns, depth); \
        return; \
    }
#define MIX_elements \
    if (matrix_unit > 0 && depth % MIX_STEP == 0) { \
        matrix_mix(a, a_row, b, b_row, c, c_row, rows, columns, depth, by); \
        return; \
    }
#else
#define SCORES_elements
#define MIX_elements
#endif
#define SCORES_numbers
#define MIX_numbers

#define FEW_PRODUCTS(kind, type, fill, PAIRS) \
    SCORES(scores_1_##kind, type, 1, fill, PAIRS) \
    SCORES(scores_4_##kind, type, FEW_FOUR, fill, PAIRS) \
    FEW_EIGHT(kind, type, fill, PAIRS) \
    APART void few_scores_##kind(const type *a, long a_row, const real *b, long b_step, real *c, long c_row, long rows, long columns, \
                                 long depth, const real *start, long start_step) \
    { \
        SCORES_##kind \
        for (long n = 0, some; n < columns; n += some, b += some, c += some * c_row) { \
            some = some_columns(columns - n); \
            if (some == 1) \
                scores_1_##kind(a, a_row, b, b_step, c, c_row, rows, depth, start, start_step); \
            else if (some == FEW_FOUR) \
                scores_4_##kind(a, a_row, b, b_step, c, c_row, rows, depth, start, start_step); \
            else \
                scores_8_##kind(a, a_row, b, b_step, c, c_row, rows, depth, start, start_step); \
        } \
    } \
    MIXED(mixed_1_1_##kind, type, 1, 1, fill) \
    MIXED(mixed_1_wide_##kind, type, 1, FEW_WIDE, fill) \
    MIXED(mixed_4_1_##kind, type, FEW_FOUR, 1, fill) \
    MIXED(mixed_4_wide_##kind, type, FEW_FOUR, FEW_WIDE, fill) \
    INLINE void mixture_##kind(const type *a, long a_row, const real *b, long b_row, long b_step, real *c, long c_row, long rows, \
                               long columns, long depth, const real *by) \
    { \
        real sums[(FEW + 3) * FEW_MOST] __attribute__((aligned(VECTOR))); \
        vreal factor = by ? load_any(by) : splat(1); \
        for (long first = 0; first < depth; first += FEW_MOST) { \
            long some = least(FEW_MOST, depth - first); \
            for (long m = 0; m < rows; m += FEW_ROWS) { \
                long high = least(FEW_ROWS, rows - m); \
                const type *at = a + m * a_row + first; \
                for (long n = 0, wide; n < columns; n += wide) { \
                    wide = least(some_columns(columns - n), FEW_FOUR); \
                    const real *weights = b + n * b_row + m * b_step; \
                    long k = 0; \
                    for (; k + FEW_WIDE * LANES <= some; k += FEW_WIDE * LANES) \
                        if (wide == 1) \
                            mixed_1_wide_##kind(at + k, a_row, weights, b_row, b_step, high, m > 0, sums + n * FEW_MOST + k); \
                        else \
                            mixed_4_wide_##kind(at + k, a_row, weights, b_row, b_step, high, m > 0, sums + n * FEW_MOST + k); \
                    for (; k < some; k += LANES) \
                        if (wide == 1) \
                            mixed_1_1_##kind(at + k, a_row, weights, b_row, b_step, high, m > 0, sums + n * FEW_MOST + k); \
                        else \
                            mixed_4_1_##kind(at + k, a_row, weights, b_row, b_step, high, m > 0, sums + n * FEW_MOST + k); \
                } \
            } \
            for (long k = 0; rows > 0 && k < some; k += LANES) { \
                vreal square[LANES_COUNT] = {}; \
                real *row = c + (first + k) * c_row; \
                for (long n = 0; n < columns; ++n) square[n] = load(sums + n * FEW_MOST + k); \
                transpose(square); \
                _Pragma("GCC unroll 16") for (int l = 0; l < LANES_COUNT; ++l) \
                    store_any(row + l * c_row, load_any(row + l * c_row) * factor + square[l]); \
            } \
        } \
    } \
    APART void few_mix_##kind(const type *a, long a_row, const real *b, long b_row, real *c, long c_row, long rows, long columns, long depth, \
                              const real *by) \
    { \
        MIX_##kind \
        mixture_##kind(a, a_row, b, b_row, 1, c, c_row, rows, columns, depth, by); \
    }

#if LANES_COUNT >= 8
#define FEW_FOUR 4
#else
#define FEW_FOUR 2
#endif
#if LANES_COUNT == 16
#define FEW_EIGHT(kind, type, fill, PAIRS) SCORES(scores_8_##kind, type, 8, fill, PAIRS)
#else
#define FEW_EIGHT(kind, type, fill, PAIRS)
#define scores_8_numbers scores_4_numbers
#define scores_8_elements scores_4_elements
#endif
#define NO_PAIRS(COLUMNS)

#if LANES_COUNT >= 4
#define FEW_COLUMNS
FEW_PRODUCTS(numbers, real, load_any, NO_PAIRS)
#if ELEMENT == 17
FEW_PRODUCTS(elements, element, widen_all, FEW_PAIRS)
#elif ELEMENT == 16
FEW_PRODUCTS(elements, element, widen_all, NO_PAIRS)
#endif

APART void mix_strip(const real *a, long a_row, const real *b, long b_step, real *c, long c_row, long rows, long columns, long depth,
                     const real *by)
{
    mixture_numbers(a, a_row, b, 1, b_step, c, c_row, rows, columns, depth, by);
}

/* `product` of a strip with few positions, where that pays: whether it did. */
INLINE int few_product(const real *a, long a_row, long a_step, const real *b, long b_step, real *c, long c_row, long rows, long columns,
                       long depth, int add, const real *by, const real *start, long start_step)
{
    if (!few(columns)) return 0;
    if (a_row == 1 && rows % LANES == 0 && depth >= 2 * LANES && add) {
        mix_strip(a, a_step, b, b_step, c, c_row, depth, columns, rows, by);
        return 1;
    }
    if (a_step != 1 || depth % LANES != 0 || add || by) return 0;
    real turned[FEW * 2 * LANES_COUNT] __attribute__((aligned(VECTOR)));
    for (long m = 0; m < rows; m += 2 * LANES) {
        long some = least(2 * LANES, rows - m);
        few_scores_numbers(a + m * a_row, a_row, b, b_step, turned, 2 * LANES, some, columns, depth, start + m * start_step, start_step);
        for (long l = 0; l < some; ++l)
            for (long n = 0; n < columns; ++n) c[(m + l) * c_row + n] = turned[n * 2 * LANES + l];
    }
    return 1;
}
#endif
