weir_find_cli11()
weir_find_json()
target_include_directories(weir_examples_tests PRIVATE "${PROJECT_SOURCE_DIR}/examples")
target_link_libraries(weir_examples_tests PRIVATE CLI11::CLI11 nlohmann_json::nlohmann_json)
