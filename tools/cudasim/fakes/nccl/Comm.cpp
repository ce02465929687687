// Making, asking and ending communicators.
#include "tools/cudasim/fakes/nccl/Comm.h"

#include "tools/cudasim/driver/PrivateApi.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <set>

namespace cudasim::nccl {

Locked::Locked() { moecCudasimLock(); }
Locked::~Locked() { moecCudasimUnlock(); }

namespace {

/// All communicators of the process; never destroyed, as programs may end
/// theirs in destructors.
struct Registry {
  std::map<std::string, std::shared_ptr<Clique>> byId;
  std::set<ncclComm_t> live;
  unsigned cliques = 0;
  unsigned ids = 0;
};
Registry &registry() {
  static Registry *all = new Registry;
  return *all;
}

thread_local std::string lastError;

std::shared_ptr<Clique> newClique(size_t ranks) {
  auto clique = std::make_shared<Clique>();
  clique->number = registry().cliques++;
  clique->ranks.assign(ranks, nullptr);
  return clique;
}

ncclComm_t join(const std::shared_ptr<Clique> &clique, int rank, int device,
                CUcontext ctx) {
  auto *comm = new ncclComm;
  comm->clique = clique;
  comm->rank = rank;
  comm->device = device;
  comm->ctx = ctx;
  clique->ranks[size_t(rank)] = comm;
  ++clique->joined;
  registry().live.insert(comm);
  moecCudasimNotify();
  return comm;
}

// Waits for the other ranks, and names those that do not come.
ncclResult_t waitForRanks(ncclComm_t comm) {
  bool all = moecCudasimWait(
      [](void *arg) -> int {
        return static_cast<ncclComm_t>(arg)->clique->isComplete();
      },
      comm);
  if (all)
    return ncclSuccess;
  Locked lock;
  std::string missing;
  for (size_t i = 0; i != comm->clique->ranks.size(); ++i)
    if (!comm->clique->ranks[i])
      missing += (missing.empty() ? "" : ", ") + std::to_string(i);
  moecCudasimLog(0, ("nccl deadlock: rank " + std::to_string(comm->rank) +
                     " of " + std::to_string(comm->ranks()) +
                     " waits in ncclCommInitRank: rank(s) " + missing +
                     " have not called it")
                        .c_str());
  return ncclSystemError;
}

ncclResult_t initRank(ncclComm_t *out, int ranks, ncclUniqueId id, int rank) {
  if (!out)
    return refuse(nullptr, ncclInvalidArgument, "the communicator is null");
  if (ranks <= 0 || rank < 0 || rank >= ranks)
    return refuse(nullptr, ncclInvalidArgument,
                  "rank " + std::to_string(rank) + " of " +
                      std::to_string(ranks));
  int device = moecCudasimCurrentDevice();
  CUcontext ctx = nullptr;
  cuCtxGetCurrent(&ctx);
  if (device < 0 || !ctx)
    return refuse(nullptr, ncclUnhandledCudaError,
                  "ncclCommInitRank: no context is current");
  {
    Locked lock;
    std::string key(id.internal, sizeof id.internal);
    std::shared_ptr<Clique> &clique = registry().byId[key];
    if (!clique)
      clique = newClique(size_t(ranks));
    if (clique->ranks.size() != size_t(ranks))
      return refuse(nullptr, ncclInvalidUsage,
                    "rank " + std::to_string(rank) + " says " +
                        std::to_string(ranks) + " ranks, but another said " +
                        std::to_string(clique->ranks.size()));
    if (clique->ranks[size_t(rank)])
      return refuse(nullptr, ncclInvalidUsage,
                    "rank " + std::to_string(rank) + " has joined already");
    for (ncclComm_t other : clique->ranks)
      if (other && other->device == device)
        return refuse(nullptr, ncclInvalidUsage,
                      "ranks " + std::to_string(other->rank) + " and " +
                          std::to_string(rank) + " are both on device " +
                          std::to_string(device));
    *out = join(clique, rank, device, ctx);
    // A later communicator must not find this one by a reused id.
    if (clique->isComplete())
      registry().byId.erase(key);
  }
  ncclComm_t comm = *out;
  return atGroupEnd([comm] { return waitForRanks(comm); });
}

} // namespace

bool isComm(ncclComm_t comm) { return registry().live.count(comm) != 0; }

ncclResult_t refuse(ncclComm_t comm, ncclResult_t result, std::string why) {
  lastError = why;
  moecCudasimLog(0, ("nccl: " + why).c_str());
  return result;
}

} // namespace cudasim::nccl

using namespace cudasim::nccl;

ncclResult_t ncclGetVersion(int *version) {
  if (!version)
    return ncclInvalidArgument;
  *version = NCCL_VERSION_CODE;
  return ncclSuccess;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id) {
  if (!id)
    return ncclInvalidArgument;
  Locked lock;
  std::memset(id, 0, sizeof *id);
  std::snprintf(id->internal, sizeof id->internal, "cudasim-nccl-%u",
                ++registry().ids);
  return ncclSuccess;
}

ncclResult_t ncclCommInitRank(ncclComm_t *comm, int ranks, ncclUniqueId id,
                              int rank) {
  return initRank(comm, ranks, id, rank);
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int ranks,
                                    ncclUniqueId id, int rank,
                                    ncclConfig_t *config) {
  static const ncclConfig_t initial = NCCL_CONFIG_INITIALIZER;
  if (config &&
      (config->magic != initial.magic || config->size != initial.size))
    return refuse(nullptr, ncclInvalidArgument,
                  "the configuration was not set to "
                  "NCCL_CONFIG_INITIALIZER first");
  return initRank(comm, ranks, id, rank);
}

ncclResult_t ncclCommInitAll(ncclComm_t *comms, int count,
                             const int *deviceList) {
  int devices = 0;
  if (cuInit(0) != CUDA_SUCCESS || cuDeviceGetCount(&devices) != CUDA_SUCCESS)
    return ncclUnhandledCudaError;
  if (!comms || count <= 0)
    return refuse(nullptr, ncclInvalidArgument, "no communicators are wanted");
  std::set<int> used;
  for (int i = 0; i != count; ++i) {
    int device = deviceList ? deviceList[i] : i;
    if (device < 0 || device >= devices || !used.insert(device).second)
      return refuse(nullptr, ncclInvalidUsage,
                    "device " + std::to_string(device) +
                        " is given twice or is not one of " +
                        std::to_string(devices));
  }
  std::vector<CUcontext> contexts;
  for (int i = 0; i != count; ++i) {
    CUcontext ctx = nullptr;
    if (cuDevicePrimaryCtxRetain(&ctx, deviceList ? deviceList[i] : i) !=
        CUDA_SUCCESS)
      return ncclUnhandledCudaError;
    contexts.push_back(ctx);
  }
  Locked lock;
  std::shared_ptr<Clique> clique = newClique(size_t(count));
  for (int i = 0; i != count; ++i)
    comms[i] =
        join(clique, i, deviceList ? deviceList[i] : i, contexts[size_t(i)]);
  return ncclSuccess;
}

//===--- splitting ----------------------------------------------------------//

// Ranks of one colour become a communicator, in the order of their keys.
static void divide(Clique &clique, Split &split) {
  std::map<int, std::vector<int>> groups;
  for (size_t i = 0; i != split.wishes.size(); ++i)
    if (split.wishes[i].color != NCCL_SPLIT_NOCOLOR)
      groups[split.wishes[i].color].push_back(int(i));
  for (auto &[color, members] : groups) {
    std::stable_sort(members.begin(), members.end(), [&](int a, int b) {
      return split.wishes[size_t(a)].key < split.wishes[size_t(b)].key;
    });
    std::shared_ptr<Clique> fresh = newClique(members.size());
    for (size_t i = 0; i != members.size(); ++i) {
      ncclComm_t old = clique.ranks[size_t(members[i])];
      split.wishes[size_t(members[i])].result =
          join(fresh, int(i), old->device, old->ctx);
    }
  }
}

ncclResult_t ncclCommSplit(ncclComm_t comm, int color, int key, ncclComm_t *out,
                           ncclConfig_t *) {
  std::shared_ptr<Split> split;
  {
    Locked lock;
    if (!isComm(comm) || !out || (color < 0 && color != NCCL_SPLIT_NOCOLOR))
      return refuse(nullptr, ncclInvalidArgument,
                    "ncclCommSplit: bad communicator or colour");
    std::shared_ptr<Split> &slot = comm->clique->splits[comm->nextSplit++];
    if (!slot) {
      slot = std::make_shared<Split>();
      slot->wishes.resize(size_t(comm->ranks()));
    }
    split = slot;
    split->wishes[size_t(comm->rank)] = {true, color, key, nullptr};
    if (++split->arrived == split->wishes.size())
      divide(*comm->clique, *split);
    moecCudasimNotify();
  }
  return atGroupEnd([comm, split, out]() -> ncclResult_t {
    Split *each = split.get();
    bool all = moecCudasimWait(
        [](void *arg) -> int {
          auto *wanted = static_cast<Split *>(arg);
          return wanted->arrived == wanted->wishes.size();
        },
        each);
    Locked lock;
    if (!all) {
      std::string missing;
      for (size_t i = 0; i != each->wishes.size(); ++i)
        if (!each->wishes[i].made)
          missing += (missing.empty() ? "" : ", ") + std::to_string(i);
      moecCudasimLog(0, ("nccl deadlock: rank " + std::to_string(comm->rank) +
                         " waits in ncclCommSplit: rank(s) " + missing +
                         " have not called it")
                            .c_str());
      return ncclSystemError;
    }
    *out = each->wishes[size_t(comm->rank)].result;
    return ncclSuccess;
  });
}

//===--- ending -------------------------------------------------------------//

static ncclResult_t drain(ncclComm_t comm) {
  bool done = moecCudasimWait(
      [](void *arg) -> int {
        return static_cast<ncclComm_t>(arg)->outstanding == 0;
      },
      comm);
  if (done)
    return ncclSuccess;
  moecCudasimLog(0, ("nccl deadlock: rank " + std::to_string(comm->rank) +
                     " ends its communicator with " +
                     std::to_string(comm->outstanding) +
                     " operation(s) that other ranks have not joined")
                        .c_str());
  return ncclSystemError;
}

static bool isLive(ncclComm_t comm) {
  Locked lock;
  return isComm(comm);
}

ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  if (!isLive(comm))
    return ncclInvalidArgument;
  return drain(comm);
}

// The object stays while operations or other ranks may still look at it.
ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  if (!isLive(comm))
    return ncclInvalidArgument;
  ncclResult_t result = drain(comm);
  Locked lock;
  registry().live.erase(comm);
  return result;
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
  Locked lock;
  if (!isComm(comm))
    return ncclInvalidArgument;
  comm->aborted = true;
  for (const auto &[number, meeting] : comm->clique->meetings)
    meeting->failed |= !meeting->done;
  registry().live.erase(comm);
  moecCudasimNotify();
  return ncclSuccess;
}

//===--- asking -------------------------------------------------------------//

const char *ncclGetErrorString(ncclResult_t result) {
  switch (result) {
  case ncclSuccess:
    return "no error";
  case ncclUnhandledCudaError:
    return "unhandled cuda error";
  case ncclSystemError:
    return "unhandled system error";
  case ncclInternalError:
    return "internal error";
  case ncclInvalidArgument:
    return "invalid argument";
  case ncclInvalidUsage:
    return "invalid usage";
  case ncclRemoteError:
    return "remote process exited or there was a network error";
  case ncclInProgress:
    return "operation in progress";
  default:
    return "unknown result code";
  }
}

const char *ncclGetLastError(ncclComm_t) { return lastError.c_str(); }

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *error) {
  Locked lock;
  if (!isComm(comm) || !error)
    return ncclInvalidArgument;
  *error = comm->asyncError;
  return ncclSuccess;
}

ncclResult_t ncclCommCount(const ncclComm_t comm, int *count) {
  Locked lock;
  if (!isComm(comm) || !count)
    return ncclInvalidArgument;
  *count = comm->ranks();
  return ncclSuccess;
}

ncclResult_t ncclCommCuDevice(const ncclComm_t comm, int *device) {
  Locked lock;
  if (!isComm(comm) || !device)
    return ncclInvalidArgument;
  *device = comm->device;
  return ncclSuccess;
}

ncclResult_t ncclCommUserRank(const ncclComm_t comm, int *rank) {
  Locked lock;
  if (!isComm(comm) || !rank)
    return ncclInvalidArgument;
  *rank = comm->rank;
  return ncclSuccess;
}

// Registration only makes real transfers faster.
ncclResult_t ncclCommRegister(const ncclComm_t comm, void *buffer, size_t bytes,
                              void **handle) {
  Locked lock;
  if (!isComm(comm) || !buffer || bytes == 0 || !handle)
    return ncclInvalidArgument;
  *handle = buffer;
  return ncclSuccess;
}

ncclResult_t ncclCommDeregister(const ncclComm_t comm, void *) {
  Locked lock;
  return isComm(comm) ? ncclSuccess : ncclInvalidArgument;
}

ncclResult_t ncclMemAlloc(void **out, size_t bytes) {
  CUdeviceptr address = 0;
  if (!out)
    return ncclInvalidArgument;
  if (cuMemAlloc(&address, bytes) != CUDA_SUCCESS)
    return ncclUnhandledCudaError;
  *out = reinterpret_cast<void *>(address);
  return ncclSuccess;
}

ncclResult_t ncclMemFree(void *address) {
  return cuMemFree(reinterpret_cast<CUdeviceptr>(address)) == CUDA_SUCCESS
             ? ncclSuccess
             : ncclUnhandledCudaError;
}

//===--- operators ----------------------------------------------------------//

ncclResult_t ncclRedOpCreatePreMulSum(ncclRedOp_t *op, void *scalar,
                                      ncclDataType_t type,
                                      ncclScalarResidence_t residence,
                                      ncclComm_t comm) {
  Locked lock;
  if (!isComm(comm) || !op || !scalar || bytesOf(type) == 0)
    return refuse(comm, ncclInvalidArgument,
                  "ncclRedOpCreatePreMulSum: bad arguments");
  UserOp fresh;
  fresh.live = true;
  fresh.type = type;
  if (residence == ncclScalarDevice)
    fresh.where = reinterpret_cast<CUdeviceptr>(scalar);
  else
    fresh.scalar = readScalar(type, scalar);
  comm->userOps.push_back(fresh);
  *op = ncclRedOp_t(int(ncclNumOps) + int(comm->userOps.size()) - 1);
  return ncclSuccess;
}

ncclResult_t ncclRedOpDestroy(ncclRedOp_t op, ncclComm_t comm) {
  Locked lock;
  size_t index = size_t(int(op) - int(ncclNumOps));
  if (!isComm(comm) || int(op) < int(ncclNumOps) ||
      index >= comm->userOps.size() || !comm->userOps[index].live)
    return refuse(comm, ncclInvalidArgument,
                  "ncclRedOpDestroy: not an operator of the communicator");
  comm->userOps[index].live = false;
  return ncclSuccess;
}
