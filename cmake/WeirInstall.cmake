include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

install(TARGETS weir EXPORT weirTargets FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(
  EXPORT weirTargets
  NAMESPACE weir::
  DESTINATION "${CMAKE_INSTALL_LIBDIR}/cmake/weir"
)

configure_package_config_file(
  cmake/weirConfig.cmake.in weirConfig.cmake INSTALL_DESTINATION "${CMAKE_INSTALL_LIBDIR}/cmake/weir"
)
write_basic_package_version_file(weirConfigVersion.cmake COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(
  FILES "${PROJECT_BINARY_DIR}/weirConfig.cmake" "${PROJECT_BINARY_DIR}/weirConfigVersion.cmake" cmake/FindAsio.cmake
  DESTINATION "${CMAKE_INSTALL_LIBDIR}/cmake/weir"
)

file(RELATIVE_PATH weir_pc_up "/prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/prefix")
configure_file(cmake/weir.pc.in weir.pc @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/weir.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DOCDIR}")

# Who had no Asio here has none elsewhere: the package is whole only with the one that was fetched.
get_property(weir_fetched_asio GLOBAL PROPERTY WEIR_FETCHED_ASIO)
if(weir_fetched_asio)
  install(
    DIRECTORY "${weir_fetched_asio}/"
    DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
    FILES_MATCHING
    PATTERN "*.hpp"
    PATTERN "*.ipp"
  )
endif()
