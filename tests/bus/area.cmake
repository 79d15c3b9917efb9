# Two plugins that a test loads and unloads. GCC's default would keep what it marks as unique mapped for ever.
foreach(plugin a b)
  add_library(weir_test_plugin_${plugin} MODULE bus/plugin/plugin.cpp)
  weir_develop(weir_test_plugin_${plugin})
  target_compile_definitions(weir_test_plugin_${plugin} PRIVATE WEIR_TEST_PLUGIN="${plugin}")
  target_compile_options(weir_test_plugin_${plugin} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fno-gnu-unique>)
  set_target_properties(weir_test_plugin_${plugin} PROPERTIES CXX_VISIBILITY_PRESET hidden PREFIX "")
  add_dependencies(weir_bus_tests weir_test_plugin_${plugin})
  string(TOUPPER ${plugin} upper)
  target_compile_definitions(
    weir_bus_tests PRIVATE WEIR_TEST_PLUGIN_${upper}="$<TARGET_FILE:weir_test_plugin_${plugin}>"
  )
endforeach()
target_link_libraries(weir_bus_tests PRIVATE ${CMAKE_DL_LIBS})

# For event_json.hpp.
weir_find_json()
target_link_libraries(weir_bus_tests PRIVATE nlohmann_json::nlohmann_json)
