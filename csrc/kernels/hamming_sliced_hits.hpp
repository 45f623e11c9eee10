// What the bit-sliced Hamming filter kept, counted, and pairs that are counted without it.
//
// kernels_isa.cpp includes hamming_sliced.hpp before this file.
#pragma once
#include <cstddef>
#include <cstdint>

namespace clusterimg::CLUSTERIMG_ISA {

static inline std::uint32_t count_differing(const std::uint64_t* a, const std::uint64_t* b,
                                            std::size_t n_words) {
  std::uint32_t count = 0;
  for (std::size_t w = 0; w < n_words; ++w)
    count += static_cast<std::uint32_t>(__builtin_popcountll(a[w] ^ b[w]));
  return count;
}

// The words of planes in which any row is near, each with its place: 4 * query + which word.
struct NearWords {
  std::uint64_t* rows;
  std::uint32_t* places;
};

#if defined(__AVX2__)
// By which words of a plane are zero: how many are not, and those in front.
alignas(16) static constexpr std::uint8_t words_left[16] = {4, 3, 3, 2, 3, 2, 2, 1,
                                                            3, 2, 2, 1, 2, 1, 1, 0};
#define HALVES(a, b, c, d) {2 * a, 2 * a + 1, 2 * b, 2 * b + 1, 2 * c, 2 * c + 1, 2 * d, 2 * d + 1}
alignas(32) static constexpr std::uint32_t halves_left[16][8] = {
    HALVES(0, 1, 2, 3), HALVES(1, 2, 3, 3), HALVES(0, 2, 3, 3), HALVES(2, 3, 3, 3),
    HALVES(0, 1, 3, 3), HALVES(1, 3, 3, 3), HALVES(0, 3, 3, 3), HALVES(3, 3, 3, 3),
    HALVES(0, 1, 2, 3), HALVES(1, 2, 3, 3), HALVES(0, 2, 3, 3), HALVES(2, 3, 3, 3),
    HALVES(0, 1, 3, 3), HALVES(1, 3, 3, 3), HALVES(0, 3, 3, 3), HALVES(3, 3, 3, 3)};
#undef HALVES
#endif

// Lists the words of n planes. Most have none: what is written too much is written over by the
// next, so that nothing is guessed.
//   words   room for all and four; returns how many
static own_registers std::size_t near_words_of(const Plane256* near, const std::uint16_t* which,
                                               std::size_t n, const NearWords& words) {
  std::size_t n_words = 0;
  for (std::size_t c = 0; c < n; ++c) {
    const std::uint32_t place = 4 * std::uint32_t{which[c]};
#if defined(__AVX2__)
    const __m256i rows = reinterpret_cast<const __m256i&>(near[c]);
    const __m256i is_zero = _mm256_cmpeq_epi64(rows, _mm256_setzero_si256());
    const int zero = _mm256_movemask_pd(_mm256_castsi256_pd(is_zero));
    const __m256i order = _mm256_load_si256(reinterpret_cast<const __m256i*>(halves_left[zero]));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(words.rows + n_words),
                        _mm256_permutevar8x32_epi32(rows, order));
    // Every other half of the order is twice the number of a word.
    const __m256i even =
        _mm256_permutevar8x32_epi32(order, _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6));
    const __m128i which_word = _mm_srli_epi32(_mm256_castsi256_si128(even), 1);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(words.places + n_words),
                     _mm_add_epi32(which_word, _mm_set1_epi32(static_cast<int>(place))));
    n_words += words_left[zero];
#else
    for (std::size_t l = 0; l < 4; ++l) {
      words.rows[n_words] = near[c][l];
      words.places[n_words] = place + static_cast<std::uint32_t>(l);
      n_words += near[c][l] != 0;
    }
#endif
  }
  return n_words;
}

// Counts the pairs that the filter kept, and lists those within the radius.
//   first_query   the number of the first of the queries
template <bool one_word>
static own_registers std::size_t count_kept(const NearWords& near, std::size_t n_near,
                                            const std::uint64_t* rows, const std::uint64_t* queries,
                                            std::size_t n_words, std::size_t radius,
                                            std::size_t first_query, HammingHit* hits) {
  std::size_t n_hits = 0;
  for (std::size_t k = 0; k < n_near; ++k) {
    const std::size_t first = 64 * (near.places[k] % 4), query = near.places[k] / 4;
    for (std::uint64_t left = near.rows[k]; left != 0; left &= left - 1) {
      const std::size_t row = first + lowest_bit(left);
      const std::uint32_t count =
          one_word ? static_cast<std::uint32_t>(__builtin_popcountll(rows[row] ^ queries[query]))
                   : count_differing(rows + row * n_words, queries + query * n_words, n_words);
      hits[n_hits] = {static_cast<std::uint16_t>(row),
                      static_cast<std::uint16_t>(first_query + query), count};
      n_hits += count <= radius;
    }
  }
  return n_hits;
}

// The pairs of up to 256 rows and up to 256 queries that differ in at most `radius` bits.
//   tables    of the rows, as hamming_tables makes them
//   first_query   the number of the first query in the hits
//   scratch   hamming_scratch_bytes, aligned to 64 bytes
//   hits      room for all pairs and one; by rising query, then row; returns how many
static std::size_t hamming_hits(const std::uint64_t* rows, std::size_t n_rows,
                                const std::uint8_t* tables, bool capped,
                                const std::uint64_t* queries, std::size_t n, std::size_t n_words,
                                std::size_t radius, std::size_t first_query, std::uint8_t* scratch,
                                HammingHit* hits) {
  const Plane256* table = reinterpret_cast<const Plane256*>(tables);
  Plane256* near = reinterpret_cast<Plane256*>(scratch);
  Plane256* sums = near + hamming_side + 1;
  const NearWords words{reinterpret_cast<std::uint64_t*>(sums),  // once the sums have served
                        reinterpret_cast<std::uint32_t*>(sums + 2 * hamming_side)};
  std::uint16_t which[hamming_side + 1];
  Plane256 valid;
  first_rows(n_rows, valid);
  // The table of a word fills most of the first cache: what is found is listed a few queries later.
  const std::size_t step = n_words == 1 ? 64 : hamming_side;
  std::size_t n_hits = 0;
  for (std::size_t j = 0; j < n; j += step) {
    const std::uint64_t* some = queries + j * n_words;
    const std::size_t n_some = n - j < step ? n - j : step;
    const std::size_t n_near =
        capped ? near_codes<true>(table, valid, some, n_some, n_words, radius, sums, near, which)
               : near_codes<false>(table, valid, some, n_some, n_words, radius, sums, near, which);
    const std::size_t n_left = near_words_of(near, which, n_near, words);
    n_hits += n_words == 1 ? count_kept<true>(words, n_left, rows, some, n_words, radius,
                                              first_query + j, hits + n_hits)
                           : count_kept<false>(words, n_left, rows, some, n_words, radius,
                                               first_query + j, hits + n_hits);
  }
  return n_hits;
}

// How many of n codes differ from a row in at most `radius` bits.
static std::size_t hamming_tally(const std::uint64_t* row, const std::uint64_t* queries,
                                 std::size_t n, std::size_t n_words, std::size_t radius) {
  std::size_t tally = 0;
  if (n_words == 1) {
    for (std::size_t j = 0; j < n; ++j)
      tally += static_cast<std::size_t>(__builtin_popcountll(row[0] ^ queries[j])) <= radius;
    return tally;
  }
  for (std::size_t j = 0; j < n; ++j)
    tally += count_differing(row, queries + j * n_words, n_words) <= radius;
  return tally;
}

// The same pairs, each counted: where so many are near that a bound would keep too much.
//   hits      as above, but by rising row
static std::size_t hamming_count(const std::uint64_t* rows, std::size_t n_rows,
                                 const std::uint64_t* queries, std::size_t n, std::size_t n_words,
                                 std::size_t radius, HammingHit* hits) {
  std::size_t n_hits = 0;
  for (std::size_t i = 0; i < n_rows; ++i)
    for (std::size_t j = 0; j < n; ++j) {
      const std::uint32_t count =
          n_words == 1 ? static_cast<std::uint32_t>(__builtin_popcountll(rows[i] ^ queries[j]))
                       : count_differing(rows + i * n_words, queries + j * n_words, n_words);
      hits[n_hits] = {static_cast<std::uint16_t>(i), static_cast<std::uint16_t>(j), count};
      n_hits += count <= radius;
    }
  return n_hits;
}

}  // namespace clusterimg::CLUSTERIMG_ISA
