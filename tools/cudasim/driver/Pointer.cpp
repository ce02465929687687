// What is known of a pointer.
#include "tools/cudasim/driver/Call.h"

#include <cstring>

using namespace llvm;
using namespace cudasim::driver;
using cudasim::Allocation;

namespace {

template <typename T> CUresult give(void *out, T value) {
  std::memcpy(out, &value, sizeof value);
  return CUDA_SUCCESS;
}

CUresult attributeOfPointer(void *out, CUpointer_attribute attribute,
                            CUdeviceptr address) {
  Allocation found;
  Holding *held = driver().holdingAt(address, &found);
  if (!out || !held)
    return CUDA_ERROR_INVALID_VALUE;
  bool host = held->kind == Holding::Kind::Host ||
              held->kind == Holding::Kind::Registered;
  bool managed = held->kind == Holding::Kind::Managed;
  switch (attribute) {
  case CU_POINTER_ATTRIBUTE_CONTEXT:
    return give(out, held->ctx);
  case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
    return give(out,
                unsigned(host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE));
  case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
    return give(out, address);
  case CU_POINTER_ATTRIBUTE_HOST_POINTER:
    if (!host && !managed)
      return CUDA_ERROR_INVALID_VALUE;
    return give(out, reinterpret_cast<void *>(address));
  case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
    return give(out, unsigned(held->syncMemops));
  case CU_POINTER_ATTRIBUTE_BUFFER_ID:
    return give(out, static_cast<unsigned long long>(found.id));
  case CU_POINTER_ATTRIBUTE_IS_MANAGED:
    return give(out, unsigned(managed));
  case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
    return give(out, found.device >= 0 || !held->ctx
                         ? found.device
                         : held->ctx->device->ordinal);
  case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
    return give(out, found.base);
  case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
    return give(out, size_t(found.bytes));
  case CU_POINTER_ATTRIBUTE_MAPPED:
    return give(out, unsigned(1));
  case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
    return give(out, unsigned(CU_POINTER_ATTRIBUTE_ACCESS_FLAG_READWRITE));
  case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
    return give(out, held->pool);
  case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
  case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
  case CU_POINTER_ATTRIBUTE_IS_HW_DECOMPRESS_CAPABLE:
    return give(out, unsigned(0));
  case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
    return give(out, static_cast<unsigned long long>(0));
  default:
    return CUDA_ERROR_NOT_SUPPORTED;
  }
}

/// What a pointer of no allocation is said to have, where many are asked for.
size_t sizeOfAttribute(CUpointer_attribute attribute) {
  switch (attribute) {
  case CU_POINTER_ATTRIBUTE_CONTEXT:
  case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
  case CU_POINTER_ATTRIBUTE_HOST_POINTER:
  case CU_POINTER_ATTRIBUTE_BUFFER_ID:
  case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
  case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
  case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
  case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
    return 8;
  default:
    return 4;
  }
}

} // namespace

CUresult CUDAAPI cuPointerGetAttribute(void *out, CUpointer_attribute attribute,
                                       CUdeviceptr address) {
  return inContext("cuPointerGetAttribute", [&](CUctx_st &) -> CUresult {
    return attributeOfPointer(out, attribute, address);
  });
}

// A pointer that is not ours is no error here: its attributes are 0, and its
// ordinal is -2.
CUresult CUDAAPI cuPointerGetAttributes(unsigned count,
                                        CUpointer_attribute *attributes,
                                        void **outs, CUdeviceptr address) {
  return inContext("cuPointerGetAttributes", [&](CUctx_st &) -> CUresult {
    if (!attributes || !outs)
      return CUDA_ERROR_INVALID_VALUE;
    bool known = driver().holdingAt(address) != nullptr;
    for (unsigned i = 0; i != count; ++i) {
      if (!outs[i])
        return CUDA_ERROR_INVALID_VALUE;
      if (known &&
          attributeOfPointer(outs[i], attributes[i], address) == CUDA_SUCCESS)
        continue;
      std::memset(outs[i], 0, sizeOfAttribute(attributes[i]));
      if (!known && attributes[i] == CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL)
        give(outs[i], -2);
    }
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuPointerSetAttribute(const void *value,
                                       CUpointer_attribute attribute,
                                       CUdeviceptr address) {
  return inContext("cuPointerSetAttribute", [&](CUctx_st &) -> CUresult {
    Holding *held = driver().holdingAt(address);
    if (!value || !held || attribute != CU_POINTER_ATTRIBUTE_SYNC_MEMOPS)
      return CUDA_ERROR_INVALID_VALUE;
    unsigned flag = 0;
    std::memcpy(&flag, value, sizeof flag);
    held->syncMemops = flag != 0;
    return CUDA_SUCCESS;
  });
}
