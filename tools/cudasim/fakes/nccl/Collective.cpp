// Turns of ranks: how they meet, when they may go on, and what they do.
#include "tools/cudasim/fakes/nccl/Collective.h"

#include "tools/cudasim/driver/PrivateApi.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace cudasim::nccl {

std::string Call::str() const {
  std::string text = std::string(name) + "(count " + std::to_string(count) +
                     ", " + nameOf(type);
  if (kind == Kind::AllReduce || kind == Kind::Reduce ||
      kind == Kind::ReduceScatter)
    text += std::string(", ") + nameOf(op);
  if (root >= 0)
    text += (isPointToPoint() ? ", peer " : ", root ") + std::to_string(root);
  return text + ")";
}

/// An order's turn: each submission, and each launch of a graph that holds it.
struct Turn {
  std::shared_ptr<const Order> order;
  std::shared_ptr<Meeting> meeting;
  std::vector<std::shared_ptr<Transfer>> transfers;
  /// The stream has come to it.
  bool reached = false;

  ncclComm &comm() const { return *order->comm; }
  const Call &call() const { return order->calls.front(); }
};

// Where each rank reads and writes depends on the kind alone.
std::pair<size_t, size_t> extents(const Call &call, int rank, int ranks) {
  size_t one = call.count * bytesOf(call.type);
  size_t all = one * size_t(ranks);
  bool isRoot = call.root == rank;
  switch (call.kind) {
  case Kind::AllReduce:
    return {one, one};
  case Kind::Broadcast:
    return {isRoot ? one : 0, one};
  case Kind::Reduce:
    return {one, isRoot ? one : 0};
  case Kind::AllGather:
    return {one, all};
  case Kind::ReduceScatter:
    return {all, one};
  case Kind::AllToAll:
    return {all, all};
  case Kind::Gather:
    return {one, isRoot ? all : 0};
  case Kind::Scatter:
    return {isRoot ? all : 0, one};
  case Kind::Send:
    return {one, 0};
  case Kind::Recv:
    return {0, one};
  }
  return {0, 0};
}

namespace {

std::string who(const Turn &turn) {
  return "rank " + std::to_string(turn.comm().rank) + " calls ";
}

//===--- arrival ------------------------------------------------------------//

// What all ranks must say alike.
bool agree(const Call &a, const Call &b) {
  bool reduces = a.kind == Kind::AllReduce || a.kind == Kind::Reduce ||
                 a.kind == Kind::ReduceScatter;
  // Operators of the program have a number of their own at each rank.
  bool sameOp = !reduces || a.op == b.op ||
                (int(a.op) >= int(ncclNumOps) && int(b.op) >= int(ncclNumOps));
  return a.kind == b.kind && a.count == b.count && a.type == b.type &&
         a.root == b.root && sameOp;
}

void reportMismatch(const Clique &clique, uint64_t number, const Turn &first,
                    const Turn &second) {
  moecCudasimLog(
      0, ("nccl deadlock: in communicator " + std::to_string(clique.number) +
          ", operation " + std::to_string(number) + ": " + who(first) +
          first.call().str() + ", but " + who(second) + second.call().str())
             .c_str());
}

void arriveAtMeeting(Turn &turn) {
  ncclComm &comm = turn.comm();
  uint64_t number = comm.nextMeeting++;
  std::shared_ptr<Meeting> &slot = comm.clique->meetings[number];
  if (!slot) {
    slot = std::make_shared<Meeting>();
    slot->number = number;
    slot->turns.assign(size_t(comm.ranks()), nullptr);
  }
  turn.meeting = slot;
  for (Turn *other : slot->turns)
    if (other && !agree(other->call(), turn.call()) && !slot->failed) {
      reportMismatch(*comm.clique, number, *other, turn);
      slot->failed = true;
      comm.asyncError = other->comm().asyncError = ncclInvalidUsage;
    }
  slot->turns[size_t(comm.rank)] = &turn;
  ++slot->arrived;
}

void arriveAtTransfers(Turn &turn) {
  ncclComm &comm = turn.comm();
  for (const Call &call : turn.order->calls) {
    bool sends = call.kind == Kind::Send;
    uint64_t number =
        sends ? comm.sends[call.root]++ : comm.receives[call.root]++;
    auto key = sends ? std::make_tuple(comm.rank, call.root, number)
                     : std::make_tuple(call.root, comm.rank, number);
    std::shared_ptr<Transfer> &slot = comm.clique->transfers[key];
    if (!slot)
      slot = std::make_shared<Transfer>();
    (sends ? slot->sender : slot->receiver) = &turn;
    (sends ? slot->send : slot->recv) = call;
    turn.transfers.push_back(slot);
    if (slot->sender && slot->receiver &&
        slot->send.count * bytesOf(slot->send.type) !=
            slot->recv.count * bytesOf(slot->recv.type)) {
      slot->failed = true;
      moecCudasimLog(0, ("nccl deadlock: in communicator " +
                         std::to_string(comm.clique->number) + ", message " +
                         std::to_string(number) + ": " + who(*slot->sender) +
                         slot->send.str() + ", but " + who(*slot->receiver) +
                         slot->recv.str())
                            .c_str());
      slot->sender->comm().asyncError = ncclInvalidUsage;
      slot->receiver->comm().asyncError = ncclInvalidUsage;
    }
  }
}

void *begin(void *arg) {
  auto *turn = new Turn;
  turn->order = *static_cast<std::shared_ptr<const Order> *>(arg);
  ++turn->comm().outstanding;
  if (turn->call().isPointToPoint())
    arriveAtTransfers(*turn);
  else
    arriveAtMeeting(*turn);
  return turn;
}

//===--- readiness ----------------------------------------------------------//

bool bothReached(const Transfer &transfer) {
  return transfer.sender && transfer.receiver && transfer.sender->reached &&
         transfer.receiver->reached;
}

int ready(void *instance) {
  auto &turn = *static_cast<Turn *>(instance);
  turn.reached = true;
  if (turn.comm().aborted)
    return 1;
  if (Meeting *meeting = turn.meeting.get())
    return meeting->done || meeting->failed ||
           (meeting->arrived == meeting->turns.size() &&
            std::all_of(meeting->turns.begin(), meeting->turns.end(),
                        [](const Turn *each) { return each->reached; }));
  return std::all_of(turn.transfers.begin(), turn.transfers.end(),
                     [](const std::shared_ptr<Transfer> &each) {
                       return each->moved || each->failed || bothReached(*each);
                     });
}

void explain(void *instance, char *text, size_t bytes) {
  auto &turn = *static_cast<Turn *>(instance);
  std::string why = who(turn) + turn.call().str() + " in communicator " +
                    std::to_string(turn.comm().clique->number);
  if (Meeting *meeting = turn.meeting.get()) {
    why += ", operation " + std::to_string(meeting->number) + ";";
    for (size_t i = 0; i != meeting->turns.size(); ++i)
      if (!meeting->turns[i])
        why += " rank " + std::to_string(i) + " has not called;";
      else if (!meeting->turns[i]->reached)
        why += " rank " + std::to_string(i) + "'s stream is not there yet;";
  }
  for (const auto &transfer : turn.transfers) {
    const Call &own =
        transfer->sender == &turn ? transfer->send : transfer->recv;
    const Turn *peer =
        transfer->sender == &turn ? transfer->receiver : transfer->sender;
    if (!peer)
      why += "; " + own.str() + " has no counterpart at rank " +
             std::to_string(own.root);
    else if (!peer->reached)
      why +=
          "; rank " + std::to_string(own.root) + "'s stream is not there yet";
  }
  std::snprintf(text, bytes, "%s", why.c_str());
}

//===--- doing --------------------------------------------------------------//

// The memory may have gone since the call.
CUresult recheck(const Turn &turn, const Call &call) {
  auto [reads, writes] = extents(call, turn.comm().rank, turn.comm().ranks());
  char why[512] = "";
  CUresult status = CUDA_SUCCESS;
  if (reads != 0)
    status = moecCudasimCheckRange(turn.comm().device, addressOf(call.send),
                                   reads, 0, why, sizeof why);
  if (status == CUDA_SUCCESS && writes != 0)
    status = moecCudasimCheckRange(turn.comm().device, addressOf(call.recv),
                                   writes, 1, why, sizeof why);
  if (status != CUDA_SUCCESS)
    moecCudasimLog(0, ("fault in " + call.str() + " at rank " +
                       std::to_string(turn.comm().rank) + ": " + why)
                          .c_str());
  return status;
}

char *bytesAt(const void *pointer) {
  return static_cast<char *>(moecCudasimBytes(addressOf(pointer)));
}

void write(void *to, const void *bytes, size_t count) {
  std::memmove(bytesAt(to), bytes, count);
  moecCudasimWritten(addressOf(to), count);
}

std::vector<double> scalarsOf(const Meeting &meeting) {
  std::vector<double> scalars;
  for (const Turn *turn : meeting.turns) {
    const Call &call = turn->call();
    if (int(call.op) < int(ncclNumOps))
      return {};
    const UserOp &op =
        turn->comm().userOps[size_t(int(call.op) - int(ncclNumOps))];
    scalars.push_back(op.where ? readScalar(op.type, moecCudasimBytes(op.where))
                               : op.scalar);
  }
  return scalars;
}

// All sources are read before any result is written, so that results may
// replace them.
void doMeeting(const Meeting &meeting) {
  const Call &shape = meeting.turns[0]->call();
  size_t ranks = meeting.turns.size();
  size_t one = shape.count * bytesOf(shape.type);
  if (one == 0)
    return;
  auto callOf = [&](size_t rank) -> const Call & {
    return meeting.turns[rank]->call();
  };
  std::vector<std::vector<char>> results(ranks);
  auto reduced = [&](size_t offset, size_t bytes) {
    std::vector<const void *> sources;
    for (size_t rank = 0; rank != ranks; ++rank)
      sources.push_back(bytesAt(callOf(rank).send) + offset);
    std::vector<char> out(bytes);
    reduce(shape.type, shape.op, sources, scalarsOf(meeting), shape.count,
           out.data());
    return out;
  };
  auto piece = [&](size_t rank, size_t offset) {
    const char *from = bytesAt(callOf(rank).send) + offset;
    return std::vector<char>(from, from + one);
  };
  auto append = [](std::vector<char> &to, const std::vector<char> &from) {
    to.insert(to.end(), from.begin(), from.end());
  };
  size_t root = size_t(std::max(shape.root, 0));
  switch (shape.kind) {
  case Kind::AllReduce:
    results.assign(ranks, reduced(0, one));
    break;
  case Kind::Reduce:
    results[root] = reduced(0, one);
    break;
  case Kind::Broadcast:
    results.assign(ranks, piece(root, 0));
    break;
  case Kind::AllGather: {
    std::vector<char> all;
    for (size_t rank = 0; rank != ranks; ++rank)
      append(all, piece(rank, 0));
    results.assign(ranks, all);
    break;
  }
  case Kind::ReduceScatter:
    for (size_t rank = 0; rank != ranks; ++rank)
      results[rank] = reduced(rank * one, one);
    break;
  case Kind::AllToAll:
    for (size_t to = 0; to != ranks; ++to)
      for (size_t from = 0; from != ranks; ++from)
        append(results[to], piece(from, to * one));
    break;
  case Kind::Gather:
    for (size_t rank = 0; rank != ranks; ++rank)
      append(results[root], piece(rank, 0));
    break;
  case Kind::Scatter:
    for (size_t rank = 0; rank != ranks; ++rank)
      results[rank] = piece(root, rank * one);
    break;
  case Kind::Send:
  case Kind::Recv:
    break;
  }
  for (size_t rank = 0; rank != ranks; ++rank)
    if (!results[rank].empty())
      write(callOf(rank).recv, results[rank].data(), results[rank].size());
}

// Published figures of one NVLink generation; an estimate like all times here.
constexpr double kLinkBytesPerMicro = 450e3;
constexpr double kLatencyMicros = 10;

void leaveMeeting(Turn &turn) {
  Meeting &meeting = *turn.meeting;
  meeting.turns[size_t(turn.comm().rank)] = nullptr;
  if (++meeting.left == meeting.turns.size())
    turn.comm().clique->meetings.erase(meeting.number);
}

void leave(Turn *turn) {
  if (turn->meeting)
    leaveMeeting(*turn);
  for (const auto &transfer : turn->transfers)
    (transfer->sender == turn ? transfer->sender : transfer->receiver) =
        nullptr;
  auto &all = turn->comm().clique->transfers;
  for (auto at = all.begin(); at != all.end();) {
    bool over = (at->second->moved || at->second->failed) &&
                !at->second->sender && !at->second->receiver;
    at = over ? all.erase(at) : std::next(at);
  }
  --turn->comm().outstanding;
  delete turn;
  moecCudasimNotify();
}

CUresult runMeeting(Turn &turn) {
  Meeting &meeting = *turn.meeting;
  if (meeting.done)
    return CUDA_SUCCESS;
  if (meeting.failed)
    return turn.comm().aborted ? CUDA_SUCCESS : CUDA_ERROR_LAUNCH_FAILED;
  for (const Turn *each : meeting.turns)
    if (CUresult bad = recheck(*each, each->call())) {
      meeting.failed = true;
      return bad;
    }
  doMeeting(meeting);
  meeting.done = true;
  return CUDA_SUCCESS;
}

CUresult runTransfers(Turn &turn) {
  for (const auto &transfer : turn.transfers) {
    if (transfer->moved)
      continue;
    if (transfer->failed)
      return CUDA_ERROR_LAUNCH_FAILED;
    CUresult bad = recheck(*transfer->sender, transfer->send);
    if (!bad)
      bad = recheck(*transfer->receiver, transfer->recv);
    if (bad) {
      transfer->failed = true;
      return bad;
    }
    size_t bytes = transfer->send.count * bytesOf(transfer->send.type);
    if (bytes != 0)
      write(transfer->recv.recv, bytesAt(transfer->send.send), bytes);
    transfer->moved = true;
  }
  return CUDA_SUCCESS;
}

CUresult run(void *instance, double *micros) {
  auto *turn = static_cast<Turn *>(instance);
  CUresult status = CUDA_SUCCESS;
  size_t bytes = 0;
  for (const Call &call : turn->order->calls) {
    auto [reads, writes] =
        extents(call, turn->comm().rank, turn->comm().ranks());
    bytes += std::max(reads, writes);
  }
  *micros += kLatencyMicros + double(bytes) / kLinkBytesPerMicro;
  if (turn->comm().aborted) {
    // Its peers must not wait for a rank that has gone.
    if (turn->meeting && !turn->meeting->done)
      turn->meeting->failed = true;
    for (const auto &transfer : turn->transfers)
      transfer->failed |= !transfer->moved;
  } else {
    status = turn->meeting ? runMeeting(*turn) : runTransfers(*turn);
  }
  leave(turn);
  return status;
}

// The rank's context has failed: its peers would wait for ever.
void drop(void *instance) {
  auto *turn = static_cast<Turn *>(instance);
  if (turn->meeting && !turn->meeting->done)
    turn->meeting->failed = true;
  for (const auto &transfer : turn->transfers)
    transfer->failed |= !transfer->moved;
  leave(turn);
}

void destroy(void *arg) {
  delete static_cast<std::shared_ptr<const Order> *>(arg);
}

} // namespace

ncclResult_t submit(ncclComm_t comm, CUstream stream, std::vector<Call> calls) {
  auto order = std::make_shared<Order>();
  order->comm = comm;
  order->calls = std::move(calls);
  std::string label =
      order->calls.front().str() + " at rank " + std::to_string(comm->rank);
  MoecCudasimOp op = {};
  op.label = label.c_str();
  op.arg = new std::shared_ptr<const Order>(std::move(order));
  op.destroy = destroy;
  op.begin = begin;
  op.ready = ready;
  op.run = run;
  op.drop = drop;
  op.explain = explain;
  ContextScope scope(comm->ctx);
  CUresult status = moecCudasimEnqueue(stream, &op);
  if (status == CUDA_SUCCESS)
    return ncclSuccess;
  const char *name = nullptr;
  cuGetErrorName(status, &name);
  return refuse(comm, ncclUnhandledCudaError,
                std::string("the stream answers ") + (name ? name : "?"));
}

} // namespace cudasim::nccl
