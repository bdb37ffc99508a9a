# SPDX-License-Identifier: Apache-2.0
# cmake -DSTREAMING=<streaming_mamba> -DBYTE_LM=<byte_lm> -DBYTE_LM_TEST=<byte_lm_test>
#   -DSANITIZED=<empty: no> -DWORK_DIR=<folder> -P streaming_test.cmake
cmake_minimum_required(VERSION 3.25)
set(data "${CMAKE_CURRENT_LIST_DIR}/data")
file(REMOVE_RECURSE "${WORK_DIR}")
file(MAKE_DIRECTORY "${WORK_DIR}")
execute_process(COMMAND "${BYTE_LM_TEST}" "[random_weights]" WORKING_DIRECTORY "${WORK_DIR}"
  OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
set(short 16384)
set(long 131072)
file(READ "${data}/heldout.txt" text)
foreach(length IN ITEMS short long)
  string(SUBSTRING "${text}" 0 ${${length}} part)
  file(WRITE "${WORK_DIR}/${length}.txt" "${part}")
endforeach()
file(WRITE "${WORK_DIR}/empty.txt" "")

# follow(<exit code> <text> <arguments>...): the text through a pipe
function(follow code file)
  execute_process(
    COMMAND "${CMAKE_COMMAND}" -E cat "${WORK_DIR}/${file}.txt"
    COMMAND "${STREAMING}" ${ARGN}
    RESULTS_VARIABLE results OUTPUT_VARIABLE out ERROR_VARIABLE err)
  list(GET results 1 result)
  if(NOT result STREQUAL code)
    message(SEND_ERROR "streaming_mamba ${ARGN}\nexpected ${code}, got ${result}:\n${out}${err}")
  endif()
  set(out "${out}" PARENT_SCOPE)
  set(err "${err}" PARENT_SCOPE)
endfunction()

# What byte_lm makes of the text as one window, in millionths; they may differ by rounding.
function(check_bits model millionths)
  execute_process(COMMAND "${BYTE_LM}" compare "${WORK_DIR}/short.txt" --models "${model}"
      --lengths ${short} --max-bytes ${short} --decode 1 --threads 1
    OUTPUT_VARIABLE table COMMAND_ERROR_IS_FATAL ANY)
  if(NOT table MATCHES " ${short} +([0-9]+)\\.([0-9]+) ")
    message(FATAL_ERROR "no bits per byte in:\n${table}")
  endif()
  math(EXPR off "${CMAKE_MATCH_1}${CMAKE_MATCH_2} - ${millionths}")
  if(off LESS -2 OR off GREATER 2)
    message(SEND_ERROR "${model}: ${off} millionths of a bit per byte from byte_lm's")
  endif()
endfunction()

set(line "([0-9]+) bytes: ([0-9]+)\\.([0-9]+) bits per byte")
string(APPEND line ", state ([0-9.]+) KiB, peak memory ([0-9]+)")
foreach(model IN ITEMS "${WORK_DIR}/random_mamba.safetensors"
    "${WORK_DIR}/random_mamba2.safetensors")
  follow(0 long "${model}" ${short})
  string(REGEX MATCHALL "${line}" reports "${out}")
  list(LENGTH reports count)
  if(NOT count EQUAL 9)
    message(SEND_ERROR "8 reports and a last one expected:\n${out}")
  endif()
  list(GET reports 0 first)
  list(GET reports -1 last)
  string(REGEX MATCH "${line}" matched "${first}")
  set(state "${CMAKE_MATCH_4}")
  set(peak "${CMAKE_MATCH_5}")
  check_bits("${model}" "${CMAKE_MATCH_2}${CMAKE_MATCH_3}")
  string(REGEX MATCH "${line}" matched "${last}")
  math(EXPR more "${CMAKE_MATCH_5} - ${peak}")
  # Sanitizers hold back freed memory.
  if(NOT CMAKE_MATCH_1 EQUAL long OR NOT CMAKE_MATCH_4 STREQUAL state OR
     (more GREATER 256 AND SANITIZED STREQUAL ""))
    message(SEND_ERROR "8 times the bytes took ${more} KiB more:\n${out}")
  endif()
endforeach()

follow(0 short "${data}/gla.safetensors")
string(REGEX MATCH "${line}" matched "${out}")
check_bits(gla "${CMAKE_MATCH_2}${CMAKE_MATCH_3}")

# refused(<exit code> <regex for stderr> <text> <arguments>...)
function(refused code pattern file)
  follow(${code} ${file} ${ARGN})
  if(NOT err MATCHES "${pattern}")
    message(SEND_ERROR "streaming_mamba ${ARGN}\nexpected \"${pattern}\":\n${err}")
  endif()
endfunction()

follow(0 empty --help)
if(NOT out MATCHES "usage: streaming_mamba WEIGHTS")
  message(SEND_ERROR "--help gave ${out}")
endif()
refused(2 "usage" empty)
refused(2 "usage" empty "${data}/gla.safetensors" 0)
refused(2 "usage" empty "${data}/gla.safetensors" x)
refused(2 "usage" empty "${data}/gla.safetensors" 1 2)
refused(1 "nothing came" empty "${data}/gla.safetensors")
refused(1 "grows with the text" short "${data}/softmax_small.safetensors")
refused(1 "/absent: no such file" short "${WORK_DIR}/absent")
