// One similar pair, laid out as the NumPy dtype `i <i4, j <i4, score <f8`.
#pragma once
#include <cstdint>

namespace clusterimg {

struct Edge {
  std::int32_t i;
  std::int32_t j;
  double score;
};

}  // namespace clusterimg
