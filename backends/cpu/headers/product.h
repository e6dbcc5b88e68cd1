/* Products of tiles: c[m][n] = start[m start_step] or c[m][n] by[n], plus the sum over k of a(m, k) b[k][n], where a(m, k) = a[m a_row +
   k a_step] and n runs over one to three vectors. by may be 0, for 1. BLOCK rows of c are kept in registers. a is read one number at a
   time, so it may lie anywhere and needs no packing. */

static const real NOTHING = 0; /* for products that start from 0, with step 0 */

#define PRODUCT(name, ROWS, WIDE) \
    INLINE void name(const real *a, long a_row, long a_step, const real *b, long b_step, real *c, long c_row, long depth, int add, \
                     const real *by, const real *start, long start_step) \
    { \
        vreal sum[ROWS][WIDE]; \
        _Pragma("GCC unroll 8") for (int m = 0; m < ROWS; ++m) \
            _Pragma("GCC unroll 3") for (int n = 0; n < WIDE; ++n) \
                sum[m][n] = add ? load_any(c + m * c_row + n * LANES) : splat(start[m * start_step]); \
        if (by) \
            _Pragma("GCC unroll 8") for (int m = 0; m < ROWS; ++m) \
                _Pragma("GCC unroll 3") for (int n = 0; n < WIDE; ++n) sum[m][n] *= load_any(by + n * LANES); \
        for (long k = 0; k < depth; ++k) { \
            vreal columns[WIDE]; \
            _Pragma("GCC unroll 3") for (int n = 0; n < WIDE; ++n) columns[n] = load_any(b + n * LANES); \
            _Pragma("GCC unroll 8") for (int m = 0; m < ROWS; ++m) { \
                vreal factor = splat(a[m * a_row]); \
                _Pragma("GCC unroll 3") for (int n = 0; n < WIDE; ++n) sum[m][n] += factor * columns[n]; \
            } \
            a += a_step; \
            b += b_step; \
        } \
        _Pragma("GCC unroll 8") for (int m = 0; m < ROWS; ++m) \
            _Pragma("GCC unroll 3") for (int n = 0; n < WIDE; ++n) store_any(c + m * c_row + n * LANES, sum[m][n]); \
    }

/* Any number of rows. When nothing is added to, the last block may compute some rows a second time. */
#define SOME_ROWS(name, add) \
    name(a + m * a_row, a_row, a_step, b, b_step, c + m * c_row, c_row, depth, add, by, start + m * start_step, start_step)
#define PRODUCTS(WIDE) \
    PRODUCT(block_##WIDE, BLOCK, WIDE) \
    PRODUCT(half_##WIDE, 4, WIDE) \
    PRODUCT(row_##WIDE, 1, WIDE) \
    APART void product_##WIDE(const real *a, long a_row, long a_step, const real *b, long b_step, real *c, long c_row, long rows, \
                              long depth, int add, const real *by, const real *start, long start_step) \
    { \
        long m = 0; \
        for (; m + BLOCK <= rows; m += BLOCK) SOME_ROWS(block_##WIDE, add); \
        if (m < rows && m > 0 && !add) { \
            m = rows - BLOCK; \
            SOME_ROWS(block_##WIDE, 0); \
            return; \
        } \
        for (; BLOCK > 4 && m + 4 <= rows; m += 4) SOME_ROWS(half_##WIDE, add); \
        for (; m < rows; ++m) SOME_ROWS(row_##WIDE, add); \
    }

PRODUCTS(1)
PRODUCTS(2)
PRODUCTS(3)

/* The same for `columns` numbers of columns, in whole vectors. */
INLINE void product(const real *a, long a_row, long a_step, const real *b, long b_step, real *c, long c_row, long rows, long columns,
                    long depth, int add, const real *by, const real *start, long start_step)
{
#ifdef FEW_COLUMNS
    if (a_row == 1 && start == &NOTHING && few_mixed(rows, columns, depth)) {
        mixed(a, a_step, b, b_step, c, c_row, rows, columns, depth, add, by);
        return;
    }
#endif
    long left = (columns + LANES - 1) / LANES;
    while (left > 0) {
        long wide = left == 4 ? 2 : least(left, 3);
        if (wide == 3)
            product_3(a, a_row, a_step, b, b_step, c, c_row, rows, depth, add, by, start, start_step);
        else if (wide == 2)
            product_2(a, a_row, a_step, b, b_step, c, c_row, rows, depth, add, by, start, start_step);
        else
            product_1(a, a_row, a_step, b, b_step, c, c_row, rows, depth, add, by, start, start_step);
        b += wide * LANES;
        c += wide * LANES;
        by += by ? wide * LANES : 0;
        left -= wide;
    }
}

#ifdef FEW_COLUMNS
/* c = a b, where columns of b may have been turned. */
INLINE void turned_product(const real *columns_of_b, const real *a, long a_row, long a_step, const real *b, long b_step, real *c, long c_row,
                           long rows, long columns, long depth, const real *start, long start_step)
{
    if (!columns_of_b) {
        product(a, a_row, a_step, b, b_step, c, c_row, rows, columns, depth, 0, 0, start, start_step);
        return;
    }
    dots(a, a_row, columns_of_b, c, c_row, rows, columns, depth);
    for (long m = 0; start != &NOTHING && m < rows; ++m)
        for (long n = 0; n < columns; ++n) c[m * c_row + n] += start[m * start_step];
}
#endif
