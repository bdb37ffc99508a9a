# SPDX-License-Identifier: Apache-2.0
# Configures, builds and runs the consumer of one MODE. Only installed files are visible to the
# modes find_package and pkg_config, in a tree that was moved after the installation.
cmake_minimum_required(VERSION 3.25)

function(run)
  list(JOIN ARGV " " shown)
  message(STATUS "${shown}")
  execute_process(COMMAND ${ARGV} RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "packaging, ${MODE}: failed with ${status}: ${shown}")
  endif()
endfunction()

file(REMOVE_RECURSE "${WORK_DIR}")
set(build "${WORK_DIR}/build")
set(prefix "${WORK_DIR}/prefix")
set(common "${CMAKE_CURRENT_LIST_DIR}/common")

set(backend)
if(MULTIARCH)
  set(backend -DSEQMIX_ENABLE_MULTIARCH=ON)
endif()
if(CUDA)
  set(backend -DSEQMIX_ENABLE_CUDA=ON "-DCMAKE_CUDA_COMPILER=${CUDA_COMPILER}"
    -DCMAKE_CUDA_ARCHITECTURES=90a-real)
endif()

if(MODE MATCHES "find_package|pkg_config")
  # Configured anew: an install from SEQMIX_BINARY_DIR would build its tests first.
  run(${CMAKE_COMMAND} -G "${GENERATOR}" -S "${SEQMIX_SOURCE_DIR}" -B "${WORK_DIR}/seqmix"
    "-DCMAKE_CXX_COMPILER=${COMPILER}"
    "-DSEQMIX_XSIMD_INCLUDE_DIR=${SEQMIX_XSIMD_INCLUDE_DIR}"
    -DSEQMIX_BUILD_TESTS=OFF -DSEQMIX_BUILD_BENCH=OFF -DSEQMIX_BUILD_EXAMPLES=OFF
    -DCMAKE_BUILD_TYPE=Release ${backend})
  if(backend)
    run(${CMAKE_COMMAND} --build "${WORK_DIR}/seqmix")
  endif()
  run(${CMAKE_COMMAND} --install "${WORK_DIR}/seqmix" --prefix "${WORK_DIR}/staged")
  file(RENAME "${WORK_DIR}/staged" "${prefix}")
endif()

if(MODE STREQUAL "pkg_config")
  set(ENV{PKG_CONFIG_PATH} "${prefix}/share/pkgconfig")
  execute_process(COMMAND "${PKG_CONFIG}" --cflags --libs seqmix
    OUTPUT_VARIABLE flags OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  separate_arguments(flags UNIX_COMMAND "${flags}")
  file(MAKE_DIRECTORY "${build}")
  run("${COMPILER}" -std=c++20 -O1 -I "${common}"
    "${common}/main.cpp" "${common}/dummy_backend.cpp" ${flags} -o "${build}/consumer")
  run("${build}/consumer")
  return()
endif()

run(${CMAKE_COMMAND} -G "${GENERATOR}" -S "${CMAKE_CURRENT_LIST_DIR}/${MODE}" -B "${build}"
  "-DCMAKE_CXX_COMPILER=${COMPILER}"
  -DCMAKE_BUILD_TYPE=Release
  ${backend}
  "-DCMAKE_PREFIX_PATH=${prefix}"
  "-DSEQMIX_SOURCE_DIR=${SEQMIX_SOURCE_DIR}"
  "-DSEQMIX_XSIMD_INCLUDE_DIR=${SEQMIX_XSIMD_INCLUDE_DIR}")
run(${CMAKE_COMMAND} --build "${build}")
run("${build}/consumer")
if(EXISTS "${build}/consumer_openmp")
  run("${build}/consumer_openmp")
endif()
if(CUDA)
  run("${build}/consumer_cuda")
endif()
if(MULTIARCH)
  run("${build}/consumer_multiarch")
endif()
