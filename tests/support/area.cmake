# Allocations that fail: a program of its own, which replaces `operator new`, and in which nobody keeps memory for the
# next time or asks elsewhere for it. (ASIO_DISABLE_SMALL_BLOCK_RECYCLING does not compile in Asio 1.22.) Clang's
# thread sanitizer brings an `operator new` of its own, and there are no threads here.
if(NOT WEIR_SANITIZE MATCHES "thread")
  add_executable(
    weir_alloc_failure_tests support/alloc_failure.cpp channel/channel_alloc_failure.cpp
                             channel/select_alloc_failure.cpp channel/broadcast_alloc_failure.cpp
                             stream/stream_alloc_failure.cpp bus/bus_alloc_failure.cpp
  )
  # It finds out by their names what asks for memory.
  set_target_properties(weir_alloc_failure_tests PROPERTIES ENABLE_EXPORTS ON)
  target_compile_options(weir_alloc_failure_tests PRIVATE -O0)
  weir_develop(weir_alloc_failure_tests)
  target_include_directories(weir_alloc_failure_tests PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}")
  target_link_libraries(weir_alloc_failure_tests PRIVATE Catch2::Catch2)
  target_compile_definitions(
    weir_alloc_failure_tests PRIVATE ASIO_RECYCLING_ALLOCATOR_CACHE_SIZE=0 ASIO_DISABLE_STD_ALIGNED_ALLOC
                                     WEIR_NO_FRAME_RECYCLING
  )
  catch_discover_tests(
    weir_alloc_failure_tests WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}" PROPERTIES TIMEOUT 600 LABELS alloc-failure
  )
endif()
