# SPDX-License-Identifier: Apache-2.0
# Flags of the tests, benchmarks and examples of this tree; neither installed nor exported.
add_library(seqmix_dev_flags INTERFACE)
target_compile_options(seqmix_dev_flags INTERFACE -Wall -Wextra -Wconversion -Wshadow)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 finds uninitialised variables in its own AVX-512 header.
  target_compile_options(seqmix_dev_flags INTERFACE -Wno-uninitialized -Wno-maybe-uninitialized)
endif()
if(SEQMIX_WERROR)
  target_compile_options(seqmix_dev_flags INTERFACE -Werror)
endif()
if(SEQMIX_NATIVE)
  target_link_libraries(seqmix_dev_flags INTERFACE seqmix::native)
endif()
if(SEQMIX_NO_EXCEPTIONS)
  target_compile_options(seqmix_dev_flags INTERFACE -fno-exceptions -fno-rtti)
endif()
find_package(Threads REQUIRED)
find_package(Eigen3 3.4 QUIET NO_MODULE)

# seqmix_link_optional(<target> <file name>): a file with "openmp" in its name gets seqmix::openmp.
function(seqmix_link_optional target file)
  if(file MATCHES "openmp")
    target_link_libraries(${target} PRIVATE seqmix::openmp)
  endif()
  if(TARGET Eigen3::Eigen)
    target_link_libraries(${target} PRIVATE Eigen3::Eigen)
  endif()
endfunction()
