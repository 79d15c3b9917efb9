foreach(case overtakes plain input missing help)
  add_test(NAME example.${example}.${case} COMMAND bash "${PROJECT_SOURCE_DIR}/tests/examples/${example}.sh"
                                                   $<TARGET_FILE:${example}> ${case})
  set_tests_properties(example.${example}.${case} PROPERTIES LABELS examples SKIP_RETURN_CODE 77 TIMEOUT 120)
endforeach()
