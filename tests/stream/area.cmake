# Mistakes that the compiler finds: each file below compile_errors/ must be refused, with the message that it names. A
# sanitizer has nothing to say about that.
if(WEIR_SANITIZE)
  return()
endif()
set(weir_fails "${CMAKE_CURRENT_SOURCE_DIR}/${area}/compile_errors")
file(GLOB weir_mistakes CONFIGURE_DEPENDS "${weir_fails}/*.cpp")
foreach(mistake IN LISTS weir_mistakes)
  get_filename_component(stem "${mistake}" NAME_WE)
  add_test(
    NAME "compile error: ${stem}"
    COMMAND
      "${CMAKE_CURRENT_SOURCE_DIR}/${area}/compile_error.sh" "${CMAKE_CXX_COMPILER}" "${mistake}"
      "-I${PROJECT_SOURCE_DIR}/include" -DASIO_STANDALONE
      "$<$<BOOL:$<TARGET_PROPERTY:weir,INTERFACE_INCLUDE_DIRECTORIES>>:-I$<JOIN:$<TARGET_PROPERTY:weir,INTERFACE_INCLUDE_DIRECTORIES>,;-I>>"
    COMMAND_EXPAND_LISTS
  )
  set_tests_properties("compile error: ${stem}" PROPERTIES TIMEOUT 300 LABELS ${area})
endforeach()
