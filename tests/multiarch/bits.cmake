# SPDX-License-Identifier: Apache-2.0
# cmake -DISA=<avx2, avx512> -DTARGET=<its name in reports> -DBASELINE=<program with the back-end>
#   -DHEADER=<program of the header alone, compiled for it> -P bits.cmake
cmake_minimum_required(VERSION 3.25)
set(ENV{SEQMIX_ISA} ${ISA})
execute_process(COMMAND "${BASELINE}" OUTPUT_VARIABLE baseline COMMAND_ERROR_IS_FATAL ANY)
string(FIND "${baseline}" ": ${TARGET}, " place)
if(place EQUAL -1)
  message("skip: this CPU has no ${ISA}")
  return()
endif()
execute_process(COMMAND "${HEADER}" OUTPUT_VARIABLE header COMMAND_ERROR_IS_FATAL ANY)
if(NOT baseline STREQUAL header)
  message(FATAL_ERROR "the program for the baseline of x86-64:\n${baseline}"
    "and the one for ${ISA}:\n${header}")
endif()
message("${baseline}")
