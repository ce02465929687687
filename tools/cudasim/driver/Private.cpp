// The exported side of PrivateApi.h.
#include "tools/cudasim/driver/Cuda.h"

#include "tools/cudasim/driver/Call.h"
#include "tools/cudasim/driver/Foreign.h"
#include "tools/cudasim/driver/PrivateApi.h"

#include <cstdio>

using namespace llvm;

namespace cudasim::driver {

struct ForeignOp : std::enable_shared_from_this<ForeignOp> {
  explicit ForeignOp(const MoecCudasimOp &op) : label(op.label), call(op) {}
  ~ForeignOp() {
    if (call.destroy)
      call.destroy(call.arg);
  }
  ForeignOp(const ForeignOp &) = delete;

  std::string label;
  MoecCudasimOp call;
};

std::string labelOf(const ForeignOp &foreign) { return foreign.label; }

namespace {

/// An instance that is run once or dropped.
class Instance {
public:
  Instance(std::shared_ptr<ForeignOp> op) : op(std::move(op)) {
    const MoecCudasimOp &call = this->op->call;
    state = call.begin ? call.begin(call.arg) : call.arg;
  }
  ~Instance() {
    if (!ran && op->call.drop)
      op->call.drop(state);
  }
  Instance(const Instance &) = delete;

  bool ready() { return !op->call.ready || op->call.ready(state); }
  Outcome run() {
    Outcome outcome;
    ran = true;
    outcome.status = op->call.run(state, &outcome.micros);
    return outcome;
  }
  std::string explain() {
    char text[512] = "";
    if (op->call.explain)
      op->call.explain(state, text, sizeof text);
    return text;
  }

private:
  std::shared_ptr<ForeignOp> op;
  void *state = nullptr;
  bool ran = false;
};

} // namespace

void prepareForeign(Op &op, ForeignOp &foreign) {
  auto instance = std::make_shared<Instance>(foreign.shared_from_this());
  op.ready = [instance] { return instance->ready(); };
  op.explain = [instance] { return instance->explain(); };
  op.run = [instance] { return instance->run(); };
}

} // namespace cudasim::driver

using namespace cudasim::driver;

CUresult moecCudasimEnqueue(CUstream handle, const MoecCudasimOp *op) {
  // The description is taken over, whatever happens.
  auto foreign = std::make_shared<ForeignOp>(*op);
  return inContext("moecCudasimEnqueue", [&](CUctx_st &ctx) -> CUresult {
    CUstream stream = nullptr;
    if (CUresult bad = findStream(ctx, handle, stream))
      return bad;
    return submit(stream, ForeignWork{std::move(foreign)});
  });
}

CUresult moecCudasimCheckRange(int device, CUdeviceptr address, size_t bytes,
                               int write, char *why, size_t whyBytes) {
  Entry entry("moecCudasimCheckRange");
  if (!driver().initialised)
    return CUDA_ERROR_NOT_INITIALIZED;
  auto fault = driver().memory->check(device, address, bytes, write != 0);
  if (!fault)
    return CUDA_SUCCESS;
  if (why && whyBytes != 0)
    std::snprintf(why, whyBytes, "%s", fault->message.c_str());
  return CUresult(fault->code);
}

void *moecCudasimBytes(CUdeviceptr address) {
  return driver().memory->hostView(address);
}

void moecCudasimWritten(CUdeviceptr address, size_t bytes) {
  driver().memory->markInitialized(address, bytes);
}

int moecCudasimCurrentDevice(void) {
  int device = -1;
  inContext("moecCudasimCurrentDevice", [&](CUctx_st &ctx) {
    device = ctx.device->ordinal;
    return CUDA_SUCCESS;
  });
  return device;
}

int moecCudasimStreamDevice(CUstream handle) {
  int device = -1;
  inContext("moecCudasimStreamDevice", [&](CUctx_st &ctx) -> CUresult {
    CUstream stream = nullptr;
    if (CUresult bad = findStream(ctx, handle, stream))
      return bad;
    device = stream->ctx->device->ordinal;
    return CUDA_SUCCESS;
  });
  return device;
}

unsigned long long moecCudasimStreamId(CUstream handle) {
  unsigned long long id = 0;
  inContext("moecCudasimStreamId", [&](CUctx_st &ctx) -> CUresult {
    CUstream stream = nullptr;
    if (CUresult bad = findStream(ctx, handle, stream))
      return bad;
    id = stream->id;
    return CUDA_SUCCESS;
  });
  return id;
}

void moecCudasimLock(void) { driver().mutex.lock(); }

void moecCudasimUnlock(void) { driver().mutex.unlock(); }

int moecCudasimWait(int (*holds)(void *arg), void *arg) {
  Entry entry("moecCudasimWait");
  return driver().queue.waitUntil([&] { return holds(arg) != 0; });
}

void moecCudasimNotify(void) { driver().queue.notify(); }

void moecCudasimLog(int level, const char *text) {
  Entry entry("moecCudasimLog");
  if (level == 0)
    driver().report(text);
  else
    driver().explain(text);
}
