/* Kernel scaling of many items that share one Gibbs kernel, one item per vector lane.
 *
 * This file is a template: fused.c includes it once per instruction set and arithmetic, with
 *   REAL, INT        float/int32_t or double/int64_t
 *   VECTOR_BYTES     width of a vector
 *   TILE             rows of the kernel handled together (their sums stay in registers)
 *   NAME(x)          name of x in this instance
 *   FAST_QUOTIENT    optional: a / b from the reciprocal estimate of the processor
 *
 * Why lanes: all items multiply by the same kernel, so a number of the kernel is read once and used by every
 * lane. Why not a plain matrix product: with 10 columns that is bound by memory, here an item's state stays in
 * the nearest caches through all its iterations. A lane whose item has converged takes the next item at once,
 * so the slowest item holds nobody up.
 */

#define LANES ((int)(VECTOR_BYTES / sizeof(REAL)))
#define PAIR (2 * LANES) /* two vectors of lanes share each number of the kernel */

typedef REAL NAME(vec) __attribute__((vector_size(VECTOR_BYTES)));
typedef INT NAME(ivec) __attribute__((vector_size(VECTOR_BYTES)));
#define VEC NAME(vec)
#define IVEC NAME(ivec)

static inline VEC NAME(all)(REAL x) { return x - (VEC){0}; }

static inline VEC NAME(pick)(IVEC mask, VEC yes, VEC no) {
    return (VEC)(((IVEC)yes & mask) | ((IVEC)no & ~mask));
}

static inline VEC NAME(magnitude)(VEC x) { return NAME(pick)(x < (VEC){0}, -x, x); }

/* log of positive normal numbers: 2 artanh((m - 1) / (m + 1)) + e log 2 with m in [sqrt(1/2), sqrt(2)). */
static inline VEC NAME(logarithm)(VEC x) {
    const int bits = sizeof(REAL) == 4 ? 23 : 52;
    const INT bias = sizeof(REAL) == 4 ? 127 : 1023;
    const INT mask = ((INT)1 << bits) - 1;
    IVEC raw = (IVEC)x;
    IVEC exponent = (raw >> bits) - bias;
    VEC m = (VEC)((raw & mask) | (bias << bits));
    IVEC high = m > NAME(all)((REAL)1.4142135623730951);
    m = NAME(pick)(high, m * (REAL)0.5, m);
    exponent -= high; /* a true comparison is -1 */
    VEC s = (m - (REAL)1) / (m + (REAL)1), z = s * s;
    VEC sum = NAME(all)((REAL)1 / (sizeof(REAL) == 4 ? 11 : 23));
    for (int odd = sizeof(REAL) == 4 ? 9 : 21; odd >= 1; odd -= 2) sum = sum * z + (REAL)1 / (REAL)odd;
    return 2 * s * sum + __builtin_convertvector(exponent, VEC) * (REAL)0.6931471805599453;
}

/* exp for arguments whose result is a normal number; others are clamped to that range. */
static inline VEC NAME(exponential)(VEC x) {
    const int bits = sizeof(REAL) == 4 ? 23 : 52;
    const INT bias = sizeof(REAL) == 4 ? 127 : 1023;
    const REAL most = sizeof(REAL) == 4 ? (REAL)87 : (REAL)708;
    x = NAME(pick)(x > NAME(all)(most), NAME(all)(most), x);
    x = NAME(pick)(x < NAME(all)(-most), NAME(all)(-most), x);
    VEC scaled = x * (REAL)1.4426950408889634;
    IVEC whole = __builtin_convertvector(scaled + NAME(pick)(x < (VEC){0}, NAME(all)((REAL)-0.5), NAME(all)((REAL)0.5)), IVEC);
    VEC n = __builtin_convertvector(whole, VEC);
    const REAL high = sizeof(REAL) == 4 ? (REAL)0.693359375 : (REAL)0.693147180369123816490;
    const REAL low = sizeof(REAL) == 4 ? (REAL)-2.12194440e-4 : (REAL)1.90821492927058770002e-10;
    VEC r = (x - n * high) - n * low;
    VEC sum = NAME(all)((REAL)1);
    for (int term = sizeof(REAL) == 4 ? 7 : 13; term >= 1; term--) sum = sum * r * ((REAL)1 / (REAL)term) + (REAL)1;
    return sum * (VEC)((whole + bias) << bits);
}

#ifndef FAST_QUOTIENT
#define FAST_QUOTIENT(a, b) ((a) / (b))
#endif

/* u = p / s, or p / s^power on a relaxed teacher side. */
static inline VEC NAME(response)(VEC p, VEC s, REAL power) {
    if (power != (REAL)1) s = NAME(exponential)(power * NAME(logarithm)(s));
    return FAST_QUOTIENT(p, s);
}

/* What one group of PAIR lanes holds. */
typedef struct {
    REAL *p;        /* [rows padded][PAIR] */
    REAL *v, *q, *t; /* [columns][PAIR] */
} NAME(group);

/* s[j] = sum_c G[j][c] v[c] for the rows of one tile, then u[j]. */
static inline void NAME(tile_response)(const REAL *restrict kernel, const REAL *restrict v, const REAL *restrict p,
                                       int columns, REAL power, VEC u[2 * TILE]) {
    VEC s[2 * TILE];
    for (int j = 0; j < 2 * TILE; j++) s[j] = (VEC){0};
    for (int c = 0; c < columns; c++) {
        VEC v0 = *(const VEC *)(v + c * PAIR), v1 = *(const VEC *)(v + c * PAIR + LANES);
#pragma GCC unroll 16
        for (int j = 0; j < TILE; j++) {
            VEC g = NAME(all)(kernel[c * TILE + j]);
            s[2 * j] += g * v0;
            s[2 * j + 1] += g * v1;
        }
    }
#pragma GCC unroll 16
    for (int j = 0; j < TILE; j++) {
        u[2 * j] = NAME(response)(*(const VEC *)(p + j * PAIR), s[2 * j], power);
        u[2 * j + 1] = NAME(response)(*(const VEC *)(p + j * PAIR + LANES), s[2 * j + 1], power);
    }
}

/* t[c] += sum_j G[j][c] u[j]. */
static inline void NAME(tile_gather)(const REAL *restrict kernel, const VEC u[2 * TILE], int columns,
                                     REAL *restrict t) {
    VEC w[2 * TILE];
    for (int j = 0; j < 2 * TILE; j++) w[j] = u[j];
    for (int c = 0; c < columns; c++) {
        VEC t0 = *(VEC *)(t + c * PAIR), t1 = *(VEC *)(t + c * PAIR + LANES);
#pragma GCC unroll 16
        for (int j = 0; j < TILE; j++) {
            VEC g = NAME(all)(kernel[c * TILE + j]);
            t0 += g * w[2 * j];
            t1 += g * w[2 * j + 1];
        }
        *(VEC *)(t + c * PAIR) = t0;
        *(VEC *)(t + c * PAIR + LANES) = t1;
    }
}

/* Kernel rows in tiles, column by column: what the inner loops read one after the other. Padding rows are 1. */
static void NAME(pack)(const REAL *kernel, int rows, int columns, REAL filler, REAL *packed) {
    int tiles = (rows + TILE - 1) / TILE;
    for (int tile = 0; tile < tiles; tile++)
        for (int c = 0; c < columns; c++)
            for (int j = 0; j < TILE; j++) {
                int row = tile * TILE + j;
                packed[((size_t)tile * columns + c) * TILE + j] = row < rows ? kernel[(size_t)row * columns + c] : filler;
            }
}

static void NAME(load)(NAME(group) * at, int lane, const REAL *p, const REAL *q, const REAL *v, int rows,
                       int columns) {
    for (int k = 0; k < rows; k++) at->p[(size_t)k * PAIR + lane] = p[k];
    for (int c = 0; c < columns; c++) {
        at->q[c * PAIR + lane] = q[c];
        at->v[c * PAIR + lane] = v[c];
    }
}

static void *NAME(scratch)(size_t reals) {
    void *memory = NULL;
    return posix_memalign(&memory, 64, reals * sizeof(REAL)) ? NULL : memory;
}

static REAL *NAME(make_group)(NAME(group) * at, int padded, int columns) {
    REAL *memory = NAME(scratch)((size_t)PAIR * (padded + 3 * (size_t)columns));
    if (!memory) return NULL;
    memset(memory, 0, sizeof(REAL) * PAIR * (padded + 3 * (size_t)columns));
    at->p = memory;
    at->v = memory + (size_t)PAIR * padded;
    at->q = at->v + (size_t)PAIR * columns;
    at->t = at->q + (size_t)PAIR * columns;
    return memory;
}

/* Iterate until every item is done. scaling holds the first v of each item and receives its last one, from
 * before the student's update. Returns 0, or -1 without memory. */
static int NAME(scale)(const struct scale_arguments *job) {
    const REAL *predictions = job->predictions, *targets = job->targets;
    REAL *scaling = job->scaling, *violation = job->violation;
    const int rows = job->rows, columns = job->columns, padded = (rows + TILE - 1) / TILE * TILE;
    const int64_t count = job->count;
    const REAL tol = (REAL)job->tol, power = (REAL)job->power;
    NAME(group) at;
    REAL *packed = NAME(scratch)((size_t)padded * columns);
    REAL *memory = NAME(make_group)(&at, padded, columns);
    if (!packed || !memory) {
        free(packed);
        free(memory);
        return -1;
    }
    NAME(pack)(job->kernel, rows, columns, (REAL)1, packed);

    int64_t item[PAIR], next = 0;
    int32_t done[PAIR];
    REAL before[PAIR];
    int busy = 0;
    for (int lane = 0; lane < PAIR; lane++) {
        /* Lanes beyond the last item repeat it, so that their arithmetic stays ordinary. */
        int64_t source = next < count ? next : count - 1;
        item[lane] = next < count ? next : -1;
        busy += next < count;
        next += next < count;
        done[lane] = 0;
        before[lane] = 0;
        NAME(load)(&at, lane, predictions + source * rows, targets + source * columns, scaling + source * columns,
                   rows, columns);
    }
    VEC u[2 * TILE];
    while (busy) {
        memset(at.t, 0, sizeof(REAL) * PAIR * columns);
        for (int k = 0; k < padded; k += TILE) {
            const REAL *tile = packed + (size_t)k * columns;
            NAME(tile_response)(tile, at.v, at.p + (size_t)k * PAIR, columns, power, u);
            NAME(tile_gather)(tile, u, columns, at.t);
        }
        REAL error[PAIR] __attribute__((aligned(64)));
        VEC e0 = {0}, e1 = {0};
        for (int c = 0; c < columns; c++) {
            VEC *t = (VEC *)(at.t + c * PAIR), *v = (VEC *)(at.v + c * PAIR), *q = (VEC *)(at.q + c * PAIR);
            e0 += NAME(magnitude)(v[0] * t[0] - q[0]);
            e1 += NAME(magnitude)(v[1] * t[1] - q[1]);
        }
        *(VEC *)error = e0;
        *(VEC *)(error + LANES) = e1;
        for (int lane = 0; lane < PAIR; lane++) {
            if (item[lane] < 0) continue;
            REAL now = error[lane];
            int n = ++done[lane];
            int finite = now < (REAL)INFINITY; /* false for NaN */
            int leave = !(now > tol) || !finite || n >= job->max_iterations;
            if (n % 8 == 0) {
                if (!leave && n >= job->slow_after) {
                    double rate = now < before[lane] ? log((double)now / (double)before[lane]) / 8 : -1e-9;
                    leave = log((double)tol / (double)now) / rate > job->slow_rest;
                }
                before[lane] = now;
            }
            if (!leave) continue;
            int64_t out = item[lane];
            for (int c = 0; c < columns; c++) scaling[out * columns + c] = at.v[c * PAIR + lane];
            violation[out] = finite ? now : (REAL)INFINITY;
            job->iterations[out] = n;
            if (next < count) {
                item[lane] = next;
                done[lane] = 0;
                NAME(load)(&at, lane, predictions + next * rows, targets + next * columns, scaling + next * columns,
                           rows, columns);
                /* The common update below divides q by t: make it leave the fresh v as it is. */
                for (int c = 0; c < columns; c++) {
                    REAL v = at.v[c * PAIR + lane];
                    at.t[c * PAIR + lane] = v > 0 ? at.q[c * PAIR + lane] / v : (REAL)1;
                }
                next++;
            } else {
                item[lane] = -1;
                busy--;
            }
        }
        for (int c = 0; c < columns; c++) {
            VEC *t = (VEC *)(at.t + c * PAIR), *v = (VEC *)(at.v + c * PAIR), *q = (VEC *)(at.q + c * PAIR);
            v[0] = FAST_QUOTIENT(q[0], t[0]);
            v[1] = FAST_QUOTIENT(q[1], t[1]);
        }
    }
    free(packed);
    free(memory);
    return 0;
}

/* One last full update: potentials f (optional) and g, <P, C>, sum_k p_k f_k and the marginal violation of each item. */
static int NAME(finish)(const struct finish_arguments *job) {
    const REAL *predictions = job->predictions, *targets = job->targets, *scaling = job->scaling;
    const int rows = job->rows, columns = job->columns, padded = (rows + TILE - 1) / TILE * TILE;
    const int64_t count = job->count;
    const REAL power = (REAL)job->power, eps = (REAL)job->eps;
    NAME(group) at;
    REAL *packed = NAME(scratch)((size_t)padded * columns);
    REAL *priced = NAME(scratch)((size_t)padded * columns);
    REAL *paid = NAME(scratch)((size_t)PAIR * columns);
    REAL *f = NAME(scratch)((size_t)PAIR * padded);
    REAL *memory = NAME(make_group)(&at, padded, columns);
    int status = packed && priced && paid && f && memory ? 0 : -1;
    if (status == 0) {
        NAME(pack)(job->kernel, rows, columns, (REAL)1, packed);
        NAME(pack)(job->priced_kernel, rows, columns, (REAL)0, priced);
    }
    for (int64_t first = 0; status == 0 && first < count; first += PAIR) {
        int live = count - first < PAIR ? (int)(count - first) : PAIR;
        for (int lane = 0; lane < PAIR; lane++) {
            int64_t source = first + (lane < live ? lane : live - 1);
            NAME(load)(&at, lane, predictions + source * rows, targets + source * columns,
                       scaling + source * columns, rows, columns);
        }
        memset(at.t, 0, sizeof(REAL) * PAIR * columns);
        memset(paid, 0, sizeof(REAL) * PAIR * columns);
        VEC u[2 * TILE];
        for (int k = 0; k < padded; k += TILE) {
            const REAL *tile = packed + (size_t)k * columns;
            VEC s[2 * TILE];
            VEC *p = (VEC *)(at.p + (size_t)k * PAIR);
            for (int j = 0; j < 2 * TILE; j++) s[j] = (VEC){0};
            for (int c = 0; c < columns; c++) {
                VEC v0 = *(VEC *)(at.v + c * PAIR), v1 = *(VEC *)(at.v + c * PAIR + LANES);
#pragma GCC unroll 16
                for (int j = 0; j < TILE; j++) {
                    VEC g = NAME(all)(tile[c * TILE + j]);
                    s[2 * j] += g * v0;
                    s[2 * j + 1] += g * v1;
                }
            }
            for (int j = 0; j < 2 * TILE; j++) {
                u[j] = NAME(response)(p[j], s[j], power);
                ((VEC *)(f + (size_t)k * PAIR))[j] = -power * eps * NAME(logarithm)(s[j]);
            }
            NAME(tile_gather)(tile, u, columns, at.t);
            NAME(tile_gather)(priced + (size_t)k * columns, u, columns, paid);
        }
        REAL value[PAIR] __attribute__((aligned(64))), error[PAIR] __attribute__((aligned(64)));
        VEC x0 = {0}, x1 = {0}, e0 = {0}, e1 = {0};
        for (int c = 0; c < columns; c++) {
            VEC *t = (VEC *)(at.t + c * PAIR), *q = (VEC *)(at.q + c * PAIR), *v = (VEC *)(at.v + c * PAIR);
            VEC *w = (VEC *)(paid + c * PAIR);
            x0 += q[0] / t[0] * w[0];
            x1 += q[1] / t[1] * w[1];
            e0 += NAME(magnitude)(v[0] * t[0] - q[0]);
            e1 += NAME(magnitude)(v[1] * t[1] - q[1]);
            t[0] = -eps * NAME(logarithm)(t[0]);
            t[1] = -eps * NAME(logarithm)(t[1]);
        }
        *(VEC *)value = x0;
        *(VEC *)(value + LANES) = x1;
        *(VEC *)error = e0;
        *(VEC *)(error + LANES) = e1;
        for (int lane = 0; lane < live; lane++) {
            int64_t out = first + lane;
            ((REAL *)job->value)[out] = value[lane];
            ((REAL *)job->violation)[out] = error[lane];
            REAL *g = (REAL *)job->g + out * columns;
            for (int c = 0; c < columns; c++) g[c] = at.t[c * PAIR + lane];
            REAL *row = (REAL *)job->f + out * rows;
            for (int k = 0; k < rows; k++) row[k] = f[(size_t)k * PAIR + lane];
        }
    }
    free(packed);
    free(priced);
    free(paid);
    free(f);
    free(memory);
    return status;
}

#undef LANES
#undef PAIR
#undef VEC
#undef IVEC
#undef REAL
#undef INT
#undef VECTOR_BYTES
#undef TILE
#undef NAME
#undef FAST_QUOTIENT
