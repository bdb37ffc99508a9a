# SPDX-License-Identifier: Apache-2.0

# seqmix_add_catch_test(<name>_test.cpp): the program test_<name>, and one test per tier it has.
#
# A plain run leaves out hidden cases; a case tagged [.ci], or [.full], belongs to that tier. Tiers
# are separate ctest entries: <name>, <name>.ci, <name>.full. Cases with the tag [threads], which
# all that start threads must have, are also an entry <name>.threads, with that label: it is what
# runs under the thread sanitizer, and the target threaded_tests builds it.
function(seqmix_add_catch_test source)
  if(source MATCHES "openmp" AND NOT TARGET seqmix::openmp)
    message(STATUS "seqmix: ${source} left out: no OpenMP")
    return()
  endif()
  string(REGEX REPLACE "_test\\.cpp$" "" name "${source}")
  string(REPLACE "/" "." name "${name}")
  set(target test_${name})

  add_executable(${target} ${source})
  target_include_directories(${target} PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}")
  target_link_libraries(${target}
    PRIVATE seqmix::seqmix seqmix_dev_flags Threads::Threads ${seqmix_test_main}
            seqmix_test_thread_tag)
  seqmix_link_optional(${target} ${source})
  cmake_path(GET source PARENT_PATH folder)
  if(TARGET seqmix_test_kernels_${folder})
    seqmix_link_test_kernels(${target} ${folder})
  endif()

  add_test(NAME ${name} COMMAND ${target})
  set_tests_properties(${name} PROPERTIES LABELS test TIMEOUT 600)
  file(STRINGS ${source} threaded REGEX "\\[threads\\]" LIMIT_COUNT 1)
  if(threaded)
    add_test(NAME ${name}.threads COMMAND ${target} "[threads]~[.]")
    set_tests_properties(${name}.threads PROPERTIES LABELS threads TIMEOUT 1800)
    add_dependencies(threaded_tests ${target})
  endif()
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${source})
  foreach(tier IN ITEMS ci full)
    file(STRINGS ${source} tagged REGEX "\\[\\.(\\]\\[)?${tier}\\]" LIMIT_COUNT 1)
    if(tagged)
      add_test(NAME ${name}.${tier} COMMAND ${target} "[${tier}]")
      set_tests_properties(${name}.${tier} PROPERTIES LABELS ${tier} TIMEOUT 3600)
    endif()
  endforeach()
endfunction()

# seqmix_add_compile_fail_test(compile_fail/<name>.cpp): the file must be refused with the
# diagnostic that its "// expect: <regex>" line names, and must compile once
# SEQMIX_COMPILE_FAIL_CONTROL is defined, so that it cannot pass for another reason.
function(seqmix_add_compile_fail_test source)
  cmake_path(GET source STEM name)
  get_target_property(xsimd seqmix::xsimd_headers INTERFACE_INCLUDE_DIRECTORIES)
  add_test(NAME compile_fail.${name}
    COMMAND ${CMAKE_COMMAND}
      "-DCOMPILER=${CMAKE_CXX_COMPILER}"
      "-DINCLUDES=${PROJECT_SOURCE_DIR}/include;${xsimd}"
      "-DSOURCE=${CMAKE_CURRENT_SOURCE_DIR}/${source}"
      -P "${CMAKE_CURRENT_SOURCE_DIR}/compile_fail/check.cmake")
  set_tests_properties(compile_fail.${name} PROPERTIES LABELS test TIMEOUT 300)
endfunction()
