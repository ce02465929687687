#include "tests/tools/cudasim/corpus/harness/Compile.h"

#include "tests/tools/cudasim/corpus/harness/Children.h"

#include <cstdio>
#include <fstream>
#include <map>
#include <nvrtc.h>
#include <sstream>

namespace corpus {

std::string readText(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

static Compiled compile(const std::string &folder, const std::string &name,
                        int arch, const std::vector<std::string> &options) {
  Compiled result;
  std::string source = readText(folder + "/" + name);
  if (source.empty()) {
    result.error = "cannot read " + folder + "/" + name;
    return result;
  }
  std::string header = readText(CORPUS_KERNELS "/corpus.cuh");
  const char *headers[] = {header.c_str()};
  const char *names[] = {"corpus.cuh"};
  nvrtcProgram program;
  if (nvrtcResult made = nvrtcCreateProgram(&program, source.c_str(),
                                            name.c_str(), 1, headers, names)) {
    result.error = nvrtcGetErrorString(made);
    return result;
  }
  std::vector<std::string> words = {
      "--gpu-architecture=compute_" + std::to_string(arch),
      "--include-path=" CUDA_INCLUDE, "--generate-line-info", "--std=c++17"};
  words.insert(words.end(), options.begin(), options.end());
  std::vector<const char *> pointers;
  for (const std::string &word : words)
    pointers.push_back(word.c_str());
  nvrtcResult compiled =
      nvrtcCompileProgram(program, int(pointers.size()), pointers.data());
  size_t bytes = 0;
  if (compiled != NVRTC_SUCCESS) {
    nvrtcGetProgramLogSize(program, &bytes);
    result.error.resize(bytes);
    nvrtcGetProgramLog(program, result.error.data());
    result.error = nvrtcGetErrorString(compiled) + ("\n" + result.error);
  } else {
    nvrtcGetPTXSize(program, &bytes);
    result.ptx.resize(bytes);
    nvrtcGetPTX(program, result.ptx.data());
    result.ptx.resize(bytes ? bytes - 1 : 0);
  }
  nvrtcDestroyProgram(&program);
  return result;
}

const Compiled &compileKernel(const std::string &folder,
                              const std::string &name, int arch,
                              const std::vector<std::string> &options) {
  static auto &cache = *new std::map<std::string, Compiled>;
  std::string key = folder + "/" + name + "|" + std::to_string(arch);
  for (const std::string &option : options)
    key += "|" + option;
  auto found = cache.find(key);
  if (found != cache.end())
    return found->second;
  // NVRTC initialises the driver that it finds, which this process must not.
  ChildResult child = runChild("log=none", /*capture=*/true, [&] {
    Compiled result = compile(folder, name, arch, options);
    const std::string &text = result.ptx.empty() ? result.error : result.ptx;
    fwrite(text.data(), 1, text.size(), stdout);
    return result.ptx.empty() ? 1 : 0;
  });
  Compiled result;
  (child.status == 0 ? result.ptx : result.error) = child.output;
  if (result.ptx.empty() && result.error.empty())
    result.error = name + ": NVRTC died by signal " +
                   std::to_string(child.signal) + "\n" + child.errors;
  return cache.emplace(key, result).first->second;
}

} // namespace corpus
