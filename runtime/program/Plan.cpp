#include "runtime/program/Plan.h"

#include "ir/support/Diagnostic.h"
#include "ir/support/MappedFile.h"
#include "runtime/program/Fields.h"
#include "runtime/program/PlanValidator.h"
#include "runtime/schema/PlanDigest.h"
#include "runtime/schema/PlanVersion.h"
#include "runtime/schema/plan_generated.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"

using namespace moec;
using namespace moec::runtime;

// Depth and table counts of a plan are small; both limits only stop input that
// was made to exhaust the reader.
static constexpr flatbuffers::uoffset_t kMaxDepth = 32;
static constexpr flatbuffers::uoffset_t kMaxTables = 50'000'000;

static llvm::StringRef text(const flatbuffers::String *string) {
  return llvm::StringRef(string->data(), string->size());
}

bool runtime::looksLikePlan(llvm::ArrayRef<uint8_t> bytes) {
  return bytes.size() >= 8 &&
         plan::PlanBufferHasIdentifier(static_cast<const void *>(bytes.data()));
}

llvm::Expected<PlanVersion>
runtime::readPlanVersion(llvm::ArrayRef<uint8_t> bytes, llvm::StringRef name) {
  Location place = Location::inFile(name.str());
  if (bytes.size() < 8 || bytes.size() >= FLATBUFFERS_MAX_BUFFER_SIZE)
    return error(place) << "expects a plan of 8 bytes to 2 GiB, got "
                        << bytes.size() << " bytes";
  if (!looksLikePlan(bytes))
    return error(place) << "is no plan: expects the identifier 'MOEP' at byte "
                           "4";
  flatbuffers::Verifier verifier(bytes.data(), bytes.size(), kMaxDepth,
                                 kMaxTables);
  if (!verifier.VerifyBuffer<plan::VersionOnly>(plan::PlanIdentifier()))
    return error(place) << "is damaged: its head does not hold a version";
  auto *head = flatbuffers::GetRoot<plan::VersionOnly>(bytes.data());
  return PlanVersion{head->major(), head->minor()};
}

llvm::Expected<PlanVersion> runtime::readPlanVersion(llvm::StringRef path) {
  MOEC_ASSIGN(std::shared_ptr<const MappedFile> file, MappedFile::open(path));
  return readPlanVersion(file->bytes(), path);
}

llvm::Expected<std::shared_ptr<const Plan>> Plan::open(llvm::StringRef path) {
  MOEC_ASSIGN(std::shared_ptr<const MappedFile> file, MappedFile::open(path));
  std::shared_ptr<Plan> plan(new Plan());
  plan->owner = file;
  plan->name = path.str();
  return check(std::move(plan), file->bytes());
}

llvm::Expected<std::shared_ptr<const Plan>>
Plan::fromBytes(std::vector<uint8_t> bytes, llvm::StringRef name) {
  auto owned = std::make_shared<const std::vector<uint8_t>>(std::move(bytes));
  std::shared_ptr<Plan> plan(new Plan());
  plan->owner = owned;
  plan->name = name.str();
  return check(std::move(plan), *owned);
}

/// What was in bounds may still have been changed.
static llvm::Error checkDigest(const plan::Plan &plan,
                               llvm::ArrayRef<uint8_t> bytes,
                               const Location &place) {
  const flatbuffers::Vector<uint8_t> *own = plan.sha256();
  if (!own && plan.minor() < 2)
    return llvm::Error::success(); // Written before there was one.
  unsigned size = fields::count(own);
  if (size != Digest().size())
    return error(place) << "expects a SHA-256 of " << Digest().size()
                        << " bytes of the plan, got " << size << " bytes";
  if (auto other = fields::otherDigest(*own, plan::digestOf(bytes, *own)))
    return error(place) << "is damaged: expects " << *other;
  return llvm::Error::success();
}

llvm::Expected<std::shared_ptr<const Plan>>
Plan::check(std::shared_ptr<Plan> plan, llvm::ArrayRef<uint8_t> bytes) {
  Location place = Location::inFile(plan->name);
  MOEC_ASSIGN(PlanVersion version, readPlanVersion(bytes, plan->name));
  if (version.major != plan::kMajor)
    return error(place) << "is a plan of version " << version.major << "."
                        << version.minor << ", this program reads version "
                        << plan::kMajor << "." << plan::kMinor;
  flatbuffers::Verifier verifier(bytes.data(), bytes.size(), kMaxDepth,
                                 kMaxTables);
  if (!plan::VerifyPlanBuffer(verifier))
    return error(place) << "is damaged: an offset or a length leads outside "
                           "the file's "
                        << bytes.size() << " bytes";
  plan->contents = plan::GetPlan(bytes.data());
  MOEC_TRY(validatePlan(*plan->contents, plan->name));
  MOEC_TRY(checkDigest(*plan->contents, bytes, place));
  if (plan->contents->symbols())
    for (const plan::Symbol *symbol : *plan->contents->symbols())
      plan->maxima.push_back(symbol->maximum());
  return std::shared_ptr<const Plan>(std::move(plan));
}

Location Plan::at(std::string object) const {
  Location place = Location::inFile(name);
  place.object = std::move(object);
  return place;
}

std::optional<llvm::StringRef> Plan::fact(llvm::StringRef key) const {
  if (contents->facts())
    for (const plan::Fact *fact : *contents->facts())
      if (text(fact->key()) == key)
        return text(fact->value());
  return std::nullopt;
}

llvm::Expected<int64_t> Plan::integerFact(llvm::StringRef key,
                                          int64_t minimum) const {
  std::optional<llvm::StringRef> written = fact(key);
  if (!written)
    return error(at("")) << "lacks the fact '" << key << "'";
  int64_t value;
  if (written->getAsInteger(10, value) || value < minimum)
    return error(at("fact '" + key.str() + "'"))
           << "expects an integer of at least " << minimum << ", got '"
           << *written << "'";
  return value;
}

llvm::Expected<std::vector<int64_t>>
Plan::integerList(llvm::StringRef key) const {
  std::vector<int64_t> values;
  std::optional<llvm::StringRef> written = fact(key);
  if (!written || written->empty())
    return values;
  llvm::SmallVector<llvm::StringRef> parts;
  written->split(parts, ',');
  for (llvm::StringRef part : parts) {
    int64_t value;
    if (part.trim().getAsInteger(10, value))
      return error(at("fact '" + key.str() + "'"))
             << "expects integers separated by commas, got '" << *written
             << "'";
    values.push_back(value);
  }
  return values;
}

std::optional<unsigned> Plan::findSymbol(llvm::StringRef symbol) const {
  if (contents->symbols())
    for (unsigned i = 0; i < contents->symbols()->size(); ++i)
      if (text(contents->symbols()->Get(i)->name()) == symbol)
        return i;
  return std::nullopt;
}

std::optional<unsigned> Plan::findSignature(llvm::StringRef signature) const {
  if (contents->signatures())
    for (unsigned i = 0; i < contents->signatures()->size(); ++i)
      if (text(contents->signatures()->Get(i)->name()) == signature)
        return i;
  return std::nullopt;
}

std::vector<int64_t> Plan::limitsOf(const plan::Program &program) const {
  std::vector<int64_t> limits = maxima;
  if (program.symbol_limits())
    for (unsigned i = 0; i < program.symbol_limits()->size(); ++i)
      if (int64_t limit = program.symbol_limits()->Get(i))
        limits[i] = std::min(limits[i], limit);
  return limits;
}

llvm::Error Plan::checkCode(const plan::Variant &variant) const {
  if (!variant.code())
    return llvm::Error::success();
  for (unsigned i = 0; i < variant.code()->size(); ++i) {
    const plan::CodeBlob &blob = *variant.code()->Get(i);
    llvm::ArrayRef<uint8_t> code(blob.code()->data(), blob.code()->size());
    if (auto other = fields::otherDigest(*blob.sha256(), code))
      return error(at("variant '" + variant.name()->str() + "', code " +
                      std::to_string(i)))
             << "expects " << *other << ": the code was changed or damaged";
  }
  return llvm::Error::success();
}

std::string runtime::launchName(const plan::Program &program, unsigned index) {
  std::string text = "program '" + program.name()->str() + "', launch " +
                     std::to_string(index);
  const plan::Launch &launch = *program.launches()->Get(index);
  if (launch.location() && launch.location()->size())
    text += " (" + launch.location()->str() + ")";
  return text;
}
