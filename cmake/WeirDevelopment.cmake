# What weir's own tests, examples and benchmarks are built with. None of it reaches those who use weir.

add_library(weir_development INTERFACE)
target_compile_options(weir_development INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror)

# GCC collects garbage when its heap has grown by a third; collecting more rarely takes a tenth of the time, and up to
# 1.5 GB a compiler.
target_compile_options(
  weir_development
  INTERFACE "$<$<CXX_COMPILER_ID:GNU>:SHELL:--param ggc-min-expand=100 --param ggc-min-heapsize=524288>"
)

if(WEIR_SANITIZE)
  target_compile_options(
    weir_development INTERFACE -fsanitize=${WEIR_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer
  )
  target_link_options(weir_development INTERFACE -fsanitize=${WEIR_SANITIZE})
  # https://gcc.gnu.org/PR105616: GCC 12 to 14 see uninitialised members in std::function under a sanitizer.
  target_compile_options(weir_development INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
endif()

find_program(WEIR_CCACHE ccache)
mark_as_advanced(WEIR_CCACHE)

# Clang writes the time into a precompiled header unless told not to, and no object would ever be found again.
if(WEIR_CCACHE AND CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  target_compile_options(weir_development INTERFACE "SHELL:-Xclang -fno-pch-timestamp")
elseif(WEIR_CCACHE AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(weir_development INTERFACE -fpch-preprocess)
endif()

function(weir_develop target)
  target_link_libraries(${target} PRIVATE weir::weir weir_development)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF CXX_SCAN_FOR_MODULES OFF)
  if(WEIR_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
    set_target_properties(
      ${target} PROPERTIES CXX_COMPILER_LAUNCHER
                           "${CMAKE_COMMAND};-E;env;CCACHE_SLOPPINESS=pch_defines,time_macros;${WEIR_CCACHE}"
    )
  endif()
endfunction()
