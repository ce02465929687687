// The calls of the API: checked, gathered by groups, and submitted.
#include "tools/cudasim/fakes/nccl/Collective.h"

#include "tools/cudasim/driver/PrivateApi.h"

#include <functional>

namespace cudasim::nccl {

namespace {

bool overlaps(CUdeviceptr a, size_t aBytes, CUdeviceptr b, size_t bBytes) {
  return a < b + bBytes && b < a + aBytes;
}

// In place, a call reads and writes exactly where its part lies.
bool inPlaceIsRight(const Call &call, const ncclComm &comm, size_t reads,
                    size_t writes) {
  CUdeviceptr send = addressOf(call.send);
  CUdeviceptr recv = addressOf(call.recv);
  size_t part = call.count * bytesOf(call.type) * size_t(comm.rank);
  switch (call.kind) {
  case Kind::AllGather:
  case Kind::Gather:
    return send == recv + part;
  case Kind::ReduceScatter:
  case Kind::Scatter:
    return recv == send + part;
  case Kind::AllToAll:
    return false;
  default:
    return send == recv;
  }
}

ncclResult_t checkCall(const Call &call) {
  ncclComm_t comm = call.comm;
  auto bad = [&](ncclResult_t result, const std::string &why) {
    return refuse(comm, result, call.str() + ": " + why);
  };
  if (bytesOf(call.type) == 0)
    return bad(ncclInvalidArgument,
               std::to_string(int(call.type)) + " is no data type");
  if (call.count > SIZE_MAX / 8 / size_t(comm->ranks()))
    return bad(ncclInvalidArgument, "the count is too large");
  bool hasRoot = call.kind == Kind::Broadcast || call.kind == Kind::Reduce ||
                 call.kind == Kind::Gather || call.kind == Kind::Scatter ||
                 call.isPointToPoint();
  if (hasRoot && (call.root < 0 || call.root >= comm->ranks()))
    return bad(ncclInvalidArgument,
               "there are ranks 0 to " + std::to_string(comm->ranks() - 1));
  if (int(call.op) < 0 ||
      (int(call.op) >= int(ncclNumOps) &&
       (size_t(int(call.op) - int(ncclNumOps)) >= comm->userOps.size() ||
        !comm->userOps[size_t(int(call.op) - int(ncclNumOps))].live)))
    return bad(ncclInvalidArgument,
               std::to_string(int(call.op)) + " is no reduction");
  int device = moecCudasimStreamDevice(call.stream);
  if (device != comm->device)
    return bad(ncclInvalidArgument, "the stream is of device " +
                                        std::to_string(device) +
                                        ", but the rank is on device " +
                                        std::to_string(comm->device));
  auto [reads, writes] = extents(call, comm->rank, comm->ranks());
  char why[512] = "";
  if (reads != 0 &&
      moecCudasimCheckRange(comm->device, addressOf(call.send), reads, 0, why,
                            sizeof why) != CUDA_SUCCESS)
    return bad(ncclInvalidArgument, std::string("send buffer: ") + why);
  if (writes != 0 &&
      moecCudasimCheckRange(comm->device, addressOf(call.recv), writes, 1, why,
                            sizeof why) != CUDA_SUCCESS)
    return bad(ncclInvalidArgument, std::string("receive buffer: ") + why);
  if (reads != 0 && writes != 0 &&
      overlaps(addressOf(call.send), reads, addressOf(call.recv), writes) &&
      !inPlaceIsRight(call, *comm, reads, writes))
    return bad(ncclInvalidArgument,
               "the buffers overlap, but not as an in-place call has them");
  return ncclSuccess;
}

//===--- groups -------------------------------------------------------------//

struct Group {
  unsigned depth = 0;
  std::vector<Call> calls;
  std::vector<std::function<ncclResult_t()>> work;
  ncclResult_t first = ncclSuccess;
};
thread_local Group group;

ncclResult_t submitGroup(const std::vector<Call> &calls) {
  // The messages of a communicator in a stream form one operation, at the
  // place of the first of them.
  std::vector<bool> taken(calls.size());
  for (size_t i = 0; i != calls.size(); ++i) {
    if (taken[i])
      continue;
    std::vector<Call> together = {calls[i]};
    for (size_t j = i + 1; j != calls.size(); ++j)
      if (calls[i].isPointToPoint() && calls[j].isPointToPoint() &&
          calls[j].comm == calls[i].comm &&
          calls[j].stream == calls[i].stream) {
        together.push_back(calls[j]);
        taken[j] = true;
      }
    if (ncclResult_t bad =
            submit(calls[i].comm, calls[i].stream, std::move(together)))
      return bad;
  }
  return ncclSuccess;
}

} // namespace

bool inGroup() { return group.depth != 0; }

ncclResult_t atGroupEnd(std::function<ncclResult_t()> work) {
  if (!inGroup())
    return work();
  group.work.push_back(std::move(work));
  return ncclSuccess;
}

ncclResult_t give(Call call) {
  {
    Locked lock;
    if (!isComm(call.comm))
      return refuse(nullptr, ncclInvalidArgument,
                    std::string(call.name) +
                        ": the communicator is not a live one");
  }
  ContextScope scope(call.comm->ctx);
  ncclResult_t bad = checkCall(call);
  if (bad) {
    if (inGroup() && group.first == ncclSuccess)
      group.first = bad;
    return bad;
  }
  if (!inGroup())
    return submitGroup({call});
  group.calls.push_back(call);
  return ncclSuccess;
}

} // namespace cudasim::nccl

using namespace cudasim::nccl;

ncclResult_t ncclGroupStart() {
  ++group.depth;
  return ncclSuccess;
}

// An error inside of the group is the group's: nothing of it is submitted.
ncclResult_t ncclGroupEnd() {
  if (group.depth == 0)
    return refuse(nullptr, ncclInvalidUsage,
                  "ncclGroupEnd without ncclGroupStart");
  if (--group.depth != 0)
    return ncclSuccess;
  Group done = std::move(group);
  group = Group();
  if (done.first != ncclSuccess)
    return done.first;
  for (const auto &work : done.work)
    if (ncclResult_t bad = work())
      return bad;
  return submitGroup(done.calls);
}

ncclResult_t ncclAllReduce(const void *send, void *recv, size_t count,
                           ncclDataType_t type, ncclRedOp_t op, ncclComm_t comm,
                           cudaStream_t stream) {
  return give({Kind::AllReduce, "ncclAllReduce", send, recv, count, type, op,
               -1, comm, stream});
}

ncclResult_t ncclBroadcast(const void *send, void *recv, size_t count,
                           ncclDataType_t type, int root, ncclComm_t comm,
                           cudaStream_t stream) {
  return give({Kind::Broadcast, "ncclBroadcast", send, recv, count, type,
               ncclSum, root, comm, stream});
}

ncclResult_t ncclBcast(void *buffer, size_t count, ncclDataType_t type,
                       int root, ncclComm_t comm, cudaStream_t stream) {
  return give({Kind::Broadcast, "ncclBcast", buffer, buffer, count, type,
               ncclSum, root, comm, stream});
}

ncclResult_t ncclReduce(const void *send, void *recv, size_t count,
                        ncclDataType_t type, ncclRedOp_t op, int root,
                        ncclComm_t comm, cudaStream_t stream) {
  return give({Kind::Reduce, "ncclReduce", send, recv, count, type, op, root,
               comm, stream});
}

ncclResult_t ncclAllGather(const void *send, void *recv, size_t count,
                           ncclDataType_t type, ncclComm_t comm,
                           cudaStream_t stream) {
  return give({Kind::AllGather, "ncclAllGather", send, recv, count, type,
               ncclSum, -1, comm, stream});
}

ncclResult_t ncclReduceScatter(const void *send, void *recv, size_t count,
                               ncclDataType_t type, ncclRedOp_t op,
                               ncclComm_t comm, cudaStream_t stream) {
  return give({Kind::ReduceScatter, "ncclReduceScatter", send, recv, count,
               type, op, -1, comm, stream});
}

ncclResult_t ncclSend(const void *send, size_t count, ncclDataType_t type,
                      int peer, ncclComm_t comm, cudaStream_t stream) {
  return give({Kind::Send, "ncclSend", send, nullptr, count, type, ncclSum,
               peer, comm, stream});
}

ncclResult_t ncclRecv(void *recv, size_t count, ncclDataType_t type, int peer,
                      ncclComm_t comm, cudaStream_t stream) {
  return give({Kind::Recv, "ncclRecv", nullptr, recv, count, type, ncclSum,
               peer, comm, stream});
}

#if NCCL_VERSION_CODE >= NCCL_VERSION(2, 28, 0)
ncclResult_t ncclAlltoAll(const void *send, void *recv, size_t count,
                          ncclDataType_t type, ncclComm_t comm,
                          cudaStream_t stream) {
  return give({Kind::AllToAll, "ncclAlltoAll", send, recv, count, type, ncclSum,
               -1, comm, stream});
}

ncclResult_t ncclGather(const void *send, void *recv, size_t count,
                        ncclDataType_t type, int root, ncclComm_t comm,
                        cudaStream_t stream) {
  return give({Kind::Gather, "ncclGather", send, recv, count, type, ncclSum,
               root, comm, stream});
}

ncclResult_t ncclScatter(const void *send, void *recv, size_t count,
                         ncclDataType_t type, int root, ncclComm_t comm,
                         cudaStream_t stream) {
  return give({Kind::Scatter, "ncclScatter", send, recv, count, type, ncclSum,
               root, comm, stream});
}
#endif
