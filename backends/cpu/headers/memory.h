/* Arrays of the caller: element types, tiles copied in and out, memory for a thread's tiles.
   ELEMENT is 64, 32, 16 (half) or 17 (bfloat16). */

#if ELEMENT == 64
typedef double element;
#elif ELEMENT == 32
typedef float element;
#else
typedef uint16_t element;
#endif

INLINE float bits_of_float(uint32_t bits)
{
    float out;
    memcpy(&out, &bits, 4);
    return out;
}
INLINE uint32_t float_bits(float x)
{
    uint32_t out;
    memcpy(&out, &x, 4);
    return out;
}

#if ELEMENT == 17
INLINE real widen(element x) { return bits_of_float((uint32_t)x << 16); }
INLINE element narrow(real x)
{
    uint32_t bits = float_bits(x), even = bits + 0x7fff + ((bits >> 16) & 1);
    return x != x ? 0x7fc0 : (element)(even >> 16);
}
#elif ELEMENT == 16
/* Below the smallest normal half a number is so many units of 2^-24: those of 0.5 as a float, on either way. As a float of such bits alone
   it would count as 0. */
INLINE real widen(element x)
{
    uint32_t size = x & 0x7fff, sign = (uint32_t)(x & 0x8000) << 16;
    uint32_t small = float_bits(bits_of_float(0x3f000000 + size) - 0.5f), normal = (size << 13) + 0x38000000;
    uint32_t large = normal + 0x38000000; /* infinity, or no number */
    return bits_of_float((size < 0x400 ? small : size < 0x7c00 ? normal : large) | sign);
}
INLINE element narrow(real x)
{
    uint32_t bits = float_bits(x), size = bits & 0x7fffffff, sign = bits >> 16 & 0x8000;
    uint32_t normal = (size + 0xfff + (size >> 13 & 1) - 0x38000000) >> 13;
    uint32_t small = float_bits(bits_of_float(size) + 0.5f) - 0x3f000000;
    uint32_t out = size < 0x38800000 ? small : normal;
    out = size >= 0x477ff000 ? 0x7c00 : out;
    return (element)((size > 0x7f800000 ? 0x7e00 : out) | sign);
}
#else
INLINE real widen(element x) { return x; }
INLINE element narrow(real x) { return x; }
#endif
INLINE real as_is(real x) { return x; }

/* LANES elements at once. */
#if ELEMENT < 32
typedef uint16_t vsmall __attribute__((vector_size(VECTOR / 2), may_alias, aligned(2)));
typedef uint32_t vbits __attribute__((vector_size(VECTOR), may_alias));
#define BITS(x) ((uint32_t)(x) - (vbits){})
#if X86 /* compilers convert halves of the vector one by one */
#define WIDER(name, instruction, type) \
    INLINE type name(const element *from) \
    { \
        type out; \
        __asm__(instruction " %1, %0" : "=v"(out) : "m"(*(const vsmall *)from)); \
        return out; \
    }
WIDER(as_bits, "vpmovzxwd", vbits)
#else
INLINE vbits as_bits(const element *from) { return __builtin_convertvector(*(const vsmall *)from, vbits); }
#endif
INLINE vbits choose_bits(vbits which, vbits a, vbits b) { return (which & a) | (~which & b); }
#endif
#if ELEMENT == 17
INLINE vreal widen_all(const element *from) { return (vreal)(as_bits(from) << 16); }
INLINE void narrow_all(element *to, vreal x)
{
    vbits bits = (vbits)x, even = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    *(vsmall *)to = __builtin_convertvector(choose_bits((vbits)(x != x), BITS(0x7fc0), even), vsmall);
}
#elif ELEMENT == 16
#if VECTOR == 64 || (X86 && defined(__F16C__))
WIDER(widen_all, "vcvtph2ps", vreal)
#else
INLINE vreal widen_all(const element *from)
{
    vbits half = as_bits(from), size = half & 0x7fff;
    vbits small = (vbits)((vreal)(size + 0x3f000000) - splat(0.5f)), normal = (size << 13) + 0x38000000;
    vbits out = choose_bits((vbits)(size < 0x400), small, normal + ((vbits)(size >= 0x7c00) & 0x38000000));
    return (vreal)(out | (half & 0x8000) << 16);
}
#endif
INLINE void narrow_all(element *to, vreal x)
{
    vbits bits = (vbits)x, size = bits & 0x7fffffff;
    vbits normal = (size + 0xfff + (size >> 13 & 1) - 0x38000000) >> 13;
    vbits small = (vbits)((vreal)size + splat(0.5f)) - 0x3f000000;
    vbits out = choose_bits((vbits)(size < 0x38800000), small, normal);
    out = choose_bits((vbits)(size >= 0x477ff000), BITS(0x7c00), out);
    out = choose_bits((vbits)(size > 0x7f800000), BITS(0x7e00), out) | (bits >> 16 & 0x8000);
    *(vsmall *)to = __builtin_convertvector(out, vsmall);
}
#else
INLINE vreal widen_all(const element *from) { return load_any((const real *)from); }
INLINE void narrow_all(element *to, vreal x) { store_any((real *)to, x); }
#endif
INLINE vreal as_they_are(const real *from) { return load_any(from); }
INLINE void put_all(real *to, vreal x) { store_any(to, x); }

/* Asks memory for what is read, or written, soon: rows of a tile lie too far apart for the processor to see where the next one is. */
INLINE void ask(const void *from, long bytes)
{
    for (long n = 0; n < bytes; n += 64) __builtin_prefetch((const char *)from + n, 0, 2);
}
INLINE void ask_to_write(const void *from, long bytes)
{
    for (long n = 0; n < bytes; n += 64) __builtin_prefetch((const char *)from + n, 1, 3);
}

/* Asks for what is read next of an array whose tiles products read where they lie, rows of `bytes` bytes `step` apart: of the first tile
   itself `some` rows from `part` on, up to `lead` rows further, and of the tile after it a share, so that the parts of all strips ask
   for the whole of it. `left`: rows of the array from here on, 0 where no tile follows. */
enum { PART = 16 };
INLINE void ask_ahead(const void *tile, long step, long bytes, long count, long left, int first, long strip, long strips,
                      long part, long some, long lead)
{
    const char *rows = tile;
    if (left <= 0 && !(first && strip == 0)) return;
    long own = part > 0 ? part + lead : 0, end = least(part + lead + some, count);
    long done = strip * count + part, next = count + done / strips;
    for (; first && strip == 0 && own < end; ++own) ask(rows + own * step, bytes);
    for (end = least(count + (done + some) / strips, left); next < end; ++next) ask(rows + next * step, bytes);
}

/* Whether there are LANES rows, none of them outside. */
INLINE int all_inside(const long *at, long rows)
{
    if (rows < LANES) return 0;
    long some = 0;
    for (long l = 0; l < LANES; ++l) some |= at[l];
    return some >= 0;
}

/* to[row][lane] = from[at[lane] + row * step] for `lanes` lanes of a strip, and 0 for the rest; at < 0: outside, 0 as well. name_by: all of
   them times a number. */
#define LOAD_COLUMNS(name, type, convert, convert_all) \
    INLINE void name##_times(real *restrict to, const type *from, const long *at, long lanes, long rows, long step, real by) \
    { \
        for (long l = 0; step == 1 && l < lanes; ++l) \
            if (at[l] >= 0) ask(from + at[l], rows * (long)sizeof(type)); \
        for (long first = 0; first < STRIP; first += LANES) { \
            long r = 0, whole = all_inside(at + first, lanes - first); \
            if (first >= lanes) \
                for (; r < rows; ++r) store(to + r * STRIP + first, splat(0)); \
            for (; step == 1 && r + LANES <= rows; r += LANES) { \
                vreal square[LANES_COUNT]; \
                if (whole) \
                    _Pragma("GCC unroll 16") for (int l = 0; l < LANES_COUNT; ++l) square[l] = convert_all(from + at[first + l] + r); \
                else \
                    for (long l = 0; l < LANES; ++l) \
                        square[l] = first + l < lanes && at[first + l] >= 0 ? convert_all(from + at[first + l] + r) : splat(0); \
                transpose(square); \
                _Pragma("GCC unroll 16") for (int l = 0; l < LANES_COUNT; ++l) store(to + (r + l) * STRIP + first, square[l] * splat(by)); \
            } \
            for (; r < rows; ++r) \
                for (long l = first; l < first + LANES; ++l) \
                    to[r * STRIP + l] = l < lanes && at[l] >= 0 ? convert(from[at[l] + r * step]) * by : 0; \
        } \
    } \
    APART void name(real *restrict to, const type *from, const long *at, long lanes, long rows, long step) \
    { \
        name##_times(to, from, at, lanes, rows, step, 1); \
    } \
    APART void name##_by(real *restrict to, const type *from, const long *at, long lanes, long rows, long step, real by) \
    { \
        name##_times(to, from, at, lanes, rows, step, by); \
    }

/* to[row][column] = from[at[row] + column * step]; at < 0: outside, 0. `wide` is the length of a row of `to`. */
#define LOAD_ROWS(name, type, convert, convert_all) \
    APART void name(real *restrict to, const type *from, const long *at, long rows, long columns, long step, long wide) \
    { \
        for (long r = 0; r < rows; ++r, to += wide) { \
            const type *one = from + at[r]; \
            long c = 0, count = at[r] < 0 ? 0 : columns; \
            for (; step == 1 && c + LANES <= count; c += LANES) store_any(to + c, convert_all(one + c)); \
            for (; c < count; ++c) to[c] = convert(one[c * step]); \
            for (; c < wide; ++c) to[c] = 0; \
        } \
    }

/* to[at[lane] + row * step] = from[row][lane]; at < 0: outside, nothing. */
#define STORE_COLUMNS(name, type, convert, convert_all) \
    APART void name(type *to, const long *at, long lanes, long rows, long step, const real *restrict from) \
    { \
        for (long l = 0; step == 1 && l < lanes; ++l) \
            if (at[l] >= 0) ask_to_write(to + at[l], rows * (long)sizeof(type)); \
        for (long first = 0; first < lanes; first += LANES) { \
            long r = 0, last = least(first + LANES, lanes), whole = all_inside(at + first, lanes - first); \
            for (; step == 1 && r + LANES <= rows; r += LANES) { \
                vreal square[LANES_COUNT]; \
                _Pragma("GCC unroll 16") for (int l = 0; l < LANES_COUNT; ++l) square[l] = load(from + (r + l) * STRIP + first); \
                transpose(square); \
                if (whole) \
                    _Pragma("GCC unroll 16") for (int l = 0; l < LANES_COUNT; ++l) convert_all(to + at[first + l] + r, square[l]); \
                else \
                    for (long l = 0; first + l < last; ++l) \
                        if (at[first + l] >= 0) convert_all(to + at[first + l] + r, square[l]); \
            } \
            for (; r < rows; ++r) \
                for (long l = first; l < last; ++l) \
                    if (at[l] >= 0) to[at[l] + r * step] = convert(from[r * STRIP + l]); \
        } \
    }

/* to[at[row] + column * step] += from[row][column]; at < 0: outside, nothing. `wide` is the length of a row of `from`. */
#define ADD_ROWS(name, type, back, convert) \
    APART void name(type *to, const long *at, long rows, long columns, long step, const real *restrict from, long wide) \
    { \
        for (long r = 0; r < rows; ++r, from += wide) { \
            type *one = to + at[r]; \
            long c = 0; \
            if (at[r] < 0) continue; \
            if (step == 1 && sizeof(type) == sizeof(real)) \
                for (; c + LANES <= columns; c += LANES) \
                    store_any((real *)(one + c), load_any((real *)(one + c)) + load_any(from + c)); \
            for (; c < columns; ++c) one[c * step] = convert(back(one[c * step]) + from[c]); \
        } \
    }

LOAD_COLUMNS(load_columns, element, widen, widen_all)
LOAD_ROWS(load_rows, element, widen, widen_all)
STORE_COLUMNS(store_columns, element, narrow, narrow_all)
ADD_ROWS(add_rows, element, widen, narrow)
#if ELEMENT < 32
LOAD_COLUMNS(load_columns_real, real, as_is, as_they_are)
LOAD_ROWS(load_rows_real, real, as_is, as_they_are)
STORE_COLUMNS(store_columns_real, real, as_is, put_all)
ADD_ROWS(add_rows_real, real, as_is, as_is)
#else
#define load_columns_real load_columns
#define load_columns_real_by load_columns_by
#define load_rows_real load_rows
#define store_columns_real store_columns
#define add_rows_real add_rows
#endif

/* The sum of `count` numbers in a row. */
APART real sum_tile(const real *from, long count)
{
    vreal sum = splat(0);
    for (long v = 0; v < count; v += LANES) {
        vreal part = load(from + v);
        sum += v + LANES <= count ? part : pick(count_up(v) < isplat(count), part, splat(0));
    }
    return sum_lanes(sum);
}

/* to[row] = or += the sum of a row's `lanes` lanes. */
APART void sum_rows(const real *from, real *to, long rows, long lanes, int add)
{
    for (long r = 0; r < rows; ++r, from += STRIP) {
        vreal sum = splat(0);
        for (long v = 0; v < lanes; v += LANES) {
            vreal part = load(from + v);
            sum += v + LANES <= lanes ? part : pick(count_up(v) < isplat(lanes), part, splat(0));
        }
        to[r] = (add ? to[r] : 0) + sum_lanes(sum);
    }
}

/* A piece of a thread's memory, on a cache line of its own. Pieces lie STAGGER apart: sizes are often multiples of 4096, and to the
   processor, which compares the last 12 bits, a load from one would look like the last store to another. */
enum { STAGGER = 9 * 64 };
INLINE void *piece(char **memory, long bytes)
{
    char *out = *memory;
    *memory += (bytes + 63) / 64 * 64 + STAGGER;
    return out;
}
