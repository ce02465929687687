# Installs the runtime, builds the example against it as a project of its own,
# and runs it.
file(REMOVE_RECURSE ${FOLDER})
function(run)
  execute_process(COMMAND ${ARGV} RESULT_VARIABLE result
    OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    list(JOIN ARGV " " command)
    message(FATAL_ERROR "${command} failed:\n${output}")
  endif()
  message("${output}")
endfunction()
# The runtime's part alone: the rest may not have been built.
run(${CMAKE_COMMAND} -D CMAKE_INSTALL_PREFIX=${FOLDER}/prefix -P ${BUILD}/runtime/cmake_install.cmake)
file(WRITE ${FOLDER}/example/CMakeLists.txt "
cmake_minimum_required(VERSION 3.25)
project(example C)
find_package(moec REQUIRED)
add_executable(example example.c)
target_link_libraries(example PRIVATE moec::runtime)
")
file(COPY ${SOURCE}/runtime/capi/example.c DESTINATION ${FOLDER}/example)
set(flags)
if(SANITIZE)
  set(flags -D CMAKE_EXE_LINKER_FLAGS=-fsanitize=${SANITIZE})
endif()
run(${CMAKE_COMMAND} -S ${FOLDER}/example -B ${FOLDER}/build
  -G ${GENERATOR} -D CMAKE_MAKE_PROGRAM=${MAKE} -D CMAKE_PREFIX_PATH=${FOLDER}/prefix -D CMAKE_C_COMPILER=${COMPILER} ${flags})
run(${CMAKE_COMMAND} --build ${FOLDER}/build)
run(${FOLDER}/build/example ${PLAN} 1,2,3 4)
