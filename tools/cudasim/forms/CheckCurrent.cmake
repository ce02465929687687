# Compares what PROGRAM prints with the file KEPT.
execute_process(COMMAND ${PROGRAM} OUTPUT_VARIABLE printed RESULT_VARIABLE status)
file(READ ${KEPT} kept)
if(NOT status EQUAL 0 OR NOT printed STREQUAL kept)
  message(FATAL_ERROR "${KEPT} is not current: run ${PROGRAM} > ${KEPT}")
endif()
