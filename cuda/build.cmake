# Defines _core_cuda where there is a CUDA compiler.
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  # Machine code for Turing to Blackwell, and PTX for what comes later.
  set(CMAKE_CUDA_ARCHITECTURES 75-real 80-real 86-real 89-real 90-real 120)
endif()
include(CheckLanguage)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  if(CLUSTERIMG_CUDA STREQUAL ON)
    message(FATAL_ERROR "CLUSTERIMG_CUDA is ON, but no nvcc was found: put it on PATH or set CUDACXX.")
  endif()
  message(STATUS "No nvcc found: the CUDA kernels are left out.")
  return()
endif()

set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)

file(GLOB cuda_sources CONFIGURE_DEPENDS cuda/*.cu)
pybind11_add_module(_core_cuda NO_EXTRAS cuda/bindings.cpp cuda/driver.cpp cuda/worker.cpp ${cuda_sources})
target_include_directories(_core_cuda PRIVATE csrc cuda)
target_link_libraries(_core_cuda PRIVATE CUDA::cudart_static)
string(REPLACE ";" " " architectures "${CMAKE_CUDA_ARCHITECTURES}")
target_compile_definitions(_core_cuda PRIVATE CLUSTERIMG_CUDA_ARCHITECTURES="${architectures}")
target_compile_options(_core_cuda PRIVATE
  $<$<COMPILE_LANGUAGE:CXX>:-O3 -Wall -Wextra -Wshadow>
  $<$<COMPILE_LANGUAGE:CUDA>:-O3 -Xcompiler=-Wall,-Wextra>
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<BOOL:${CLUSTERIMG_WERROR}>>:-Werror>
  $<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<BOOL:${CLUSTERIMG_WERROR}>>:-Werror=all-warnings>)
install(TARGETS _core_cuda DESTINATION clusterimg)
