// Every kernel for one instruction set. CMake compiles this file once per set, with
// CLUSTERIMG_ISA as the namespace and CLUSTERIMG_ISA_NAME as the name that `info` prints.
#include "kernels.hpp"

#include "kernels/adder.hpp"
#include "kernels/area.hpp"
#include "kernels/descriptor.hpp"
#include "kernels/descriptor_bits.hpp"
#include "kernels/descriptor_distances.hpp"
#include "kernels/descriptor_fast.hpp"
#include "kernels/hamming.hpp"
#include "kernels/hamming_planes.hpp"
#include "kernels/hamming_sliced.hpp"
#include "kernels/hamming_sliced_exact.hpp"
#include "kernels/hamming_sliced_hits.hpp"
#include "kernels/image_lanes.hpp"
#include "kernels/int16.hpp"
#include "kernels/phash.hpp"
#include "kernels/signature.hpp"
#include "kernels/sketch.hpp"
#include "kernels/sliding.hpp"
#include "kernels/spectrum.hpp"
#include "kernels/ssim.hpp"
#include "kernels/ssim_bound.hpp"
#include "kernels/ssim_tile.hpp"
#include "kernels/template.hpp"

namespace clusterimg::CLUSTERIMG_ISA {

extern const KernelTable table;
const KernelTable table = {
    CLUSTERIMG_ISA_NAME,
    hamming_tile,
    hamming_near,
    hamming_tables,
    hamming_hits,
    hamming_tally,
    hamming_count,
    hamming_exact_table,
    hamming_masks,
    hamming_spanning,
    hamming_write,
    signature_tile,
    spread_greys,
    signature_counts,
    signature_digests,
    signature_planes,
    signature_above,
    dot_tile,
    template_row,
    grey_dot,
    add_row,
    sketch_row,
    sketch_hits,
    widen_greys,
    corner_sums,
    patch_sums,
    grey_sums,
    least_bound,
    patch_dots,
    fourier_columns,
    product_columns,
    pack_rows,
    unpack_rows,
    stand_rows,
    turn_rows,
    product_bounds,
    descriptor_planes,
    descriptor_groups,
    descriptor_pair,
    ssim_pack,
    ssim_unpack,
    ssim_tile,
    ssim_pair,
    ssim_numbers,
    ssim_left,
    ssim_group_losses,
    resample_rows,
    resample_columns,
    low_frequencies,
    area_rows,
};

}  // namespace clusterimg::CLUSTERIMG_ISA
