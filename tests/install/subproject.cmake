file(REMOVE_RECURSE "${work}")
execute_process(
  COMMAND
    ${CMAKE_COMMAND} -S ${source} -B ${work} -D CMAKE_CXX_COMPILER=${compiler} -D weir_source=${weir_source}
  COMMAND_ERROR_IS_FATAL ANY
)
execute_process(COMMAND ${CMAKE_COMMAND} --build ${work} COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${work}/subproject COMMAND_ERROR_IS_FATAL ANY)
