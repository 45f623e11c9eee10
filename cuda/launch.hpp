// The kernels of the CUDA backend, one function each that makes it; the launches are in *.cu.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernel.hpp"

namespace clusterimg::cuda {

// Makes each of n items a set of its own, for union_find.cuh.
void start_sets(std::int32_t* parents, std::size_t n, cudaStream_t stream);

// Codes (n, n_words) of 64-bit words; equal bits / bits.
std::unique_ptr<Kernel> hamming_kernel(std::size_t n_words, double threshold);

// Signatures (n, n_slots) uint32; equal slots / slots.
std::unique_ptr<Kernel> signature_kernel(std::size_t n_slots, double threshold);

// Grey images of one size, each side 7 pixels at least; mean SSIM.
std::unique_ptr<Kernel> ssim_kernel(std::size_t height, std::size_t width, double threshold);

// Grey images of one size; 1 - the normed error.
std::unique_ptr<Kernel> template_kernel(std::size_t height, std::size_t width, double threshold);

// Grey images of any sizes, of at most that many pixels (Block::offsets in pixels, Block::shapes);
// the smaller slides inside the larger. -inf where neither fits.
std::unique_ptr<Kernel> sliding_kernel(std::size_t most_pixels, double threshold);

// Descriptors of four 64-bit words (Block::offsets in descriptors), fewer than 2^20 an image; share
// of good matches.
std::unique_ptr<Kernel> descriptor_kernel(MatchRule rule, double threshold);

}  // namespace clusterimg::cuda
