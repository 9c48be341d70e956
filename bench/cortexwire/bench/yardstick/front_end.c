/* The least work of a front end, as fast as C does it: the yardstick of the fused one.
 *
 * int16 samples, time first, pass through a band-pass of four biquads (transposed direct form II, float32); crossings
 * of a negative threshold are counted with a refractory time, and squares are summed, per bin. There is no reference,
 * and nothing looks for artefacts, rails or dead channels. While the samples of a packet pass, the whole state of a
 * strip of neighbouring channels stays in vector registers. The scale is folded into thresholds and power, the first
 * section's zeros are taken of raw values, the others' numerators are (1, 0, -1). No flag like -ffast-math is needed.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define WIDTH 16
#elif defined(__AVX__)
#include <immintrin.h>
#define WIDTH 8
#else
#define WIDTH 4
#endif
#ifndef VECTORS
#define VECTORS 2 /* A strip's: while one waits for its last result, another is computed. */
#endif
#define LANES (WIDTH * VECTORS)
#define SECTIONS 4
#ifndef STRIPS_AHEAD
#define STRIPS_AHEAD 2 /* Steps from sample to sample are too long for the processor to fetch ahead by itself. */
#endif
#define EACH(i, n) _Pragma("GCC unroll 8") for (int i = 0; i < (n); i++)
#define TAIL 64 /* Samples that are widened at once where channels do not fill the last strip. */

typedef float floats __attribute__((vector_size(4 * WIDTH)));
typedef int32_t ints __attribute__((vector_size(4 * WIDTH)));
typedef int16_t shorts __attribute__((vector_size(2 * WIDTH)));

typedef struct {
    floats memory[VECTORS][SECTIONS][2];
    floats power[VECTORS], threshold[VECTORS];
    ints last[VECTORS], before[VECTORS];
    uint32_t beyond[VECTORS];
    int32_t until[LANES], counts[LANES];
} strip;

typedef struct {
    int32_t n_channels, n_strips, bin_samples, refractory, in_bin, started;
    float scale, minus_a1[SECTIONS], minus_a2[SECTIONS];
    strip *strips;
} front_end;

void front_end_free(front_end *self)
{
    if (self)
        free(self->strips);
    free(self);
}

/* `a`: a1 and a2 of each section; `scale`: units per bit times the filter's gain; thresholds: in those units. */
front_end *front_end_make(int32_t n_channels, int32_t bin_samples, int32_t refractory, float scale, const float *a,
                          const float *thresholds)
{
    front_end *self = calloc(1, sizeof *self);
    if (!self)
        return NULL;
    self->n_channels = n_channels;
    self->n_strips = (n_channels + LANES - 1) / LANES;
    self->bin_samples = bin_samples;
    self->refractory = refractory;
    self->scale = scale;
    for (int k = 0; k < SECTIONS; k++) {
        self->minus_a1[k] = -a[2 * k];
        self->minus_a2[k] = -a[2 * k + 1];
    }
    size_t size = (self->n_strips * sizeof(strip) + 63) / 64 * 64;
    self->strips = aligned_alloc(64, size);
    if (!self->strips) {
        free(self);
        return NULL;
    }
    memset(self->strips, 0, size);
    for (int c = 0; c < self->n_strips * LANES; c++)
        self->strips[c / LANES].threshold[c % LANES / WIDTH][c % WIDTH] =
            c < n_channels ? thresholds[c] / scale : -__builtin_inff();
    return self;
}

static inline ints raw_at(const int16_t *at)
{
#if defined(__AVX512F__)
    return (ints)_mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i *)at));
#else
    shorts values;
    memcpy(&values, at, sizeof values);
    return __builtin_convertvector(values, ints);
#endif
}

/* One bit a lane where `y` is at or below `level`. */
static inline uint32_t reached(floats y, floats level)
{
#if defined(__AVX512F__)
    return _mm512_cmp_ps_mask((__m512)y, (__m512)level, _CMP_LE_OQ);
#elif defined(__AVX__)
    return _mm256_movemask_ps(_mm256_cmp_ps((__m256)y, (__m256)level, _CMP_LE_OQ));
#else
    ints mask = y <= level;
    uint32_t bits = 0;
    for (int i = 0; i < WIDTH; i++)
        bits |= (uint32_t)(mask[i] & 1) << i;
    return bits;
#endif
}

static void __attribute__((noinline, cold)) count(strip *s, uint32_t fresh, int first, int32_t sample, int32_t refractory)
{
    for (; fresh; fresh &= fresh - 1) {
        int c = first + __builtin_ctz(fresh);
        if (s->until[c] <= sample) {
            s->counts[c]++;
            s->until[c] = sample + refractory;
        }
    }
}

/* Passes `n` samples through a strip; the copy of its vectors is what the compiler keeps in registers. */
static void run(const front_end *self, strip *s, const int16_t *raw, size_t stride, int32_t first, int32_t n)
{
    floats a1[SECTIONS], a2[SECTIONS], one[VECTORS][SECTIONS], two[VECTORS][SECTIONS];
    floats power[VECTORS], threshold[VECTORS];
    ints last[VECTORS], before[VECTORS];
    uint32_t beyond = 0;
    EACH(k, SECTIONS)
        a1[k] = self->minus_a1[k] - (floats){0}, a2[k] = self->minus_a2[k] - (floats){0};
    EACH(v, VECTORS) {
        EACH(k, SECTIONS)
            one[v][k] = s->memory[v][k][0], two[v][k] = s->memory[v][k][1];
        power[v] = s->power[v];
        threshold[v] = s->threshold[v];
        last[v] = s->last[v];
        before[v] = s->before[v];
        beyond |= s->beyond[v];
    }
    for (int32_t i = 0; i < n; i++, raw += stride) {
        uint32_t now[VECTORS], some = beyond;
        __builtin_prefetch(raw + STRIPS_AHEAD * LANES);
        EACH(v, VECTORS) {
            ints x = raw_at(raw + v * WIDTH);
            floats y = __builtin_convertvector(x - before[v], floats);
            before[v] = last[v];
            last[v] = x;
            EACH(k, SECTIONS) {
                floats in = y;
                y = in + one[v][k];
                one[v][k] = a1[k] * y + two[v][k];
                two[v][k] = k ? a2[k] * y - in : a2[k] * y;
            }
            power[v] += y * y;
            now[v] = reached(y, threshold[v]);
            some |= now[v];
        }
        if (__builtin_expect(some, 0)) {
            beyond = 0;
            EACH(v, VECTORS) {
                count(s, now[v] & ~s->beyond[v], v * WIDTH, first + i, self->refractory);
                beyond |= s->beyond[v] = now[v];
            }
        }
    }
    EACH(v, VECTORS) {
        EACH(k, SECTIONS)
            s->memory[v][k][0] = one[v][k], s->memory[v][k][1] = two[v][k];
        s->power[v] = power[v];
        s->last[v] = last[v];
        s->before[v] = before[v];
    }
}

/* Samples of the last strip where channels do not fill it, with zeros behind them. */
static void run_tail(const front_end *self, strip *s, const int16_t *raw, int32_t first, int32_t n)
{
    int16_t wide[TAIL * LANES] = {0};
    int width = self->n_channels % LANES;
    for (int32_t done = 0; done < n; done += TAIL) {
        int32_t m = n - done < TAIL ? n - done : TAIL;
        for (int32_t i = 0; i < m; i++)
            memcpy(wide + i * LANES, raw + (size_t)(done + i) * self->n_channels, 2 * width);
        run(self, s, wide, LANES, first + done, m);
    }
}

static void begin(front_end *self, const int16_t *raw)
{
    for (int32_t c = 0; c < self->n_channels; c++) {
        strip *s = self->strips + c / LANES;
        s->last[c % LANES / WIDTH][c % WIDTH] = s->before[c % LANES / WIDTH][c % WIDTH] = raw[c];
    }
    self->started = 1;
}

static void close_bin(front_end *self, int32_t *counts, float *power)
{
    float unit = self->scale * self->scale / self->bin_samples;
    for (int32_t j = 0; j < self->n_strips; j++) {
        strip *s = self->strips + j;
        int first = j * LANES, width = self->n_channels - first < LANES ? self->n_channels - first : LANES;
        for (int c = 0; c < width; c++)
            power[first + c] = s->power[c / WIDTH][c % WIDTH] * unit;
        memcpy(counts + first, s->counts, 4 * width);
        memset(s->counts, 0, sizeof s->counts);
        memset(s->power, 0, sizeof s->power);
        for (int c = 0; c < LANES; c++)
            s->until[c] -= self->bin_samples;
    }
    self->in_bin = 0;
}

/* Takes `n` samples of all channels, and writes a row of counts and of mean squares for each bin that they complete;
 * returns how many. A stream starts at the steady state of its first sample. */
int32_t front_end_push(front_end *self, const int16_t *raw, int32_t n, int32_t *counts, float *power)
{
    int32_t closed = 0, whole = self->n_channels / LANES;
    if (n > 0 && !self->started)
        begin(self, raw);
    while (n > 0) {
        int32_t m = self->bin_samples - self->in_bin < n ? self->bin_samples - self->in_bin : n;
        for (int32_t j = 0; j < whole; j++)
            run(self, self->strips + j, raw + j * LANES, self->n_channels, self->in_bin, m);
        if (whole < self->n_strips)
            run_tail(self, self->strips + whole, raw + whole * LANES, self->in_bin, m);
        self->in_bin += m;
        raw += (size_t)m * self->n_channels;
        n -= m;
        if (self->in_bin == self->bin_samples) {
            close_bin(self, counts + (size_t)closed * self->n_channels, power + (size_t)closed * self->n_channels);
            closed++;
        }
    }
    return closed;
}
