# SPDX-License-Identifier: Apache-2.0
# Makes seqmix::xsimd_headers, the include folder of xsimd 8.1 or later.
#
# Looked up by path, not by find_package(xsimd): Debian 12's target adds -lxtl and does not link.
# Set SEQMIX_XSIMD_INCLUDE_DIR to pick another copy.
# Without a usable xsimd no target is made and seqmix_xsimd_problem says why.
if(NOT TARGET seqmix::xsimd_headers)
  find_path(SEQMIX_XSIMD_INCLUDE_DIR xsimd/xsimd.hpp
    DOC "Folder that holds xsimd/xsimd.hpp (Debian: libxsimd-dev)")
  mark_as_advanced(SEQMIX_XSIMD_INCLUDE_DIR)
  set(_seqmix_xsimd_config "${SEQMIX_XSIMD_INCLUDE_DIR}/xsimd/config/xsimd_config.hpp")
  if(NOT SEQMIX_XSIMD_INCLUDE_DIR)
    set(seqmix_xsimd_problem "xsimd not found: install libxsimd-dev, \
or set SEQMIX_XSIMD_INCLUDE_DIR to the folder that holds xsimd/xsimd.hpp")
  elseif(NOT EXISTS "${_seqmix_xsimd_config}")
    set(seqmix_xsimd_problem "no xsimd in SEQMIX_XSIMD_INCLUDE_DIR=${SEQMIX_XSIMD_INCLUDE_DIR}")
  else()
    file(STRINGS "${_seqmix_xsimd_config}" _seqmix_xsimd_version
      REGEX "^#define XSIMD_VERSION_(MAJOR|MINOR) +[0-9]+")
    list(TRANSFORM _seqmix_xsimd_version REPLACE "^.*_(MAJOR|MINOR) +([0-9]+).*$" "\\2")
    list(JOIN _seqmix_xsimd_version "." _seqmix_xsimd_version)
    if(_seqmix_xsimd_version VERSION_LESS 8.1)
      set(seqmix_xsimd_problem
        "xsimd ${_seqmix_xsimd_version} in ${SEQMIX_XSIMD_INCLUDE_DIR} is older than 8.1")
    else()
      add_library(seqmix::xsimd_headers INTERFACE IMPORTED GLOBAL)
      target_include_directories(seqmix::xsimd_headers INTERFACE "${SEQMIX_XSIMD_INCLUDE_DIR}")
    endif()
    unset(_seqmix_xsimd_version)
  endif()
  unset(_seqmix_xsimd_config)
endif()
