# The project's own CMake words: moec_library, moec_test, moec_lit_test,
# moec_fuzz_target, moec_flatbuffer.

# What every target is compiled with.
add_library(moec_options INTERFACE)
target_include_directories(moec_options INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
target_include_directories(moec_options SYSTEM INTERFACE ${LLVM_INCLUDE_DIRS})
target_compile_definitions(moec_options INTERFACE MOEC_VERSION="${PROJECT_VERSION}")
target_compile_options(moec_options INTERFACE
  -Wall -Wextra -Wno-unused-parameter -Werror=return-type -fno-rtti -ffp-contract=off
  # libstdc++ 12's own std::stable_sort calls what it deprecates.
  -Wno-deprecated-declarations)
if(MOEC_SANITIZE)
  # The check of function types reads in front of a called function; in front
  # of code that the JIT made there may be no memory.
  target_compile_options(moec_options INTERFACE
    -fsanitize=${MOEC_SANITIZE} -fno-sanitize=function -fno-sanitize-recover=all
    -fno-omit-frame-pointer)
  target_link_options(moec_options INTERFACE -fsanitize=${MOEC_SANITIZE})
endif()
if(MOEC_FUZZ)
  # libFuzzer is guided by what the libraries cover, not by its target alone.
  target_compile_options(moec_options INTERFACE -fsanitize=fuzzer-no-link)
endif()

# LLVM's ADT and Support, linked statically so that neither the binary nor the
# runtime needs libLLVM; further components by name: moec_llvm(core bitwriter).
function(moec_llvm target)
  llvm_map_components_to_libnames(libs ${ARGN})
  target_link_libraries(${target} PRIVATE ${libs})
endfunction()

# moec_library(ir_core SRCS A.cpp B.cpp PUBLIC moec::ir_support PRIVATE ... [EXCEPTIONS C.cpp])
# One target per second-level folder: moec_ir_core, alias moec::ir_core.
# EXCEPTIONS names sources that wrap a throwing library and are built with -fexceptions.
function(moec_library name)
  cmake_parse_arguments(ARG "" "" "SRCS;PUBLIC;PRIVATE;EXCEPTIONS" ${ARGN})
  add_library(moec_${name} STATIC ${ARG_SRCS} ${ARG_EXCEPTIONS})
  add_library(moec::${name} ALIAS moec_${name})
  target_link_libraries(moec_${name} PUBLIC moec_options ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE})
  if(ARG_SRCS)
    set_property(SOURCE ${ARG_SRCS} APPEND PROPERTY COMPILE_OPTIONS -fno-exceptions)
  endif()
endfunction()

# What runs under sanitizers too, as target and label: the fuzz targets, the lit
# tests, and the unit tests of folders that read untrusted input.
add_custom_target(sanitized)
set(MOEC_SANITIZED_FOLDERS "^(cudasim|frontend|ir|passes|runtime)_")

# For ENVIRONMENT_MODIFICATION of every test: what the user has set for moec says
# nothing, the user's cache is left alone (the tests of a build share one of their own),
# and temporary files are where there is room for a build.
set(MOEC_TEST_ENVIRONMENT
  MOEC_CACHE=unset: MOEC_CACHE_DIR=set:${PROJECT_BINARY_DIR}/test-cache
  MOEC_JIT_LIBRARY=unset: MOEC_VARIANT=unset:
  TEST_TMPDIR=set:${PROJECT_BINARY_DIR}/test-files TMPDIR=set:${PROJECT_BINARY_DIR}/test-files)
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/test-files)

# moec_test(ir_core SRCS XTest.cpp LIBS moec::ir_core [LABELS slow] [TIMEOUT s] [COST n]): a
# GoogleTest program and its ctest entry. A higher COST starts earlier: it is told for
# tests that take long, so that none of them is alone at the end.
function(moec_test name)
  cmake_parse_arguments(ARG "" "COST;TIMEOUT" "SRCS;LIBS;LABELS" ${ARGN})
  add_executable(${name}_test ${ARG_SRCS})
  target_link_libraries(${name}_test PRIVATE moec_options ${ARG_LIBS} GTest::gtest GTest::gmock GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name}_test)
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  if(name MATCHES "${MOEC_SANITIZED_FOLDERS}")
    add_dependencies(sanitized ${name}_test)
    list(APPEND ARG_LABELS sanitized)
  endif()
  if(NOT ARG_COST)
    set(ARG_COST 0)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} COST ${ARG_COST}
    LABELS "${ARG_LABELS}" ENVIRONMENT_MODIFICATION "${MOEC_TEST_ENVIRONMENT}")
endfunction()

# moec_fuzz_target(safetensors SRCS SafetensorsFuzz.cpp LIBS ...): LLVMFuzzerTestOneInput in SRCS.
# With MOEC_FUZZ it is linked with libFuzzer; otherwise with tests/fuzz/StandaloneMain.cpp,
# which mutates the seed corpus for a bounded time and prints its seed.
function(moec_fuzz_target name)
  cmake_parse_arguments(ARG "" "" "SRCS;LIBS" ${ARGN})
  add_executable(fuzz_${name} ${ARG_SRCS})
  target_link_libraries(fuzz_${name} PRIVATE moec_options ${ARG_LIBS})
  if(MOEC_FUZZ)
    target_compile_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
    target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
  else()
    target_sources(fuzz_${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests/fuzz/StandaloneMain.cpp)
  endif()
  add_test(NAME fuzz_${name} COMMAND fuzz_${name} -max_total_time=10 ${PROJECT_SOURCE_DIR}/tests/fuzz/corpus/${name})
  set_tests_properties(fuzz_${name} PROPERTIES LABELS "fuzz;sanitized" TIMEOUT 120
    ENVIRONMENT_MODIFICATION "${MOEC_TEST_ENVIRONMENT}")
  add_dependencies(sanitized fuzz_${name})
endfunction()

# moec_flatbuffer(plan plan.fbs): generates plan_generated.h beside the build's mirror of the folder.
function(moec_flatbuffer target schema)
  get_filename_component(base ${schema} NAME_WE)
  set(out ${CMAKE_CURRENT_BINARY_DIR}/${base}_generated.h)
  add_custom_command(OUTPUT ${out}
    COMMAND ${FLATC} --cpp --cpp-std c++17 --gen-object-api --scoped-enums -o ${CMAKE_CURRENT_BINARY_DIR} ${CMAKE_CURRENT_SOURCE_DIR}/${schema}
    DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${schema})
  add_custom_target(${target}_schema DEPENDS ${out})
  add_library(${target} INTERFACE)
  add_dependencies(${target} ${target}_schema)
endfunction()

# moec_lit_test(ir_text): the .moe files of the current folder and below, run
# by lit as one ctest entry, lit_ir_text. %moec is the tool `moec` and
# %test-opt the one with passes that only tests need. Each entry has a folder of
# its own, since lit keeps notes there.
function(moec_lit_test name)
  add_test(NAME lit_${name}
    COMMAND ${Python3_EXECUTABLE} ${MOEC_LIT} -v --order=lexical
      --param tools=${CMAKE_RUNTIME_OUTPUT_DIRECTORY}
      --param llvm_tools=${LLVM_TOOLS_BINARY_DIR}
      --param exec_root=${PROJECT_BINARY_DIR}/tests/lit/${name}
      ${CMAKE_CURRENT_SOURCE_DIR})
  set_tests_properties(lit_${name} PROPERTIES TIMEOUT 300 LABELS "lit;sanitized"
    ENVIRONMENT_MODIFICATION "${MOEC_TEST_ENVIRONMENT}")
endfunction()
