/* Passes over a zoo: costs of a vocabulary to a student, and bounds of every teacher from them.
 *
 * A template like lanes.h, single precision only: VECTOR_BYTES, TILE, NAME(x). A table row has the data of one
 * vocabulary row: S costs, the similarity to the student's mean, the nearest cost, and padding up to a multiple of
 * two vectors.
 */

#define LANES ((int)(VECTOR_BYTES / sizeof(float)))
#define WIDE (2 * LANES)

typedef float NAME(zvec) __attribute__((vector_size(VECTOR_BYTES)));
#define VEC NAME(zvec)
/* Rows of the caller's arrays need not be aligned to vectors. */
typedef float NAME(zany) __attribute__((vector_size(VECTOR_BYTES), aligned(4)));

static inline VEC NAME(least)(VEC a, VEC b) {
    typedef int32_t ints __attribute__((vector_size(VECTOR_BYTES)));
    ints mask = a < b;
    return (VEC)(((ints)a & mask) | ((ints)b & ~mask));
}

/* table = vocabulary . student^T, then costs and minima; student is packed [dimension][width]. */
static int NAME(project)(const struct project_arguments *job) {
    const int dimension = job->dimension, width = job->width, labels = job->labels;
    for (int64_t row = 0; row < job->rows; row += TILE) {
        int live = job->rows - row < TILE ? (int)(job->rows - row) : TILE;
        const float *in[TILE];
        for (int j = 0; j < TILE; j++) in[j] = job->vocabulary + (row + (j < live ? j : live - 1)) * dimension;
        for (int c = 0; c < width; c += WIDE) {
            VEC sum[2 * TILE];
            for (int j = 0; j < 2 * TILE; j++) sum[j] = (VEC){0};
            for (int i = 0; i < dimension; i++) {
                const float *student = job->student + (size_t)i * width + c;
                VEC s0 = *(const NAME(zany) *)student, s1 = *(const NAME(zany) *)(student + LANES);
#pragma GCC unroll 16
                for (int j = 0; j < TILE; j++) {
                    VEC x = in[j][i] - (VEC){0};
                    sum[2 * j] += x * s0;
                    sum[2 * j + 1] += x * s1;
                }
            }
            for (int j = 0; j < live; j++) {
                NAME(zany) *out = (NAME(zany) *)(job->table + (row + j) * width + c);
                out[0] = sum[2 * j];
                out[1] = sum[2 * j + 1];
            }
        }
        for (int j = 0; j < live; j++) {
            float *out = job->table + (row + j) * width, nearest = INFINITY;
            for (int c = 0; c < labels; c++) {
                out[c] = 1 - out[c] > 0 ? 1 - out[c] : 0;
                nearest = out[c] < nearest ? out[c] : nearest;
            }
            out[labels + 1] = nearest;
        }
    }
    return 0;
}

/* Per teacher: prior-weighted column minima, prior-weighted likeness and nearest cost. */
static int NAME(bound)(const struct bound_arguments *job) {
    const int width = job->width, labels = job->labels;
    for (int64_t m = 0; m < job->teachers; m++) {
        const int32_t *members = job->members + job->starts[m];
        const float *weights = job->weights + job->starts[m];
        const int64_t count = job->counts[m];
        double likeness = 0, nearest = 0, coverage = 0;
        for (int64_t n = 0; n < count; n++) {
            const float *row = job->table + (size_t)members[n] * width;
            likeness += weights[n] * row[labels];
            nearest += weights[n] * row[labels + 1];
        }
        for (int c = 0; c < labels; c += WIDE) {
            VEC low0 = 1e30f - (VEC){0}, low1 = low0;
            for (int64_t n = 0; n < count; n++) {
                const NAME(zany) *row = (const NAME(zany) *)(job->table + (size_t)members[n] * width + c);
                low0 = NAME(least)(low0, row[0]);
                low1 = NAME(least)(low1, row[1]);
            }
            for (int i = 0; i < WIDE && c + i < labels; i++)
                coverage += job->prior[c + i] * (double)(i < LANES ? low0[i] : low1[i - LANES]);
        }
        job->coverage[m] = coverage;
        job->likeness[m] = likeness;
        job->nearest[m] = nearest;
    }
    return 0;
}

/* reduced[v] = min_c (table[v][c] - g[c]); g is padded with very negative numbers up to the width. */
static int NAME(reduce)(const struct reduce_arguments *job) {
    const int width = job->width;
    for (int64_t row = 0; row < job->rows; row++) {
        VEC low = 1e30f - (VEC){0};
        for (int c = 0; c < width; c += LANES)
            low = NAME(least)(low, *(const NAME(zany) *)(job->table + row * width + c) - *(const NAME(zany) *)(job->g + c));
        float least = low[0];
        for (int i = 1; i < LANES; i++) least = low[i] < least ? low[i] : least;
        job->reduced[row] = least;
    }
    for (int64_t m = 0; m < job->teachers; m++) {
        const int32_t *members = job->members + job->starts[m];
        const float *weights = job->weights + job->starts[m];
        double sum = 0;
        for (int64_t n = 0; n < job->counts[m]; n++) sum += weights[n] * job->reduced[members[n]];
        job->sums[m] = sum;
    }
    return 0;
}

#undef LANES
#undef WIDE
#undef VEC
#undef VECTOR_BYTES
#undef TILE
#undef NAME
