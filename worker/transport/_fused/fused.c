/* Compiled loops of worker.transport: plain C, no Python.h, called through ctypes (which releases the GIL).
 *
 * One binary supports every processor of its architecture: the loops are compiled for several instruction sets
 * and the best one that the processor supports is chosen at run time.
 */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

struct scale_arguments {
    const void *predictions, *targets, *kernel;
    void *scaling, *violation, *sums;
    int32_t *iterations;
    int64_t count;
    int32_t rows, columns, max_iterations, max_rounds;
    double tol, power;
};

struct finish_arguments {
    const void *predictions, *targets, *kernel, *priced_kernel, *scaling, *sums, *row_shift, *column_shift;
    void *f, *g, *value, *dual;
    int64_t count;
    int32_t rows, columns;
    double eps, power;
};

struct project_arguments {
    const float *vocabulary, *student;
    float *table;
    int64_t rows;
    int32_t dimension, width, labels;
};

struct bound_arguments {
    const float *table;
    const int32_t *members;
    const float *weights;
    const int64_t *starts, *counts;
    const double *prior;
    double *coverage, *likeness, *nearest;
    int64_t teachers;
    int32_t width, labels;
};

struct reduce_arguments {
    const float *table, *g;
    const int32_t *members;
    const float *weights;
    const int64_t *starts, *counts;
    float *reduced;
    double *sums;
    int64_t rows, teachers;
    int32_t width;
};

#if defined(__clang__)
#define PRAGMA(x) _Pragma(#x)
#define BEGIN_TARGET(set) PRAGMA(clang attribute push(__attribute__((target(set))), apply_to = function))
#define END_TARGET _Pragma("clang attribute pop")
#else
#define PRAGMA(x) _Pragma(#x)
#define BEGIN_TARGET(set) _Pragma("GCC push_options") PRAGMA(GCC target(set))
#define END_TARGET _Pragma("GCC pop_options")
#endif

/* Plain build of the architecture: SSE2 on x86-64, NEON on aarch64. */
#define REAL float
#define INT int32_t
#define VECTOR_BYTES 16
#define TILE 4
#define NAME(x) x##_plain_float
#include "lanes.h"

#define REAL double
#define INT int64_t
#define VECTOR_BYTES 16
#define TILE 4
#define NAME(x) x##_plain_double
#include "lanes.h"

#define VECTOR_BYTES 16
#define TILE 4
#define NAME(x) x##_plain_zoo
#include "zoo.h"

#if defined(__x86_64__)

BEGIN_TARGET("avx2,fma")
#define REAL float
#define INT int32_t
#define VECTOR_BYTES 32
#define TILE 4
#define NAME(x) x##_avx2_float
#include "lanes.h"

#define REAL double
#define INT int64_t
#define VECTOR_BYTES 32
#define TILE 4
#define NAME(x) x##_avx2_double
#include "lanes.h"

#define VECTOR_BYTES 32
#define TILE 4
#define NAME(x) x##_avx2_zoo
#include "zoo.h"
END_TARGET

BEGIN_TARGET("avx512f,avx512dq,avx512bw,avx512vl,fma")
/* A division takes as long as ten products; an estimate with Newton steps is faster. */
static inline __m512 quotient_float(__m512 a, __m512 b) {
    __m512 r = _mm512_rcp14_ps(b);
    r = _mm512_mul_ps(r, _mm512_fnmadd_ps(b, r, _mm512_set1_ps(2.0f)));
    return _mm512_mul_ps(a, r);
}

static inline __m512d quotient_double(__m512d a, __m512d b) {
    __m512d r = _mm512_rcp14_pd(b), two = _mm512_set1_pd(2.0);
    r = _mm512_mul_pd(r, _mm512_fnmadd_pd(b, r, two));
    r = _mm512_mul_pd(r, _mm512_fnmadd_pd(b, r, two));
    return _mm512_mul_pd(a, r);
}

#define REAL float
#define INT int32_t
#define VECTOR_BYTES 64
#define TILE 8
#define NAME(x) x##_avx512_float
#define FAST_QUOTIENT(a, b) ((VEC)quotient_float((__m512)(a), (__m512)(b)))
#include "lanes.h"

#define REAL double
#define INT int64_t
#define VECTOR_BYTES 64
#define TILE 8
#define NAME(x) x##_avx512_double
#define FAST_QUOTIENT(a, b) ((VEC)quotient_double((__m512d)(a), (__m512d)(b)))
#include "lanes.h"

#define VECTOR_BYTES 64
#define TILE 8
#define NAME(x) x##_avx512_zoo
#include "zoo.h"
END_TARGET

#endif

enum { PLAIN = 0, AVX2 = 1, AVX512 = 2 };

/* Best instruction set of this processor: 0 plain, 1 AVX2, 2 AVX-512. */
int preceptor_level(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        return AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return AVX2;
#endif
    return PLAIN;
}

#if defined(__x86_64__)
#define DISPATCH(function, kind, level, job)                       \
    ((level) >= AVX512 ? function##_avx512_##kind(job)             \
                       : (level) == AVX2 ? function##_avx2_##kind(job) : function##_plain_##kind(job))
#else
#define DISPATCH(function, kind, level, job) function##_plain_##kind(job)
#endif

/* Products below the smallest normal number are flushed to zero: negligible, and denormals are slow. */
static unsigned flush_denormals(void) {
#if defined(__x86_64__)
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);
    return before;
#else
    return 0;
#endif
}

static int restored(int status, unsigned before) {
#if defined(__x86_64__)
    _mm_setcsr(before);
#else
    (void)before;
#endif
    return status;
}

int preceptor_scale(const struct scale_arguments *job, int bytes, int level) {
    if (job->count <= 0) return 0;
    unsigned before = flush_denormals();
    return restored(bytes == 4 ? DISPATCH(scale, float, level, job) : DISPATCH(scale, double, level, job), before);
}

int preceptor_finish(const struct finish_arguments *job, int bytes, int level) {
    if (job->count <= 0) return 0;
    unsigned before = flush_denormals();
    return restored(bytes == 4 ? DISPATCH(finish, float, level, job) : DISPATCH(finish, double, level, job), before);
}

int preceptor_project(const struct project_arguments *job, int level) { return DISPATCH(project, zoo, level, job); }

int preceptor_bound(const struct bound_arguments *job, int level) { return DISPATCH(bound, zoo, level, job); }

int preceptor_reduce(const struct reduce_arguments *job, int level) { return DISPATCH(reduce, zoo, level, job); }
