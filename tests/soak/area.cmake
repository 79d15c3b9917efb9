# A moment of each shape with the tests; ./dev soak runs them for minutes.
add_executable(weir_soak soak/soak.cpp)
weir_develop(weir_soak)
add_test(NAME soak.moment COMMAND weir_soak 0.3)
set_tests_properties(soak.moment PROPERTIES LABELS soak TIMEOUT 600)
