// The arithmetic of every method, as one table of functions per instruction set.
//
// Each kernel scores a tile, a pair or an image: const inputs, sizes, output last. Kernels hold no
// state, allocate nothing and throw nothing. Their contracts stand in kernels/*.hpp.
#pragma once
#include <cstddef>
#include <cstdint>

namespace clusterimg {

// Images side by side in the lanes of the SSIM tile: two AVX2 registers of int32.
constexpr std::size_t ssim_lanes = 16;

// The most products of two bytes that an int32 can hold: 2^31 / 255^2 = 33025, rounded down.
constexpr std::size_t dot_block = 32768;

// What makes a cross-checked match of descriptors good; kernels/descriptor.hpp has the rules.
struct MatchRule {
  enum Kind : std::uint32_t { absolute, relative, ratio } kind;
  std::uint32_t max_distance;
};

// Sizes of the buffers the descriptor kernel needs for at most n rows on each side.
constexpr std::size_t descriptor_planes_bytes(std::size_t n) { return (n + 31) / 32 * 64 * 32; }
constexpr std::size_t descriptor_scratch_words(std::size_t n) {
  return 4 * n + (n + 31) / 32 * 32 + 16;
}

struct MatchCount {
  std::uint32_t good;
  std::uint32_t matches;
};

// Rows and queries of one call of the bit-sliced Hamming filter; kernels/hamming_sliced.hpp.
constexpr std::size_t hamming_side = 256;
constexpr std::size_t hamming_tables_bytes(std::size_t n_words, bool capped) {
  return n_words * 13 * 32 * (capped ? 64 : 32);
}
constexpr std::size_t hamming_scratch_bytes = (hamming_side + 1 + hamming_side * 32) * 32;
constexpr std::size_t hamming_most_hits = hamming_side * hamming_side + 1;

struct HammingHit {
  std::uint16_t row, query;
  std::uint32_t differing;
};

struct KernelTable {
  const char* isa;
  void (*hamming_tile)(const std::uint64_t* a, std::size_t n_a, const std::uint64_t* b,
                       std::size_t n_b, std::size_t n_words, std::uint32_t* out);
  std::size_t (*hamming_near)(const std::uint64_t* words, std::size_t n, std::uint32_t radius,
                              HammingHit* hits);
  void (*hamming_tables)(const std::uint64_t* rows, std::size_t n, std::size_t n_words, bool capped,
                         std::uint8_t* tables);
  std::size_t (*hamming_hits)(const std::uint64_t* rows, std::size_t n_rows,
                              const std::uint8_t* tables, bool capped, const std::uint64_t* queries,
                              std::size_t n, std::size_t n_words, std::size_t radius,
                              std::uint8_t* scratch, HammingHit* hits);
  std::size_t (*hamming_tally)(const std::uint64_t* row, const std::uint64_t* queries,
                               std::size_t n, std::size_t n_words, std::size_t radius);
  std::size_t (*hamming_count)(const std::uint64_t* rows, std::size_t n_rows,
                               const std::uint64_t* queries, std::size_t n, std::size_t n_words,
                               std::size_t radius, HammingHit* hits);
  void (*signature_tile)(const std::uint32_t* a, std::size_t n_a, const std::uint32_t* b,
                         std::size_t n_b, std::size_t n_slots, std::uint32_t* out);
  void (*dot_tile)(const std::int16_t* a, std::size_t n_a, const std::int16_t* b, std::size_t n_b,
                   std::size_t stride, std::size_t n_pixels, std::int64_t* out);
  void (*add_squares)(const std::uint8_t* row, std::size_t n, std::int32_t sign, std::int64_t* out);
  double (*template_span)(const std::uint8_t* image, std::size_t stride, std::size_t n,
                          const std::uint8_t* templ, std::size_t templ_height,
                          std::size_t templ_width, std::int64_t templ_energy,
                          const std::int64_t* energy);
  void (*descriptor_planes)(const std::uint64_t* b, std::size_t n_b, std::uint8_t* planes);
  MatchCount (*descriptor_pair)(const std::uint64_t* a, std::size_t n_a, const std::uint64_t* b,
                                std::size_t n_b, const std::uint8_t* planes, MatchRule rule,
                                std::uint32_t* scratch);
  void (*ssim_statistics)(const std::uint8_t* image, std::size_t height, std::size_t width,
                          std::int32_t* column, std::int32_t* sum, float* energy, float* spread);
  void (*ssim_tile)(const std::uint8_t* a, const std::int32_t* sum_a, const float* energy_a,
                    const float* spread_a, std::size_t height, std::size_t width,
                    const std::int16_t* b, const std::int32_t* sum_b, const float* energy_b,
                    const float* spread_b, std::int32_t* column, float* out);
  double (*ssim_pair)(const std::uint8_t* a, const std::uint8_t* b, std::size_t height,
                      std::size_t width, std::int32_t* column, double* column_score);
  void (*resample_rows)(const std::uint8_t* image, std::size_t height, std::size_t width,
                        const std::int32_t* first, const std::int16_t* high,
                        const std::int16_t* low, std::size_t n_taps, std::size_t n_out,
                        std::int16_t* row, std::uint8_t* out);
  void (*resample_columns)(const std::uint8_t* image, std::size_t width, const std::int32_t* first,
                           const std::int32_t* count, const std::int16_t* high,
                           const std::int16_t* low, std::size_t n_taps, std::size_t n_out,
                           std::int32_t* total, std::uint8_t* out);
  void (*low_frequencies)(const std::uint8_t* image, std::size_t size, const double* cosines,
                          std::size_t n_low, double* rows, double* out);
};

// The table in use. The bindings choose the best one this CPU can run when they are imported.
const KernelTable& kernels();

// The instruction sets of this build, weakest first, and whether this CPU can run them.
std::size_t n_isas();
const char* isa_name(std::size_t index);
bool can_run_isa(std::size_t index);

// Use the named set from now on; false if this CPU or build hasn't it. Not meant to be called while
// a kernel runs.
bool use_isa(const char* name);

}  // namespace clusterimg
