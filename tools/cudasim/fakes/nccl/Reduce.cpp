// Element types and the arithmetic of reductions. The order is that of ranks,
// 0 first, whatever the order of arrival.
#include "tools/cudasim/fakes/nccl/Comm.h"

#include "ir/support/ElementType.h"
#include "tools/cudasim/fakes/Formats.h"

#include <algorithm>
#include <cstring>

namespace cudasim::nccl {

size_t bytesOf(ncclDataType_t type) {
  switch (int(type)) {
  case ncclInt8:
  case ncclUint8:
  case ncclFloat8e4m3:
  case ncclFloat8e5m2:
    return 1;
  case ncclFloat16:
  case ncclBfloat16:
    return 2;
  case ncclInt32:
  case ncclUint32:
  case ncclFloat32:
    return 4;
  case ncclInt64:
  case ncclUint64:
  case ncclFloat64:
    return 8;
  default:
    return 0;
  }
}

const char *nameOf(ncclDataType_t type) {
  switch (int(type)) {
  case ncclInt8:
    return "i8";
  case ncclUint8:
    return "u8";
  case ncclInt32:
    return "i32";
  case ncclUint32:
    return "u32";
  case ncclInt64:
    return "i64";
  case ncclUint64:
    return "u64";
  case ncclFloat16:
    return "f16";
  case ncclFloat32:
    return "f32";
  case ncclFloat64:
    return "f64";
  case ncclBfloat16:
    return "bf16";
  case ncclFloat8e4m3:
    return "e4m3";
  case ncclFloat8e5m2:
    return "e5m2";
  default:
    return "no type";
  }
}

const char *nameOf(ncclRedOp_t op) {
  switch (int(op)) {
  case ncclSum:
    return "sum";
  case ncclProd:
    return "prod";
  case ncclMax:
    return "max";
  case ncclMin:
    return "min";
  case ncclAvg:
    return "avg";
  default:
    return "premulsum";
  }
}

namespace {

template <typename T> T load(const void *bytes, size_t index) {
  T value;
  std::memcpy(&value, static_cast<const char *>(bytes) + index * sizeof(T),
              sizeof(T));
  return value;
}
template <typename T> void store(void *bytes, size_t index, T value) {
  std::memcpy(static_cast<char *>(bytes) + index * sizeof(T), &value,
              sizeof(T));
}

/// How an element is read into, and written from, the type it is added in.
template <typename T> struct Plain {
  using Wide = T;
  static T get(const void *bytes, size_t i) { return load<T>(bytes, i); }
  static void put(void *bytes, size_t i, T value) { store<T>(bytes, i, value); }
};
struct Half {
  using Wide = float;
  static float get(const void *bytes, size_t i) {
    return moec::f16ToF32(load<uint16_t>(bytes, i));
  }
  static void put(void *bytes, size_t i, float value) {
    store<uint16_t>(bytes, i, moec::f32ToF16(value));
  }
};
struct Brain {
  using Wide = float;
  static float get(const void *bytes, size_t i) {
    return moec::bf16ToF32(load<uint16_t>(bytes, i));
  }
  static void put(void *bytes, size_t i, float value) {
    store<uint16_t>(bytes, i, moec::f32ToBf16(value));
  }
};
template <const fakes::SmallFloat &Format> struct Small {
  using Wide = float;
  static float get(const void *bytes, size_t i) {
    return fakes::smallToF32(Format, load<uint8_t>(bytes, i));
  }
  static void put(void *bytes, size_t i, float value) {
    store<uint8_t>(bytes, i, fakes::f32ToSmall(Format, value));
  }
};

/// Integers wrap, so they are added without a sign.
template <typename T> T plus(T a, T b) {
  if constexpr (std::is_integral_v<T>)
    return T(std::make_unsigned_t<T>(a) + std::make_unsigned_t<T>(b));
  else
    return a + b;
}
template <typename T> T times(T a, T b) {
  if constexpr (std::is_integral_v<T>)
    return T(uint64_t(a) * uint64_t(b));
  else
    return a * b;
}

template <typename Codec>
void fold(ncclRedOp_t op, const std::vector<const void *> &sources,
          const std::vector<double> &scalars, size_t count, void *out) {
  using Wide = typename Codec::Wide;
  std::vector<Wide> sums(count);
  for (size_t rank = 0; rank != sources.size(); ++rank)
    for (size_t i = 0; i != count; ++i) {
      Wide value = Codec::get(sources[rank], i);
      if (!scalars.empty())
        value = times(value, Wide(scalars[rank]));
      if (rank == 0)
        sums[i] = value;
      else if (op == ncclProd)
        sums[i] = times(sums[i], value);
      else if (op == ncclMax)
        sums[i] = std::max(sums[i], value);
      else if (op == ncclMin)
        sums[i] = std::min(sums[i], value);
      else
        sums[i] = plus(sums[i], value);
    }
  for (size_t i = 0; i != count; ++i) {
    Wide value = sums[i];
    if (op == ncclAvg)
      value = Wide(value / Wide(sources.size()));
    Codec::put(out, i, value);
  }
}

/// Calls `body` with the codec of a type.
template <typename Body> void withCodec(ncclDataType_t type, Body &&body) {
  switch (int(type)) {
  case ncclInt8:
    return body(Plain<int8_t>());
  case ncclUint8:
    return body(Plain<uint8_t>());
  case ncclInt32:
    return body(Plain<int32_t>());
  case ncclUint32:
    return body(Plain<uint32_t>());
  case ncclInt64:
    return body(Plain<int64_t>());
  case ncclUint64:
    return body(Plain<uint64_t>());
  case ncclFloat16:
    return body(Half());
  case ncclFloat32:
    return body(Plain<float>());
  case ncclFloat64:
    return body(Plain<double>());
  case ncclBfloat16:
    return body(Brain());
  case ncclFloat8e4m3:
    return body(Small<fakes::kE4m3>());
  default:
    return body(Small<fakes::kE5m2>());
  }
}

} // namespace

void reduce(ncclDataType_t type, ncclRedOp_t op,
            const std::vector<const void *> &sources,
            const std::vector<double> &scalars, size_t count, void *out) {
  withCodec(type, [&](auto codec) {
    fold<decltype(codec)>(op, sources, scalars, count, out);
  });
}

double readScalar(ncclDataType_t type, const void *bytes) {
  double value = 0;
  withCodec(type, [&](auto codec) {
    value = double(decltype(codec)::get(bytes, 0));
  });
  return value;
}

} // namespace cudasim::nccl
