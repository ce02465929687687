#include "runtime/cpu/jit/Load.h"

#include "ir/support/Diagnostic.h"
#include "llvm/ExecutionEngine/JITLink/JITLinkMemoryManager.h"
#include "llvm/ExecutionEngine/Orc/Core.h"
#include "llvm/ExecutionEngine/Orc/ExecutorProcessControl.h"
#include "llvm/ExecutionEngine/Orc/ObjectLinkingLayer.h"
#include "llvm/ExecutionEngine/Orc/TaskDispatch.h"
#include "llvm/Support/MemoryBuffer.h"

#include <cmath>
#include <cstring>

using namespace moec;
using namespace llvm::orc;

/// Wraps the address of a C function, overloads resolved by the type.
template <typename Function>
static ExecutorSymbolDef symbol(Function *function) {
  return {ExecutorAddr::fromPtr(function),
          llvm::JITSymbolFlags::Exported | llvm::JITSymbolFlags::Callable};
}

/// What LLVM may make calls to on its own, and the mathematical functions
/// that its intrinsics turn into.
static SymbolMap libraryFunctions(ExecutionSession &session) {
  using F1 = float(float);
  using F2 = float(float, float);
  using D1 = double(double);
  using D2 = double(double, double);
  const std::pair<const char *, ExecutorSymbolDef> table[] = {
      {"cos", symbol<D1>(::cos)},
      {"cosf", symbol<F1>(::cosf)},
      {"erf", symbol<D1>(::erf)},
      {"erff", symbol<F1>(::erff)},
      {"exp", symbol<D1>(::exp)},
      {"exp2", symbol<D1>(::exp2)},
      {"exp2f", symbol<F1>(::exp2f)},
      {"expf", symbol<F1>(::expf)},
      {"fmod", symbol<D2>(::fmod)},
      {"fmodf", symbol<F2>(::fmodf)},
      {"log", symbol<D1>(::log)},
      {"logf", symbol<F1>(::logf)},
      {"memcmp", symbol(::memcmp)},
      {"memcpy", symbol(::memcpy)},
      {"memmove", symbol(::memmove)},
      {"memset", symbol(::memset)},
      {"pow", symbol<D2>(::pow)},
      {"powf", symbol<F2>(::powf)},
      {"roundevenf", symbol<F1>(::roundevenf)},
      {"sin", symbol<D1>(::sin)},
      {"sinf", symbol<F1>(::sinf)},
      {"tanh", symbol<D1>(::tanh)},
      {"tanhf", symbol<F1>(::tanhf)},
  };
  SymbolMap symbols;
  for (const auto &[name, definition] : table)
    symbols[session.intern(name)] = definition;
  return symbols;
}

struct jit::LoadedCode::State {
  explicit State(std::unique_ptr<ExecutorProcessControl> process)
      : session(std::move(process)),
        linker(session, session.getExecutorProcessControl().getMemMgr()),
        library(session.createBareJITDylib("kernels")) {
    session.setErrorReporter([this](llvm::Error err) {
      if (!problems.empty())
        problems += "; ";
      problems += llvm::toString(std::move(err));
    });
  }
  ~State() {
    if (llvm::Error err = session.endSession())
      // Nobody is left to whom this matters: the memory goes with the process.
      llvm::consumeError(std::move(err));
  }

  ExecutionSession session;
  ObjectLinkingLayer linker;
  JITDylib &library;
  std::string problems;
};

jit::LoadedCode::LoadedCode(std::unique_ptr<State> state)
    : state(std::move(state)) {}
jit::LoadedCode::~LoadedCode() = default;

llvm::Expected<std::unique_ptr<jit::LoadedCode>>
jit::LoadedCode::load(llvm::ArrayRef<llvm::StringRef> objects) {
  MOEC_ASSIGN(std::unique_ptr<SelfExecutorProcessControl> process,
              SelfExecutorProcessControl::Create(
                  nullptr, std::make_unique<InPlaceTaskDispatcher>()));
  auto state = std::make_unique<State>(std::move(process));
  MOEC_TRY(
      state->library.define(absoluteSymbols(libraryFunctions(state->session))));
  for (llvm::StringRef object : objects)
    MOEC_TRY(state->linker.add(
        state->library,
        llvm::MemoryBuffer::getMemBufferCopy(object, "kernels")));
  return std::unique_ptr<LoadedCode>(new LoadedCode(std::move(state)));
}

llvm::Error jit::LoadedCode::lookup(llvm::ArrayRef<const char *> names,
                                    llvm::MutableArrayRef<void *> addresses) {
  SymbolLookupSet wanted;
  for (const char *name : names)
    wanted.add(state->session.intern(name));
  llvm::Expected<SymbolMap> found = state->session.lookup(
      {{&state->library, JITDylibLookupFlags::MatchAllSymbols}},
      std::move(wanted));
  if (!found) {
    std::string reason = llvm::toString(found.takeError());
    if (!state->problems.empty())
      reason += ": " + state->problems;
    state->problems.clear();
    return error() << "object code cannot be linked: " << reason;
  }
  for (size_t i = 0; i < names.size(); ++i)
    addresses[i] =
        (*found)[state->session.intern(names[i])].getAddress().toPtr<void *>();
  return llvm::Error::success();
}
