/* Damped Newton on the student's potentials of one item, in double: the cure for items on which Sinkhorn is slow.
 *
 * A template like lanes.h, included once per instruction set with VECTOR_BYTES and NAME(x). With v = q exp(g/eps)
 * and w_k the row k of G v normalised to sum 1, m_k its mass and D the student marginal of the plan,
 *
 *     (D - power sum_k m_k w_k w_k^T) x = q - D 1,      g <- g + eps t x,      t = log(1 + d) / d,
 *
 * with d the spread of x. The factor t guarantees ascent of the concave semi-dual (see log_domain.py).
 */

#define LANES ((int)(VECTOR_BYTES / sizeof(double)))
#define WIDE (2 * LANES)
#define ROWS_AT_ONCE 128

typedef double NAME(dvec) __attribute__((vector_size(VECTOR_BYTES)));
#define VEC NAME(dvec)

static inline double NAME(sum)(VEC x) {
    double total = 0;
    for (int i = 0; i < LANES; i++) total += x[i];
    return total;
}

/* upper triangle of M -= W^T W for `count` rows W of `width` numbers. */
static void NAME(subtract_outer)(double *restrict matrix, const double *restrict rows, int count, int width) {
    for (int i = 0; i < width; i += 4)
        for (int j = i / WIDE * WIDE; j < width; j += WIDE) {
            VEC sum[8];
            for (int n = 0; n < 8; n++) sum[n] = (VEC){0};
            for (int k = 0; k < count; k++) {
                const double *row = rows + (size_t)k * width;
                VEC right0 = *(const VEC *)(row + j), right1 = *(const VEC *)(row + j + LANES);
#pragma GCC unroll 4
                for (int n = 0; n < 4; n++) {
                    VEC left = row[i + n] - (VEC){0};
                    sum[2 * n] += left * right0;
                    sum[2 * n + 1] += left * right1;
                }
            }
            for (int n = 0; n < 4; n++) {
                VEC *out = (VEC *)(matrix + (size_t)(i + n) * width + j);
                out[0] -= sum[2 * n];
                out[1] -= sum[2 * n + 1];
            }
        }
}

/* x <- M^-1 x by Cholesky on the upper triangle of M, which is overwritten. */
static void NAME(solve)(double *restrict matrix, double *restrict x, int size, int width) {
    for (int j = 0; j < size; j++) {
        double *row = matrix + (size_t)j * width;
        /* Rounding can take the last pivots of a nearly disconnected plan to zero. */
        double pivot = sqrt(row[j] > 1e-13 ? row[j] : 1e-13);
        for (int c = j; c < size; c++) row[c] /= pivot;
        for (int i = j + 1; i < size; i++) {
            double factor = row[i];
            double *below = matrix + (size_t)i * width;
            for (int c = i / LANES * LANES; c < width; c += LANES)
                *(VEC *)(below + c) -= factor * *(const VEC *)(row + c);
        }
        x[j] /= pivot;
        for (int i = j + 1; i < size; i++) x[i] -= row[i] * x[j];
    }
    for (int j = size - 1; j >= 0; j--) {
        const double *row = matrix + (size_t)j * width;
        double rest = x[j];
        for (int c = j + 1; c < size; c++) rest -= row[c] * x[c];
        x[j] = rest / row[j];
    }
}

static int NAME(newton)(const struct newton_arguments *job) {
    const int rows = job->rows, columns = job->columns, width = (columns + WIDE - 1) / WIDE * WIDE;
    const double power = job->power;
    double *memory = NULL;
    size_t need = (size_t)rows * width + (size_t)width * width + (size_t)ROWS_AT_ONCE * width + 5 * (size_t)width +
                  2 * (size_t)rows;
    if (posix_memalign((void **)&memory, 64, need * sizeof(double))) return -1;
    double *kernel = memory, *matrix = kernel + (size_t)rows * width, *some = matrix + (size_t)width * width;
    double *v = some + (size_t)ROWS_AT_ONCE * width, *column = v + width, *x = column + width, *root = x + width;
    double *inverse = root + width, *sums = inverse + width, *mass = sums + rows;
    memset(kernel, 0, (size_t)rows * width * sizeof(double));
    for (int k = 0; k < rows; k++)
        memcpy(kernel + (size_t)k * width, job->kernel + (size_t)k * columns, columns * sizeof(double));

    for (int64_t item = 0; item < job->count; item++) {
        const double *p = job->predictions + item * rows, *q = job->targets + item * columns;
        double *scaling = job->scaling + item * columns;
        double error = INFINITY, last = INFINITY, dropped = 1e-2;
        int step = 0;
        memset(v, 0, width * sizeof(double));
        memcpy(v, scaling, columns * sizeof(double));
        for (;; step++) {
            memset(column, 0, width * sizeof(double));
            for (int k = 0; k < rows; k++) {
                if (!(p[k] > 0)) continue;
                const double *g = kernel + (size_t)k * width;
                VEC s0 = {0}, s1 = {0};
                for (int c = 0; c < width; c += WIDE) {
                    s0 += *(const VEC *)(g + c) * *(const VEC *)(v + c);
                    s1 += *(const VEC *)(g + c + LANES) * *(const VEC *)(v + c + LANES);
                }
                double s = NAME(sum)(s0 + s1);
                sums[k] = s;
                mass[k] = power == 1 ? p[k] : p[k] * pow(s, 1 - power);
                double u = mass[k] / s;
                for (int c = 0; c < width; c += LANES) *(VEC *)(column + c) += u * *(const VEC *)(g + c);
            }
            error = 0;
            for (int c = 0; c < width; c += LANES) *(VEC *)(column + c) *= *(VEC *)(v + c);
            for (int c = 0; c < columns; c++) error += fabs(q[c] - column[c]);
            if (!(error < INFINITY)) {
                error = INFINITY;
                break;
            }
            if (error <= job->tol || step == job->max_steps) break;
            /* Rows of little mass enter the diagonal alone: that only shortens the step. Less is left out where
             * progress says that they matter. */
            if (step > 0 && error > 0.3 * last) dropped *= 0.1;
            last = error;

            memset(matrix, 0, (size_t)width * width * sizeof(double));
            double norm = 0;
            for (int c = 0; c < width; c++) {
                int live = c < columns && q[c] > 0 && column[c] > 0;
                root[c] = live ? sqrt(column[c]) : 0;
                inverse[c] = live ? v[c] / root[c] : 0; /* turns a row of the kernel into D^-1/2 (G v) */
                norm += root[c] * root[c];
                x[c] = live ? (q[c] - column[c]) / root[c] : 0;
            }
            for (int i = 0; i < columns; i++) {
                double *row = matrix + (size_t)i * width;
                if (power == 1)
                    for (int c = i; c < columns; c++) row[c] = root[i] * root[c] / norm;
                row[i] += 1;
            }
            int filled = 0;
            for (int k = 0; k < rows; k++) {
                if (p[k] > 0 && mass[k] * rows > dropped) {
                    const double *g = kernel + (size_t)k * width;
                    double *row = some + (size_t)filled++ * width;
                    double scale = sqrt(power * mass[k]) / sums[k];
                    for (int c = 0; c < width; c += LANES)
                        *(VEC *)(row + c) = scale * *(const VEC *)(g + c) * *(const VEC *)(inverse + c);
                }
                if (filled == ROWS_AT_ONCE || (k + 1 == rows && filled)) {
                    NAME(subtract_outer)(matrix, some, filled, width);
                    filled = 0;
                }
            }
            NAME(solve)(matrix, x, columns, width);
            double low = INFINITY, high = -INFINITY;
            for (int c = 0; c < columns; c++) {
                if (root[c] == 0) continue;
                x[c] /= root[c];
                if (x[c] < low) low = x[c];
                if (x[c] > high) high = x[c];
            }
            double spread = high - low, factor = spread > 1e-9 ? log1p(spread) / spread : 1;
            for (int c = 0; c < columns; c++)
                if (root[c] > 0) v[c] *= exp(factor * x[c]);
        }
        memcpy(scaling, v, columns * sizeof(double));
        job->violation[item] = error;
        job->steps[item] = step;
    }
    free(memory);
    return 0;
}

#undef LANES
#undef WIDE
#undef ROWS_AT_ONCE
#undef VEC
#undef VECTOR_BYTES
#undef NAME
