// Chooses the kernel table by what the CPU and the operating system allow.
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

struct Isas {
  const KernelTable* tables[4];
  bool can_run[4];
  std::size_t count = 0;

  void add(const KernelTable& table, bool runs) {
    tables[count] = &table;
    can_run[count++] = runs;
  }

  Isas() {
#if defined(CLUSTERIMG_X86)
    // __builtin_cpu_supports also asks the operating system whether it saves the registers.
    __builtin_cpu_init();
    add(x86_64_v2::table, __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt"));
    add(x86_64_v3::table, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
                              __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("fma"));
#else
    add(plain::table, true);
#endif
  }
};

const Isas& isas() {
  static const Isas all;
  return all;
}

const KernelTable* chosen = nullptr;

}  // namespace

std::size_t n_isas() { return isas().count; }

const char* isa_name(std::size_t index) { return isas().tables[index]->isa; }

bool can_run_isa(std::size_t index) { return isas().can_run[index]; }

bool use_isa(const char* name) {
  for (std::size_t k = 0; k < n_isas(); ++k)
    if (can_run_isa(k) && std::strcmp(isa_name(k), name) == 0) {
      chosen = isas().tables[k];
      return true;
    }
  return false;
}

const KernelTable& kernels() { return *chosen; }

}  // namespace clusterimg
