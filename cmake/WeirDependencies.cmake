# Each dependency comes from the system where it is there, and else from a pinned release.
#
# FETCHCONTENT_SOURCE_DIR_<NAME> points a build without a network at a copy of the sources.

include(FetchContent)

# A commit names its content, which a tag does not.
function(weir_declare name repository commit)
  FetchContent_Declare(
    ${name}
    URL https://github.com/${repository}/archive/${commit}.tar.gz
    DOWNLOAD_EXTRACT_TIMESTAMP TRUE
    SYSTEM
    ${ARGN}
  )
  message(NOTICE "weir: ${name} is not installed here: it is fetched from github.com/${repository}")
endfunction()

# Asio's releases have no CMake project: SOURCE_SUBDIR names a folder without one, so that nothing is configured.
function(weir_find_asio)
  if(TARGET asio::asio)
    return()
  endif()
  list(APPEND CMAKE_MODULE_PATH "${CMAKE_CURRENT_FUNCTION_LIST_DIR}")
  find_package(Asio 1.22.1 QUIET GLOBAL)
  if(NOT TARGET asio::asio)
    # 1.30.2
    weir_declare(asio chriskohlhoff/asio 12e0ce9e0500bf0f247dbd1ae894272656456079 SOURCE_SUBDIR asio/include)
    FetchContent_MakeAvailable(asio)
    # Not cached: the next configuration must come through here as well, for the install rules to know.
    set(Asio_INCLUDE_DIR "${asio_SOURCE_DIR}/asio/include")
    find_package(Asio 1.22.1 MODULE REQUIRED GLOBAL)
    set_property(GLOBAL PROPERTY WEIR_FETCHED_ASIO "${Asio_INCLUDE_DIR}")
  endif()
endfunction()

function(weir_find_fmt)
  if(TARGET fmt::fmt)
    return()
  endif()
  find_package(fmt 9 QUIET GLOBAL)
  if(NOT fmt_FOUND)
    # 11.0.2
    weir_declare(fmt fmtlib/fmt 0c9fce2ffefecfdce794e1859584e25877b7b592)
    # weir's own package names fmt::fmt, so a fetched one is installed beside it.
    set(FMT_INSTALL ${WEIR_INSTALL})
    FetchContent_MakeAvailable(fmt)
  endif()
endfunction()

# Sets weir_catch_extras to the folder of Catch.cmake, for catch_discover_tests.
function(weir_find_catch2)
  find_package(Catch2 2.13 QUIET GLOBAL)
  if(NOT Catch2_FOUND)
    find_package(Catch2 3 QUIET GLOBAL)
  endif()
  if(Catch2_FOUND)
    set(weir_catch_extras "${Catch2_DIR}" PARENT_SCOPE)
    return()
  endif()
  # 3.7.1
  weir_declare(Catch2 catchorg/Catch2 fa43b77429ba76c462b1898d6cd2f2d7a9416b14)
  FetchContent_MakeAvailable(Catch2)
  set(weir_catch_extras "${catch2_SOURCE_DIR}/extras" PARENT_SCOPE)
endfunction()

function(weir_find_cli11)
  find_package(CLI11 2 QUIET GLOBAL)
  if(NOT CLI11_FOUND)
    # 2.4.2
    weir_declare(CLI11 CLIUtils/CLI11 6c7b07a878ad834957b98d0f9ce1dbe0cb204fc9)
    FetchContent_MakeAvailable(CLI11)
  endif()
endfunction()

function(weir_find_json)
  find_package(nlohmann_json 3 QUIET GLOBAL)
  if(NOT nlohmann_json_FOUND)
    # 3.11.3
    weir_declare(nlohmann_json nlohmann/json 9cca280a4d0ccf0c08f47a99aa71d1b0e52f8d03)
    set(JSON_BuildTests OFF)
    FetchContent_MakeAvailable(nlohmann_json)
  endif()
endfunction()

# Defines weir_libcsv. It is C: a macro, as a language is enabled in a file only.
macro(weir_find_libcsv)
  find_path(LIBCSV_INCLUDE_DIR NAMES csv.h)
  find_library(LIBCSV_LIBRARY NAMES csv)
  mark_as_advanced(LIBCSV_INCLUDE_DIR LIBCSV_LIBRARY)
  if(LIBCSV_INCLUDE_DIR AND LIBCSV_LIBRARY)
    add_library(weir_libcsv INTERFACE)
    target_include_directories(weir_libcsv SYSTEM INTERFACE "${LIBCSV_INCLUDE_DIR}")
    target_link_libraries(weir_libcsv INTERFACE "${LIBCSV_LIBRARY}")
  else()
    # 3.0.3, which has no CMake project.
    weir_declare(libcsv rgamble/libcsv b1d5212831842ee5869d99bc208a21837e4037d5 SOURCE_SUBDIR tests)
    FetchContent_MakeAvailable(libcsv)
    enable_language(C)
    add_library(weir_libcsv STATIC "${libcsv_SOURCE_DIR}/libcsv.c")
    target_include_directories(weir_libcsv SYSTEM PUBLIC "${libcsv_SOURCE_DIR}")
  endif()
endmacro()
