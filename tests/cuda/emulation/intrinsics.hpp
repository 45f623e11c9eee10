// The types and functions of CUDA that need no other thread: vectors, bits, bytes, atomics, and
// arithmetic that is rounded as its name says (the build has -ffp-contract=off).
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "warp.hpp"

// 1. Vectors, aligned as on a device

#define EMULATION_VECTOR(T, name, size1, size2, size4)       \
  struct alignas(size1) name##1 { T x; };                    \
  struct alignas(size2) name##2 { T x, y; };                 \
  struct alignas(size4) name##4 { T x, y, z, w; };           \
  inline name##1 make_##name##1(T x) { return {x}; }         \
  inline name##2 make_##name##2(T x, T y) { return {x, y}; } \
  inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
EMULATION_VECTOR(signed char, char, 1, 2, 4)
EMULATION_VECTOR(unsigned char, uchar, 1, 2, 4)
EMULATION_VECTOR(short, short, 2, 4, 8)
EMULATION_VECTOR(unsigned short, ushort, 2, 4, 8)
EMULATION_VECTOR(int, int, 4, 8, 16)
EMULATION_VECTOR(unsigned, uint, 4, 8, 16)
EMULATION_VECTOR(long long, longlong, 8, 16, 16)
EMULATION_VECTOR(unsigned long long, ulonglong, 8, 16, 16)
EMULATION_VECTOR(float, float, 4, 8, 16)
EMULATION_VECTOR(double, double, 8, 16, 16)

// 2. Bits and bytes

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
inline int __clzll(long long x) {
  return x == 0 ? 64 : __builtin_clzll(static_cast<unsigned long long>(x));
}
inline unsigned __brev(unsigned x) {
  unsigned out = 0;
  for (int bit = 0; bit < 32; ++bit) out |= (x >> bit & 1) << (31 - bit);
  return out;
}

// The 64 bits high:low shifted by `shift` modulo 32; `c`: by 32 at most.
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((std::uint64_t{high} << 32 | low) >> (shift & 31));
}
inline unsigned __funnelshift_rc(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((std::uint64_t{high} << 32 | low) >> (shift < 32 ? shift : 32));
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((std::uint64_t{high} << 32 | low) << (shift & 31) >> 32);
}
inline unsigned __funnelshift_lc(unsigned low, unsigned high, unsigned shift) {
  return shift < 32 ? __funnelshift_l(low, high, shift) : low;
}

// Byte k is the one of y:x that nibble k of the selector names. Its top bit would spread a sign,
// which CUDA does not promise: here it is an error.
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector, EMULATION_SITE) {
  if (selector & 0x8888)
    emulation::team->fail(std::string("__byte_perm at ") + emulation::Site{file, line}.text() +
                          ": the top bit of a selector");
  const std::uint64_t bytes = std::uint64_t{y} << 32 | x;
  unsigned out = 0;
  for (int k = 0; k < 4; ++k)
    out |= static_cast<unsigned>(bytes >> 8 * (selector >> 4 * k & 7) & 255) << 8 * k;
  return out;
}

namespace emulation {

// Applies f to the bytes of a and b, as signed or unsigned ones.
template <class Byte, class F>
unsigned bytewise(unsigned a, unsigned b, const F& f) {
  unsigned out = 0;
  for (int k = 0; k < 32; k += 8)
    out |= (static_cast<unsigned>(f(static_cast<Byte>(a >> k), static_cast<Byte>(b >> k))) & 255U)
           << k;
  return out;
}
template <class Byte, class Other>
unsigned dot(unsigned a, unsigned b, unsigned sum) {
  for (int k = 0; k < 32; k += 8)
    sum += static_cast<unsigned>(static_cast<Byte>(a >> k) * static_cast<Other>(b >> k));
  return sum;
}

}  // namespace emulation

inline int __dp4a(int a, int b, int c) {
  return static_cast<int>(emulation::dot<std::int8_t, std::int8_t>(
      static_cast<unsigned>(a), static_cast<unsigned>(b), static_cast<unsigned>(c)));
}
inline unsigned __dp4a(unsigned a, unsigned b, unsigned c) {
  return emulation::dot<std::uint8_t, std::uint8_t>(a, b, c);
}

#define EMULATION_BYTEWISE(name, Byte, formula)                                   \
  inline unsigned name(unsigned x, unsigned y) {                                  \
    return emulation::bytewise<Byte>(x, y, [](int a, int b) { return formula; }); \
  }
EMULATION_BYTEWISE(__vadd4, std::uint8_t, a + b)
EMULATION_BYTEWISE(__vsub4, std::uint8_t, a - b)
EMULATION_BYTEWISE(__vminu4, std::uint8_t, a < b ? a : b)
EMULATION_BYTEWISE(__vmaxu4, std::uint8_t, a > b ? a : b)
EMULATION_BYTEWISE(__vmins4, std::int8_t, a < b ? a : b)
EMULATION_BYTEWISE(__vmaxs4, std::int8_t, a > b ? a : b)
EMULATION_BYTEWISE(__vabsdiffu4, std::uint8_t, a > b ? a - b : b - a)
EMULATION_BYTEWISE(__vaddus4, std::uint8_t, a + b < 255 ? a + b : 255)
EMULATION_BYTEWISE(__vsubus4, std::uint8_t, a > b ? a - b : 0)
EMULATION_BYTEWISE(__vcmpeq4, std::uint8_t, a == b ? 255 : 0)
EMULATION_BYTEWISE(__vcmpne4, std::uint8_t, a != b ? 255 : 0)
EMULATION_BYTEWISE(__vcmpgtu4, std::uint8_t, a > b ? 255 : 0)
EMULATION_BYTEWISE(__vcmpgeu4, std::uint8_t, a >= b ? 255 : 0)
EMULATION_BYTEWISE(__vcmpltu4, std::uint8_t, a < b ? 255 : 0)
EMULATION_BYTEWISE(__vcmpleu4, std::uint8_t, a <= b ? 255 : 0)
inline unsigned __vsadu4(unsigned x, unsigned y) {
  return emulation::dot<std::uint8_t, std::uint8_t>(__vabsdiffu4(x, y), 0x01010101U, 0);
}

// 3. The same bits as another type

namespace emulation {
template <class To, class From>
To same_bits(From value) {
  static_assert(sizeof(To) == sizeof(From), "the same size");
  To out;
  std::memcpy(&out, &value, sizeof out);
  return out;
}
}  // namespace emulation

inline float __int_as_float(int x) { return emulation::same_bits<float>(x); }
inline int __float_as_int(float x) { return emulation::same_bits<int>(x); }
inline float __uint_as_float(unsigned x) { return emulation::same_bits<float>(x); }
inline unsigned __float_as_uint(float x) { return emulation::same_bits<unsigned>(x); }
inline double __longlong_as_double(long long x) { return emulation::same_bits<double>(x); }
inline long long __double_as_longlong(double x) { return emulation::same_bits<long long>(x); }

// 4. Arithmetic

inline double __dadd_rn(double x, double y) { return x + y; }
inline double __dsub_rn(double x, double y) { return x - y; }
inline double __dmul_rn(double x, double y) { return x * y; }
inline double __ddiv_rn(double x, double y) { return x / y; }
inline double __dsqrt_rn(double x) { return std::sqrt(x); }
inline double __fma_rn(double x, double y, double z) { return std::fma(x, y, z); }
inline float __fadd_rn(float x, float y) { return x + y; }
inline float __fsub_rn(float x, float y) { return x - y; }
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fdiv_rn(float x, float y) { return x / y; }
inline float __frcp_rn(float x) { return 1.0F / x; }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline float __fmaf_rn(float x, float y, float z) { return std::fma(x, y, z); }
inline float __double2float_rn(double x) { return static_cast<float>(x); }
inline int __float2int_rn(float x) { return static_cast<int>(std::nearbyint(x)); }
inline int __float2int_rz(float x) { return static_cast<int>(x); }
inline float __int2float_rn(int x) { return static_cast<float>(x); }
inline float __uint2float_rn(unsigned x) { return static_cast<float>(x); }
inline double __int2double_rn(int x) { return x; }
inline double __uint2double_rn(unsigned x) { return x; }
inline double __ll2double_rn(long long x) { return static_cast<double>(x); }
inline double __ull2double_rn(unsigned long long x) { return static_cast<double>(x); }

namespace emulation {

// A value that is off by up to two units in the last place, as the quick functions of a device may
// be: which way and how far hangs on its bits. 0, infinities and nan stay.
inline float off_by_two(float exact) {
  const std::uint32_t bits = same_bits<std::uint32_t>(exact);
  const std::uint32_t exponent = bits >> 23 & 255;
  if (exponent < 2 || exponent > 253) return exact;
  return same_bits<float>(bits + (bits * 2654435761U >> 16) % 5 - 2);
}

}  // namespace emulation

inline float __fdividef(float x, float y) {
  const float size = std::fabs(y);
  if (size > 0x1p126F && !std::isinf(size)) return 0 * x;  // as CUDA has it
  return emulation::off_by_two(x / y);
}
inline float rsqrtf(float x) { return emulation::off_by_two(1.0F / std::sqrt(x)); }

inline int __mulhi(int x, int y) { return static_cast<int>(std::int64_t{x} * y >> 32); }
inline unsigned __umulhi(unsigned x, unsigned y) {
  return static_cast<unsigned>(std::uint64_t{x} * y >> 32);
}
inline unsigned __usad(unsigned x, unsigned y, unsigned sum) {
  return sum + (x > y ? x - y : y - x);
}

#define EMULATION_MIN_MAX(A, B, Out)                                                        \
  constexpr Out min(A a, B b) { return static_cast<Out>(a) < static_cast<Out>(b) ? a : b; } \
  constexpr Out max(A a, B b) { return static_cast<Out>(a) > static_cast<Out>(b) ? a : b; }
EMULATION_MIN_MAX(int, int, int)
EMULATION_MIN_MAX(unsigned, unsigned, unsigned)
EMULATION_MIN_MAX(int, unsigned, unsigned)
EMULATION_MIN_MAX(unsigned, int, unsigned)
EMULATION_MIN_MAX(long, long, long)
EMULATION_MIN_MAX(unsigned long, unsigned long, unsigned long)
EMULATION_MIN_MAX(long, unsigned long, unsigned long)
EMULATION_MIN_MAX(unsigned long, long, unsigned long)
EMULATION_MIN_MAX(long long, long long, long long)
EMULATION_MIN_MAX(unsigned long long, unsigned long long, unsigned long long)
EMULATION_MIN_MAX(long long, unsigned long long, unsigned long long)
EMULATION_MIN_MAX(unsigned long long, long long, unsigned long long)
// Of a number and nan the number.
inline float min(float a, float b) { return std::fmin(a, b); }
inline float max(float a, float b) { return std::fmax(a, b); }
inline double min(double a, double b) { return std::fmin(a, b); }
inline double max(double a, double b) { return std::fmax(a, b); }
inline double min(float a, double b) { return std::fmin(a, b); }
inline double max(float a, double b) { return std::fmax(a, b); }
inline double min(double a, float b) { return std::fmin(a, b); }
inline double max(double a, float b) { return std::fmax(a, b); }

// 5. Memory

template <class T>
T __ldg(const T* from) {
  return *from;
}
template <class T>
T __ldcs(const T* from) {
  return *from;
}
template <class T>
void __stcs(T* to, T value) {
  *to = value;
}
inline void __threadfence() { std::atomic_thread_fence(std::memory_order_seq_cst); }
inline void __threadfence_block() {}

namespace emulation {

template <class T>
struct Atomic {
  static_assert(std::is_same_v<T, int> || std::is_same_v<T, unsigned> ||
                    std::is_same_v<T, unsigned long long> || std::is_same_v<T, float> ||
                    std::is_same_v<T, double>,
                "CUDA has atomics of int, unsigned, unsigned long long, float and double");
  using type = T;
};
template <class T>
using atomic = typename Atomic<T>::type;

template <class T, class F>
T exchange_by(T* to, const F& next) {
  T before, after;
  __atomic_load(to, &before, __ATOMIC_RELAXED);
  do {
    after = next(before);
  } while (
      !__atomic_compare_exchange(to, &before, &after, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return before;
}

}  // namespace emulation

template <class T>
T atomicAdd(T* to, emulation::atomic<T> value) {
  return emulation::exchange_by(to, [&](T before) {
    if constexpr (std::is_same_v<T, int>)
      return static_cast<int>(static_cast<unsigned>(before) + static_cast<unsigned>(value));
    else
      return static_cast<T>(before + value);
  });
}
template <class T>
T atomicCAS(T* to, emulation::atomic<T> expected, emulation::atomic<T> value) {
  __atomic_compare_exchange(to, &expected, &value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}
template <class T>
T atomicExch(T* to, emulation::atomic<T> value) {
  return emulation::exchange_by(to, [&](T) { return value; });
}
template <class T>
T atomicMin(T* to, emulation::atomic<T> value) {
  return emulation::exchange_by(to, [&](T before) { return before < value ? before : value; });
}
template <class T>
T atomicMax(T* to, emulation::atomic<T> value) {
  return emulation::exchange_by(to, [&](T before) { return before > value ? before : value; });
}
template <class T>
T atomicOr(T* to, emulation::atomic<T> value) {
  return emulation::exchange_by(to, [&](T before) { return before | value; });
}
template <class T>
T atomicAnd(T* to, emulation::atomic<T> value) {
  return emulation::exchange_by(to, [&](T before) { return before & value; });
}
