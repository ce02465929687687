//===- Comm.h - communicators whose ranks share a process -----------------===//
//
// Ranks meet in memory. A call is an operation in a simulated stream that may
// run once every rank's stream has come to the same call; the rank that
// completes the set does the work for all. What ranks disagree on is reported
// when the second of them calls, what is missing when nothing moves any more.
//
// Everything is guarded by the simulated driver's lock.
//
//===----------------------------------------------------------------------===//
#pragma once

#include <cuda.h>
#include <nccl.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace cudasim::nccl {

enum class Kind {
  AllReduce,
  Broadcast,
  Reduce,
  AllGather,
  ReduceScatter,
  AllToAll,
  Gather,
  Scatter,
  Send,
  Recv,
};

/// One call of the API.
struct Call {
  Kind kind;
  /// As the program spelled it.
  const char *name;
  const void *send = nullptr;
  void *recv = nullptr;
  size_t count = 0;
  ncclDataType_t type = ncclInt8;
  ncclRedOp_t op = ncclSum;
  /// The root, or the peer of Send and Recv; -1 where there is none.
  int root = -1;
  ncclComm_t comm = nullptr;
  CUstream stream = nullptr;

  bool isPointToPoint() const {
    return kind == Kind::Send || kind == Kind::Recv;
  }
  /// `ncclAllReduce(count 8, f32, sum)`.
  std::string str() const;
};

struct Turn;

/// One collective: the turns of the ranks.
struct Meeting {
  uint64_t number = 0;
  std::vector<Turn *> turns;
  unsigned arrived = 0;
  unsigned left = 0;
  bool done = false;
  bool failed = false;
};

/// One message between two ranks.
struct Transfer {
  Turn *sender = nullptr;
  Turn *receiver = nullptr;
  Call send = {};
  Call recv = {};
  bool moved = false;
  bool failed = false;
};

/// ncclCommSplit in progress.
struct Split {
  struct Wish {
    bool made = false;
    int color = 0;
    int key = 0;
    ncclComm_t result = nullptr;
  };
  std::vector<Wish> wishes;
  unsigned arrived = 0;
};

/// All ranks of one communicator.
struct Clique {
  unsigned number = 0;
  std::vector<ncclComm_t> ranks;
  unsigned joined = 0;
  std::map<uint64_t, std::shared_ptr<Meeting>> meetings;
  /// By sender, receiver and number.
  std::map<std::tuple<int, int, uint64_t>, std::shared_ptr<Transfer>> transfers;
  std::map<uint64_t, std::shared_ptr<Split>> splits;

  bool isComplete() const { return joined == ranks.size(); }
};

/// ncclRedOpCreatePreMulSum.
struct UserOp {
  bool live = false;
  ncclDataType_t type = ncclFloat;
  /// Where the scalar lies at a device; 0: it was read at the call.
  CUdeviceptr where = 0;
  double scalar = 1;
};

/// Bytes of an element; 0 for what is no type.
size_t bytesOf(ncclDataType_t type);
const char *nameOf(ncclDataType_t type);
const char *nameOf(ncclRedOp_t op);

/// Combines `sources`, one a rank and in the order of ranks, into `out`.
/// Half-width floats are added up in f32, f64 in double, integers wrap.
/// `scalars` multiply their rank's source first; empty means none.
void reduce(ncclDataType_t type, ncclRedOp_t op,
            const std::vector<const void *> &sources,
            const std::vector<double> &scalars, size_t count, void *out);
/// Reads one element.
double readScalar(ncclDataType_t type, const void *bytes);

/// Whether a handle is a live communicator.
bool isComm(ncclComm_t comm);
/// Notes an error of the caller's and says why on the log.
ncclResult_t refuse(ncclComm_t comm, ncclResult_t result, std::string why);

/// Whether the thread is inside ncclGroupStart and ncclGroupEnd.
bool inGroup();
/// Runs at the end of the group, or now.
ncclResult_t atGroupEnd(std::function<ncclResult_t()> work);
/// Submits the call, or keeps it until the end of the group.
ncclResult_t give(Call call);

/// Makes a context current for a while.
class ContextScope {
public:
  explicit ContextScope(CUcontext ctx) { cuCtxPushCurrent(ctx); }
  ~ContextScope() {
    CUcontext popped = nullptr;
    cuCtxPopCurrent(&popped);
  }
  ContextScope(const ContextScope &) = delete;
};

/// Holds the driver's lock.
class Locked {
public:
  Locked();
  ~Locked();
  Locked(const Locked &) = delete;
};

} // namespace cudasim::nccl

/// One rank.
struct ncclComm {
  std::shared_ptr<cudasim::nccl::Clique> clique;
  int rank = 0;
  int device = 0;
  CUcontext ctx = nullptr;
  uint64_t nextMeeting = 0;
  uint64_t nextSplit = 0;
  std::map<int, uint64_t> sends;
  std::map<int, uint64_t> receives;
  /// Submitted and not finished.
  unsigned outstanding = 0;
  bool aborted = false;
  ncclResult_t asyncError = ncclSuccess;
  std::vector<cudasim::nccl::UserOp> userOps;
  int ranks() const { return int(clique->ranks.size()); }
};
