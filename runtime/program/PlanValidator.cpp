#include "runtime/program/PlanValidator.h"

#include "ir/support/Diagnostic.h"
#include "ir/support/ElementType.h"
#include "runtime/program/Fields.h"
#include "runtime/program/PackedWeightValidator.h"
#include "runtime/program/Plan.h"
#include "runtime/program/Polynomial.h"
#include "runtime/schema/plan_generated.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/ADT/Twine.h"

using namespace moec;
using namespace moec::runtime;
using namespace moec::runtime::fields;

// Limits far above what plans need, so that sums of a few of them do not
// overflow and a hostile plan cannot ask for absurd amounts.
static constexpr int64_t kMaxSymbol = int64_t(1) << 40;
static constexpr uint64_t kMaxScratchBytes = uint64_t(1) << 30;

namespace {

class Validator {
public:
  Validator(const plan::Plan &plan, const std::string &path)
      : plan(plan), path(path) {}

  llvm::Error run() {
    MOEC_TRY(checkFacts());
    MOEC_TRY(checkSymbols());
    MOEC_TRY(checkStates());
    MOEC_TRY(checkSignatures());
    MOEC_TRY(checkWeights());
    MOEC_TRY(validateWeightFiles(plan, path));
    llvm::StringSet<> names;
    for (unsigned i = 0; i < count(plan.variants()); ++i) {
      const plan::Variant &variant = *plan.variants()->Get(i);
      MOEC_TRY(
          checkName(variant.name(), names, "variant " + std::to_string(i)));
      MOEC_TRY(checkVariant(variant));
    }
    return llvm::Error::success();
  }

private:
  ErrorBuilder fail(const llvm::Twine &object) const {
    Location place = Location::inFile(path);
    place.object = object.str();
    return error(place);
  }

  /// A name that is there, and there once.
  llvm::Error checkName(const flatbuffers::String *name,
                        llvm::StringSet<> &seen, const llvm::Twine &object) {
    if (!name || name->size() == 0)
      return fail(object) << "expects a name, got none";
    if (!seen.insert(text(name)).second)
      return fail(object) << "has the name '" << text(name)
                          << "', which an earlier one has";
    return llvm::Error::success();
  }

  llvm::Error checkFacts() {
    llvm::StringSet<> keys;
    for (unsigned i = 0; i < count(plan.facts()); ++i)
      MOEC_TRY(checkName(plan.facts()->Get(i)->key(), keys,
                         "fact " + std::to_string(i)));
    return llvm::Error::success();
  }

  llvm::Error checkSymbols() {
    llvm::StringSet<> names;
    for (unsigned i = 0; i < count(plan.symbols()); ++i) {
      const plan::Symbol &symbol = *plan.symbols()->Get(i);
      MOEC_TRY(checkName(symbol.name(), names, "symbol " + std::to_string(i)));
      if (symbol.maximum() < 1 || symbol.maximum() > kMaxSymbol)
        return fail("symbol '" + text(symbol.name()) + "'")
               << "expects a maximum in [1, " << kMaxSymbol << "], got "
               << symbol.maximum();
      maxima.push_back(symbol.maximum());
    }
    return llvm::Error::success();
  }

  llvm::Error checkPolynomial(const plan::Polynomial *polynomial,
                              const llvm::Twine &object,
                              llvm::StringRef what) const {
    if (!boundOf(polynomial, maxima))
      return fail(object) << what
                          << " names a symbol that the plan has not, or "
                             "exceeds 63 bits at the symbols' maxima";
    return llvm::Error::success();
  }

  llvm::Error checkElement(plan::ElementType element,
                           const llvm::Twine &object) const {
    if (unsigned(element) >= kElementTypes)
      return fail(object) << "expects an element type below " << kElementTypes
                          << ", got " << unsigned(element);
    return llvm::Error::success();
  }

  llvm::Error checkType(const plan::TensorType &type,
                        const llvm::Twine &object) const {
    MOEC_TRY(checkElement(type.element(), object));
    // The product of the dimensions' bounds bounds the elements.
    int64_t elements = 1;
    for (unsigned i = 0; i < count(type.shape()); ++i) {
      MOEC_TRY(checkPolynomial(type.shape()->Get(i), object, "a dimension"));
      int64_t bound = *boundOf(type.shape()->Get(i), maxima);
      if (__builtin_mul_overflow(elements, std::max<int64_t>(bound, 1),
                                 &elements) ||
          elements > INT64_MAX / 16)
        return fail(object) << "has a shape whose product exceeds 59 bits at "
                               "the symbols' maxima";
    }
    return llvm::Error::success();
  }

  static bool isConstant(const plan::Polynomial *polynomial) {
    if (polynomial)
      for (unsigned i = 0; i < count(polynomial->terms()); ++i)
        if (count(polynomial->terms()->Get(i)->symbols()))
          return false;
    return true;
  }

  llvm::Error checkStates() {
    llvm::StringSet<> names;
    for (unsigned i = 0; i < count(plan.states()); ++i) {
      const plan::State &state = *plan.states()->Get(i);
      MOEC_TRY(checkName(state.name(), names, "state " + std::to_string(i)));
      std::string object = ("state '" + text(state.name()) + "'").str();
      if (state.kind() > plan::StateKind::MAX)
        return fail(object)
               << "expects a kind of at most " << unsigned(plan::StateKind::MAX)
               << ", got " << unsigned(state.kind());
      MOEC_TRY(checkType(*state.type(), object));
    }
    return llvm::Error::success();
  }

  llvm::Error checkValues(
      const flatbuffers::Vector<flatbuffers::Offset<plan::Value>> *values,
      const llvm::Twine &object) {
    llvm::StringSet<> names;
    for (unsigned i = 0; i < count(values); ++i) {
      const plan::Value &value = *values->Get(i);
      std::string place = (object + " " + std::to_string(i)).str();
      MOEC_TRY(checkName(value.name(), names, place));
      MOEC_TRY(checkType(*value.type(), place));
    }
    return llvm::Error::success();
  }

  llvm::Error checkSignatures() {
    llvm::StringSet<> names;
    for (unsigned i = 0; i < count(plan.signatures()); ++i) {
      const plan::Signature &signature = *plan.signatures()->Get(i);
      MOEC_TRY(
          checkName(signature.name(), names, "signature " + std::to_string(i)));
      std::string object = ("signature '" + text(signature.name()) + "'").str();
      MOEC_TRY(checkValues(signature.inputs(), object + ", input"));
      MOEC_TRY(checkValues(signature.outputs(), object + ", output"));
      for (unsigned s = 0; s < count(signature.states()); ++s)
        if (signature.states()->Get(s) >= count(plan.states()))
          return fail(object) << "names state " << signature.states()->Get(s)
                              << " of " << count(plan.states());
    }
    return llvm::Error::success();
  }

  llvm::Error checkWeights() {
    llvm::StringSet<> names;
    for (unsigned i = 0; i < count(plan.weights()); ++i) {
      const plan::Weight &weight = *plan.weights()->Get(i);
      MOEC_TRY(checkName(weight.name(), names, "weight " + std::to_string(i)));
      std::string object = ("weight '" + text(weight.name()) + "'").str();
      const plan::TensorType &type = *weight.type();
      MOEC_TRY(checkType(type, object));
      for (unsigned d = 0; d < count(type.shape()); ++d)
        if (!isConstant(type.shape()->Get(d)) ||
            evaluate(type.shape()->Get(d), {}) < 0)
          return fail(object) << "expects constant dimensions of at least 0";
      MOEC_TRY(checkSources(weight, object));
    }
    return llvm::Error::success();
  }

  llvm::Error checkSources(const plan::Weight &weight,
                           const llvm::Twine &object) const {
    const plan::TensorType &type = *weight.type();
    unsigned rank = count(type.shape());
    uint64_t last = 1;
    if (rank)
      last = uint64_t(evaluate(type.shape()->Get(rank - 1), {}));
    uint64_t elements = *elementsOf(type, {});
    uint64_t found = 0;
    for (unsigned i = 0; i < count(weight.sources()); ++i) {
      const plan::WeightSource &source = *weight.sources()->Get(i);
      std::string place = (object + ", source " + llvm::Twine(i)).str();
      if (text(source.file()).empty())
        return fail(place) << "expects the name of a file, got none";
      MOEC_TRY(checkElement(source.encoding(), place));
      ElementType encoding = ElementType(source.encoding());
      // Blocks run along the last dimension; a vector is cut between blocks.
      if (last % blockElements(encoding) != 0)
        return fail(place) << "has rows of " << last
                           << " elements, no whole number of "
                           << elementTypeName(encoding) << " blocks of "
                           << blockElements(encoding);
      uint64_t row = rank == 1 ? blockElements(encoding) : last;
      uint64_t rowBytes = *byteSize(encoding, row);
      if (rowBytes ? source.bytes() % rowBytes != 0 : source.bytes() != 0)
        return fail(place) << "has " << source.bytes()
                           << " bytes, no whole number of rows of " << rowBytes
                           << " bytes";
      uint64_t here = rowBytes ? source.bytes() / rowBytes * row : 0;
      if (here > elements - found)
        return fail(object) << "has " << elements << " elements, its sources "
                            << "have more";
      found += here;
      // A rotation swaps rows of a matrix, within heads of an even number.
      if (uint64_t heads = source.rotary_heads();
          heads && (rank != 2 || rowBytes == 0 ||
                    source.bytes() / rowBytes % (2 * heads) != 0))
        return fail(place) << "expects the rows of " << heads
                           << " heads, in pairs, got "
                           << (rowBytes ? source.bytes() / rowBytes : 0)
                           << " rows of a weight of rank " << rank;
      if (!checkedAdd(source.offset(), source.bytes()))
        return fail(place) << "lies at byte " << source.offset()
                           << " of its file, so that its end exceeds 64 bits";
      if (unsigned digest = count(source.sha256()); digest != 0 && digest != 32)
        return fail(place) << "expects a SHA-256 of 32 bytes or none, got "
                           << digest << " bytes";
    }
    if (count(weight.sources()) && found != elements)
      return fail(object) << "has " << elements << " elements, its sources "
                          << "have " << found;
    return llvm::Error::success();
  }

  llvm::Error checkVariant(const plan::Variant &variant) {
    std::string object = ("variant '" + text(variant.name()) + "'").str();
    for (unsigned i = 0; i < count(variant.weights()); ++i)
      MOEC_TRY(validatePackedWeight(plan, *variant.weights()->Get(i), path,
                                    object + ", packed weight " +
                                        std::to_string(i)));
    for (unsigned i = 0; i < count(variant.code()); ++i) {
      const plan::CodeBlob &blob = *variant.code()->Get(i);
      std::string place = object + ", code " + std::to_string(i);
      if (blob.kind() > plan::CodeKind::MAX)
        return fail(place) << "expects a kind of at most "
                           << unsigned(plan::CodeKind::MAX) << ", got "
                           << unsigned(blob.kind());
      if (blob.sha256()->size() != 32)
        return fail(place) << "expects a SHA-256 of 32 bytes, got "
                           << blob.sha256()->size() << " bytes";
      if (blob.code()->size() == 0)
        return fail(place) << "is empty";
    }
    llvm::StringSet<> kernels;
    for (unsigned i = 0; i < count(variant.kernels()); ++i) {
      const plan::Kernel &kernel = *variant.kernels()->Get(i);
      MOEC_TRY(checkName(kernel.name(), kernels,
                         object + ", kernel " + std::to_string(i)));
      std::string place =
          (object + ", kernel '" + text(kernel.name()) + "'").str();
      if (kernel.code() >= count(variant.code()))
        return fail(place) << "is in code " << kernel.code() << " of "
                           << count(variant.code());
      if (kernel.scratch_bytes() > kMaxScratchBytes)
        return fail(place) << "wants " << kernel.scratch_bytes()
                           << " bytes of scratch memory, at most "
                           << kMaxScratchBytes << " are allowed";
    }
    llvm::StringSet<> programs;
    for (unsigned i = 0; i < count(variant.programs()); ++i) {
      const plan::Program &program = *variant.programs()->Get(i);
      MOEC_TRY(checkName(program.name(), programs,
                         object + ", program " + std::to_string(i)));
      MOEC_TRY(checkProgram(variant, program));
    }
    return llvm::Error::success();
  }

  llvm::Error checkProgram(const plan::Variant &variant,
                           const plan::Program &program) {
    std::string object = ("variant '" + text(variant.name()) + "', program '" +
                          text(program.name()) + "'")
                             .str();
    if (program.signature() >= count(plan.signatures()))
      return fail(object) << "has signature " << program.signature() << " of "
                          << count(plan.signatures());
    unsigned limits = count(program.symbol_limits());
    if (limits != 0 && limits != maxima.size())
      return fail(object) << "expects a limit for each of " << maxima.size()
                          << " symbols or none, got " << limits;
    std::vector<int64_t> programMaxima = maxima;
    for (unsigned i = 0; i < limits; ++i) {
      int64_t limit = program.symbol_limits()->Get(i);
      if (limit < 0)
        return fail(object) << "has the limit " << limit << " for symbol '"
                            << text(plan.symbols()->Get(i)->name()) << "'";
      if (limit > 0)
        programMaxima[i] = std::min(programMaxima[i], limit);
    }
    MOEC_TRY(checkPolynomial(program.arena_bytes(), object, "the arena size"));
    int64_t arenaBytes = evaluate(program.arena_bytes(), programMaxima);
    if (arenaBytes < 0)
      return fail(object) << "has an arena of " << arenaBytes << " bytes";
    for (unsigned i = 0; i < count(program.buffers()); ++i)
      MOEC_TRY(checkBuffer(variant, program, *program.buffers()->Get(i),
                           arenaBytes, programMaxima,
                           object + ", buffer " + std::to_string(i)));
    for (unsigned i = 0; i < count(program.launches()); ++i)
      MOEC_TRY(checkLaunch(variant, program, i, programMaxima));
    return llvm::Error::success();
  }

  llvm::Error checkBuffer(const plan::Variant &variant,
                          const plan::Program &program,
                          const plan::Buffer &buffer, int64_t arenaBytes,
                          llvm::ArrayRef<int64_t> programMaxima,
                          const llvm::Twine &object) const {
    const plan::Signature &signature =
        *plan.signatures()->Get(program.signature());
    MOEC_TRY(checkPolynomial(buffer.offset(), object, "the offset"));
    MOEC_TRY(checkPolynomial(buffer.bytes(), object, "the size"));
    auto checkIndex = [&](llvm::StringRef what, unsigned size) -> llvm::Error {
      if (buffer.index() >= size)
        return fail(object)
               << "is " << what << " " << buffer.index() << " of " << size;
      return llvm::Error::success();
    };
    // Ranges at the maxima; the executor checks them again at the values of
    // each launch, since an arena need not grow as its buffers do.
    int64_t offset = evaluate(buffer.offset(), programMaxima);
    int64_t bytes = evaluate(buffer.bytes(), programMaxima);
    auto checkRange = [&](int64_t limit, llvm::StringRef what) -> llvm::Error {
      if (offset < 0 || bytes < 0 || offset % 64 != 0 || bytes > limit ||
          offset > limit - bytes)
        return fail(object) << "has " << bytes << " bytes at offset " << offset
                            << ", outside the " << what << "'s " << limit
                            << " bytes or not at a multiple of 64";
      return llvm::Error::success();
    };
    switch (buffer.kind()) {
    case plan::BufferKind::input:
      return checkIndex("input", count(signature.inputs()));
    case plan::BufferKind::output:
      return checkIndex("output", count(signature.outputs()));
    case plan::BufferKind::state: {
      MOEC_TRY(checkIndex("state", count(plan.states())));
      for (unsigned s = 0; s < count(signature.states()); ++s)
        if (signature.states()->Get(s) == buffer.index())
          return llvm::Error::success();
      return fail(object) << "is state '"
                          << text(plan.states()->Get(buffer.index())->name())
                          << "', which signature '" << text(signature.name())
                          << "' does not list";
    }
    case plan::BufferKind::weight:
      return checkIndex("packed weight", count(variant.weights()));
    case plan::BufferKind::arena:
      return checkRange(arenaBytes, "arena");
    case plan::BufferKind::constant:
      if (!isConstant(buffer.offset()) || !isConstant(buffer.bytes()))
        return fail(object) << "is a constant whose range names a symbol";
      return checkRange(count(variant.constants()), "variant's constants");
    }
    return fail(object) << "expects a kind of at most "
                        << unsigned(plan::BufferKind::MAX) << ", got "
                        << unsigned(buffer.kind());
  }

  llvm::Error checkLaunch(const plan::Variant &variant,
                          const plan::Program &program, unsigned index,
                          llvm::ArrayRef<int64_t> programMaxima) const {
    const plan::Launch &launch = *program.launches()->Get(index);
    auto failHere = [&] { return fail(launchName(program, index)); };
    if (launch.kernel() >= count(variant.kernels()))
      return failHere() << "runs kernel " << launch.kernel() << " of "
                        << count(variant.kernels());
    const plan::Kernel &kernel = *variant.kernels()->Get(launch.kernel());
    if (count(launch.buffers()) != kernel.buffers())
      return failHere() << "binds " << count(launch.buffers())
                        << " buffers, kernel '" << text(kernel.name())
                        << "' expects " << kernel.buffers();
    if (count(launch.extents()) != kernel.extents())
      return failHere() << "has " << count(launch.extents())
                        << " extents, kernel '" << text(kernel.name())
                        << "' expects " << kernel.extents();
    for (unsigned i = 0; i < count(launch.buffers()); ++i)
      if (launch.buffers()->Get(i) >= count(program.buffers()))
        return failHere() << "binds buffer " << launch.buffers()->Get(i)
                          << " of " << count(program.buffers());
    for (unsigned i = 0; i < count(launch.extents()); ++i)
      if (!boundOf(launch.extents()->Get(i), maxima))
        return failHere() << "has an extent that names a symbol the plan has "
                             "not, or exceeds 63 bits";
    for (unsigned i = 0; i < count(launch.grid()); ++i) {
      const plan::GridFactor &factor = *launch.grid()->Get(i);
      if (factor.divisor() < 1)
        return failHere() << "expects a grid divisor of at least 1, got "
                          << factor.divisor();
      if (!boundOf(factor.extent(), maxima))
        return failHere() << "has a grid extent that names a symbol the plan "
                             "has not, or exceeds 63 bits";
    }
    if (!tasksOf(launch.grid(), programMaxima))
      return failHere() << "has a grid whose number of tasks is negative or "
                           "exceeds 63 bits at the symbols' maxima";
    return llvm::Error::success();
  }

  const plan::Plan &plan;
  const std::string &path;
  std::vector<int64_t> maxima;
};

} // namespace

llvm::Error runtime::validatePlan(const plan::Plan &plan,
                                  const std::string &path) {
  return Validator(plan, path).run();
}
