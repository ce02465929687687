//===- DeviceCalls.h - devices by ordinal ---------------------------------===//
#pragma once

#include "tools/cudasim/driver/Driver.h"

namespace cudasim::driver {

CUresult findDevice(CUdevice ordinal, Device *&device);

} // namespace cudasim::driver
