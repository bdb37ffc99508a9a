# SPDX-License-Identifier: Apache-2.0
# cmake -D source=... -D input=... -D output=... -P commit.cmake, at every build: the commit that is
# measured, "-dirty" with changes. The output changes only when that does.
execute_process(COMMAND git -C "${source}" describe --always --dirty --abbrev=12 --exclude=*
  OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT commit)
  set(commit "unknown")
endif()
configure_file("${input}" "${output}" @ONLY)
