# Compilers are looked for when the tests run: one that is not there is reported as skipped.
set(weir_compilers gcc=g++ clang=clang++-19)

# A compiler that is told of its own folder searches it too early, and misses the C headers behind it.
weir_find_json()
set(weir_dependency_folders
    $<TARGET_PROPERTY:asio::asio,INTERFACE_INCLUDE_DIRECTORIES>
    $<TARGET_GENEX_EVAL:fmt::fmt,$<TARGET_PROPERTY:fmt::fmt,INTERFACE_INCLUDE_DIRECTORIES>>
    $<TARGET_GENEX_EVAL:nlohmann_json::nlohmann_json,$<TARGET_PROPERTY:nlohmann_json::nlohmann_json,INTERFACE_INCLUDE_DIRECTORIES>>
)
set(weir_dependency_folders "$<FILTER:${weir_dependency_folders},EXCLUDE,^/usr/include$>")

foreach(pair IN LISTS weir_compilers)
  string(REGEX MATCH "^(.+)=(.+)$" pair "${pair}")
  set(name ${CMAKE_MATCH_1})
  set(compiler ${CMAKE_MATCH_2})
  add_test(
    NAME headers.alone.${name}
    COMMAND
      "${PROJECT_SOURCE_DIR}/cmake/headers_alone.sh" ${compiler} "${PROJECT_SOURCE_DIR}/include"
      -DASIO_STANDALONE
      "$<$<BOOL:${weir_dependency_folders}>:-isystem$<JOIN:${weir_dependency_folders},;-isystem>>"
    COMMAND_EXPAND_LISTS
  )
  add_test(
    NAME install.consumer.${name}
    COMMAND
      "${CMAKE_COMMAND}" -D compiler=${compiler} -D weir_build=${PROJECT_BINARY_DIR}
      -D source=${CMAKE_CURRENT_LIST_DIR}/consumer -D work=${CMAKE_CURRENT_BINARY_DIR}/consumer-${name}
      -P "${CMAKE_CURRENT_LIST_DIR}/consumer.cmake"
  )
  # It compiles two headers at a time.
  set_tests_properties(headers.alone.${name} PROPERTIES PROCESSORS 2)
  set_tests_properties(
    headers.alone.${name} install.consumer.${name}
    PROPERTIES TIMEOUT 1200 LABELS project SKIP_REGULAR_EXPRESSION "^skipped: "
  )
endforeach()

add_test(
  NAME subproject.add_subdirectory
  COMMAND
    "${CMAKE_COMMAND}" -D compiler=${CMAKE_CXX_COMPILER} -D weir_source=${PROJECT_SOURCE_DIR}
    -D source=${CMAKE_CURRENT_LIST_DIR}/subproject -D work=${CMAKE_CURRENT_BINARY_DIR}/subproject
    -P "${CMAKE_CURRENT_LIST_DIR}/subproject.cmake"
)
set_tests_properties(subproject.add_subdirectory PROPERTIES TIMEOUT 600 LABELS project)
