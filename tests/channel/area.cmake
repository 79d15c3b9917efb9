# All explored scenarios again, scheduled by PCT: more than 220 of them. A sanitizer needs ten times as long.
if(WEIR_SANITIZE MATCHES "thread")
  return()
elseif(WEIR_SANITIZE)
  set(weir_pct 3000 15)
else()
  set(weir_pct 100000 450)
endif()
add_test(NAME "channel: PCT schedules of all scenarios" COMMAND bash "${CMAKE_CURRENT_SOURCE_DIR}/channel/pct.sh"
                                                                $<TARGET_FILE:weir_channel_tests> ${weir_pct})
set_tests_properties("channel: PCT schedules of all scenarios" PROPERTIES TIMEOUT 900 LABELS channel)
