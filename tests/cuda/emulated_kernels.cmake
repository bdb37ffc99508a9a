# SPDX-License-Identifier: Apache-2.0
# seqmix_emulated_kernels: the kernels compiled for the host, against support/emulated_gpu/.
# Their headers find common/ by relative paths: they are copied beside the emulated one.
set(kernels "${PROJECT_SOURCE_DIR}/kernels/cuda")
set(emulation "${PROJECT_SOURCE_DIR}/tests/support/emulated_gpu")
set(emulated "${CMAKE_CURRENT_BINARY_DIR}/emulated")

file(GLOB replaced RELATIVE "${emulation}" CONFIGURE_DEPENDS "${emulation}/common/*.cuh")
file(GLOB copied RELATIVE "${kernels}" CONFIGURE_DEPENDS
  "${kernels}/common/*.cuh" "${kernels}/common/*.hpp"
  "${kernels}/softmax_attention/*.cuh" "${kernels}/softmax_attention/*.hpp"
  "${kernels}/softmax_attention/sm80/*.cuh" "${kernels}/softmax_attention/sm90/*.cuh"
  "${kernels}/softmax_attention/instances/*.cu" "${kernels}/softmax_attention/instances/hopper/*.cu")
list(REMOVE_ITEM copied ${replaced})
set(instances)
foreach(file IN LISTS copied)
  configure_file("${kernels}/${file}" "${emulated}/seqmix/cuda/${file}" COPYONLY)
  if(file MATCHES "\\.cu$")
    list(APPEND instances "${emulated}/seqmix/cuda/${file}")
  endif()
endforeach()
foreach(file IN LISTS replaced)
  configure_file("${emulation}/${file}" "${emulated}/seqmix/cuda/${file}" COPYONLY)
endforeach()

set_source_files_properties(${instances} PROPERTIES LANGUAGE CXX)
add_library(seqmix_emulated_kernels STATIC ${instances} "${emulation}/runtime.cpp"
  "${kernels}/common/tensor_map.cpp" "${kernels}/softmax_attention/plan.cpp")
target_compile_definitions(seqmix_emulated_kernels PRIVATE SEQMIX_CUDA_FAMILY=portable)
target_include_directories(seqmix_emulated_kernels PUBLIC "${PROJECT_SOURCE_DIR}/tests")
target_include_directories(seqmix_emulated_kernels SYSTEM
  PUBLIC "${emulated}" ${CUDAToolkit_INCLUDE_DIRS})
target_link_libraries(seqmix_emulated_kernels PUBLIC seqmix::seqmix)
# __fmul_rn is there so that nothing is fused with it. And g++ calls an initialiser of the emulated
# shared memory which does not exist.
target_compile_options(seqmix_emulated_kernels
  PUBLIC -ffp-contract=off $<$<CXX_COMPILER_ID:GNU>:-fno-extern-tls-init>)
