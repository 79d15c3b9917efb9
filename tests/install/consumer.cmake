# Installs weir into a clean prefix, then builds and runs a program there: by find_package, and by pkg-config.

find_program(compiler_path ${compiler})
if(NOT compiler_path)
  message("skipped: ${compiler} is not installed")
  return()
endif()

function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ECHO STDOUT COMMAND_ERROR_IS_FATAL ANY)
endfunction()

set(warnings -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror)
list(JOIN warnings " " warnings_line)
set(prefix "${work}/prefix")

file(REMOVE_RECURSE "${work}")
run(${CMAKE_COMMAND} --install ${weir_build} --prefix ${prefix})

run(
  ${CMAKE_COMMAND} -S ${source} -B ${work}/by_cmake -D CMAKE_CXX_COMPILER=${compiler_path}
  -D CMAKE_PREFIX_PATH=${prefix} "-DCMAKE_CXX_FLAGS=${warnings_line}"
)
run(${CMAKE_COMMAND} --build ${work}/by_cmake)
run(${work}/by_cmake/consumer)

find_program(pkg_config NAMES pkg-config pkgconf)
if(NOT pkg_config)
  message("no pkg-config here: the program is built by find_package alone")
  return()
endif()
file(GLOB_RECURSE pc_file "${prefix}/*/weir.pc")
cmake_path(GET pc_file PARENT_PATH pc_folder)
if(EXISTS "${pc_folder}/fmt.pc")
  message("fmt was fetched, and its .pc file names another prefix: the program is built by find_package alone")
  return()
endif()
set(ENV{PKG_CONFIG_PATH} "${pc_folder}:$ENV{PKG_CONFIG_PATH}")
execute_process(
  COMMAND ${pkg_config} --cflags --libs weir
  OUTPUT_VARIABLE flags
  COMMAND_ERROR_IS_FATAL ANY
)
separate_arguments(flags UNIX_COMMAND "${flags}")
run(${compiler_path} -std=c++20 ${warnings} ${source}/main.cpp ${flags} -o ${work}/by_pkg_config)
run(${work}/by_pkg_config)
