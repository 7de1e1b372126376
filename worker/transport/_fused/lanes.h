/* Kernel scaling of many items that share one Gibbs kernel, one item per vector lane.
 *
 * This file is a template: fused.c includes it once per instruction set and arithmetic, with
 *   REAL, INT        float/int32_t or double/int64_t
 *   VECTOR_BYTES     width of a vector
 *   TILE             rows of the kernel handled together (their sums stay in registers)
 *   NAME(x)          name of x in this instance
 *   FAST_QUOTIENT    optional: a / b from the reciprocal estimate of the processor
 *
 * Why lanes: all items use the same kernel, so a number of the kernel is read once for all lanes. Why not a plain
 * matrix product: with 10 columns it is memory-bound, whereas here an item's state stays in the nearest caches
 * through all its iterations. A lane whose item has converged loads the next item immediately, so a slow item does
 * not delay the others.
 */

#define LANES ((int)(VECTOR_BYTES / sizeof(REAL)))
#define PAIR (2 * LANES) /* two vectors of lanes share each number of the kernel */
#define REFILL 4
#define BLOCK (LANES > TILE ? LANES : TILE)

typedef REAL NAME(vec) __attribute__((vector_size(VECTOR_BYTES)));
typedef INT NAME(ivec) __attribute__((vector_size(VECTOR_BYTES)));
#define VEC NAME(vec)
#define IVEC NAME(ivec)

#ifndef FAST_QUOTIENT
#define FAST_QUOTIENT(a, b) ((a) / (b))
#endif

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
    VEC s = FAST_QUOTIENT(m - (REAL)1, m + (REAL)1), z = s * s;
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

/* u = p / s, or p / s^power on a relaxed teacher side. */
static inline VEC NAME(response)(VEC p, VEC s, REAL power) {
    if (power != (REAL)1) s = NAME(exponential)(power * NAME(logarithm)(s));
    return FAST_QUOTIENT(p, s);
}

/* Approximation of now * (now / before)^b: the logarithm is 2 (x - 1) / (x + 1), the exponential a quotient of
 * parabolas. The value is a starting point of the next sweep, never a result; it is exact to second order, and within
 * a factor of 14 for every input. */
static inline VEC NAME(ahead)(VEC now, VEC before, VEC b) {
    const REAL tiny = sizeof(REAL) == 4 ? (REAL)1e-36 : (REAL)1e-300;
    VEC y = 2 * b * FAST_QUOTIENT(now - before, now + before + tiny), even = y * y + (REAL)12;
    return NAME(pick)(b > (VEC){0}, now * FAST_QUOTIENT(even + 6 * y, even - 6 * y), now);
}

/* Sums over the columns for the rows of one tile: s[j] = sum_c G[j][c] in[c]. */
static inline void NAME(tile_sums)(const REAL *restrict kernel, const REAL *restrict in, int columns,
                                   VEC s[2 * TILE]) {
    VEC sum[2 * TILE];
    for (int j = 0; j < 2 * TILE; j++) sum[j] = (VEC){0};
    for (int c = 0; c < columns; c++) {
        VEC v0 = *(const VEC *)(in + c * PAIR), v1 = *(const VEC *)(in + c * PAIR + LANES);
#pragma GCC unroll 16
        for (int j = 0; j < TILE; j++) {
            VEC g = NAME(all)(kernel[c * TILE + j]);
            sum[2 * j] += g * v0;
            sum[2 * j + 1] += g * v1;
        }
    }
    for (int j = 0; j < 2 * TILE; j++) s[j] = sum[j];
}

/* Sums over the rows of one tile: t[c] += sum_j G[j][c] u[j]. */
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

/* Kernel rows in tiles, column by column, in the order in which the inner loops read them. Padding rows are 1. */
static void NAME(pack)(const REAL *kernel, int rows, int columns, REAL filler, REAL *packed) {
    int tiles = (rows + TILE - 1) / TILE;
    for (int tile = 0; tile < tiles; tile++)
        for (int c = 0; c < columns; c++)
            for (int j = 0; j < TILE; j++) {
                int row = tile * TILE + j;
                packed[((size_t)tile * columns + c) * TILE + j] = row < rows ? kernel[(size_t)row * columns + c] : filler;
            }
}

static REAL *NAME(scratch)(size_t reals) {
    void *memory = NULL;
    if (posix_memalign(&memory, 64, reals * sizeof(REAL))) return NULL;
    memset(memory, 0, reals * sizeof(REAL));
    return memory;
}

/* Purpose of a lane's next sweep over the kernel. */
enum {
    NAME(PLAIN), /* a Sinkhorn iteration */
    NAME(POINT), /* the same, and store the curvature: Newton starts from it */
    NAME(SOLVE), /* a product with the Hessian: one iteration of conjugate gradients */
    NAME(TRIAL)  /* error after the Newton step */
};

/* All lanes of a group: arrays [rows or columns][PAIR], and one number per lane. */
typedef struct {
    REAL *p, *bend;                         /* [rows]: predictions, d u / d s at the Newton point */
    REAL *in, *t;                           /* [columns]: what goes into a sweep and what comes out; while all lanes
                                             * iterate, v goes in */
    REAL *v, *q;                            /* scaling, targets */
    REAL *old, *column, *x, *r, *d;         /* Newton point, its marginal, step, residual, direction; while a lane
                                             * iterates, old and r are its last plain update and residual */
    int64_t item[PAIR];                     /* -1: nothing left to do */
    int phase[PAIR], sweeps[PAIR], rounds[PAIR], inner[PAIR], damped[PAIR];
    REAL error[PAIR], before[PAIR], energy[PAIR], enough[PAIR];
    VEC last[2]; /* errors of the previous sweep; 0 for a new item */
} NAME(group);

#define ANY NAME(any)
/* Rows of the caller's arrays need not be aligned to vectors. */
typedef REAL ANY __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL))));

/* Transpose of a square of numbers, one vector a row: each round interleaves two halves of the rows. */
static inline void NAME(turn)(VEC square[LANES]) {
#if defined(__clang__)
    REAL from[LANES][LANES] __attribute__((aligned(64))), to[LANES][LANES] __attribute__((aligned(64)));
    memcpy(from, square, sizeof from);
    for (int i = 0; i < LANES; i++)
        for (int j = 0; j < LANES; j++) to[j][i] = from[i][j];
    memcpy(square, to, sizeof to);
#else
    IVEC low, high;
    for (int i = 0; i < LANES; i++) {
        low[i] = i / 2 + (i & 1) * LANES;
        high[i] = LANES / 2 + i / 2 + (i & 1) * LANES;
    }
#pragma GCC unroll 4
    for (int round = 1; round < LANES; round *= 2) {
        VEC dealt[LANES];
#pragma GCC unroll 8
        for (int i = 0; i < LANES / 2; i++) {
            dealt[2 * i] = __builtin_shuffle(square[i], square[i + LANES / 2], low);
            dealt[2 * i + 1] = __builtin_shuffle(square[i], square[i + LANES / 2], high);
        }
        for (int i = 0; i < LANES; i++) square[i] = dealt[i];
    }
#endif
}

/* All columns of array [count][PAIR] from one row of `from` each, beginning at its number `first`. */
static void NAME(interleave_all)(REAL *array, int first, int count, const REAL *const from[]) {
    int k = 0;
    for (; k + LANES <= count; k += LANES)
        for (int half = 0; half < 2; half++) {
            VEC square[LANES];
            for (int i = 0; i < LANES; i++) square[i] = *(const ANY *)(from[half * LANES + i] + first + k);
            NAME(turn)(square);
            for (int i = 0; i < LANES; i++) *(VEC *)(array + (size_t)(k + i) * PAIR + half * LANES) = square[i];
        }
    for (; k < count; k++)
        for (int lane = 0; lane < PAIR; lane++) array[(size_t)k * PAIR + lane] = from[lane][first + k];
}

/* Columns `lanes` of array [count][PAIR] from one row of `from` each. Blocks of 16 rows stay in the nearest cache:
 * lane by lane, every number written would need another cache line. */
static void NAME(interleave)(REAL *array, int count, const REAL *const from[], const int lanes[], int many) {
    int ordered = many == PAIR;
    for (int n = 0; n < many; n++) ordered &= lanes[n] == n;
    if (ordered) {
        NAME(interleave_all)(array, 0, count, from);
        return;
    }
    for (int first = 0; first < count; first += 16) {
        int last = first + 16 < count ? first + 16 : count;
        for (int n = 0; n < many; n++) {
            const REAL *row = from[n];
            REAL *out = array + lanes[n];
            for (int k = first; k < last; k++) out[(size_t)k * PAIR] = row[k];
        }
    }
}

/* Give `many` lanes the items from `next` on. */
static void NAME(load)(NAME(group) * at, const int lanes[], int many, int64_t next,
                       const struct scale_arguments *job) {
    const int rows = job->rows, columns = job->columns;
    const REAL *p[PAIR], *q[PAIR], *v[PAIR];
    for (int n = 0; n < many; n++) {
        /* Lanes after the last item repeat it, so that their arithmetic stays finite. */
        int64_t item = next + n < job->count ? next + n : job->count - 1;
        int lane = lanes[n];
        p[n] = (const REAL *)job->predictions + item * rows;
        q[n] = (const REAL *)job->targets + item * columns;
        v[n] = (const REAL *)job->scaling + item * columns;
        at->item[lane] = next + n < job->count ? item : -1;
        at->phase[lane] = NAME(PLAIN);
        at->sweeps[lane] = at->rounds[lane] = at->damped[lane] = 0;
        at->before[lane] = ((REAL *)at->last)[lane] = 0;
    }
    NAME(interleave)(at->p, rows, p, lanes, many);
    NAME(interleave)(at->q, columns, q, lanes, many);
    NAME(interleave)(at->v, columns, v, lanes, many);
    NAME(interleave)(at->in, columns, v, lanes, many);
}

/* One pass over the kernel: t = G^T u with u = p / (G in)^power, or u = bend * (G in) for lanes that solve. */
static void NAME(sweep)(NAME(group) * at, const REAL *packed, int padded, int columns, REAL power,
                        const IVEC solving[2], int special) {
    VEC s[2 * TILE], u[2 * TILE];
    memset(at->t, 0, sizeof(REAL) * PAIR * columns);
    for (int k = 0; k < padded; k += TILE) {
        const REAL *tile = packed + (size_t)k * columns;
        const VEC *p = (const VEC *)(at->p + (size_t)k * PAIR);
        NAME(tile_sums)(tile, special ? at->in : at->v, columns, s);
        if (special) {
            VEC *bend = (VEC *)(at->bend + (size_t)k * PAIR);
            for (int j = 0; j < 2 * TILE; j++) {
                VEC there = NAME(response)(p[j], s[j], power);
                u[j] = NAME(pick)(solving[j & 1], bend[j] * s[j], there);
                bend[j] = NAME(pick)(solving[j & 1], bend[j], power * FAST_QUOTIENT(there, s[j]));
            }
        } else {
            for (int j = 0; j < 2 * TILE; j++) u[j] = NAME(response)(p[j], s[j], power);
        }
        NAME(tile_gather)(tile, u, columns, at->t);
    }
}

/* Expected number of sweeps of Newton with conjugate gradients: per digit, the square root of the condition number
 * that makes Sinkhorn slow, at most the number of unknowns; and three sweeps for each step. */
static double NAME(newton_sweeps)(double rate, double digits, int columns) {
    double inner = 0.5 / sqrt(1 - rate) * 2.3;
    if (inner > columns) inner = columns;
    return digits * inner + 6;
}

/* Iterate until every item is done. scaling holds the first v of each item and receives its last one, from
 * before the student's update; sums receives its G^T u. Returns 0, or -1 without memory.
 *
 * Each plain update is extrapolated along the line from the previous one (see scaling.py).
 *
 * Newton, per item, on the logarithms of v: with column = v * (G^T u),
 *     (diag(column) - diag(v) G^T diag(bend) G diag(v)) x = q - column,      v <- v exp(x),
 * solved by conjugate gradients scaled by the diagonal, to a tenth or as far as the tolerance needs. A full step
 * that does not lower the error is undone and shortened by log(1 + s) / s, s its spread, which guarantees ascent
 * (see log_domain.py). */
static int NAME(scale)(const struct scale_arguments *job) {
    REAL *scaling = job->scaling, *violation = job->violation, *sums = job->sums;
    const int rows = job->rows, columns = job->columns, padded = (rows + TILE - 1) / TILE * TILE;
    const int64_t count = job->count;
    const REAL tol = (REAL)job->tol, power = (REAL)job->power;
    const size_t wide = (size_t)PAIR * columns, tall = (size_t)PAIR * padded;
    NAME(group) group, *at = &group;
    REAL *packed = NAME(scratch)((size_t)padded * columns);
    REAL *memory = NAME(scratch)(2 * tall + 9 * wide);
    if (!packed || !memory) {
        free(packed);
        free(memory);
        return -1;
    }
    REAL **parts[] = {&at->in, &at->t, &at->v, &at->q, &at->old, &at->column, &at->x, &at->r, &at->d};
    at->p = memory;
    at->bend = memory + tall;
    for (int part = 0; part < 9; part++) *parts[part] = memory + 2 * tall + part * wide;
    NAME(pack)(job->kernel, rows, columns, (REAL)1, packed);

    int lanes[PAIR], idle = 0;
    for (int lane = 0; lane < PAIR; lane++) lanes[lane] = lane;
    NAME(load)(at, lanes, PAIR, 0, job);
    int64_t next = count < PAIR ? count : PAIR;
    int busy = (int)next;
    for (int64_t tick = 1; busy; tick++) {
        INT solving[PAIR] __attribute__((aligned(64)));
        int special = 0, solves = 0;
        for (int lane = 0; lane < PAIR; lane++) {
            solving[lane] = -(at->phase[lane] == NAME(SOLVE));
            solves |= at->phase[lane] == NAME(SOLVE);
            special |= at->phase[lane] != NAME(PLAIN);
        }
        const IVEC *solve = (const IVEC *)solving;
        NAME(sweep)(at, packed, padded, columns, power, solve, special);

        /* Error of the lanes that iterate; curvature along the direction of those that solve. */
        REAL error[PAIR] __attribute__((aligned(64))), curve[PAIR] __attribute__((aligned(64)));
        VEC further[2];
        for (int half = 0; half < 2; half++) {
            VEC e = {0}, h = {0}, along = {0}, square = {0};
            for (int c = 0; c < columns; c++) {
                size_t o = c * PAIR + half * LANES;
                VEC *t = (VEC *)(at->t + o), *v = (VEC *)(at->v + o), *q = (VEC *)(at->q + o);
                VEC moved = *v * *t, left = *q - moved, *r = (VEC *)(at->r + o), change = left - *r;
                e += NAME(magnitude)(left);
                along += left * change;
                square += change * change;
                if (!solves) {
                    *r = left;
                } else {
                    *r = NAME(pick)(solve[half], *r, left);
                    VEC *d = (VEC *)(at->d + o), *column = (VEC *)(at->column + o);
                    VEC product = *column * *d - moved;
                    h += product * *d;
                    *t = NAME(pick)(solve[half], product, *t);
                }
            }
            ((VEC *)error)[half] = e;
            ((VEC *)curve)[half] = h;
            /* Extrapolation beyond the plain update: to the smallest residual on the line of the last two. */
            VEC b = NAME(pick)(square > (VEC){0}, -along / square, (VEC){0});
            b = NAME(pick)(b > (VEC){0}, b, (VEC){0});
            b = NAME(pick)(b > NAME(all)(4), NAME(all)(4), b);
            further[half] = NAME(pick)(e > at->last[half], (VEC){0}, b);
            at->last[half] = e;
        }

        /* In most sweeps no item converges: then every lane only takes its update. */
        if (!special && tick % 4) {
            INT ends = 0;
            for (int lane = 0; lane < PAIR; lane++) {
                INT on = (INT)(error[lane] > tol) & (INT)(error[lane] < (REAL)INFINITY) &
                         (INT)(at->sweeps[lane] + 1 < job->max_iterations);
                ends |= (INT)(at->item[lane] >= 0) & ~on;
            }
            if (!ends) {
                for (int lane = 0; lane < PAIR; lane++) at->sweeps[lane]++;
                for (size_t o = 0; o < wide; o += LANES) {
                    VEC *before = (VEC *)(at->old + o);
                    VEC now = FAST_QUOTIENT(*(VEC *)(at->q + o), *(VEC *)(at->t + o));
                    *(VEC *)(at->v + o) = NAME(ahead)(now, *before, further[o / LANES & 1]);
                    *before = now;
                }
                continue;
            }
        }

        /* Next step of each lane. */
        INT update[PAIR] __attribute__((aligned(64))), begin[PAIR] __attribute__((aligned(64)));
        INT advance[PAIR] __attribute__((aligned(64))), jump[PAIR] __attribute__((aligned(64)));
        INT plain[PAIR] __attribute__((aligned(64)));
        REAL alpha[PAIR] __attribute__((aligned(64)));
        int begins = 0;
        memset(advance, 0, sizeof advance);
        memset(jump, 0, sizeof jump);
        memset(begin, 0, sizeof begin);
        for (int lane = 0; lane < PAIR; lane++) {
            update[lane] = 0;
            alpha[lane] = 0;
            plain[lane] = -(at->phase[lane] == NAME(PLAIN));
            if (at->item[lane] < 0) continue;
            int n = ++at->sweeps[lane];
            if (at->phase[lane] == NAME(SOLVE)) {
                int sound = curve[lane] > 0 && curve[lane] < (REAL)INFINITY;
                if (sound) alpha[lane] = at->energy[lane] / curve[lane];
                if (!sound) at->inner[lane] = 0;
                advance[lane] = -1;
                continue;
            }
            REAL now = error[lane];
            int finite = now < (REAL)INFINITY; /* false for NaN */
            if (at->phase[lane] == NAME(TRIAL) && !(now <= at->error[lane]) && !at->damped[lane]) {
                at->damped[lane] = 1;
                jump[lane] = -1;
                continue;
            }
            int leave = !(now > tol) || n >= job->max_iterations || at->rounds[lane] > job->max_rounds;
            if (!leave) {
                at->error[lane] = now;
                update[lane] = -1;
                if (at->phase[lane] == NAME(TRIAL)) {
                    at->phase[lane] = NAME(POINT);
                } else if (at->phase[lane] == NAME(POINT)) {
                    update[lane] = 0;
                    begin[lane] = -1;
                    begins = 1;
                } else if (job->max_rounds && tick % 4 == 0) {
                    double rate = now < at->before[lane] ? sqrt(sqrt((double)now / (double)at->before[lane])) : 1 - 1e-6;
                    double digits = log10((double)now / (double)tol);
                    if (n >= 12 && digits * 2.303 / -log(rate) > 1.5 * NAME(newton_sweeps)(rate, digits, columns))
                        at->phase[lane] = NAME(POINT);
                    at->before[lane] = now;
                }
                continue;
            }
            int64_t out = at->item[lane];
            for (int c = 0; c < columns; c++) {
                scaling[out * columns + c] = at->v[c * PAIR + lane];
                sums[out * columns + c] = at->t[c * PAIR + lane];
            }
            violation[out] = finite ? now : (REAL)INFINITY;
            job->iterations[out] = n;
            at->item[lane] = -1;
            at->phase[lane] = NAME(PLAIN);
            lanes[idle++] = lane;
            busy--;
        }

        for (int half = 0; half < 2; half++) {
            IVEC mask = ((IVEC *)update)[half];
            VEC b = NAME(pick)(((IVEC *)plain)[half], further[half], (VEC){0});
            for (int c = 0; c < columns; c++) {
                size_t o = c * PAIR + half * LANES;
                VEC *v = (VEC *)(at->v + o), *before = (VEC *)(at->old + o);
                VEC now = FAST_QUOTIENT(*(VEC *)(at->q + o), *(VEC *)(at->t + o));
                *v = NAME(pick)(mask, NAME(ahead)(now, *before, b), *v);
                *before = NAME(pick)(mask, now, *before);
                *(VEC *)(at->in + o) = NAME(pick)(solve[half], *(VEC *)(at->in + o), *v);
            }
        }
        if (begins) {
            REAL energy[PAIR] __attribute__((aligned(64)));
            for (int half = 0; half < 2; half++) {
                IVEC mask = ((IVEC *)begin)[half];
                VEC sum = {0};
                for (int c = 0; c < columns; c++) {
                    size_t o = c * PAIR + half * LANES;
                    VEC *t = (VEC *)(at->t + o), *v = (VEC *)(at->v + o), *q = (VEC *)(at->q + o);
                    VEC column = *v * *t, r = *q - column;
                    VEC z = NAME(pick)(column > (VEC){0}, r / column, (VEC){0});
                    sum += r * z;
                    *(VEC *)(at->column + o) = NAME(pick)(mask, column, *(VEC *)(at->column + o));
                    *(VEC *)(at->r + o) = NAME(pick)(mask, r, *(VEC *)(at->r + o));
                    *(VEC *)(at->x + o) = NAME(pick)(mask, (VEC){0}, *(VEC *)(at->x + o));
                    *(VEC *)(at->d + o) = NAME(pick)(mask, z, *(VEC *)(at->d + o));
                    *(VEC *)(at->old + o) = NAME(pick)(mask, *v, *(VEC *)(at->old + o));
                    *(VEC *)(at->in + o) = NAME(pick)(mask, *v * z, *(VEC *)(at->in + o));
                }
                ((VEC *)energy)[half] = sum;
            }
            for (int lane = 0; lane < PAIR; lane++) {
                if (!begin[lane]) continue;
                REAL wanted = (REAL)0.3 * tol / at->error[lane];
                if (wanted < (REAL)0.03) wanted = (REAL)0.03;
                at->phase[lane] = NAME(SOLVE);
                at->energy[lane] = energy[lane];
                at->enough[lane] = wanted * wanted * energy[lane];
                at->inner[lane] = columns + 10 < 80 ? columns + 10 : 80;
                at->damped[lane] = 0;
                at->rounds[lane]++;
            }
        }
        if (solves) {
            REAL energy[PAIR] __attribute__((aligned(64))), beta[PAIR] __attribute__((aligned(64)));
            REAL reach[PAIR] __attribute__((aligned(64)));
            for (int half = 0; half < 2; half++) {
                VEC sum = {0}, far = {0}, step = ((VEC *)alpha)[half];
                for (int c = 0; c < columns; c++) {
                    size_t o = c * PAIR + half * LANES;
                    VEC *r = (VEC *)(at->r + o), *x = (VEC *)(at->x + o), *d = (VEC *)(at->d + o);
                    VEC column = *(VEC *)(at->column + o);
                    *x = NAME(pick)(solve[half], *x + step * *d, *x);
                    *r = NAME(pick)(solve[half], *r - step * *(VEC *)(at->t + o), *r);
                    sum += NAME(pick)(column > (VEC){0}, *r * *r / column, (VEC){0});
                    VEC size = NAME(magnitude)(*x);
                    far = NAME(pick)(size > far, size, far);
                }
                ((VEC *)energy)[half] = sum;
                ((VEC *)reach)[half] = far;
            }
            for (int lane = 0; lane < PAIR; lane++) {
                beta[lane] = 0;
                if (!advance[lane]) continue;
                /* Above about 10 eps the quadratic model is not valid: more digits have no use. */
                if (at->inner[lane]-- <= 0 || !(energy[lane] > at->enough[lane]) || reach[lane] > 10) {
                    jump[lane] = -1;
                } else {
                    beta[lane] = energy[lane] / at->energy[lane];
                    at->energy[lane] = energy[lane];
                }
            }
            for (int half = 0; half < 2; half++)
                for (int c = 0; c < columns; c++) {
                    size_t o = c * PAIR + half * LANES;
                    VEC *d = (VEC *)(at->d + o);
                    VEC column = *(VEC *)(at->column + o);
                    VEC z = NAME(pick)(column > (VEC){0}, *(VEC *)(at->r + o) / column, (VEC){0});
                    *d = NAME(pick)(solve[half], z + ((VEC *)beta)[half] * *d, *d);
                    *(VEC *)(at->in + o) =
                        NAME(pick)(solve[half], *(VEC *)(at->v + o) * *d, *(VEC *)(at->in + o));
                }
        }
        for (int lane = 0; lane < PAIR; lane++) {
            if (!jump[lane]) continue;
            REAL low = (REAL)INFINITY, high = -(REAL)INFINITY;
            for (int c = 0; c < columns; c++) {
                if (!(at->column[c * PAIR + lane] > 0)) continue;
                REAL x = at->x[c * PAIR + lane];
                if (x < low) low = x;
                if (x > high) high = x;
            }
            REAL spread = high - low, factor = 1;
            if (at->damped[lane] && spread > (REAL)1e-6) factor = (REAL)(log1p(spread) / spread);
            if (spread * factor > 40) factor = 40 / spread;
            /* When balanced, a constant in x does not change the plan; removing it keeps the numbers in range. */
            REAL middle = power == 1 ? (low + high) / 2 : 0;
            for (int c = 0; c < columns; c++) {
                size_t o = (size_t)c * PAIR + lane;
                at->v[o] = at->in[o] = at->old[o] * (REAL)exp((double)(factor * (at->x[o] - middle)));
            }
            at->phase[lane] = NAME(TRIAL);
        }
        /* A few lanes at a time: loading one lane costs as much as loading four. */
        if (next < count && (idle >= REFILL || !busy)) {
            int many = count - next < idle ? (int)(count - next) : idle;
            NAME(load)(at, lanes, many, next, job);
            next += many;
            busy += many;
            idle = 0;
        }
    }
    free(packed);
    free(memory);
    return 0;
}

/* Potentials f and g, plus the shifts, <P, C> and sum_k p_k f_k + sum_c q_c g_c of each item: the plan of the last
 * teacher update u = p / (G v)^power and of the student update q / sums that follows it. */
static int NAME(finish)(const struct finish_arguments *job) {
    const REAL *predictions = job->predictions, *targets = job->targets, *scaling = job->scaling, *sums = job->sums;
    const int rows = job->rows, columns = job->columns, padded = (rows + TILE - 1) / TILE * TILE;
    const int64_t count = job->count;
    const REAL power = (REAL)job->power, eps = (REAL)job->eps;
    const size_t wide = (size_t)PAIR * columns, tall = job->f ? (size_t)PAIR * padded : 0;
    REAL *memory = NAME(scratch)(2 * (size_t)padded * columns + PAIR * BLOCK + tall + 4 * wide + padded);
    if (!memory) return -1;
    REAL *packed = memory, *priced = packed + (size_t)padded * columns;
    REAL *p = priced + (size_t)padded * columns, *f = p + PAIR * BLOCK;
    REAL *v = f + tall, *q = v + wide, *g = q + wide, *renewed = g + wide, *row_shift = renewed + wide;
    memcpy(row_shift, job->row_shift, rows * sizeof(REAL));
    NAME(pack)(job->kernel, rows, columns, (REAL)1, packed);
    NAME(pack)(job->priced_kernel, rows, columns, (REAL)0, priced);
    for (int64_t first = 0; first < count; first += PAIR) {
        int live = count - first < PAIR ? (int)(count - first) : PAIR;
        const REAL *from[4][PAIR];
        for (int lane = 0; lane < PAIR; lane++) {
            int64_t source = first + (lane < live ? lane : live - 1);
            from[0][lane] = predictions + source * rows;
            from[1][lane] = targets + source * columns;
            from[2][lane] = scaling + source * columns;
            from[3][lane] = sums + source * columns;
        }
        NAME(interleave_all)(q, 0, columns, from[1]);
        NAME(interleave_all)(v, 0, columns, from[2]);
        NAME(interleave_all)(g, 0, columns, from[3]);
        VEC s[2 * TILE], paid[2 * TILE], dual[2] = {{0}, {0}}, value[2] = {{0}, {0}};
        for (int c = 0; c < columns; c++) {
            VEC shift = NAME(all)(((const REAL *)job->column_shift)[c]);
            for (int half = 0; half < 2; half++) {
                size_t o = c * PAIR + half * LANES;
                VEC *there = (VEC *)(g + o), want = *(VEC *)(q + o);
                *(VEC *)(renewed + o) = want / *there;
                *there = shift - eps * NAME(logarithm)(*there);
                dual[half] += want * *there;
            }
        }
        for (int k = 0; k < padded; k += TILE) {
            const int block = k % BLOCK;
            if (!block) {
                /* A block of predictions stays in the nearest cache; padding rows have no mass. */
                int live_rows = rows - k < BLOCK ? rows - k : BLOCK;
                if (live_rows < BLOCK) memset(p, 0, sizeof(REAL) * PAIR * BLOCK);
                NAME(interleave_all)(p, k, live_rows, from[0]);
            }
            NAME(tile_sums)(packed + (size_t)k * columns, v, columns, s);
            NAME(tile_sums)(priced + (size_t)k * columns, renewed, columns, paid);
            for (int j = 0; j < 2 * TILE; j++) {
                VEC mass = ((VEC *)(p + (size_t)block * PAIR))[j];
                VEC price = NAME(all)(row_shift[k + j / 2]) - power * eps * NAME(logarithm)(s[j]);
                value[j & 1] += NAME(response)(mass, s[j], power) * paid[j];
                dual[j & 1] += mass * price;
                if (job->f) ((VEC *)(f + (size_t)k * PAIR))[j] = price;
            }
        }
        for (int lane = 0; lane < live; lane++) {
            int64_t out = first + lane;
            ((REAL *)job->value)[out] = ((REAL *)value)[lane];
            ((REAL *)job->dual)[out] = ((REAL *)dual)[lane];
            REAL *row = (REAL *)job->g + out * columns;
            for (int c = 0; c < columns; c++) row[c] = g[c * PAIR + lane];
        }
        for (int block = 0; job->f && block < rows; block += 16)
            for (int lane = 0; lane < live; lane++) {
                REAL *row = (REAL *)job->f + (first + lane) * rows;
                for (int k = block; k < rows && k < block + 16; k++) row[k] = f[(size_t)k * PAIR + lane];
            }
    }
    free(memory);
    return 0;
}

#undef LANES
#undef PAIR
#undef REFILL
#undef BLOCK
#undef ANY
#undef VEC
#undef IVEC
#undef REAL
#undef INT
#undef VECTOR_BYTES
#undef TILE
#undef NAME
#undef FAST_QUOTIENT
