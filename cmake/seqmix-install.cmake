# SPDX-License-Identifier: Apache-2.0
# But for the compiled back-ends nothing here depends on the machine: headers, a package config under
# share/, a pkg-config file.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(seqmix_config_dir "${CMAKE_INSTALL_DATADIR}/cmake/seqmix")

install(TARGETS seqmix EXPORT seqmix-targets FILE_SET HEADERS)
install(TARGETS seqmix_openmp EXPORT seqmix-openmp-targets)
install(TARGETS seqmix_native EXPORT seqmix-native-targets)
foreach(set IN ITEMS seqmix seqmix-openmp seqmix-native)
  install(EXPORT ${set}-targets NAMESPACE seqmix:: DESTINATION "${seqmix_config_dir}")
endforeach()

# Compiled back-ends go to lib/, and so do their parts of the package config.
foreach(backend IN ITEMS cuda multiarch)
  set(seqmix_${backend}_targets)
  if(TARGET seqmix_${backend})
    set(dir "${CMAKE_INSTALL_LIBDIR}/cmake/seqmix")
    install(TARGETS seqmix_${backend} EXPORT seqmix-${backend}-targets)
    install(EXPORT seqmix-${backend}-targets NAMESPACE seqmix:: DESTINATION "${dir}")
    file(RELATIVE_PATH seqmix_${backend}_targets "${CMAKE_INSTALL_FULL_DATADIR}/cmake/seqmix"
      "${CMAKE_INSTALL_FULL_LIBDIR}/cmake/seqmix/seqmix-${backend}-targets.cmake")
  endif()
endforeach()
if(TARGET seqmix_cuda)
  install(DIRECTORY kernels/cuda/ DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/seqmix/cuda"
    FILES_MATCHING PATTERN "*.hpp" PATTERN "*.cuh" PATTERN instances EXCLUDE)
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
