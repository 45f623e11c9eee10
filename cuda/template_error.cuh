// The error of a template: csrc/kernels/template.hpp has the formula. Sums are exact integers, what
// comes of them is rounded in the order of every other backend.
#pragma once
#include <cstdint>

namespace clusterimg::cuda {

// The most pixels whose sum of products of bytes stays below 2^32, and with it a sum of squares or
// of squared differences: 2^32 / 255^2, rounded down.
constexpr std::uint32_t narrow_pixels = 66051;

// The error of a patch against a template, not yet cut at 1.
//   energies       sums of squares
//   distance       sum of squared differences
__device__ inline double template_error(std::uint64_t energy_a, std::uint64_t energy_b,
                                        std::uint64_t distance) {
  const double norm =
      __dsqrt_rn(__dmul_rn(static_cast<double>(energy_a), static_cast<double>(energy_b)));
  if (norm == 0.0) return distance == 0 ? 0.0 : 1.0;
  return __ddiv_rn(static_cast<double>(distance), norm);
}

// One by the root of a sum of squares, 0 of 0: a float32 within 2^-23 of it.
__device__ inline float inverse_root(std::uint64_t energy) {
  if (energy == 0) return 0.0f;
  return static_cast<float>(__ddiv_rn(1.0, __dsqrt_rn(static_cast<double>(energy))));
}

// The error in float32, less than 2^-20 of it off; 0 where the norm is 0.
__device__ inline float rough_error(float inverse_a, float inverse_b, float distance) {
  return __fmul_rn(distance, __fmul_rn(inverse_a, inverse_b));
}

// What a rough error is not above where the score is above the threshold. With e the true error,
// the computed score is above t only if e (1 - 2^-51) < 1 - t + 2^-53, and the rough error is below
// e (1 + 2^-20). Below t = 0 every score is above it: none is below 0.
inline float most_rough_error(double threshold) {
  if (threshold < 0.0) return __builtin_inff();
  return static_cast<float>((1.0 - threshold + 0x1p-50) * (1.0 + 0x1p-19));
}

}  // namespace clusterimg::cuda
