# The C++ examples of the pages are built and run, and co_await is kept free of braces. What they show has tests of its
# own, which run under the sanitizers.
if(WEIR_SANITIZE)
  return()
endif()
find_program(WEIR_AWK awk REQUIRED)
mark_as_advanced(WEIR_AWK)

file(GLOB weir_pages RELATIVE "${PROJECT_SOURCE_DIR}" CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/docs/*.md")
list(PREPEND weir_pages README.md)
foreach(page IN LISTS weir_pages)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/${page}")
endforeach()
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/docs/extract.awk")

# Written beside and copied when different, so that an edit of the prose rebuilds nothing.
set(weir_docs_build "${CMAKE_CURRENT_BINARY_DIR}/docs")
file(REMOVE_RECURSE "${weir_docs_build}/new")
file(MAKE_DIRECTORY "${weir_docs_build}/new")
execute_process(
  COMMAND "${WEIR_AWK}" -v "out=${weir_docs_build}/new" -f "${CMAKE_CURRENT_SOURCE_DIR}/docs/extract.awk" ${weir_pages}
  WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}"
  OUTPUT_VARIABLE weir_docs_examples
  COMMAND_ERROR_IS_FATAL ANY
)
string(REPLACE "\n" ";" weir_docs_examples "${weir_docs_examples}")

function(weir_docs_program name)
  file(COPY_FILE "${weir_docs_build}/new/${name}.cpp" "${weir_docs_build}/${name}.cpp" ONLY_IF_DIFFERENT)
  add_executable(weir_docs_${name} "${weir_docs_build}/${name}.cpp" ${ARGN})
  weir_develop(weir_docs_${name})
  # They are run once: optimising them takes longer than running them.
  target_compile_options(weir_docs_${name} PRIVATE -O0)
  # A #line that names a page makes GCC take a source for a header.
  target_compile_options(weir_docs_${name} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>)
endfunction()

weir_docs_program(bodies docs/run_body.cpp)
target_include_directories(weir_docs_bodies PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}")

# A log for the examples that read one.
file(
  WRITE "${weir_docs_build}/run/access.log"
  [[10.0.0.1 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 100
10.0.0.2 - - [17/May/2015:10:05:04 +0000] "GET /b HTTP/1.1" 404 0
10.0.0.1 - - [17/May/2015:10:05:05 +0000] "GET /a HTTP/1.1" 200 100
]]
)

foreach(example IN LISTS weir_docs_examples)
  if(example MATCHES "^body (.+)$")
    set(name "${CMAKE_MATCH_1}")
    add_test(NAME docs.${name} COMMAND weir_docs_bodies ${name})
  elseif(example MATCHES "^program (.+)$")
    set(name "${CMAKE_MATCH_1}")
    weir_docs_program(${name})
    add_test(NAME docs.${name} COMMAND weir_docs_${name})
  else()
    continue()
  endif()
  set_tests_properties(
    docs.${name} PROPERTIES LABELS docs TIMEOUT 120 WORKING_DIRECTORY "${weir_docs_build}/run"
                            ENVIRONMENT "WEIR_SEEDS=200"
  )
endforeach()

add_test(NAME docs.no-braces-in-co_await COMMAND bash "${CMAKE_CURRENT_SOURCE_DIR}/docs/no_braces.sh")
set_tests_properties(docs.no-braces-in-co_await PROPERTIES LABELS docs WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}")
