# Finds standalone Asio, by its config package where there is one, else by its headers, and defines asio::asio.
#
# Asio_ROOT (or CMAKE_PREFIX_PATH) says where to look first.

include(FindPackageHandleStandardArgs)

if(TARGET asio::asio)
  set(Asio_FOUND TRUE)
  return()
endif()

find_package(Asio ${Asio_FIND_VERSION} CONFIG QUIET NAMES asio Asio)
if(Asio_FOUND AND TARGET asio::asio)
  find_package_handle_standard_args(Asio CONFIG_MODE)
  return()
endif()

find_path(Asio_INCLUDE_DIR NAMES asio/version.hpp)
mark_as_advanced(Asio_INCLUDE_DIR)

unset(Asio_VERSION)
if(Asio_INCLUDE_DIR)
  file(STRINGS "${Asio_INCLUDE_DIR}/asio/version.hpp" asio_version_line REGEX "^#define ASIO_VERSION [0-9]+")
  if(asio_version_line MATCHES "ASIO_VERSION ([0-9]+)")
    # 102201 is 1.22.1
    math(EXPR asio_major "${CMAKE_MATCH_1} / 100000")
    math(EXPR asio_minor "${CMAKE_MATCH_1} / 100 % 1000")
    math(EXPR asio_patch "${CMAKE_MATCH_1} % 100")
    set(Asio_VERSION "${asio_major}.${asio_minor}.${asio_patch}")
    unset(asio_major)
    unset(asio_minor)
    unset(asio_patch)
  endif()
  unset(asio_version_line)
endif()

find_package_handle_standard_args(Asio REQUIRED_VARS Asio_INCLUDE_DIR VERSION_VAR Asio_VERSION)

if(Asio_FOUND)
  find_package(Threads REQUIRED)
  add_library(asio::asio INTERFACE IMPORTED)
  set_target_properties(
    asio::asio
    PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${Asio_INCLUDE_DIR}"
               INTERFACE_COMPILE_DEFINITIONS ASIO_STANDALONE
               INTERFACE_LINK_LIBRARIES Threads::Threads
  )
endif()
