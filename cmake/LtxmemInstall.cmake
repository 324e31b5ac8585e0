# SPDX-FileCopyrightText: The ltxmem authors
# SPDX-License-Identifier: Apache-2.0

include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/ltxmem")

# One export file per part, so that a component is offered exactly when it was installed.
foreach(part IN LISTS LTXMEM_PARTS)
  get_target_property(target ltxmem::${part} ALIASED_TARGET)
  install(TARGETS ${target} EXPORT ltxmem-${part} FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
          FILE_SET kernels DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
  install(EXPORT ltxmem-${part} NAMESPACE ltxmem:: DESTINATION "${package_dir}")
endforeach()

configure_package_config_file(cmake/ltxmemConfig.cmake.in ltxmemConfig.cmake INSTALL_DESTINATION "${package_dir}")
write_basic_package_version_file(ltxmemConfigVersion.cmake COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES "${PROJECT_BINARY_DIR}/ltxmemConfig.cmake" "${PROJECT_BINARY_DIR}/ltxmemConfigVersion.cmake"
              "${PROJECT_SOURCE_DIR}/cmake/FindDNNL.cmake" "${PROJECT_SOURCE_DIR}/cmake/FindNCCL.cmake"
              "${PROJECT_SOURCE_DIR}/cmake/LtxmemFindLibrary.cmake"
        DESTINATION "${package_dir}")
