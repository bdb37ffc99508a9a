# SPDX-License-Identifier: Apache-2.0
# But for seqmix::cuda nothing here depends on the machine: headers, a package config under share/, a pkg-config file.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(seqmix_config_dir "${CMAKE_INSTALL_DATADIR}/cmake/seqmix")

install(TARGETS seqmix EXPORT seqmix-targets FILE_SET HEADERS)
install(TARGETS seqmix_openmp EXPORT seqmix-openmp-targets)
install(TARGETS seqmix_native EXPORT seqmix-native-targets)
foreach(set IN ITEMS seqmix seqmix-openmp seqmix-native)
  install(EXPORT ${set}-targets NAMESPACE seqmix:: DESTINATION "${seqmix_config_dir}")
endforeach()

# seqmix::cuda is compiled: it goes to lib/, and so does its part of the package config.
if(TARGET seqmix_cuda)
  set(seqmix_cuda_config_dir "${CMAKE_INSTALL_LIBDIR}/cmake/seqmix")
  install(TARGETS seqmix_cuda EXPORT seqmix-cuda-targets)
  install(EXPORT seqmix-cuda-targets NAMESPACE seqmix:: DESTINATION "${seqmix_cuda_config_dir}")
  install(DIRECTORY kernels/cuda/ DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/seqmix/cuda"
    FILES_MATCHING PATTERN "*.hpp" PATTERN "*.cuh" PATTERN instances EXCLUDE)
  file(RELATIVE_PATH seqmix_cuda_targets "${CMAKE_INSTALL_FULL_DATADIR}/cmake/seqmix"
    "${CMAKE_INSTALL_FULL_LIBDIR}/cmake/seqmix/seqmix-cuda-targets.cmake")
endif()

configure_package_config_file(cmake/seqmix-config.cmake.in seqmix-config.cmake
  INSTALL_DESTINATION "${seqmix_config_dir}"
  NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(seqmix-config-version.cmake
  COMPATIBILITY SameMinorVersion
  ARCH_INDEPENDENT)
install(FILES
    "${CMAKE_CURRENT_BINARY_DIR}/seqmix-config.cmake"
    "${CMAKE_CURRENT_BINARY_DIR}/seqmix-config-version.cmake"
    cmake/seqmix-find-xsimd.cmake
  DESTINATION "${seqmix_config_dir}")

# Found relative to the .pc file, so that an installed tree can be moved.
file(RELATIVE_PATH seqmix_pc_prefix
  "${CMAKE_INSTALL_FULL_DATADIR}/pkgconfig" "${CMAKE_INSTALL_PREFIX}")
configure_file(cmake/seqmix.pc.in seqmix.pc @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/seqmix.pc"
  DESTINATION "${CMAKE_INSTALL_DATADIR}/pkgconfig")
install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DOCDIR}")
