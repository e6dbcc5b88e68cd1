/* Products of few columns, as of one query with its keys. Vectors along the columns would be almost empty, so they run along the rows of
   a where those lie together:

       turned, dots   c[m][n] = sum over k of a[m][k] b[k][n]    vectors along k: a row of a with a column of b that was turned
       mixed          c[m][n] += sum over k of a[k][m] b[k][n]   vectors along m, a row of a times one number of b

   Rows of a are then what the machine reads, once. Lanes of c beyond the columns are left as they are by `dots`. */

#define FEW_COLUMNS
enum { FEW = LANES_COUNT / 2, FEW_WIDE = VECTOR == 64 ? 4 : 2 };

/* Whether so few columns are less work than a vector of them. */
INLINE int few_dots(long columns, long depth)
{
    return LANES >= 4 && columns <= FEW && depth % LANES == 0 && columns * (depth + 4 * LANES) < depth * LANES;
}
INLINE int few_mixed(long rows, long columns, long depth)
{
    return LANES >= 4 && columns <= FEW && rows % LANES == 0 && depth >= 2 * LANES;
}

/* Columns are taken four at a time, or one; two and three as four. */
INLINE long some_columns(long left) { return left > 1 ? 4 : left; }

/* The columns of b one after the other in `to`, which has room for FEW of them and three more; 0 where `dots` would not pay. */
APART const real *turned(const real *b, long b_step, long columns, long depth, long a_step, real *to)
{
    if (a_step != 1 || !few_dots(columns, depth)) return 0;
    for (long n = 0; n < (columns + 3) / 4 * 4; ++n)
        for (long k = 0; k < depth; ++k) to[n * depth + k] = n < columns ? b[k * b_step + n] : 0;
    return to;
}

/* The sums of LANES vectors, in one. */
#define HALVED(s) \
    _Pragma("GCC unroll 8") for (int r = 0; r + (s) < LANES_COUNT; r += 2 * (s)) { \
        vreal a = rows[r], b = rows[r + (s)]; \
        rows[r] = SHUFFLED(a, b, UPPER, s) + SHUFFLED(a, b, LOWER, s); \
    }
INLINE vreal sums(vreal rows[LANES_COUNT])
{
    HALVED(1)
#if LANES_COUNT > 2
    HALVED(2)
#endif
#if LANES_COUNT > 4
    HALVED(4)
#endif
#if LANES_COUNT > 8
    HALVED(8)
#endif
    return rows[0];
}

#define DOTS(name, COLUMNS, ROWS) \
    APART void name(const real *a, long a_row, const real *columns, real *c, long c_row, long rows, long depth) \
    { \
        for (long m = 0; m < rows; m += ROWS) { \
            m = least(m, most(rows - ROWS, 0)); /* the last block may compute some rows a second time */ \
            vreal sum[LANES_COUNT] = {}; \
            for (long k = 0; k < depth; k += LANES) { \
                vreal column[COLUMNS]; \
                _Pragma("GCC unroll 4") for (int n = 0; n < COLUMNS; ++n) column[n] = load_any(columns + n * depth + k); \
                _Pragma("GCC unroll 16") for (int l = 0; l < ROWS; ++l) { \
                    vreal row = load_any(a + least(m + l, rows - 1) * a_row + k); \
                    _Pragma("GCC unroll 4") for (int n = 0; n < COLUMNS; ++n) sum[l * COLUMNS + n] += row * column[n]; \
                } \
            } \
            real out[LANES_COUNT] __attribute__((aligned(VECTOR))); \
            store(out, sums(sum)); \
            for (long l = 0; l < least(ROWS, rows - m); ++l) \
                memcpy(c + (m + l) * c_row, out + l * COLUMNS, COLUMNS * sizeof(real)); \
        } \
    }
DOTS(dots_1, 1, LANES_COUNT)
#if LANES_COUNT >= 4
DOTS(dots_4, 4, LANES_COUNT / 4)
#endif

APART void dots(const real *a, long a_row, const real *columns_of_b, real *c, long c_row, long rows, long columns, long depth)
{
    for (long n = 0; n < columns; n += 4) {
        const real *column = columns_of_b + n * depth;
        long some = some_columns(columns - n);
        if (some == 1) dots_1(a, a_row, column, c + n, c_row, rows, depth);
#if LANES_COUNT >= 4
        if (some == 4) dots_4(a, a_row, column, c + n, c_row, rows, depth);
#endif
    }
}

#define MIXED(name, COLUMNS, WIDE) \
    INLINE void name(const real *a, long a_step, const real *b, long b_step, long depth, real *out, long out_row) \
    { \
        vreal sum[COLUMNS][WIDE] = {}; \
        for (long k = 0; k < depth; ++k, a += a_step, b += b_step) { \
            vreal row[WIDE]; \
            _Pragma("GCC unroll 4") for (int w = 0; w < WIDE; ++w) row[w] = load_any(a + w * LANES); \
            _Pragma("GCC unroll 4") for (int n = 0; n < COLUMNS; ++n) \
                _Pragma("GCC unroll 4") for (int w = 0; w < WIDE; ++w) sum[n][w] += splat(b[n]) * row[w]; \
        } \
        _Pragma("GCC unroll 4") for (int n = 0; n < COLUMNS; ++n) \
            _Pragma("GCC unroll 4") for (int w = 0; w < WIDE; ++w) store(out + n * out_row + w * LANES, sum[n][w]); \
    }
#define MIXED_OF(WIDE) \
    MIXED(mixed_1_##WIDE, 1, WIDE) \
    MIXED(mixed_4_##WIDE, 4, WIDE) \
    APART void mixed_##WIDE(const real *a, long a_step, const real *b, long b_step, long columns, long depth, real *out) \
    { \
        for (long n = 0; n < columns; n += 4) { \
            long some = some_columns(columns - n); \
            real *at = out + n * FEW_WIDE * LANES; \
            if (some == 1) mixed_1_##WIDE(a, a_step, b + n, b_step, depth, at, FEW_WIDE * LANES); \
            if (some == 4) mixed_4_##WIDE(a, a_step, b + n, b_step, depth, at, FEW_WIDE * LANES); \
        } \
    }
#if VECTOR == 64
MIXED_OF(4)
#define MIXED_WIDE mixed_4
#else
MIXED_OF(2)
#define MIXED_WIDE mixed_2
#endif
MIXED_OF(1)

/* With `by`, c is multiplied by by[n] before it is added to, as in `product`. */
APART void mixed(const real *a, long a_step, const real *b, long b_step, real *c, long c_row, long rows, long columns, long depth,
                 int add, const real *by)
{
    real part[(FEW + 3) * FEW_WIDE * LANES_COUNT] __attribute__((aligned(VECTOR)));
    vreal factor = add && by ? load_any(by) : splat(1);
    for (long m = 0, wide; m < rows; m += wide * LANES) {
        wide = rows - m < FEW_WIDE * LANES ? 1 : FEW_WIDE;
        if (wide == 1)
            mixed_1(a + m, a_step, b, b_step, columns, depth, part);
        else
            MIXED_WIDE(a + m, a_step, b, b_step, columns, depth, part);
        for (long w = 0; w < wide; ++w) {
            vreal square[LANES_COUNT] = {};
            for (long n = 0; n < columns; ++n) square[n] = load(part + (n * FEW_WIDE + w) * LANES);
            transpose(square);
            real *row = c + (m + w * LANES) * c_row;
            _Pragma("GCC unroll 16") for (int l = 0; l < LANES_COUNT; ++l) {
                if (add) square[l] += load_any(row + l * c_row) * factor;
                store_any(row + l * c_row, square[l]);
            }
        }
    }
}
