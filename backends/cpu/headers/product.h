/* Products of tiles: c[m][n] = start[m start_step] or c[m][n] by[n], plus the sum over k of a(m, k) b[k][n], where a(m, k) = a[m a_row +
   k a_step] and n runs over one to three vectors. by may be 0, for 1. BLOCK rows of c are kept in registers. a is read one number at a
   time, so it may lie anywhere and needs no packing. */

/* What the owner after this one reads is asked from memory a line at a time while products run, so that no request waits for a place among
   those under way: pieces of SOON bytes, from `next` to before `last`; then one that is at hand. held: what was asked for last of an array,
   from row `first` to before row `end`. */
enum { SOON = 256, SOON_LINES = SOON / 64, SOON_MOST = 1024, HELD_MOST = 8 };
struct soon {
    const char **next, **last;
    struct { const char *array; long first, end; } held[HELD_MOST];
    const char *pieces[SOON_MOST + 1];
};
static _Thread_local struct soon thread_soon;

/* The thread's own, looked up once: a library asks the loader for it. */
INLINE struct soon *own_soon(void)
{
    struct soon *out = &thread_soon;
    __asm__("" : "+r"(out));
    return out;
}

INLINE void begin_soon(struct soon *soon)
{
    soon->next = soon->last = soon->pieces;
    *soon->last = (const char *)soon;
}
INLINE void forget_soon(struct soon *soon)
{
    begin_soon(soon);
    for (int n = 0; n < HELD_MOST; ++n) soon->held[n].array = 0;
}
INLINE void ask_all_soon(struct soon *soon)
{
    for (; soon->next < soon->last; ++soon->next)
        for (int line = 0; line < SOON_LINES; ++line) __builtin_prefetch(*soon->next + line * 64, 0, 2);
}

/* Rows of an array that will be read: `count` of them, `bytes` each and `step` bytes apart. */
APART void rows_soon(struct soon *soon, const void *from, long step, long bytes, long count)
{
    if (count <= 0 || bytes <= 0) return;
    if (step == bytes) { /* one after the other: all are one row */
        bytes *= count;
        count = 1;
    }
    const char *row = from, **to = soon->last, **const end = soon->pieces + SOON_MOST;
    for (; count > 0; --count, row += step) {
        long some = least((bytes + SOON - 1) / SOON, end - to);
        for (long n = 0; n < some; ++n) to[n] = row + n * SOON;
        to += some;
    }
    soon->last = to;
    *to = (const char *)soon;
}
/* The same for rows `first` to before `end`, but those that are held. */
static void new_rows_soon(struct soon *soon, int number, const void *array, long step, long bytes, long first, long end)
{
    int same = soon->held[number].array == array;
    long low = same ? soon->held[number].first : first, high = same ? soon->held[number].end : first;
    rows_soon(soon, (const char *)array + first * step, step, bytes, least(end, low) - first);
    rows_soon(soon, (const char *)array + most(first, high) * step, step, bytes, end - most(first, high));
    soon->held[number].array = array;
    soon->held[number].first = first;
    soon->held[number].end = end;
}

#define PRODUCT_STEP(ROWS, WIDE) \
    { \
        vreal columns[WIDE]; \
        _Pragma("GCC unroll 3") for (int n = 0; n < WIDE; ++n) columns[n] = load_any(b + n * LANES); \
        _Pragma("GCC unroll 8") for (int m = 0; m < ROWS; ++m) { \
            vreal factor = splat(a[m * a_row]); \
            _Pragma("GCC unroll 3") for (int n = 0; n < WIDE; ++n) sum[m][n] += factor * columns[n]; \
        } \
        a += a_step; \
        b += b_step; \
    }

/* Steps from k to before END. ASKS: of each piece that is asked for a line every other step. */
#define PRODUCT_STEPS(ROWS, WIDE, ASKS, k, END) \
    if (ASKS) { \
        const char **piece = soon->next; \
        for (; k + 2 * SOON_LINES <= END; k += 2 * SOON_LINES) { \
            const char *line = *piece; \
            piece += piece < soon->last; \
            for (int n = 0; n < SOON_LINES; ++n, line += 64) { \
                __builtin_prefetch(line, 0, 2); \
                PRODUCT_STEP(ROWS, WIDE) \
                PRODUCT_STEP(ROWS, WIDE) \
            } \
        } \
        soon->next = piece; \
    } \
    for (; k < END; ++k) PRODUCT_STEP(ROWS, WIDE)

#define PRODUCT(name, ROWS, WIDE, ASKS) \
    INLINE void name(const real *a, long a_row, long a_step, const real *b, long b_step, real *c, long c_row, long depth, int add, \
                     const real *by, const real *start, long start_step, struct soon *soon) \
    { \
        vreal sum[ROWS][WIDE]; \
        _Pragma("GCC unroll 8") for (int m = 0; m < ROWS; ++m) \
            _Pragma("GCC unroll 3") for (int n = 0; n < WIDE; ++n) \
                sum[m][n] = add ? load_any(c + m * c_row + n * LANES) : splat(start[m * start_step]); \
        if (by) \
            _Pragma("GCC unroll 8") for (int m = 0; m < ROWS; ++m) \
                _Pragma("GCC unroll 3") for (int n = 0; n < WIDE; ++n) sum[m][n] *= load_any(by + n * LANES); \
        long k = 0; \
        PRODUCT_STEPS(ROWS, WIDE, ASKS, k, depth) \
        _Pragma("GCC unroll 8") for (int m = 0; m < ROWS; ++m) \
            _Pragma("GCC unroll 3") for (int n = 0; n < WIDE; ++n) store_any(c + m * c_row + n * LANES, sum[m][n]); \
    }

/* Any number of rows. When nothing is added to, the last block may compute some rows a second time. */
#define SOME_ROWS(name, add) \
    name(a + m * a_row, a_row, a_step, b, b_step, c + m * c_row, c_row, depth, add, by, start + m * start_step, start_step, 0)
#define PRODUCTS(WIDE) \
    PRODUCT(block_##WIDE, BLOCK, WIDE, 0) \
    PRODUCT(half_##WIDE, 4, WIDE, 0) \
    PRODUCT(row_##WIDE, 1, WIDE, 0) \
    PRODUCT(asking_##WIDE, BLOCK, WIDE, 1) \
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

/* The same, which asks for what the next owner reads. */
#define ASKING(WIDE) \
    APART void asking_product_##WIDE(const real *a, long a_row, long a_step, const real *b, long b_step, real *c, long c_row, long rows, \
                                     long depth, const real *start, long start_step) \
    { \
        struct soon *const soon = own_soon(); \
        long m = 0; \
        for (; m + BLOCK <= rows && soon->next < soon->last; m += BLOCK) \
            asking_##WIDE(a + m * a_row, a_row, a_step, b, b_step, c + m * c_row, c_row, depth, 0, 0, start + m * start_step, \
                           start_step, soon); \
        if (m < rows) product_##WIDE(a + m * a_row, a_row, a_step, b, b_step, c + m * c_row, c_row, rows - m, depth, 0, 0, \
                                       start + m * start_step, start_step); \
    }

ASKING(1)
ASKING(2)
ASKING(3)

/* The same for `columns` numbers of columns, in whole vectors. */
INLINE void product(const real *a, long a_row, long a_step, const real *b, long b_step, real *c, long c_row, long rows, long columns,
                    long depth, int add, const real *by, const real *start, long start_step)
{
#ifdef FEW_COLUMNS
    if (few_product(a, a_row, a_step, b, b_step, c, c_row, rows, columns, depth, add, by, start, start_step)) return;
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

/* Rows `first` to `last` of a product of which each vector of columns needs a span of rows alone, from `begin` to `end`; others may be
   left as they are. */
INLINE void product_of_spans(const real *a, long a_row, long a_step, const real *b, long b_step, real *c, long c_row, long first,
                             long last, long columns, long depth, const real *start, long start_step, const long *begin, const long *end)
{
    long vectors = (columns + LANES - 1) / LANES, next;
    for (long m = first; m < last; m = next) {
        long low = vectors, high = 0;
        next = last;
        for (long v = 0; v < vectors; ++v) {
            long from = begin[v] / BLOCK * BLOCK, until = begin[v] < end[v] ? (end[v] + BLOCK - 1) / BLOCK * BLOCK : 0;
            if (from > m) {
                next = until > 0 ? least(next, from) : next;
            } else if (until > m) {
                next = least(next, until);
                low = least(low, v);
                high = v + 1;
            }
        }
        long left = (next - m) % BLOCK; /* those some rows earlier are computed again where that takes less time than the last one by one */
        if (left > 0 && left / 4 + left % 4 >= high - low && m >= BLOCK - left) m -= BLOCK - left;
        const real *one = a + m * a_row, *two = b + low * LANES;
        real *out = c + m * c_row + low * LANES;
        if (high - low == 3)
            asking_product_3(one, a_row, a_step, two, b_step, out, c_row, next - m, depth, start + m * start_step, start_step);
        else if (high - low == 2)
            asking_product_2(one, a_row, a_step, two, b_step, out, c_row, next - m, depth, start + m * start_step, start_step);
        else if (high - low == 1)
            asking_product_1(one, a_row, a_step, two, b_step, out, c_row, next - m, depth, start + m * start_step, start_step);
    }
}

/* Products added to c, where each vector of columns sums over a span of k alone: what all have in common side by side, the rest by
   itself. */
#define PRODUCT_WITHIN(name, ROWS, WIDE, ASKS) \
    INLINE void name(const real *all_a, long a_row, long a_step, const real *all_b, long b_step, real *c, long c_row, const real *by, \
                     const long *begin, const long *end, struct soon *soon) \
    { \
        vreal sum[ROWS][WIDE]; \
        long first = begin[0], last = end[0]; \
        for (int n = 1; n < WIDE; ++n) { \
            first = most(first, begin[n]); \
            last = least(last, end[n]); \
        } \
        last = most(first, last); \
        _Pragma("GCC unroll 8") for (int m = 0; m < ROWS; ++m) \
            _Pragma("GCC unroll 3") for (int n = 0; n < WIDE; ++n) sum[m][n] = load_any(c + m * c_row + n * LANES); \
        if (by) \
            _Pragma("GCC unroll 8") for (int m = 0; m < ROWS; ++m) \
                _Pragma("GCC unroll 3") for (int n = 0; n < WIDE; ++n) sum[m][n] *= load_any(by + n * LANES); \
        _Pragma("GCC unroll 3") for (int n = 0; n < WIDE; ++n) \
            for (long k = begin[n]; k < least(first, end[n]); ++k) { \
                vreal column = load_any(all_b + k * b_step + n * LANES); \
                _Pragma("GCC unroll 8") for (int m = 0; m < ROWS; ++m) sum[m][n] += splat(all_a[m * a_row + k * a_step]) * column; \
            } \
        const real *a = all_a + first * a_step, *b = all_b + first * b_step; \
        long k = first; \
        PRODUCT_STEPS(ROWS, WIDE, ASKS, k, last) \
        _Pragma("GCC unroll 3") for (int n = 0; n < WIDE; ++n) \
            for (long k = last; k < end[n]; ++k) { \
                vreal column = load_any(all_b + k * b_step + n * LANES); \
                _Pragma("GCC unroll 8") for (int m = 0; m < ROWS; ++m) sum[m][n] += splat(all_a[m * a_row + k * a_step]) * column; \
            } \
        _Pragma("GCC unroll 8") for (int m = 0; m < ROWS; ++m) \
            _Pragma("GCC unroll 3") for (int n = 0; n < WIDE; ++n) store_any(c + m * c_row + n * LANES, sum[m][n]); \
    }
#define PRODUCTS_WITHIN(WIDE) \
    PRODUCT_WITHIN(block_within_##WIDE, BLOCK, WIDE, 1) \
    PRODUCT_WITHIN(row_within_##WIDE, 1, WIDE, 0) \
    APART void product_within_##WIDE(const real *a, long a_row, long a_step, const real *b, long b_step, real *c, long c_row, long rows, \
                                     const real *by, const long *begin, const long *end) \
    { \
        struct soon *const soon = own_soon(); \
        long m = 0; \
        for (; m + BLOCK <= rows; m += BLOCK) \
            block_within_##WIDE(a + m * a_row, a_row, a_step, b, b_step, c + m * c_row, c_row, by, begin, end, soon); \
        for (; m < rows; ++m) row_within_##WIDE(a + m * a_row, a_row, a_step, b, b_step, c + m * c_row, c_row, by, begin, end, soon); \
    }

PRODUCTS_WITHIN(1)
PRODUCTS_WITHIN(2)
PRODUCTS_WITHIN(3)

/* The same for `columns` numbers of columns, at most a strip of them. */
INLINE void product_within(const real *a, long a_row, long a_step, const real *b, long b_step, real *c, long c_row, long rows, long columns,
                           const real *by, const long *begin, const long *end)
{
    if (columns > 2 * LANES)
        product_within_3(a, a_row, a_step, b, b_step, c, c_row, rows, by, begin, end);
    else if (columns > LANES)
        product_within_2(a, a_row, a_step, b, b_step, c, c_row, rows, by, begin, end);
    else
        product_within_1(a, a_row, a_step, b, b_step, c, c_row, rows, by, begin, end);
}

/* `product` with both operands rounded to bfloat16 where that is faster. `held`: memory for HELD(rows, depth) numbers, which keeps a
   for calls to come; `fresh`: whether a is new. */
INLINE void rounded_product(const real *a, long a_row, long a_step, const real *b, long b_step, real *c, long c_row, long rows,
                            long columns, long depth, int add, const real *by, real *held, int fresh)
{
#ifdef ON_MATRIX_UNIT
    if (ON_MATRIX_UNIT(depth)) {
        if (fresh) pack_numbers((uint16_t *)held, a, a_row, a_step, 0, rows, depth);
        matrix_product((uint16_t *)held, 0, 0, b, b_step, c, c_row, rows, columns, depth, add, by);
        return;
    }
#endif
    (void)held, (void)fresh;
    product(a, a_row, a_step, b, b_step, c, c_row, rows, columns, depth, add, by, &NOTHING, 0);
}

/* The same for a that lies in an array of elements. */
INLINE void stored_product(const element *a, long a_row, long a_step, const real *b, long b_step, real *c, long c_row, long rows,
                           long columns, long depth, int add, const real *by, real *held, int fresh)
{
    long wide = (depth + 31) / 32 * 32;
#ifdef ON_MATRIX_UNIT
    if (ON_MATRIX_UNIT(depth)) {
        int straight = a_step == 1 && depth == wide;
        if (fresh) pack_elements((uint16_t *)held, a, a_row, a_step, straight ? rows / SIDE * SIDE : 0, rows, depth);
        matrix_product((uint16_t *)held, straight ? a : 0, a_row, b, b_step, c, c_row, rows, columns, depth, add, by);
        return;
    }
#endif
    for (long m = 0; fresh && m < rows; ++m)
        for (long k = 0; k < depth; ++k) held[m * wide + k] = widen(a[m * a_row + k * a_step]);
    product(held, wide, 1, b, b_step, c, c_row, rows, columns, depth, add, by, &NOTHING, 0);
}
