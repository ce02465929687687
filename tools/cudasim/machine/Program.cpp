//===- Program.cpp - loading modules and placing their variables ----------===//

#include "tools/cudasim/machine/Program.h"

#include "ir/support/Diagnostic.h"
#include "tools/cudasim/machine/Code.h"
#include "tools/cudasim/machine/Decoder.h"

#include "llvm/Support/MathExtras.h"

#include <cstdlib>
#include <cstring>
#include <set>

using namespace cudasim;
using llvm::Error;
using llvm::Expected;
using llvm::StringRef;

ModuleLayout cudasim::layOut(const ptx::Module &module) {
  ModuleLayout layout;
  auto addShared = [&](const ptx::Variable &variable) {
    layout.shared.push_back(
        {variable.name, variable.bytes, variable.align, variable.bytes == 0});
    return uint32_t(layout.shared.size() - 1);
  };
  for (const ptx::Variable &variable : module.variables)
    layout.moduleShared.push_back(variable.space == ptx::Space::Shared
                                      ? addShared(variable)
                                      : ptx::kNone);
  for (const ptx::Function &function : module.functions) {
    FrameLayout frame;
    uint64_t local = 0, parameters = 0;
    for (uint32_t i = 0; i < function.variables.size(); ++i) {
      const ptx::Variable &variable = function.variables[i];
      if (variable.space == ptx::Space::Shared) {
        frame.place.push_back(addShared(variable));
        continue;
      }
      bool isKernelParameter = function.isEntry && i < function.parameterCount;
      uint64_t &at = isKernelParameter ? parameters : local;
      at = llvm::alignTo(at, variable.align);
      frame.place.push_back(uint32_t(at));
      // Saturates: too large a frame is refused by the caller.
      at = std::min<uint64_t>(at + variable.bytes, uint64_t(1) << 31);
    }
    frame.localBytes = uint32_t(llvm::alignTo(local, 16));
    frame.parameterBytes = uint32_t(parameters);
    layout.frames.push_back(std::move(frame));
  }
  return layout;
}

Expected<std::unique_ptr<Code>> cudasim::decode(const ptx::Module &module,
                                                const ModuleLayout &layout,
                                                const HandlerSet &handlers,
                                                CodeOptions options) {
  auto code = std::make_unique<Code>();
  code->functions.resize(module.functions.size());
  Decoder decoder(module, layout, handlers, options, *code);
  for (uint32_t i = 0; i < module.functions.size(); ++i)
    if (!module.functions[i].isDeclaration)
      MOEC_TRY(decoder.decodeFunction(i));
  return std::move(code);
}

const Code &Program::Impl::code(CodeOptions options) const {
  std::lock_guard guard(lock);
  std::unique_ptr<Code> &slot = decoded[options.index()];
  if (!slot) {
    // The module was decoded once when it was loaded, and only the registers'
    // places differ, so this cannot fail.
    slot = llvm::cantFail(decode(*module, layout, chooseHandlers(), options));
  }
  return *slot;
}

namespace {

constexpr uint32_t kMaxLocalBytes = 512 << 10; // what hardware gives a thread

/// All functions that a kernel can reach, itself included.
std::set<uint32_t> reachable(const Code &code, uint32_t from) {
  std::set<uint32_t> seen = {from};
  std::vector<uint32_t> work = {from};
  while (!work.empty()) {
    uint32_t function = work.back();
    work.pop_back();
    for (uint32_t callee : code.functions[function].callees)
      if (seen.insert(callee).second)
        work.push_back(callee);
  }
  return seen;
}

KernelInfo describe(const Program::Impl &impl, const Code &code,
                    uint32_t index) {
  const ptx::Function &function = impl.module->functions[index];
  const FrameLayout &frame = impl.layout.frames[index];
  KernelInfo info;
  info.name = function.name;
  for (uint32_t i = 0; i < function.parameterCount; ++i)
    info.parameters.push_back({function.variables[i].name, frame.place[i],
                               uint32_t(function.variables[i].bytes),
                               function.variables[i].align});
  info.parameterBytes = frame.parameterBytes;
  uint64_t threads = 1, required = 1;
  for (unsigned d = 0; d < 3; ++d) {
    info.maxBlock[d] = function.maxThreads[d];
    info.requiredBlock[d] = function.requiredThreads[d];
    threads *= function.maxThreads[d];
    required *= function.requiredThreads[d];
  }
  info.maxThreads = uint32_t(
      std::min<uint64_t>(required ? required : threads, uint64_t(1) << 31));
  info.minBlocksPerMultiprocessor = function.minBlocks;
  // The module's variables count where an instruction of the kernel names
  // them; those of functions where the function can be reached.
  uint64_t shared = 0;
  auto add = [&](uint32_t id) {
    const SharedVariable &variable = impl.layout.shared[id];
    if (variable.isDynamic)
      info.usesDynamicShared = true;
    shared = llvm::alignTo(shared, variable.align) + variable.bytes;
  };
  std::set<uint32_t> ids;
  for (uint32_t each : reachable(code, index)) {
    const ptx::Function &body = impl.module->functions[each];
    info.localBytes += impl.layout.frames[each].localBytes;
    info.registers = std::max(info.registers, code.functions[each].registers);
    for (uint32_t i = 0; i < body.variables.size(); ++i)
      if (body.variables[i].space == ptx::Space::Shared)
        ids.insert(impl.layout.frames[each].place[i]);
    for (const ptx::Instruction &instruction : body.body)
      for (const ptx::Operand &operand : instruction.operands) {
        bool symbol = operand.kind == ptx::OperandKind::Symbol ||
                      (operand.kind == ptx::OperandKind::Address &&
                       operand.base == ptx::OperandKind::Symbol);
        if (symbol && operand.moduleScope &&
            impl.layout.moduleShared[operand.index] != ptx::kNone)
          ids.insert(impl.layout.moduleShared[operand.index]);
      }
  }
  for (uint32_t id : ids)
    add(id);
  info.staticSharedBytes = uint32_t(std::min<uint64_t>(shared, ~0u));
  return info;
}

} // namespace

Program::Program() = default;
Program::~Program() = default;

Expected<std::unique_ptr<Program>> Program::load(StringRef ptx,
                                                 StringRef name) {
  std::unique_ptr<Program> program(new Program());
  program->body = std::make_unique<Impl>();
  Impl &impl = *program->body;
  MOEC_ASSIGN(impl.module, ptx::parse(ptx, name));
  const ptx::Module &module = *impl.module;
  impl.layout = layOut(module);
  for (size_t i = 0; i < module.functions.size(); ++i) {
    const ptx::Function &function = module.functions[i];
    if (impl.layout.frames[i].localBytes > kMaxLocalBytes)
      return module.source.error(function.line, function.offset)
             << "function '" << function.name << "' needs "
             << impl.layout.frames[i].localBytes
             << " bytes of local memory, at most " << kMaxLocalBytes
             << " are there";
    if (function.isEntry &&
        impl.layout.frames[i].parameterBytes > uint32_t(32764))
      return module.source.error(function.line, function.offset)
             << "kernel '" << function.name << "' takes "
             << impl.layout.frames[i].parameterBytes
             << " bytes of parameters, at most 32764 are taken";
  }
  CodeOptions options;
  MOEC_ASSIGN(impl.decoded[options.index()],
              decode(module, impl.layout, chooseHandlers(), options));
  uint64_t constantBytes = 0;
  for (const ptx::Variable &variable : module.variables) {
    impl.variableIndex.push_back(ptx::kNone);
    if (variable.space != ptx::Space::Global &&
        variable.space != ptx::Space::Const)
      continue;
    impl.variableIndex.back() = uint32_t(impl.variables.size());
    bool isConstant = variable.space == ptx::Space::Const;
    impl.variables.push_back(
        {variable.name, variable.bytes, variable.align, isConstant});
    if (isConstant)
      constantBytes += variable.bytes;
    if (constantBytes > 65536)
      return module.source.error(variable.line, variable.offset)
             << "constant variables take more than 65536 bytes";
  }
  const Code &code = *impl.decoded[options.index()];
  for (uint32_t i = 0; i < module.functions.size(); ++i) {
    const ptx::Function &function = module.functions[i];
    if (!function.isEntry || function.isDeclaration)
      continue;
    KernelInfo info = describe(impl, code, i);
    info.constantBytes = uint32_t(constantBytes);
    info.index = uint32_t(impl.kernels.size());
    impl.kernels.push_back(std::move(info));
    impl.kernelFunctions.push_back(i);
  }
  return std::move(program);
}

llvm::ArrayRef<KernelInfo> Program::kernels() const { return body->kernels; }
llvm::ArrayRef<VariableInfo> Program::variables() const {
  return body->variables;
}
const KernelInfo *Program::findKernel(StringRef name) const {
  for (const KernelInfo &kernel : body->kernels)
    if (kernel.name == name)
      return &kernel;
  return nullptr;
}
unsigned Program::target() const { return body->module->targetNumber; }
StringRef Program::name() const { return body->module->source.name; }

//===--- instances ----------------------------------------------------------//

Expected<std::unique_ptr<Instance>>
Instance::create(std::shared_ptr<const Program> program, GlobalMemory &memory,
                 int device) {
  std::unique_ptr<Instance> instance(new Instance());
  instance->source = program;
  instance->store = &memory;
  instance->owner = device;
  const Program::Impl &impl = program->impl();
  for (const VariableInfo &variable : impl.variables) {
    std::optional<DevicePtr> at =
        memory.allocate(device, variable.bytes, variable.name, variable.align);
    if (!at)
      return moec::error(moec::Location::inFile(program->name().str()))
             << "device " << device << " has no " << variable.bytes
             << " bytes for variable '" << variable.name << "'";
    instance->addresses.push_back(*at);
  }
  for (size_t i = 0; i < impl.module->variables.size(); ++i) {
    const ptx::Variable &variable = impl.module->variables[i];
    if (impl.variableIndex[i] == ptx::kNone)
      continue;
    DevicePtr at = instance->addresses[impl.variableIndex[i]];
    std::byte *bytes = memory.hostView(at);
    // Variables without a value are zero.
    memset(bytes, 0, variable.bytes);
    if (!variable.initial.empty())
      memcpy(bytes, variable.initial.data(), variable.initial.size());
    for (const ptx::Relocation &relocation : variable.relocations) {
      uint32_t target = impl.variableIndex[relocation.variable];
      uint64_t value =
          (instance->addresses[target] + uint64_t(relocation.addend)) >>
          relocation.shift;
      memcpy(bytes + relocation.offset, &value, relocation.bytes);
    }
    memory.markInitialized(at, variable.bytes);
    if (variable.space == ptx::Space::Const)
      memory.setReadOnly(at);
  }
  return std::move(instance);
}

Instance::~Instance() {
  for (DevicePtr address : addresses)
    store->free(address);
}

std::optional<Instance::Placed> Instance::find(StringRef variable) const {
  llvm::ArrayRef<VariableInfo> all = source->variables();
  for (size_t i = 0; i < all.size(); ++i)
    if (all[i].name == variable)
      return Placed{addresses[i], all[i].bytes};
  return std::nullopt;
}
