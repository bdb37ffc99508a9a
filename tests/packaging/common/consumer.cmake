# SPDX-License-Identifier: Apache-2.0
# The consumer itself: the same for every way of getting seqmix::seqmix.

# Flags of ours must not reach a consumer, nor our tests, nor CTest's global switch.
get_target_property(options seqmix::seqmix INTERFACE_COMPILE_OPTIONS)
if(options)
  message(FATAL_ERROR "seqmix::seqmix pushes compile options: ${options}")
endif()
if(DEFINED BUILD_TESTING OR SEQMIX_BUILD_TESTS OR TARGET Catch2::Catch2WithMain)
  message(FATAL_ERROR "the tests of seqmix leak into its consumer")
endif()

# A compiled back-end as a plain static library: nothing names its symbols, so the linker would
# drop the unit whose initialiser registers it. Its own target asks to keep one symbol.
add_library(dummy_backend STATIC "${CMAKE_CURRENT_LIST_DIR}/dummy_backend.cpp")
target_include_directories(dummy_backend PUBLIC "${CMAKE_CURRENT_LIST_DIR}")
target_link_libraries(dummy_backend PUBLIC seqmix::seqmix)
target_link_options(dummy_backend INTERFACE LINKER:--undefined=seqmix_dummy_backend_registered)

add_executable(consumer "${CMAKE_CURRENT_LIST_DIR}/main.cpp")
target_link_libraries(consumer PRIVATE dummy_backend seqmix::seqmix)

if(TARGET seqmix::openmp)
  add_executable(consumer_openmp "${CMAKE_CURRENT_LIST_DIR}/openmp.cpp")
  target_link_libraries(consumer_openmp PRIVATE seqmix::openmp seqmix::native)
endif()

if(SEQMIX_ENABLE_MULTIARCH)
  add_executable(consumer_multiarch "${CMAKE_CURRENT_LIST_DIR}/multiarch.cpp")
  target_link_libraries(consumer_multiarch PRIVATE seqmix::multiarch)
endif()

if(SEQMIX_ENABLE_CUDA)
  add_executable(consumer_cuda "${CMAKE_CURRENT_LIST_DIR}/cuda.cpp")
  target_link_libraries(consumer_cuda PRIVATE seqmix::cuda)
endif()
