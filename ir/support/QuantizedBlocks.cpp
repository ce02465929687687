#include "ir/support/QuantizedBlocks.h"

#include "llvm/Support/Endian.h"
#include "llvm/Support/ErrorHandling.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstring>

using namespace moec;
using namespace llvm::support;

static float readF16(const uint8_t *bytes) {
  return f16ToF32(endian::read16le(bytes));
}

static void decodeQ8_0(const uint8_t *block, float *out) {
  float scale = readF16(block);
  for (unsigned i = 0; i < 32; ++i)
    out[i] = scale * float(int8_t(block[2 + i]));
}

static void decodeQ4_0(const uint8_t *block, float *out) {
  float scale = readF16(block);
  for (unsigned i = 0; i < 16; ++i) {
    out[i] = float(int(block[2 + i] & 15) - 8) * scale;
    out[i + 16] = float(int(block[2 + i] >> 4) - 8) * scale;
  }
}

static void decodeQ4_1(const uint8_t *block, float *out) {
  float scale = readF16(block), low = readF16(block + 2);
  for (unsigned i = 0; i < 16; ++i) {
    out[i] = float(block[4 + i] & 15) * scale + low;
    out[i + 16] = float(block[4 + i] >> 4) * scale + low;
  }
}

static void decodeQ5_0(const uint8_t *block, float *out) {
  float scale = readF16(block);
  uint32_t high = endian::read32le(block + 2);
  for (unsigned i = 0; i < 16; ++i) {
    int first = int(block[6 + i] & 15) | int((high >> i) & 1) << 4;
    int second = int(block[6 + i] >> 4) | int((high >> (i + 16)) & 1) << 4;
    out[i] = float(first - 16) * scale;
    out[i + 16] = float(second - 16) * scale;
  }
}

static void decodeQ5_1(const uint8_t *block, float *out) {
  float scale = readF16(block), low = readF16(block + 2);
  uint32_t high = endian::read32le(block + 4);
  for (unsigned i = 0; i < 16; ++i) {
    int first = int(block[8 + i] & 15) | int((high >> i) & 1) << 4;
    int second = int(block[8 + i] >> 4) | int((high >> (i + 16)) & 1) << 4;
    out[i] = float(first) * scale + low;
    out[i + 16] = float(second) * scale + low;
  }
}

namespace {
struct ScaleAndMin {
  uint8_t scale;
  uint8_t min;
};
} // namespace

/// The 12 bytes hold eight 6-bit scales and eight 6-bit minima: 0..3 in the
/// low six bits of bytes 0..3 and 4..7; 4..7 have their low nibbles in bytes
/// 8..11 and their upper two bits on top of the first eight bytes.
static ScaleAndMin unpackScale(unsigned index, const uint8_t *packed) {
  if (index < 4)
    return {uint8_t(packed[index] & 63), uint8_t(packed[index + 4] & 63)};
  return {uint8_t((packed[index + 4] & 15) | (packed[index - 4] >> 6) << 4),
          uint8_t((packed[index + 4] >> 4) | (packed[index] >> 6) << 4)};
}

static void decodeQ4_K(const uint8_t *block, float *out) {
  float scale = readF16(block), minScale = readF16(block + 2);
  const uint8_t *packed = block + 4, *nibbles = block + 16;
  for (unsigned group = 0; group < 8; ++group) {
    ScaleAndMin part = unpackScale(group, packed);
    float d = scale * float(part.scale), m = minScale * float(part.min);
    // Groups 2i and 2i + 1 are the low and high nibbles of the same bytes.
    const uint8_t *bytes = nibbles + (group / 2) * 32;
    unsigned shift = (group & 1) * 4;
    for (unsigned i = 0; i < 32; ++i)
      out[group * 32 + i] = d * float((bytes[i] >> shift) & 15) - m;
  }
}

static void decodeQ5_K(const uint8_t *block, float *out) {
  float scale = readF16(block), minScale = readF16(block + 2);
  const uint8_t *packed = block + 4, *high = block + 16, *nibbles = block + 48;
  for (unsigned group = 0; group < 8; ++group) {
    ScaleAndMin part = unpackScale(group, packed);
    float d = scale * float(part.scale), m = minScale * float(part.min);
    const uint8_t *bytes = nibbles + (group / 2) * 32;
    unsigned shift = (group & 1) * 4;
    for (unsigned i = 0; i < 32; ++i) {
      unsigned value = ((bytes[i] >> shift) & 15u) | ((high[i] >> group) & 1u)
                                                         << 4;
      out[group * 32 + i] = d * float(value) - m;
    }
  }
}

static void decodeQ6_K(const uint8_t *block, float *out) {
  const uint8_t *low = block, *high = block + 128, *scales = block + 192;
  float scale = readF16(block + 208);
  for (unsigned half = 0; half < 2; ++half)
    for (unsigned quarter = 0; quarter < 4; ++quarter)
      for (unsigned i = 0; i < 32; ++i) {
        // Quarters 0 and 1 are low nibbles, 2 and 3 high nibbles.
        uint8_t byte = low[half * 64 + (quarter & 1) * 32 + i];
        unsigned nibble = (quarter < 2 ? byte : byte >> 4) & 15u;
        unsigned bits = (high[half * 32 + i] >> (2 * quarter)) & 3u;
        int value = int(nibble | bits << 4) - 32;
        int8_t part = int8_t(scales[half * 8 + quarter * 2 + i / 16]);
        out[half * 128 + quarter * 32 + i] =
            (scale * float(part)) * float(value);
      }
}

using BlockDecoder = void (*)(const uint8_t *, float *);

static BlockDecoder blockDecoder(ElementType type) {
  switch (type) {
  case ElementType::q8_0:
    return decodeQ8_0;
  case ElementType::q4_0:
    return decodeQ4_0;
  case ElementType::q4_1:
    return decodeQ4_1;
  case ElementType::q5_0:
    return decodeQ5_0;
  case ElementType::q5_1:
    return decodeQ5_1;
  case ElementType::q4_k:
    return decodeQ4_K;
  case ElementType::q5_k:
    return decodeQ5_K;
  case ElementType::q6_k:
    return decodeQ6_K;
  default:
    return nullptr;
  }
}

void moec::decodeToF32(ElementType type, llvm::ArrayRef<uint8_t> source,
                       llvm::MutableArrayRef<float> out) {
  assert(byteSize(type, out.size()) == source.size() && "sizes must agree");
  const uint8_t *bytes = source.data();
  if (BlockDecoder decode = blockDecoder(type)) {
    unsigned elements = blockElements(type), step = blockBytes(type);
    for (size_t first = 0; first < out.size(); first += elements, bytes += step)
      decode(bytes, out.data() + first);
    return;
  }
  size_t count = out.size();
  switch (type) {
  case ElementType::f32:
    if (count)
      std::memcpy(out.data(), bytes, count * 4);
    return;
  case ElementType::bf16:
    for (size_t i = 0; i < count; ++i)
      out[i] = bf16ToF32(endian::read16le(bytes + 2 * i));
    return;
  case ElementType::f16:
    for (size_t i = 0; i < count; ++i)
      out[i] = readF16(bytes + 2 * i);
    return;
  case ElementType::f64:
    for (size_t i = 0; i < count; ++i)
      out[i] = float(llvm::bit_cast<double>(endian::read64le(bytes + 8 * i)));
    return;
  case ElementType::i8:
    for (size_t i = 0; i < count; ++i)
      out[i] = float(int8_t(bytes[i]));
    return;
  case ElementType::u8:
    for (size_t i = 0; i < count; ++i)
      out[i] = float(bytes[i]);
    return;
  case ElementType::boolean:
    for (size_t i = 0; i < count; ++i)
      out[i] = bytes[i] ? 1.0f : 0.0f;
    return;
  case ElementType::i32:
    for (size_t i = 0; i < count; ++i)
      out[i] = float(int32_t(endian::read32le(bytes + 4 * i)));
    return;
  case ElementType::i64:
    for (size_t i = 0; i < count; ++i)
      out[i] = float(int64_t(endian::read64le(bytes + 8 * i)));
    return;
  default:
    llvm_unreachable("block types are decoded above");
  }
}

void moec::decodeRangeToF32(ElementType type, llvm::ArrayRef<uint8_t> source,
                            uint64_t first, llvm::MutableArrayRef<float> out) {
  if (out.empty())
    return;
  uint64_t elements = blockElements(type), step = blockBytes(type);
  std::array<float, 256> block;
  size_t done = 0;
  auto decodePart = [&](uint64_t skip, size_t take) {
    uint64_t index = (first + done) / elements;
    decodeToF32(type, source.slice(size_t(index * step), size_t(step)),
                llvm::MutableArrayRef<float>(block.data(), size_t(elements)));
    std::copy_n(block.begin() + skip, take, out.begin() + done);
    done += take;
  };
  // A partial block, whole blocks, a partial block.
  if (uint64_t skip = first % elements)
    decodePart(skip, size_t(std::min<uint64_t>(elements - skip, out.size())));
  size_t whole = (out.size() - done) / elements * elements;
  if (whole) {
    uint64_t index = (first + done) / elements;
    decodeToF32(
        type,
        source.slice(size_t(index * step), size_t(whole / elements * step)),
        out.slice(done, whole));
    done += whole;
  }
  if (done < out.size())
    decodePart(0, out.size() - done);
}

bool moec::canEncodeFromF32(ElementType type) {
  return isFloat(type) || type == ElementType::q8_0;
}

/// Halves away from zero, as C's roundf, without the library. |x| <= 127.5
/// here, so that truncation is exact.
static int roundHalfAway(float x) {
  int whole = int(x);
  float rest = x - float(whole);
  if (rest >= 0.5f)
    return whole + 1;
  if (rest <= -0.5f)
    return whole - 1;
  return whole;
}

static void encodeQ8_0(const float *source, uint8_t *block) {
  float largest = 0;
  for (unsigned i = 0; i < 32; ++i)
    largest = std::max(largest, std::fabs(source[i]));
  float scale = largest / 127.0f;
  float inverse = scale != 0 ? 1.0f / scale : 0.0f;
  endian::write16le(block, f32ToF16(scale));
  for (unsigned i = 0; i < 32; ++i) {
    // Not finite (an infinite or NaN input, or a subnormal scale) is 0.
    float scaled = source[i] * inverse;
    bool inRange = std::fabs(scaled) <= 127.5f;
    block[2 + i] = uint8_t(inRange ? roundHalfAway(scaled) : 0);
  }
}

void moec::encodeFromF32(ElementType type, llvm::ArrayRef<float> source,
                         llvm::MutableArrayRef<uint8_t> out) {
  assert(canEncodeFromF32(type) && "callers ask canEncodeFromF32 first");
  assert(byteSize(type, source.size()) == out.size() && "sizes must agree");
  uint8_t *bytes = out.data();
  size_t count = source.size();
  switch (type) {
  case ElementType::f32:
    if (count)
      std::memcpy(bytes, source.data(), count * 4);
    return;
  case ElementType::bf16:
    for (size_t i = 0; i < count; ++i)
      endian::write16le(bytes + 2 * i, f32ToBf16(source[i]));
    return;
  case ElementType::f16:
    for (size_t i = 0; i < count; ++i)
      endian::write16le(bytes + 2 * i, f32ToF16(source[i]));
    return;
  case ElementType::f64:
    for (size_t i = 0; i < count; ++i)
      endian::write64le(bytes + 8 * i,
                        llvm::bit_cast<uint64_t>(double(source[i])));
    return;
  case ElementType::q8_0:
    for (size_t i = 0; i < count; i += 32)
      encodeQ8_0(source.data() + i, bytes + i / 32 * 34);
    return;
  default:
    llvm_unreachable("canEncodeFromF32 is false for these");
  }
}
