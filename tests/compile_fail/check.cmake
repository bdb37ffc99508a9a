# SPDX-License-Identifier: Apache-2.0
# cmake -DCOMPILER=... -DINCLUDES=... -DSOURCE=... -P check.cmake
cmake_minimum_required(VERSION 3.25)

# Read as text, not with file(STRINGS): a regex may hold brackets and semicolons.
file(READ "${SOURCE}" text)
if(NOT text MATCHES "(^|\n)// expect: ([^\n]+)")
  message(FATAL_ERROR "${SOURCE} has no line \"// expect: <regex>\"")
endif()
set(expected "${CMAKE_MATCH_2}")
if(NOT text MATCHES "SEQMIX_COMPILE_FAIL_CONTROL")
  message(FATAL_ERROR "${SOURCE} has no variant under SEQMIX_COMPILE_FAIL_CONTROL")
endif()

# "// flags: ..." holds flags that the refused variant gets and the control does not.
set(flags "")
if(text MATCHES "(^|\n)// flags: ([^\n]+)")
  separate_arguments(flags UNIX_COMMAND "${CMAKE_MATCH_2}")
endif()

list(TRANSFORM INCLUDES PREPEND -I)
set(command "${COMPILER}" -std=c++20 -fsyntax-only ${INCLUDES})

execute_process(COMMAND ${command} -DSEQMIX_COMPILE_FAIL_CONTROL "${SOURCE}"
  RESULT_VARIABLE status ERROR_VARIABLE diagnostics)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "the control variant must compile, but gives:\n${diagnostics}")
endif()

execute_process(COMMAND ${command} ${flags} "${SOURCE}" RESULT_VARIABLE status ERROR_VARIABLE diagnostics)
if(status EQUAL 0)
  message(FATAL_ERROR "compiles, but must not; expected a diagnostic like: ${expected}")
endif()
if(NOT diagnostics MATCHES "${expected}")
  message(FATAL_ERROR "no diagnostic matches: ${expected}\nthe compiler said:\n${diagnostics}")
endif()
