// In place of CUDA's: cuda/ runs on the CPU where this folder comes first among the include paths.
#pragma once
#include "host.hpp"
#include "intrinsics.hpp"
