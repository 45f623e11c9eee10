// The arithmetic of every method, as one table of functions per instruction set.
//
// Each kernel scores a tile, a pair or an image: const inputs, sizes, output last. Kernels hold no
// state, allocate nothing and throw nothing. Their contracts stand in kernels/*.hpp.
#pragma once
#include <cstddef>
#include <cstdint>

namespace clusterimg {

// Images side by side in the lanes of the SSIM tile: one AVX2 register of int32.
constexpr std::size_t ssim_lanes = 8;

// The most rows of a tile of the SSIM bound.
constexpr std::size_t ssim_rows = 32;

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

struct KernelTable {
  const char* isa;
  void (*hamming_tile)(const std::uint64_t* a, std::size_t n_a, const std::uint64_t* b,
                       std::size_t n_b, std::size_t n_words, std::uint32_t* out);
  std::size_t (*hamming_near)(std::uint64_t word, const std::uint64_t* words, std::size_t stride,
                              std::size_t n, std::uint32_t radius, std::uint32_t* out);
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
  void (*ssim_pack)(const std::uint8_t* const* images, std::size_t height, std::size_t width,
                    std::int32_t* column, std::int32_t* pixel, std::int32_t* sum, float* factor);
  void (*ssim_unpack)(const std::int32_t* pixel, const std::int32_t* sum, const float* factor,
                      std::size_t lane, std::size_t n_pixels, std::size_t n_windows,
                      std::int32_t* row_pixel, std::int32_t* row_sum, float* row_factor);
  void (*ssim_tile)(const std::int32_t* const* row_pixel, const std::int32_t* const* row_sum,
                    const float* const* row_factor, std::size_t height, std::size_t width,
                    const std::int32_t* pixel, const std::int32_t* sum, const float* factor,
                    std::int32_t* column, float* out);
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
