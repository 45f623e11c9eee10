# Defines _core_cuda where there is a CUDA compiler.
include(CheckLanguage)
if(NOT CMAKE_CUDA_COMPILER)
  unset(CMAKE_CUDA_COMPILER CACHE) # a compiler may be there by now
endif()
check_language(CUDA)

# Why it can't be built, if it can't. Kernels are launched as CUDA 11.8 and later do.
set(reason "")
if(NOT CMAKE_CUDA_COMPILER)
  set(reason "no working nvcc was found: put it on PATH or set CUDACXX")
else()
  execute_process(COMMAND ${CMAKE_CUDA_COMPILER} --version OUTPUT_VARIABLE told ERROR_QUIET)
  string(REGEX MATCH "release ([0-9]+\\.[0-9]+)" told "${told}")
  set(release ${CMAKE_MATCH_1})
  if(release VERSION_LESS 11.8)
    set(reason "nvcc must be of CUDA 11.8 or later, got ${release}")
  endif()
endif()
if(reason)
  if(CLUSTERIMG_CUDA STREQUAL ON)
    message(FATAL_ERROR "CLUSTERIMG_CUDA is ON, but ${reason}.")
  endif()
  message(STATUS "The CUDA kernels are left out: ${reason}.")
  return()
endif()

if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  # Machine code for Turing to Hopper or, by a compiler that knows it, Blackwell; PTX for the devices between and after.
  set(CMAKE_CUDA_ARCHITECTURES 75-real 80 86-real 89-real 90)
  if(NOT release VERSION_LESS 12.8)
    list(APPEND CMAKE_CUDA_ARCHITECTURES 120)
  endif()
endif()
foreach(architecture ${CMAKE_CUDA_ARCHITECTURES})
  # The host takes a device to have the tensor cores that its code was compiled for.
  if(architecture MATCHES "^([0-9]+)(-virtual)?$" AND CMAKE_MATCH_1 LESS 80)
    message(FATAL_ERROR "CMAKE_CUDA_ARCHITECTURES below 80 must be -real, got ${architecture}.")
  endif()
endforeach()

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
