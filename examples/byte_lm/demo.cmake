# SPDX-License-Identifier: Apache-2.0
# cmake -DBYTE_LM=<program> -P demo.cmake: scores the shipped text, which must give the recorded
# figure, then lets the model write.
cmake_minimum_required(VERSION 3.25)
set(data "${CMAKE_CURRENT_LIST_DIR}/data")
file(READ "${data}/scores.json" scores)
string(JSON reference GET "${scores}" reference_bits_per_byte)
string(JSON prompt GET "${scores}" prompt)

function(run title)
  message("\n== ${title}")
  execute_process(COMMAND "${BYTE_LM}" ${ARGN} RESULT_VARIABLE result)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "byte_lm ${ARGV1} failed: ${result}")
  endif()
endfunction()

run("bits per byte of six books that the model never saw; PyTorch: ${reference}"
  score "${data}/heldout.txt" --expect "${reference}" --tolerance 0.001)
run("the likeliest continuation, from a KV cache"
  generate --prompt "${prompt}" --length 200 --temperature 0)
run("a drawn one"
  generate --prompt "In the beginning" --length 400 --temperature 0.8 --seed 1611)
