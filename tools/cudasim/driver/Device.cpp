// Initialisation, versions, and what can be asked of a device.
#include "tools/cudasim/driver/Call.h"
#include "tools/cudasim/driver/DeviceCalls.h"
#include "llvm/ADT/StringExtras.h"

#include <cstring>

using namespace llvm;
using namespace cudasim::driver;
using cudasim::DeviceModel;
using cudasim::kMaxBlockXY;
using cudasim::kMaxBlockZ;
using cudasim::kMaxGridX;
using cudasim::kMaxGridYZ;

namespace cudasim::driver {

CUresult findDevice(CUdevice ordinal, Device *&device) {
  Driver &self = driver();
  if (ordinal < 0 || size_t(ordinal) >= self.devices.size())
    return refuse(CUDA_ERROR_INVALID_DEVICE, "device " + Twine(ordinal) +
                                                 " is not one of " +
                                                 Twine(self.devices.size()));
  device = &self.devices[ordinal];
  return CUDA_SUCCESS;
}

} // namespace cudasim::driver

namespace {

template <typename Body>
CUresult onDevice(const char *name, CUdevice ordinal, Body &&body) {
  return inDriver(name, [&]() -> CUresult {
    Device *device = nullptr;
    if (CUresult bad = findDevice(ordinal, device))
      return bad;
    return body(*device);
  });
}

// Deterministic, so that a program may store it and find the device again.
CUuuid uuidOf(const Device &device) {
  CUuuid uuid;
  char text[17];
  std::snprintf(text, sizeof text, "cudasim-%-5.5s-%02d", device.model->key,
                device.ordinal);
  std::memcpy(uuid.bytes, text, 16);
  return uuid;
}

std::string busIdOf(const Device &device) {
  char text[16];
  std::snprintf(text, sizeof text, "0000:%02X:00.0", 0x10 + device.ordinal);
  return text;
}

} // namespace

CUresult CUDAAPI cuInit(unsigned flags) {
  Entry entry("cuInit");
  if (flags != 0)
    return entry.done(CUDA_ERROR_INVALID_VALUE);
  return entry.done(driver().initialise());
}

CUresult CUDAAPI cuDriverGetVersion(int *version) {
  Entry entry("cuDriverGetVersion");
  if (!version)
    return entry.done(CUDA_ERROR_INVALID_VALUE);
  *version = CUDA_VERSION;
  return entry.done(CUDA_SUCCESS);
}

CUresult CUDAAPI cuDeviceGetCount(int *count) {
  return inDriver("cuDeviceGetCount", [&]() -> CUresult {
    if (!count)
      return CUDA_ERROR_INVALID_VALUE;
    *count = int(driver().devices.size());
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuDeviceGet(CUdevice *device, int ordinal) {
  return onDevice("cuDeviceGet", ordinal, [&](Device &) -> CUresult {
    if (!device)
      return CUDA_ERROR_INVALID_VALUE;
    *device = ordinal;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuDeviceGetName(char *name, int bytes, CUdevice ordinal) {
  return onDevice("cuDeviceGetName", ordinal, [&](Device &device) -> CUresult {
    if (!name || bytes <= 0)
      return CUDA_ERROR_INVALID_VALUE;
    std::snprintf(name, size_t(bytes), "%s", device.model->name);
    return CUDA_SUCCESS;
  });
}

static CUresult getUuid(const char *name, CUuuid *uuid, CUdevice ordinal) {
  return onDevice(name, ordinal, [&](Device &device) -> CUresult {
    if (!uuid)
      return CUDA_ERROR_INVALID_VALUE;
    *uuid = uuidOf(device);
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuDeviceGetUuid(CUuuid *uuid, CUdevice ordinal) {
  return getUuid("cuDeviceGetUuid", uuid, ordinal);
}

CUresult CUDAAPI cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice ordinal) {
  return getUuid("cuDeviceGetUuid_v2", uuid, ordinal);
}

CUresult CUDAAPI cuDeviceTotalMem_v2(size_t *bytes, CUdevice ordinal) {
  return onDevice("cuDeviceTotalMem_v2", ordinal,
                  [&](Device &device) -> CUresult {
                    if (!bytes)
                      return CUDA_ERROR_INVALID_VALUE;
                    *bytes = driver().memory->capacityBytes(ordinal);
                    return CUDA_SUCCESS;
                  });
}

CUresult CUDAAPI cuDeviceGetAttribute(int *value, CUdevice_attribute attribute,
                                      CUdevice ordinal) {
  return onDevice("cuDeviceGetAttribute", ordinal,
                  [&](Device &device) -> CUresult {
                    std::optional<int> found =
                        attributeOf(*device.model, ordinal, attribute);
                    if (!value || !found)
                      return CUDA_ERROR_INVALID_VALUE;
                    *value = *found;
                    return CUDA_SUCCESS;
                  });
}

CUresult CUDAAPI cuDeviceComputeCapability(int *major, int *minor,
                                           CUdevice ordinal) {
  return onDevice("cuDeviceComputeCapability", ordinal,
                  [&](Device &device) -> CUresult {
                    if (!major || !minor)
                      return CUDA_ERROR_INVALID_VALUE;
                    *major = device.model->ccMajor;
                    *minor = device.model->ccMinor;
                    return CUDA_SUCCESS;
                  });
}

CUresult CUDAAPI cuDeviceGetProperties(CUdevprop *out, CUdevice ordinal) {
  return onDevice("cuDeviceGetProperties", ordinal,
                  [&](Device &device) -> CUresult {
                    if (!out)
                      return CUDA_ERROR_INVALID_VALUE;
                    const DeviceModel &model = *device.model;
                    *out = {};
                    out->maxThreadsPerBlock = model.maxThreadsPerBlock;
                    out->maxThreadsDim[0] = out->maxThreadsDim[1] = kMaxBlockXY;
                    out->maxThreadsDim[2] = kMaxBlockZ;
                    out->maxGridSize[0] = kMaxGridX;
                    out->maxGridSize[1] = out->maxGridSize[2] = kMaxGridYZ;
                    out->sharedMemPerBlock = model.sharedPerBlock;
                    out->totalConstantMemory = 65536;
                    out->SIMDWidth = 32;
                    out->memPitch = kMaxPitch;
                    out->regsPerBlock = model.registersPerMultiprocessor;
                    out->clockRate = model.clockKHz;
                    out->textureAlign = 512;
                    return CUDA_SUCCESS;
                  });
}

CUresult CUDAAPI cuDeviceGetPCIBusId(char *text, int bytes, CUdevice ordinal) {
  return onDevice(
      "cuDeviceGetPCIBusId", ordinal, [&](Device &device) -> CUresult {
        if (!text || bytes < 13)
          return CUDA_ERROR_INVALID_VALUE;
        std::snprintf(text, size_t(bytes), "%s", busIdOf(device).c_str());
        return CUDA_SUCCESS;
      });
}

CUresult CUDAAPI cuDeviceGetByPCIBusId(CUdevice *out, const char *text) {
  return inDriver("cuDeviceGetByPCIBusId", [&]() -> CUresult {
    if (!out || !text)
      return CUDA_ERROR_INVALID_VALUE;
    for (const Device &device : driver().devices)
      if (StringRef(text).equals_insensitive(busIdOf(device)) ||
          StringRef(text).equals_insensitive(
              StringRef(busIdOf(device)).drop_front(5))) {
        *out = device.ordinal;
        return CUDA_SUCCESS;
      }
    return CUDA_ERROR_INVALID_DEVICE;
  });
}

CUresult CUDAAPI cuDeviceGetExecAffinitySupport(int *supported,
                                                CUexecAffinityType type,
                                                CUdevice ordinal) {
  return onDevice("cuDeviceGetExecAffinitySupport", ordinal,
                  [&](Device &) -> CUresult {
                    if (!supported)
                      return CUDA_ERROR_INVALID_VALUE;
                    *supported = 0;
                    return CUDA_SUCCESS;
                  });
}

// All devices reach each other, but a kernel may do so only after
// cuCtxEnablePeerAccess.
CUresult CUDAAPI cuDeviceCanAccessPeer(int *can, CUdevice from, CUdevice to) {
  return onDevice("cuDeviceCanAccessPeer", from, [&](Device &) -> CUresult {
    Device *peer = nullptr;
    if (CUresult bad = findDevice(to, peer))
      return bad;
    if (!can)
      return CUDA_ERROR_INVALID_VALUE;
    *can = from != to;
    return CUDA_SUCCESS;
  });
}

CUresult CUDAAPI cuDeviceGetP2PAttribute(int *value,
                                         CUdevice_P2PAttribute attribute,
                                         CUdevice from, CUdevice to) {
  return onDevice("cuDeviceGetP2PAttribute", from, [&](Device &) -> CUresult {
    Device *peer = nullptr;
    if (CUresult bad = findDevice(to, peer))
      return bad;
    if (from == to)
      return CUDA_ERROR_INVALID_DEVICE;
    if (!value)
      return CUDA_ERROR_INVALID_VALUE;
    switch (attribute) {
    case CU_DEVICE_P2P_ATTRIBUTE_PERFORMANCE_RANK:
    case CU_DEVICE_P2P_ATTRIBUTE_CUDA_ARRAY_ACCESS_SUPPORTED:
    case CU_DEVICE_P2P_ATTRIBUTE_ONLY_PARTIAL_NATIVE_ATOMIC_SUPPORTED:
      *value = 0;
      return CUDA_SUCCESS;
    case CU_DEVICE_P2P_ATTRIBUTE_ACCESS_SUPPORTED:
    case CU_DEVICE_P2P_ATTRIBUTE_NATIVE_ATOMIC_SUPPORTED:
      *value = 1;
      return CUDA_SUCCESS;
    default:
      return CUDA_ERROR_INVALID_VALUE;
    }
  });
}
