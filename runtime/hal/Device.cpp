#include "runtime/hal/Device.h"

#include "ir/support/Diagnostic.h"

using namespace moec;
using namespace moec::runtime;

llvm::Expected<std::unique_ptr<Buffer>>
Device::adoptWeight(const HostBytes &packed) {
  MOEC_ASSIGN(std::unique_ptr<Buffer> buffer, allocate(packed.bytes.size()));
  MOEC_ASSIGN(std::unique_ptr<Stream> stream, createStream());
  MOEC_TRY(stream->copyToDevice(buffer->address(), packed.bytes));
  MOEC_TRY(stream->synchronize());
  return buffer;
}
