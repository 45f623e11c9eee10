// Every kernel for one instruction set. CMake compiles this file once per set, with
// CLUSTERIMG_ISA as the namespace and CLUSTERIMG_ISA_NAME as the name that `info` prints.
#include "kernels.hpp"

#include "kernels/descriptor.hpp"
#include "kernels/hamming.hpp"
#include "kernels/int16.hpp"
#include "kernels/phash.hpp"
#include "kernels/signature.hpp"
#include "kernels/sketch.hpp"
#include "kernels/sliding.hpp"
#include "kernels/spectrum.hpp"
#include "kernels/ssim.hpp"
#include "kernels/template.hpp"

namespace clusterimg::CLUSTERIMG_ISA {

extern const KernelTable table;
const KernelTable table = {
    CLUSTERIMG_ISA_NAME, hamming_tile,    hamming_near,
    signature_tile,      spread_greys,    dot_tile,
    template_row,        grey_dot,        add_row,
    sketch_row,          sketch_hits,     widen_greys,
    corner_sums,         patch_sums,      grey_sums,
    least_bound,         patch_dots,      fourier_columns,
    product_columns,     pack_rows,       unpack_rows,
    stand_rows,          turn_rows,       product_bounds,
    descriptor_planes,   descriptor_pair, ssim_statistics,
    ssim_tile,           ssim_pair,       resample_rows,
    resample_columns,    low_frequencies,
};

}  // namespace clusterimg::CLUSTERIMG_ISA
