#include "runtime/cpu/JitLibrary.h"

#include "ir/support/Diagnostic.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

#include <cstdlib>
#include <dlfcn.h>
#include <link.h>

using namespace moec;
using namespace moec::runtime;

static constexpr char kFileName[] = "libmoec_jit.so";

/// Takes over the plug-in's message.
static llvm::Error takeMessage(const MoecJitApi &api, char *message) {
  std::string text = message ? message : "memory is short";
  api.release(message);
  return error() << text;
}

/// The folder of the binary or library that holds this function.
static std::string ownFolder() {
  Dl_info info;
  link_map *object = nullptr;
  if (!dladdr1(reinterpret_cast<void *>(&ownFolder), &info,
               reinterpret_cast<void **>(&object), RTLD_DL_LINKMAP) ||
      !object || !info.dli_fname)
    return "";
  // Of the program itself the loader knows only what it was called by, which
  // is no path where it was found in PATH. Its entry has no name.
  const char *path =
      object->l_name && *object->l_name ? info.dli_fname : "/proc/self/exe";
  llvm::SmallString<256> real;
  if (llvm::sys::fs::real_path(path, real))
    return "";
  return llvm::sys::path::parent_path(real).str();
}

static std::vector<std::string> candidates(llvm::StringRef path) {
  if (!path.empty())
    return {path.str()};
  if (const char *named = std::getenv("MOEC_JIT_LIBRARY"); named && *named)
    return {named};
  std::vector<std::string> paths;
  std::string folder = ownFolder();
  if (!folder.empty()) {
    std::string beside = llvm::sys::path::parent_path(folder).str() + "/lib/";
    paths.push_back(folder + "/" + kFileName);
    paths.push_back(beside + kFileName);
    paths.push_back(beside + "moec/" + kFileName);
  }
  paths.push_back(kFileName);
  return paths;
}

llvm::Expected<JitLibrary> JitLibrary::open(llvm::StringRef path) {
  std::string tried;
  for (const std::string &candidate : candidates(path)) {
    // A path that leads nowhere is passed over; a file that cannot be opened
    // is what the user needs to hear of.
    bool isPath = candidate.find('/') != std::string::npos;
    if (isPath && !llvm::sys::fs::exists(candidate)) {
      tried += (tried.empty() ? "" : ", ") + candidate;
      continue;
    }
    void *handle = dlopen(candidate.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
      const char *reason = dlerror();
      if (!isPath) {
        tried += (tried.empty() ? "" : ", ") + candidate;
        continue;
      }
      return error(Location::inFile(candidate))
             << "the JIT plug-in cannot be opened: "
             << (reason ? reason : "unknown reason");
    }
    auto entry = reinterpret_cast<MoecJitEntry>(dlsym(handle, MOEC_JIT_ENTRY));
    if (!entry)
      return error(Location::inFile(candidate))
             << "is no JIT plug-in: it lacks the function '" << MOEC_JIT_ENTRY
             << "'";
    const MoecJitApi *api = entry();
    if (api->abi != MOEC_JIT_ABI)
      return error(Location::inFile(candidate))
             << "is a JIT plug-in of interface " << api->abi
             << ", this program expects " << MOEC_JIT_ABI;
    return JitLibrary(candidate, api);
  }
  return error() << "the JIT plug-in " << kFileName
                 << " was not found (set MOEC_JIT_LIBRARY); looked for "
                 << tried;
}

llvm::Expected<std::vector<uint8_t>>
JitLibrary::compile(llvm::ArrayRef<uint8_t> bitcode,
                    const std::string &features) const {
  MoecJitBytes object = {};
  char *message = nullptr;
  if (api->compile({bitcode.data(), bitcode.size()}, features.c_str(), &object,
                   &message))
    return takeMessage(*api, message);
  std::vector<uint8_t> bytes(object.data, object.data + object.size);
  api->release(object.data);
  return bytes;
}

llvm::Expected<std::unique_ptr<JitCode>>
JitLibrary::load(llvm::ArrayRef<llvm::ArrayRef<uint8_t>> objects) const {
  std::vector<MoecJitBytes> views;
  for (llvm::ArrayRef<uint8_t> object : objects)
    views.push_back({object.data(), object.size()});
  MoecJitCode *code = nullptr;
  char *message = nullptr;
  if (api->load(views.data(), views.size(), &code, &message))
    return takeMessage(*api, message);
  return std::make_unique<JitCode>(*api, code);
}

llvm::Expected<std::vector<void *>>
JitCode::lookup(llvm::ArrayRef<std::string> names) const {
  std::vector<const char *> pointers;
  for (const std::string &name : names)
    pointers.push_back(name.c_str());
  std::vector<void *> addresses(names.size());
  char *message = nullptr;
  if (api.lookup(code, pointers.data(), pointers.size(), addresses.data(),
                 &message))
    return takeMessage(api, message);
  return addresses;
}
