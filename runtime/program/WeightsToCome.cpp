#include "runtime/program/WeightsToCome.h"

#include "runtime/program/Fields.h"
#include "runtime/program/Plan.h"
#include "runtime/schema/plan_generated.h"

using namespace moec;
using namespace moec::runtime;
using fields::count;

std::vector<std::optional<unsigned>>
runtime::weightsToCome(const Plan &plan, const plan::Variant &variant,
                       const plan::Program &program) {
  std::vector<std::optional<unsigned>> toCome(count(program.launches()));
  std::optional<unsigned> next;
  for (unsigned round = 0; round < 2; ++round)
    for (size_t i = toCome.size(); i-- > 0;) {
      toCome[i] = next;
      const plan::Launch &launch = *program.launches()->Get(unsigned(i));
      for (unsigned b = 0; b < count(launch.buffers()); ++b) {
        unsigned index = launch.buffers()->Get(b);
        const plan::Buffer &buffer = *program.buffers()->Get(index);
        if (buffer.kind() != plan::BufferKind::weight)
          continue;
        const plan::PackedWeight &weight =
            *variant.weights()->Get(buffer.index());
        // Vectors, and tables of which some rows are read.
        if (weight.layout() == plan::LayoutKind::row_major)
          continue;
        const plan::Weight &source =
            *plan->weights()->Get(weight.weights()->Get(0));
        next.reset();
        if (count(source.type()->shape()) == 2)
          next = index;
      }
    }
  return toCome;
}
