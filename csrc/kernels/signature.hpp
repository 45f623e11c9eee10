// Equal slots of MinHash signatures: exact counts, and a filter for pairs with many.
//
// Counts of whole tiles are taken from codes, 16 bits a slot, that number the distinct values of
// the slot: codes are equal where slots are.
//
// The filter looks at a digest of 3 bits of every slot. Equal slots have equal digests, so the
// number of equal digests is an upper bound of the number of equal slots: a pair below the least
// count in digests is below it in slots. For 256 signatures of b at a time, planes hold one bit
// each: plane (s, d) has the bit of every signature whose slot s has digest d. A signature of a
// picks one plane a slot, and full adders sum them for all 256 at once: 5 operations for 256 slots.
//
//   a (n_a, n_slots), b (n_b, n_slots)   row-major
//   digests (n_a, padded)                a plane's place within its slot, in units of 8 bytes
//   planes (padded, 8, 4)                256 signatures; those that are not there have any bits
//   codes (blocks, n_slots, 64)          64 signatures a block (signature_block)
//   out                                  exact counts (n_a, n_b), or a bit a signature (n_a, 4)
// padded = n_slots rounded up to a multiple of 16; the planes of slots that are not there are 0.
#pragma once
#include <cstddef>
#include <cstdint>

namespace clusterimg::CLUSTERIMG_ISA {

static void signature_tile(const std::uint32_t* a, std::size_t n_a, const std::uint32_t* b,
                           std::size_t n_b, std::size_t n_slots, std::uint32_t* out) {
  for (std::size_t i = 0; i < n_a; ++i)
    for (std::size_t j = 0; j < n_b; ++j) {
      const std::uint32_t* x = a + i * n_slots;
      const std::uint32_t* y = b + j * n_slots;
      std::uint32_t equal = 0;
      for (std::size_t s = 0; s < n_slots; ++s) equal += x[s] == y[s];
      out[i * n_b + j] = equal;
    }
}

#if defined(__AVX2__)
constexpr std::size_t signature_lanes = 4;  // 64-bit words of a register
#else
constexpr std::size_t signature_lanes = 2;
#endif

using Codes = std::int16_t __attribute__((vector_size(8 * signature_lanes)));
using StoredCodes [[gnu::may_alias]] =
    std::int16_t __attribute__((vector_size(8 * signature_lanes), aligned(2)));

using StoredCounts [[gnu::may_alias]] =
    std::uint16_t __attribute__((vector_size(8 * signature_lanes), aligned(2)));

// Adds the counts of two rows against 4 registers of columns.
static inline void count_codes(const std::int16_t* x, const std::int16_t* y,
                               const std::int16_t* columns, std::size_t n_slots,
                               std::uint16_t* out_x, std::uint16_t* out_y) {
  constexpr std::size_t step = signature_block * sizeof(std::int16_t) / sizeof(Codes);
  const auto* codes = reinterpret_cast<const StoredCodes*>(columns);
  Codes x0 = {}, x1 = {}, x2 = {}, x3 = {}, y0 = {}, y1 = {}, y2 = {}, y3 = {};
  for (std::size_t s = 0; s < n_slots; ++s, codes += step) {
    const std::int16_t of_x = x[s * signature_block], of_y = y[s * signature_block];
    const Codes c0 = codes[0], c1 = codes[1], c2 = codes[2], c3 = codes[3];
    x0 += c0 == of_x, x1 += c1 == of_x, x2 += c2 == of_x, x3 += c3 == of_x;
    y0 += c0 == of_y, y1 += c1 == of_y, y2 += c2 == of_y, y3 += c3 == of_y;
  }
  auto* of_x = reinterpret_cast<StoredCounts*>(out_x);
  auto* of_y = reinterpret_cast<StoredCounts*>(out_y);
  of_x[0] -= StoredCounts(x0), of_x[1] -= StoredCounts(x1);
  of_x[2] -= StoredCounts(x2), of_x[3] -= StoredCounts(x3);
  of_y[0] -= StoredCounts(y0), of_y[1] -= StoredCounts(y1);
  of_y[2] -= StoredCounts(y2), of_y[3] -= StoredCounts(y3);
}

// Counts of rows first .. first + n_a of `a` against one block of b: out (n_a + 1,
// signature_block), of which the last row is scratch. 64 slots at a time, so that both sides fit
// the first cache.
static void signature_counts(const std::int16_t* a, std::size_t first, std::size_t n_a,
                             const std::int16_t* b, std::size_t n_slots, std::uint16_t* out) {
  constexpr std::size_t width = signature_block, part = 4 * sizeof(Codes) / sizeof(std::int16_t);
  for (std::size_t k = 0; k < n_a * width; ++k) out[k] = 0;
  for (std::size_t s = 0; s < n_slots; s += 64)
    for (std::size_t i = 0; i < n_a; i += 2) {
      const std::size_t next = i + 1 < n_a ? i + 1 : i;  // a lone last row: `next` goes to scratch
      const std::size_t x = first + i, y = first + next;
      for (std::size_t j = 0; j < width; j += part)
        count_codes(a + (x / width * n_slots + s) * width + x % width,
                    a + (y / width * n_slots + s) * width + y % width, b + s * width + j,
                    n_slots - s < 64 ? n_slots - s : 64, out + i * width + j,
                    out + (i + 1) * width + j);
    }
}

// The digest is the top 3 bits: all bits of a slot reach them. (A minimum's own top bits are 0.)
constexpr std::uint32_t signature_mix = 0x9E3779B1u;

static void signature_digests(const std::uint32_t* a, std::size_t n_a, std::size_t n_slots,
                              std::uint8_t* digests) {
  const std::size_t padded = signature_padded(n_slots);
  for (std::size_t i = 0; i < n_a; ++i) {
    std::uint8_t* out = digests + i * padded;
    for (std::size_t s = 0; s < n_slots; ++s)
      out[s] = static_cast<std::uint8_t>(a[i * n_slots + s] * signature_mix >> 29 << 2);
    for (std::size_t s = n_slots; s < padded; ++s) out[s] = 0;
  }
}

using Slots = std::uint32_t __attribute__((vector_size(32)));  // 8 slots side by side

// Planes of 32 signatures for 8 slots: `out` is the word of these signatures in the first plane.
static void signature_planes_of(const std::uint32_t* b, std::size_t n_b, std::size_t n_slots,
                                std::size_t n_here, std::uint32_t* out) {
  Slots bits[3] = {};
  for (std::size_t j = n_b; j-- > 0;) {
    Slots slots = {};
    __builtin_memcpy(&slots, b + j * n_slots, n_here * sizeof(std::uint32_t));
    slots *= signature_mix;
    for (Slots& bit : bits) {
      bit = bit + bit + (slots >> 31);
      slots += slots;
    }
  }
  for (std::size_t digest = 0; digest < 8; ++digest) {
    const Slots plane = (digest & 4 ? bits[0] : ~bits[0]) & (digest & 2 ? bits[1] : ~bits[1]) &
                        (digest & 1 ? bits[2] : ~bits[2]);
    for (std::size_t s = 0; s < 8; ++s) out[(s * 8 + digest) * 8] = s < n_here ? plane[s] : 0;
  }
}

static void signature_planes(const std::uint32_t* b, std::size_t n_b, std::size_t n_slots,
                             std::uint64_t* planes) {
  const std::size_t padded = signature_padded(n_slots);
  auto* words = reinterpret_cast<std::uint32_t*>(planes);
  for (std::size_t j = 0; j < 256; j += 32)
    for (std::size_t s = 0; s < padded; s += 8) {
      const std::size_t n_here = s + 8 <= n_slots ? 8 : s < n_slots ? n_slots - s : 0;
      const std::size_t n_rows = j + 32 <= n_b ? 32 : j < n_b ? n_b - j : 0;
      signature_planes_of(b + j * n_slots + s, n_rows, n_slots, n_here, words + s * 64 + j / 32);
    }
}

using DigestLanes =
    std::uint64_t __attribute__((vector_size(8 * signature_lanes)));  // a bit a pair

// Adds 16 planes to the low four bits of the counts; what is carried out weighs 16.
static inline DigestLanes add_16(const std::uint8_t* pick, const std::uint64_t* planes,
                                 DigestLanes* low) {
  const auto plane = [&](std::size_t s) {
    return *reinterpret_cast<const DigestLanes*>(planes + s * 32 + pick[s]);
  };
  DigestLanes eights[2], fours[2], twos[2], carry = {};
  for (std::size_t e = 0; e < 2; ++e) {
    for (std::size_t f = 0; f < 2; ++f) {
      const std::size_t s = e * 8 + f * 4;
      low[0] = full_add(low[0], plane(s), plane(s + 1), twos[0]);
      low[0] = full_add(low[0], plane(s + 2), plane(s + 3), twos[1]);
      low[1] = full_add(twos[0], twos[1], low[1], fours[f]);
    }
    low[2] = full_add(fours[0], fours[1], low[2], eights[e]);
  }
  low[3] = full_add(eights[0], eights[1], low[3], carry);
  return carry;
}

// A bit for each of the 256 signatures of `planes` that may have `least` or more equal slots.
static void signature_above(const std::uint8_t* digests, std::size_t n_a,
                            const std::uint64_t* planes, std::size_t n_slots, std::uint32_t least,
                            std::uint64_t* out) {
  const std::size_t padded = signature_padded(n_slots);
  std::size_t n_high = 0;
  while (n_slots >> (4 + n_high) != 0) ++n_high;
  for (std::size_t i = 0; i < n_a; ++i)
    for (std::size_t word = 0; word < 4; word += signature_lanes) {
      DigestLanes low[4] = {}, high[28];
      for (std::size_t bit = 0; bit < n_high; ++bit) high[bit] = DigestLanes{};
      for (std::size_t s = 0; s < padded; s += 16) {
        DigestLanes carry = add_16(digests + i * padded + s, planes + s * 32 + word, low);
        for (std::size_t bit = 0; bit < n_high; ++bit) {
          const DigestLanes both = high[bit] & carry;
          high[bit] ^= carry;
          carry = both;
        }
      }
      DigestLanes above = ~DigestLanes{};
      for (std::size_t bit = 0; bit < 4 + n_high; ++bit) {
        const DigestLanes count = bit < 4 ? low[bit] : high[bit - 4];
        above = least >> bit & 1 ? above & count : above | count;
      }
      __builtin_memcpy(out + i * 4 + word, &above, sizeof above);
    }
}

}  // namespace clusterimg::CLUSTERIMG_ISA
