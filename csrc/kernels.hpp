// The arithmetic of every method, as one table of functions per instruction set.
//
// Each kernel scores a tile, a pair or an image: const inputs, sizes, output last. Kernels hold no
// state, allocate nothing and throw nothing. Their contracts stand in kernels/*.hpp.
#pragma once
#include <cstddef>
#include <cstdint>

namespace clusterimg {

// One similar pair, laid out as the NumPy dtype `i <i4, j <i4, score <f8`.
struct Edge {
  std::int32_t i;
  std::int32_t j;
  double score;
};

// Images side by side in the lanes of the SSIM tile: one AVX2 register of int32.
constexpr std::size_t ssim_lanes = 8;

// The most rows of a tile of the SSIM bound.
constexpr std::size_t ssim_rows = 32;

// Rows of an SSIM tile, which share what is loaded of its lanes; the most windows across that it
// takes at once, so that its columns stay in the first cache; the most windows down, so that its
// lanes come near to fitting in the second.
constexpr std::size_t ssim_tile_rows = 4;
constexpr std::size_t ssim_strip = 64;
constexpr std::size_t ssim_piece_rows = 64;

// The most products of two bytes that an int32 can hold: 2^31 / 255^2 = 33025, rounded down.
constexpr std::size_t dot_block = 32768;

// Pixels of an image that the tile of dot products takes at once: what a row of them, twice as wide
// for every pixel, needs of the first cache. A sum of products of pairs, at most 510^2 for two
// pixels, stays far below 2^31.
constexpr std::size_t dot_piece = 1024;
// Rows of the tile start apart from each other in the banks of the first cache. A stride that the
// compiler knows is an offset, not a register: a twentieth of the time.
constexpr std::size_t dot_stride = dot_piece + 32;

// A sketch of an image: numbers, what stands for 1 in them, and how far errors by them may be off.
constexpr std::size_t sketch_size = 32;
constexpr std::int32_t sketch_unit = 32767;
constexpr double sketch_slack = 4e-4;

// What makes a cross-checked match of descriptors good; kernels/descriptor.hpp has the rules.
struct MatchRule {
  enum Kind : std::uint32_t { absolute, relative, ratio } kind;
  std::uint32_t max_distance;
};

// Four rows of descriptors, laid out; kernels/descriptor_bits.hpp says how.
struct DescriptorGroup {
  struct Step {
    std::uint16_t planes[8], total;  // in bytes, from the first
  };
  Step steps[40];  // 256 planes in 8 classes, each filled up; planes to look up behind the last
  std::uint8_t n_steps;
  std::uint8_t differing[4];
};

// Sizes of the buffers the descriptor kernel needs for at most n rows on each side. Planes begin at
// a multiple of 32 bytes.
constexpr std::size_t descriptor_groups_of(std::size_t n) { return (n + 3) / 4; }
constexpr std::size_t descriptor_planes_bytes(std::size_t n) { return (n + 255) / 256 * 513 * 32; }
constexpr std::size_t descriptor_scratch_words(std::size_t n) {
  return 4 * n + 32 * (n + 3) + 24 * (n + 255) / 32 + 16 + 24 * 8;
}

// What a template has to do with all patches of an image: the factors of product_bounds.
struct Against {
  float energy;   // of the template's pixels less the image's mean
  float rounded;  // a little less than 1, for what float32 rounds
  float share;    // makes twice a sum of products of what a transform gives
  float shift;    // twice the difference of the means
  float margin;   // what twice the sum of products may be off by
  float inverse;  // one by the root of the template's energy
};
// Signatures in a block of codes, and slots of planes rounded up; kernels/signature.hpp has both.
constexpr std::size_t signature_block = 64;
static constexpr std::size_t signature_padded(std::size_t n_slots) {
  return (n_slots + 15) / 16 * 16;
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
constexpr std::size_t hamming_exact_bytes = 13 * 32 * 96, hamming_exact_queries = 32;
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
                              std::size_t first_query, std::uint8_t* scratch, HammingHit* hits);
  std::size_t (*hamming_tally)(const std::uint64_t* row, const std::uint64_t* queries,
                               std::size_t n, std::size_t n_words, std::size_t radius);
  std::size_t (*hamming_count)(const std::uint64_t* rows, std::size_t n_rows,
                               const std::uint64_t* queries, std::size_t n, std::size_t n_words,
                               std::size_t radius, HammingHit* hits);
  void (*hamming_exact_table)(const std::uint64_t* rows, std::size_t n, std::uint8_t* tables);
  std::size_t (*hamming_masks)(const std::uint8_t* tables, std::size_t n_rows,
                               const std::uint64_t* queries, std::size_t n, std::size_t radius,
                               bool later, std::uint64_t* masks);
  std::size_t (*hamming_spanning)(const std::uint64_t* rows, std::size_t n_rows,
                                  const std::uint8_t* tables, const std::uint64_t* queries,
                                  std::size_t n, std::size_t radius, std::uint64_t* joined,
                                  HammingHit* hits);
  Edge* (*hamming_write)(std::uint64_t code, const std::uint64_t* codes,
                         const std::uint64_t* const* blocks, std::size_t begin, std::size_t end,
                         std::size_t row, const std::uint64_t* scores, Edge* out, const Edge* last);
  void (*signature_tile)(const std::uint32_t* a, std::size_t n_a, const std::uint32_t* b,
                         std::size_t n_b, std::size_t n_slots, std::uint32_t* out);
  void (*spread_greys)(const std::uint8_t* greys, std::size_t n, std::int16_t* out, double* energy,
                       double* pairs);
  void (*signature_counts)(const std::int16_t* a, std::size_t first, std::size_t n_a,
                           const std::int16_t* b, std::size_t n_slots, std::uint16_t* out);
  void (*signature_digests)(const std::uint32_t* a, std::size_t n_a, std::size_t n_slots,
                            std::uint8_t* digests);
  void (*signature_planes)(const std::uint32_t* b, std::size_t n_b, std::size_t n_slots,
                           std::uint64_t* planes);
  void (*signature_above)(const std::uint8_t* digests, std::size_t n_a, const std::uint64_t* planes,
                          std::size_t n_slots, std::uint32_t least, std::uint64_t* out);
  void (*dot_tile)(const std::int16_t* a, std::size_t n_a, const std::int16_t* b, std::size_t n_b,
                   std::size_t n, double* out, std::size_t n_out);
  void (*template_row)(double energy, double pairs, const double* energies, const double* all_pairs,
                       const double* dots, std::size_t n, double* out);
  double (*grey_dot)(const std::uint8_t* a, const std::uint8_t* b, std::size_t n);
  double (*add_row)(const std::uint8_t* greys, std::size_t n, std::int32_t* columns);
  void (*sketch_row)(const std::int16_t* a, const std::int16_t* b, std::size_t n,
                     std::int32_t* out);
  std::size_t (*sketch_hits)(const std::int32_t* products, std::size_t n, float root, float inverse,
                             const float* roots, const float* inverses, float most,
                             std::uint32_t* out);
  void (*widen_greys)(const std::uint8_t* greys, std::size_t n, std::int16_t* out);
  void (*corner_sums)(const std::uint8_t* greys, std::size_t n, const double* sums_above,
                      const double* squares_above, double* sums, double* squares);
  void (*patch_sums)(const double* sums_top, const double* sums_bottom, const double* squares_top,
                     const double* squares_bottom, std::size_t width, std::size_t n, double mean,
                     double area, float* energies, float* sums, float* inverses);
  void (*grey_sums)(const std::uint8_t* greys, std::size_t n, double* sum, double* energy);
  float (*least_bound)(const float* bounds, std::size_t n);
  void (*patch_dots)(const std::int16_t* image, std::size_t stride, const std::int16_t* templ,
                     std::size_t templ_stride, std::size_t height, std::size_t width, double* out);
  void (*fourier_columns)(float* in, std::size_t n, const float* turns, float* scratch,
                          std::size_t n_out, float* out, std::size_t apart);
  float (*product_columns)(const float* a, const float* b, std::size_t n, const float* turns,
                           float* scratch, std::size_t n_out, float* out, std::size_t apart);
  void (*pack_rows)(const float* first, const float* second, std::size_t apart, std::size_t n,
                    float* out);
  void (*unpack_rows)(const float* packed, std::size_t n, std::size_t group_apart, float* first,
                      float* second);
  void (*stand_rows)(const std::uint8_t* greys, std::size_t n_rows, std::size_t width,
                     std::int32_t mean, std::size_t n, float* out);
  void (*turn_rows)(const float* in, std::size_t n, float* out, std::size_t apart);
  void (*product_bounds)(const float* products, const float* energies, const float* sums,
                         const float* inverses, std::size_t n, const Against& t, float* out);
  void (*descriptor_planes)(const std::uint64_t* b, std::size_t n_b, std::uint8_t* planes);
  void (*descriptor_groups)(const std::uint64_t* a, std::size_t n_a, DescriptorGroup* groups);
  MatchCount (*descriptor_pair)(const std::uint64_t* a, std::size_t n_a,
                                const DescriptorGroup* groups, const std::uint64_t* b,
                                std::size_t n_b, const std::uint8_t* planes, MatchRule rule,
                                std::uint32_t* scratch);
  void (*ssim_pack)(const std::uint8_t* const* images, std::size_t stride, std::size_t height,
                    std::size_t width, std::int32_t* column, std::int32_t* pixel, std::int32_t* sum,
                    float* factor);
  void (*ssim_unpack)(const std::int32_t* pixel, const std::int32_t* sum, const float* factor,
                      bool last, std::size_t n_pixels, std::size_t n_windows,
                      std::int32_t* row_pixel, std::int32_t* row_sum, float* row_factor);
  void (*ssim_tile)(const std::int32_t* row_pixel, const std::int32_t* row_sum,
                    const float* row_factor, std::size_t height, std::size_t width,
                    const std::int32_t* pixel, const std::int32_t* sum, const float* factor,
                    std::int32_t* column, double* total);
  double (*ssim_pair)(const std::uint8_t* a, const std::uint8_t* b, std::size_t height,
                      std::size_t width, std::int32_t* column, double* column_score,
                      const double* rest, double least);
  void (*ssim_numbers)(const std::uint8_t* const* images, std::size_t height, std::size_t width,
                       std::size_t side, const float* depth, std::int32_t* pixel,
                       std::int32_t* taps, std::int32_t* group, std::int32_t* const* blocks);
  std::size_t (*ssim_left)(const std::int32_t* a, std::size_t n_a, const std::int32_t* const* b,
                           std::size_t n_blocks, float enough, std::uint16_t* left);
  void (*ssim_group_losses)(const std::int32_t* a, const std::int32_t* b, std::size_t n_blocks,
                            float* each);
  void (*resample_rows)(const std::uint8_t* image, std::size_t height, std::size_t width,
                        const std::int32_t* first, const std::int16_t* high,
                        const std::int16_t* low, std::size_t n_taps, std::size_t n_out,
                        std::int16_t* row, std::uint8_t* out);
  void (*resample_columns)(const std::uint8_t* image, std::size_t width, const std::int32_t* first,
                           const std::int32_t* count, const std::int16_t* high,
                           const std::int16_t* low, std::size_t n_taps, std::size_t n_out,
                           std::int32_t* total, std::uint8_t* out);
  void (*low_frequencies)(const std::uint8_t* image, std::size_t size, const double* cosines,
                          std::size_t n_low, double* pixels, double* rows, double* out);
  void (*area_rows)(const std::uint8_t* image, std::size_t width, const std::int32_t* first,
                    const std::int32_t* count, const float* weights, std::size_t n_out,
                    std::uint8_t* columns, float* out);
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
