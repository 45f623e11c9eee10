// Chooses the kernel table by what the CPU and the operating system allow.
#include <cstdlib>
#include <cstring>

#include "kernels.hpp"

#define CLUSTERIMG_DECLARE(isa)   \
  namespace clusterimg::isa {     \
  extern const KernelTable table; \
  }
#if defined(CLUSTERIMG_X86)
CLUSTERIMG_DECLARE(x86_64_v2)
CLUSTERIMG_DECLARE(x86_64_v3)
#else
CLUSTERIMG_DECLARE(plain)
#endif

namespace clusterimg {
namespace {

struct Usable {
  const KernelTable* tables[4];
  std::size_t count = 0;

  void add(const KernelTable& table) { tables[count++] = &table; }

  Usable() {
#if defined(CLUSTERIMG_X86)
    // __builtin_cpu_supports also asks the operating system whether it saves the registers.
    __builtin_cpu_init();
    if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt")) add(x86_64_v2::table);
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
        __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("fma"))
      add(x86_64_v3::table);
#else
    add(plain::table);
#endif
  }
};

const Usable& usable() {
  static const Usable found;
  return found;
}

const KernelTable* chosen = nullptr;

}  // namespace

std::size_t n_usable_isas() { return usable().count; }

const KernelTable& usable_isa(std::size_t index) { return *usable().tables[index]; }

bool use_isa(const char* name) {
  for (std::size_t k = 0; k < n_usable_isas(); ++k)
    if (std::strcmp(usable_isa(k).isa, name) == 0) {
      chosen = &usable_isa(k);
      return true;
    }
  return false;
}

const KernelTable& kernels() { return *chosen; }

}  // namespace clusterimg
