// Every kernel for one instruction set. CMake compiles this file once per set, with
// CLUSTERIMG_ISA as the namespace and CLUSTERIMG_ISA_NAME as the name that `info` prints.
#include "kernels.hpp"

#include "kernels/descriptor.hpp"
#include "kernels/hamming.hpp"
#include "kernels/hamming_planes.hpp"
#include "kernels/hamming_sliced.hpp"
#include "kernels/phash.hpp"
#include "kernels/signature.hpp"
#include "kernels/ssim.hpp"
#include "kernels/template.hpp"

namespace clusterimg::CLUSTERIMG_ISA {

extern const KernelTable table;
const KernelTable table = {
    CLUSTERIMG_ISA_NAME, hamming_tile,      hamming_near,     hamming_tables,  hamming_hits,
    hamming_tally,       hamming_count,     signature_tile,   dot_tile,        add_squares,
    template_span,       descriptor_planes, descriptor_pair,  ssim_statistics, ssim_tile,
    ssim_pair,           resample_rows,     resample_columns, low_frequencies,
};

}  // namespace clusterimg::CLUSTERIMG_ISA
