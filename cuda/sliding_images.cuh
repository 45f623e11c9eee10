// Images of any sizes on a device, with integral images of their squares. Pixels begin anywhere in
// words of four, which are read whole.
#pragma once
#include <cstddef>
#include <cstdint>

namespace clusterimg::cuda {

constexpr int integral_threads = 256;

// A block of images, or those from some place on.
template <class Sum>
struct SlidingImages {
  const std::uint8_t* pixels;  // of the whole block
  const Sum* squares;          // sums of squares of all pixels above and left, each included
  const std::int64_t* offsets;
  const std::int32_t* shapes;
  std::int32_t n;
};

struct Shape {
  std::int32_t height, width;
  __device__ bool fits(Shape in) const { return height <= in.height && width <= in.width; }
};
template <class Sum>
__device__ Shape shape_of(const SlidingImages<Sum>& images, std::int32_t k) {
  return {images.shapes[2 * k], images.shapes[2 * k + 1]};
}

// Pixels from some place on. No word is read beyond the last one of the block.
struct Pixels {
  const std::uint32_t* words;
  std::int32_t last;  // of the words that may be read
  unsigned shift;     // of the first pixel in the first word, in bits

  __device__ std::uint32_t word(std::int32_t k) const { return __ldg(words + min(k, last)); }
  __device__ std::uint32_t first_four() const { return __funnelshift_r(word(0), word(1), shift); }
};

// One of them.
template <class Sum>
struct SlidingImage {
  const std::uint32_t* words;  // of the block
  const Sum* squares;
  std::int64_t offset, last_word;
  std::int32_t height, width;

  __device__ SlidingImage(const SlidingImages<Sum>& images, std::int32_t k)
      : words(reinterpret_cast<const std::uint32_t*>(images.pixels)),
        squares(images.squares + images.offsets[k]),
        offset(images.offsets[k]),
        last_word((images.offsets[images.n] - 1) / 4),
        height(images.shapes[2 * k]),
        width(images.shapes[2 * k + 1]) {}

  __device__ std::int64_t n_pixels() const { return std::int64_t{height} * width; }
  __device__ Sum energy() const { return squares[n_pixels() - 1]; }

  __device__ Pixels pixels(std::int64_t from) const {
    const std::int64_t byte = offset + from, rest = last_word - byte / 4;
    return {words + byte / 4, static_cast<std::int32_t>(min(rest, std::int64_t{INT32_MAX})),
            static_cast<unsigned>(byte % 4) * 8};
  }
  __device__ Sum square(std::int64_t y, std::int64_t x) const {
    return y < 0 || x < 0 ? 0 : squares[y * width + x];
  }
  // Sum of squares of the patch of a template at a position.
  __device__ Sum patch_energy(std::int64_t y, std::int64_t x, const SlidingImage& templ) const {
    const std::int64_t bottom = y + templ.height - 1, right = x + templ.width - 1;
    return square(bottom, right) - square(y - 1, right) - square(bottom, x - 1) +
           square(y - 1, x - 1);
  }
};

// Integral images of squares: a block of threads for each image.
template <class Sum>
__global__ __launch_bounds__(integral_threads) void integrate_squares(
    const std::uint8_t* __restrict__ pixels, const std::int64_t* __restrict__ offsets,
    const std::int32_t* __restrict__ shapes, Sum* __restrict__ squares) {
  const std::int32_t height = shapes[2 * blockIdx.x], width = shapes[2 * blockIdx.x + 1];
  const std::uint8_t* from = pixels + offsets[blockIdx.x];
  Sum* to = squares + offsets[blockIdx.x];
  const int lane = threadIdx.x % 32;
  // 1. Along the rows, a warp for each.
  for (std::int64_t y = threadIdx.x / 32; y < height; y += integral_threads / 32) {
    Sum before = 0;
    for (std::int32_t x = lane; x - lane < width; x += 32) {
      const std::uint32_t pixel = x < width ? from[y * width + x] : 0;
      Sum sum = pixel * pixel;
      for (unsigned step = 1; step < 32; step *= 2) {
        const Sum left = __shfl_up_sync(0xffffffffU, sum, step);
        if (lane >= static_cast<int>(step)) sum += left;
      }
      sum += before;
      if (x < width) to[y * width + x] = sum;
      before = __shfl_sync(0xffffffffU, sum, 31);
    }
  }
  __syncthreads();
  // 2. Down the columns, a thread for each.
  for (std::int32_t x = threadIdx.x; x < width; x += integral_threads) {
    Sum sum = 0;
    for (std::int64_t y = 0; y < height; ++y) to[y * width + x] = sum += to[y * width + x];
  }
}

}  // namespace clusterimg::cuda
