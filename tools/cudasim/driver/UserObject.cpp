// Objects of the program's own that live as long as graphs that hold them.
#include "tools/cudasim/driver/Call.h"
#include "tools/cudasim/driver/Graph.h"
#include "llvm/ADT/STLExtras.h"

#include <algorithm>

using namespace llvm;

namespace cudasim::driver {

void releaseUserObject(CUuserObject object, unsigned count) {
  object->uses -= std::min(count, object->uses);
  if (object->uses != 0)
    return;
  // On a thread of the driver's, and not allowed to call it: as a host
  // function is.
  std::unique_ptr<CUuserObject_st> owned = driver().userObjects.take(object);
  bool &flag = thisThread().inHostFunction;
  bool before = flag;
  flag = true;
  owned->destroy(owned->userData);
  flag = before;
}

} // namespace cudasim::driver

using namespace cudasim::driver;

CUresult CUDAAPI cuUserObjectCreate(CUuserObject *out, void *userData,
                                    CUhostFn destroy, unsigned uses,
                                    unsigned flags) {
  return inDriver("cuUserObjectCreate", [&]() -> CUresult {
    if (!out || !destroy || uses == 0 ||
        flags != CU_USER_OBJECT_NO_DESTRUCTOR_SYNC)
      return CUDA_ERROR_INVALID_VALUE;
    auto object = std::make_unique<CUuserObject_st>();
    object->destroy = destroy;
    object->userData = userData;
    object->uses = uses;
    *out = driver().userObjects.add(std::move(object));
    return CUDA_SUCCESS;
  });
}

template <typename Body>
static CUresult onUserObject(const char *name, CUuserObject object,
                             unsigned count, Body &&body) {
  return inDriver(name, [&]() -> CUresult {
    if (!driver().userObjects.has(object) || count == 0)
      return CUDA_ERROR_INVALID_VALUE;
    return body();
  });
}

CUresult CUDAAPI cuUserObjectRetain(CUuserObject object, unsigned count) {
  return onUserObject("cuUserObjectRetain", object, count, [&]() -> CUresult {
    object->uses += count;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuUserObjectRelease(CUuserObject object, unsigned count) {
  return onUserObject("cuUserObjectRelease", object, count, [&]() -> CUresult {
    if (count > object->uses)
      return CUDA_ERROR_INVALID_VALUE;
    releaseUserObject(object, count);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuGraphRetainUserObject(CUgraph graph, CUuserObject object,
                                         unsigned count, unsigned flags) {
  return onUserObject(
      "cuGraphRetainUserObject", object, count, [&]() -> CUresult {
        if (!isGraph(graph) || (flags & ~unsigned(CU_GRAPH_USER_OBJECT_MOVE)))
          return CUDA_ERROR_INVALID_VALUE;
        // Moved references were the caller's.
        if (!(flags & CU_GRAPH_USER_OBJECT_MOVE))
          object->uses += count;
        graph->userObjects.insert(graph->userObjects.end(), count, object);
        return CUDA_SUCCESS;
      });
}

CUresult CUDAAPI cuGraphReleaseUserObject(CUgraph graph, CUuserObject object,
                                          unsigned count) {
  return onUserObject(
      "cuGraphReleaseUserObject", object, count, [&]() -> CUresult {
        if (!isGraph(graph) ||
            size_t(llvm::count(graph->userObjects, object)) < count)
          return CUDA_ERROR_INVALID_VALUE;
        for (unsigned i = 0; i != count; ++i)
          graph->userObjects.erase(llvm::find(graph->userObjects, object));
        releaseUserObject(object, count);
        return CUDA_SUCCESS;
      });
}
