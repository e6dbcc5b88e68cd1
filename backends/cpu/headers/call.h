/* One call of a kernel: owners are handed out a few at a time, the last ones first, to as many threads as the caller allows. A thread
   computes its few upwards, as arrays lie in memory: those that follow one another read much of the same, and what the next one reads is
   asked from memory while one is computed.
   No result depends on which thread computes an owner. The threads are those of the process's own OpenMP runtime, whose entries the caller
   looks up, so that every other operator uses the same. */

#define EXPORT __attribute__((visibility("default")))

/* How many positions of an owner a strip has: the caller chooses tile sizes by it. */
EXPORT const long attncc_strip = STRIP;

/* Whether products may run on a matrix unit, for which other tile sizes are best. */
#ifdef ON_MATRIX_UNIT
EXPORT const int attncc_matrix_unit = 1;
#else
EXPORT const int attncc_matrix_unit = 0;
#endif

/* Entries of an OpenMP runtime: GNU's one, or the three of LLVM's (its OpenMP interface for compilers, kmp.h). The others are 0. */
struct runtime {
    void (*gnu)(void (*work)(void *), void *argument, unsigned threads, unsigned flags);
    void (*fork)(void *place, int count, void (*work)(int *, int *, void *), ...);
    void (*push)(void *place, int thread, int threads);
    int (*thread)(void *place);
};

struct call {
    void *const *data;
    const long *strides, *sizes, *boxes;
    const double *numbers;
    long owners, bytes, next;
    void (*owner)(const struct call *, long, char *), (*ask)(const struct call *, long);
    long threads;
    int failed;
};

/* Inside kernels numbers below the smallest normal one count as 0: processors take a hundred times longer for them. */
#if defined(__x86_64__)
typedef unsigned rounding;
static rounding flush_tiny(void)
{
    rounding before = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(before | 0x8040);
    return before;
}
static void restore(rounding before) { __builtin_ia32_ldmxcsr(before); }
#elif defined(__aarch64__)
typedef uint64_t rounding;
static rounding flush_tiny(void)
{
    rounding before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(before | ((rounding)1 << 24)));
    return before;
}
static void restore(rounding before) { __asm__ volatile("msr fpcr, %0" : : "r"(before)); }
#else
typedef int rounding;
static rounding flush_tiny(void) { return 0; }
static void restore(rounding before) { (void)before; }
#endif

enum { CHUNK = 16 };
static _Thread_local char *thread_memory;
static _Thread_local long thread_bytes;

/* The next few owners: where they begin and end, counted from the last one. None where no more than `spare` are left. */
INLINE long claim(struct call *call, long spare, long *end)
{
    long left = call->owners - __atomic_load_n(&call->next, __ATOMIC_RELAXED);
    if (left <= spare) return *end = call->owners;
    long some = most(1, least(left / (4 * call->threads), CHUNK));
    long at = __atomic_fetch_add(&call->next, some, __ATOMIC_RELAXED);
    *end = least(at + some, call->owners);
    return at;
}

/* The next few are claimed before the last one is computed, to ask for what their first one reads, while every thread finds more. */
static void work(void *argument)
{
    struct call *call = argument;
    if (thread_bytes < call->bytes) {
        free(thread_memory);
        thread_memory = aligned_alloc(64, (size_t)call->bytes);
        thread_bytes = thread_memory ? call->bytes : 0;
        if (thread_memory) memset(thread_memory, 0, (size_t)thread_bytes);
    }
    if (!thread_memory) {
        __atomic_store_n(&call->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    rounding before = flush_tiny();
    matrix_begin();
    struct soon *const soon = own_soon();
    long end, at = claim(call, 0, &end), asked = 0;
    while (at < end) {
        const long first = call->owners - end, last = call->owners - at;
        if (!asked) {
            forget_soon(soon);
            if (call->ask) call->ask(call, first);
            ask_all_soon(soon);
        }
        at = end;
        for (long owner = first; owner < last; ++owner) {
            begin_soon(soon);
            if (call->ask && owner + 1 == last) at = claim(call, 4 * call->threads, &end);
            if (call->ask && (owner + 1 < last || at < end)) call->ask(call, owner + 1 < last ? owner + 1 : call->owners - end);
            call->owner(call, owner, thread_memory);
        }
        asked = at < end;
        if (!asked) at = claim(call, 0, &end);
    }
    forget_soon(soon);
    matrix_end();
    restore(before);
}

static void work_of_one(int *thread, int *team_thread, void *argument) { work(argument); }

/* 0, or 1 when there is no memory for the tiles. */
static int run(struct call *call, long threads, const struct runtime *runtime)
{
    static struct { int32_t unused, flags, none[2]; const char *source; } place = {.flags = 2, .source = ";attncc;run;0;0;;"};
    matrix_ask();
    threads = call->threads = most(1, least(threads, call->owners));
    if (threads > 1 && runtime && runtime->gnu)
        runtime->gnu(work, call, (unsigned)threads, 0);
    else if (threads > 1 && runtime) {
        runtime->push(&place, runtime->thread(&place), (int)threads);
        runtime->fork(&place, 1, work_of_one, call);
    } else if (call->owners > 0)
        work(call);
    return call->failed;
}
