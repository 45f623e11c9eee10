// Fourier transforms of many columns side by side, for the products of a template with all patches
// of an image at once. Float32: they only propose positions, and joins/slide.hpp says how far off
// they may be.
//
// A column of n complex numbers has `columns` neighbours in the lanes of a register: number k of
// all is the real parts at 16 k and the imaginary parts at 16 k + 8. n is a power of two, 4 at
// least.
#pragma once
#include <cstddef>
#include <cstdint>

namespace clusterimg::CLUSTERIMG_ISA {

using Lanes = float __attribute__((vector_size(32)));

struct Complexes {
  Lanes re, im;
};

static inline __attribute__((always_inline)) Complexes load_complex(const float* p) {
  Complexes z;
  __builtin_memcpy(&z.re, p, sizeof z.re);
  __builtin_memcpy(&z.im, p + 8, sizeof z.im);
  return z;
}

static inline __attribute__((always_inline)) void store_complex(float* p, const Complexes& z) {
  __builtin_memcpy(p, &z.re, sizeof z.re);
  __builtin_memcpy(p + 8, &z.im, sizeof z.im);
}

static inline __attribute__((always_inline)) Complexes turned(const Complexes& z, float re,
                                                              float im) {
  return {z.re * re - z.im * im, z.re * im + z.im * re};
}

// The numbers p, p + m, p + 2 m and p + 3 m of a column, as a transform of four takes them.
struct FourSums {
  Complexes ac, ac_less, bd, bd_less;
};

static inline __attribute__((always_inline)) FourSums four_sums(const Complexes& a,
                                                                const Complexes& b,
                                                                const Complexes& c,
                                                                const Complexes& d) {
  return {{a.re + c.re, a.im + c.im},
          {a.re - c.re, a.im - c.im},
          {b.re + d.re, b.im + d.im},
          {b.re - d.re, b.im - d.im}};
}

static inline __attribute__((always_inline)) void store_four(const FourSums& s, const float* w1,
                                                             const float* w2, const float* w3,
                                                             std::size_t apart, float* out) {
  const Complexes first{s.ac_less.re - s.bd_less.im, s.ac_less.im + s.bd_less.re};
  const Complexes third{s.ac_less.re + s.bd_less.im, s.ac_less.im - s.bd_less.re};
  store_complex(out, {s.ac.re + s.bd.re, s.ac.im + s.bd.im});
  store_complex(out + apart, turned(first, w1[0], w1[1]));
  store_complex(out + 2 * apart, turned({s.ac.re - s.bd.re, s.ac.im - s.bd.im}, w2[0], w2[1]));
  store_complex(out + 3 * apart, turned(third, w3[0], w3[1]));
}

// One step of Stockham's transform: from `s` transforms of length n to 4 s of length n / 4.
static void fourier_step(const float* in, std::size_t n, std::size_t s, const float* turns,
                         float* out) {
  const std::size_t m = n / 4, quarter = 16 * s * m;
  for (std::size_t p = 0; p < m; ++p) {
    const float *w1 = turns + 2 * p * s, *w2 = turns + 4 * p * s, *w3 = turns + 6 * p * s;
    for (std::size_t q = 0; q < s; ++q) {
      const float* x = in + 16 * (q + s * p);
      store_four(four_sums(load_complex(x), load_complex(x + quarter),
                           load_complex(x + 2 * quarter), load_complex(x + 3 * quarter)),
                 w1, w2, w3, 16 * s, out + 16 * (q + 4 * s * p));
    }
  }
}

// The last step, of which only the first n_out numbers are wanted; rows of out are `apart`.
static void fourier_last(const float* in, std::size_t n, std::size_t s, std::size_t n_out,
                         float* out, std::size_t apart) {
  const std::size_t part = 16 * s;
  for (std::size_t q = 0; q < s && q < n_out; ++q) {
    const float* x = in + 16 * q;
    float* y = out + q * apart;
    if (n == 2) {
      const Complexes a = load_complex(x), b = load_complex(x + part);
      store_complex(y, {a.re + b.re, a.im + b.im});
      if (q + s < n_out) store_complex(y + s * apart, {a.re - b.re, a.im - b.im});
      continue;
    }
    const FourSums t = four_sums(load_complex(x), load_complex(x + part),
                                 load_complex(x + 2 * part), load_complex(x + 3 * part));
    store_complex(y, {t.ac.re + t.bd.re, t.ac.im + t.bd.im});
    if (q + s < n_out)
      store_complex(y + s * apart, {t.ac_less.re - t.bd_less.im, t.ac_less.im + t.bd_less.re});
    if (q + 2 * s < n_out) store_complex(y + 2 * s * apart, {t.ac.re - t.bd.re, t.ac.im - t.bd.im});
    if (q + 3 * s < n_out)
      store_complex(y + 3 * s * apart, {t.ac_less.re + t.bd_less.im, t.ac_less.im - t.bd_less.re});
  }
}

// The steps after the first `s`-fold one, `in` written over; see fourier_columns.
static inline void fourier_rest(float* in, std::size_t left, std::size_t s, const float* turns,
                                float* scratch, std::size_t n_out, float* out, std::size_t apart) {
  for (; left > 4; left /= 4, s *= 4) {
    fourier_step(in, left, s, turns, scratch);
    float* swap = in;
    in = scratch;
    scratch = swap;
  }
  fourier_last(in, left, s, n_out, out, apart);
}

// Adds up numbers times exp(2 pi i j k / n), for the first n_out k.
//   in (n, 16)            is written over
//   turns (n, 2)          exp(2 pi i k / n)
//   scratch (n, 16)
//   out                   rows `apart`
static void fourier_columns(float* in, std::size_t n, const float* turns, float* scratch,
                            std::size_t n_out, float* out, std::size_t apart) {
  fourier_rest(in, n, 1, turns, scratch, n_out, out, apart);
}

// The product of a number of b with the conjugate of that of a; adds its square to `power`.
static inline __attribute__((always_inline)) Complexes conjugate_product(const float* a,
                                                                         const float* b,
                                                                         Lanes& power) {
  const Complexes x = load_complex(a), y = load_complex(b);
  const Complexes z{x.re * y.re + x.im * y.im, x.re * y.im - x.im * y.re};
  power += z.re * z.re + z.im * z.im;
  return z;
}

// As fourier_columns, of the products of each number of b with the conjugate of that of a. Returns
// the sum of squares of the products. n is 16 at least.
//   scratch (2, n, 16)
static float product_columns(const float* a, const float* b, std::size_t n, const float* turns,
                             float* scratch, std::size_t n_out, float* out, std::size_t apart) {
  Lanes power = {};
  const std::size_t quarter = 4 * n;
  for (std::size_t p = 0; p < n / 4; ++p, a += 16, b += 16)
    store_four(four_sums(conjugate_product(a, b, power),
                         conjugate_product(a + quarter, b + quarter, power),
                         conjugate_product(a + 2 * quarter, b + 2 * quarter, power),
                         conjugate_product(a + 3 * quarter, b + 3 * quarter, power)),
               turns + 2 * p, turns + 4 * p, turns + 6 * p, 16, scratch + 64 * p);
  fourier_rest(scratch, n / 4, 4, turns, scratch + 16 * n, n_out, out, apart);
  float sum = 0.0f;
  for (std::size_t k = 0; k < 8; ++k) sum += power[k];
  return sum;
}

using Places = std::int32_t __attribute__((vector_size(32)));

// Eight rows of eight numbers as columns: ones, then pairs, then halves change places.
static inline __attribute__((always_inline)) void turn_eight(const float* in, std::size_t apart,
                                                             Lanes* out) {
  constexpr Places ones{0, 8, 1, 9, 4, 12, 5, 13}, other_ones{2, 10, 3, 11, 6, 14, 7, 15};
  constexpr Places pairs{0, 1, 8, 9, 4, 5, 12, 13}, other_pairs{2, 3, 10, 11, 6, 7, 14, 15};
  constexpr Places halves{0, 1, 2, 3, 8, 9, 10, 11}, other_halves{4, 5, 6, 7, 12, 13, 14, 15};
  Lanes rows[8], twos[8];
  for (std::size_t k = 0; k < 8; k += 2) {
    Lanes even, odd;
    __builtin_memcpy(&even, in + k * apart, sizeof even);
    __builtin_memcpy(&odd, in + (k + 1) * apart, sizeof odd);
    rows[k] = __builtin_shuffle(even, odd, ones);
    rows[k + 1] = __builtin_shuffle(even, odd, other_ones);
  }
  for (std::size_t k = 0; k < 8; k += 4)
    for (std::size_t half = 0; half < 2; ++half) {
      const Lanes a = rows[k + half], b = rows[k + half + 2];
      twos[k + 2 * half] = __builtin_shuffle(a, b, pairs);
      twos[k + 2 * half + 1] = __builtin_shuffle(a, b, other_pairs);
    }
  for (std::size_t k = 0; k < 4; ++k) {
    out[k] = __builtin_shuffle(twos[k], twos[k + 4], halves);
    out[k + 4] = __builtin_shuffle(twos[k], twos[k + 4], other_halves);
  }
}

// Two sets of eight rows of a spectrum of real numbers, as one set of columns: with those of the
// first in its real parts after a transform, those of the second in its imaginary parts.
//   first, second     a row each 16 * n_groups numbers: 8 real parts and 8 imaginary ones by turns,
//                     n_groups * 8 > n / 2; rows `apart`
//   out (n, 16)
static void pack_rows(const float* first, const float* second, std::size_t apart, std::size_t n,
                      float* out) {
  for (std::size_t group = 0; group <= n / 2; group += 8) {
    Lanes a_re[8], a_im[8], b_re[8], b_im[8];
    turn_eight(first + 2 * group, apart, a_re);
    turn_eight(first + 2 * group + 8, apart, a_im);
    turn_eight(second + 2 * group, apart, b_re);
    turn_eight(second + 2 * group + 8, apart, b_im);
    for (std::size_t k = 0; k < 8 && group + k <= n / 2; ++k) {
      const std::size_t f = group + k;
      store_complex(out + 16 * ((n - f) % n), {a_re[k] + b_im[k], b_re[k] - a_im[k]});
      store_complex(out + 16 * f, {a_re[k] - b_im[k], a_im[k] + b_re[k]});
    }
  }
}

// The reverse of pack_rows after a transform of columns: the spectra of the numbers that were in
// its real parts and in its imaginary parts, times 2.
//   packed (n, 16)
//   first, second     as for pack_rows, but the groups of 8 are `group_apart` and the rows 16
static void unpack_rows(const float* packed, std::size_t n, std::size_t group_apart, float* first,
                        float* second) {
  for (std::size_t f = 0; f <= n / 2; ++f) {
    const float* low = packed + 16 * f;
    const float* high = packed + 16 * ((n - f) % n);
    const std::size_t at = f / 8 * group_apart + f % 8;
    for (std::size_t lane = 0; lane < 8; ++lane) {
      first[lane * 16 + at] = low[lane] + high[lane];
      first[lane * 16 + at + 8] = low[lane + 8] - high[lane + 8];
      second[lane * 16 + at] = low[lane + 8] + high[lane + 8];
      second[lane * 16 + at + 8] = high[lane] - low[lane];
    }
  }
}

// Greys less their mean of up to 16 rows, side by side as columns.
//   greys (n_rows, width)
//   out (n, 16)              zeros where there is no pixel
static void stand_rows(const std::uint8_t* greys, std::size_t n_rows, std::size_t width,
                       std::int32_t mean, std::size_t n, float* out) {
  for (std::size_t k = 0; k < 16 * n; ++k) out[k] = 0.0f;
  for (std::size_t y = 0; y < n_rows; ++y)
    for (std::size_t x = 0; x < width; ++x)
      out[16 * x + y] = static_cast<float>(greys[y * width + x] - mean);
}

// The products of 16 rows of positions, side by side as columns, as rows.
//   in (n, 16), n a multiple of 8; out (16, n), rows `apart`
static void turn_rows(const float* in, std::size_t n, float* out, std::size_t apart) {
  for (std::size_t x = 0; x < n; x += 8)
    for (std::size_t half = 0; half < 16; half += 8) {
      Lanes rows[8];
      turn_eight(in + 16 * x + half, 16, rows);
      for (std::size_t k = 0; k < 8; ++k)
        __builtin_memcpy(out + (half + k) * apart + x, &rows[k], sizeof rows[k]);
    }
}

// Bounds of the error from products, at n positions side by side.
//   energies, sums     of the patches, of pixels less the image's mean
//   inverses           one by the root of the energy of each patch
static void product_bounds(const float* products, const float* energies, const float* sums,
                           const float* inverses, std::size_t n, const Against& t, float* out) {
  for (std::size_t x = 0; x < n; ++x) {
    const float both = (energies[x] + t.energy) * t.rounded;
    const float distance = both - products[x] * t.share - sums[x] * t.shift - t.margin;
    out[x] = distance * (inverses[x] * t.inverse);
  }
}

}  // namespace clusterimg::CLUSTERIMG_ISA
